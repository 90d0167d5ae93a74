/** The list of scopes (tenants, clusters), shown where there is more than one to choose from. */
import { element } from '../src/view/dom';

interface Scope {
  tenant: string;
  partition: string;
  incidents: number;
}

function read(json: unknown): Scope[] {
  const list = Array.isArray(json) ? (json as Array<Record<string, unknown>>) : [];
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  return list.map((one) => ({
    tenant: text(one['tenant']),
    partition: text(one['partition']),
    incidents: typeof one['incidents'] === 'number' ? one['incidents'] : 0,
  }));
}

export class Scopes {
  private shown = '';
  private readonly choice = element('select', '');

  /** `api` ends with a slash; `changed` is told when another scope was chosen. */
  constructor(
    private readonly host: HTMLElement,
    private readonly api: string,
    private readonly changed: () => void,
  ) {
    this.choice.setAttribute('aria-label', 'Scope');
    this.choice.addEventListener('change', () => {
      const query = new URLSearchParams(location.search);
      const [tenant, partition] = this.choice.value.split('\n');
      query.set('tenant', tenant ?? '');
      query.set('partition', partition ?? '');
      history.replaceState(null, '', `${location.pathname}?${query}${location.hash}`);
      this.changed();
    });
    host.append(this.choice);
  }

  /** Asks which scopes there are; a scorer that cannot say leaves the list as it is. */
  async refresh(): Promise<void> {
    try {
      const response = await fetch(`${this.api}scopes`);
      if (response.ok) {
        this.show(read(await response.json()));
      }
    } catch {
      // The page says already that the scorer cannot be reached.
    }
  }

  private show(scopes: Scope[]): void {
    const key = JSON.stringify(scopes);
    this.host.classList.toggle('hidden', scopes.length < 2);
    if (key === this.shown) {
      return;
    }
    this.shown = key;
    const query = new URLSearchParams(location.search);
    const present = `${query.get('tenant') ?? ''}\n${query.get('partition') ?? ''}`;
    const options = scopes.map((scope) => {
      const name = [scope.tenant, scope.partition].filter(Boolean).join(' · ') || 'default';
      const count = scope.incidents === 0 ? '' : ` (${scope.incidents} ${scope.incidents === 1 ? 'incident' : 'incidents'})`;
      const option = element('option', '', name + count);
      option.value = `${scope.tenant}\n${scope.partition}`;
      option.selected = option.value === present;
      return option;
    });
    this.choice.replaceChildren(...options);
  }
}
