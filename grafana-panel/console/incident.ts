/**
 * The page of one incident, at `#incident=ID` (`?incident=ID` leads there, too): what happened in the
 * scorer's own sentences, and what the user says about it.
 */
import { element } from '../src/view/dom';

type Dict = Record<string, unknown>;

function dict(value: unknown): Dict {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Dict) : {};
}
function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((line): line is string => typeof line === 'string') : [];
}
function time(value: unknown): string | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? new Date(value).toLocaleString() : undefined;
}

interface ServiceName {
  name: string;
  namespace: string | null;
}

function service(value: unknown): ServiceName | undefined {
  const { name, namespace } = dict(value);
  return typeof name === 'string' ? { name, namespace: typeof namespace === 'string' ? namespace : null } : undefined;
}

const full = ({ namespace, name }: ServiceName): string => (namespace === null ? name : `${namespace}/${name}`);

/** The incident the address names. */
export function chosenIncident(): string | undefined {
  const chosen = new URLSearchParams(location.hash.slice(1)).get('incident');
  return chosen ?? new URLSearchParams(location.search).get('incident') ?? undefined;
}

export class IncidentPage {
  private readonly node: HTMLElement;
  private shown = '';
  private answer = '';
  private closed = false;

  /** `api` ends with a slash; `search` chooses the scope. */
  constructor(
    host: HTMLElement,
    private readonly api: string,
    private readonly search: () => string,
    private readonly services: () => ServiceName[],
  ) {
    this.node = host;
    window.addEventListener('hashchange', () => {
      this.closed = false;
      this.answer = '';
      void this.refresh();
    });
  }

  /** Asks again; says what is wrong in the page itself. */
  async refresh(): Promise<void> {
    const id = this.closed ? undefined : chosenIncident();
    this.node.classList.toggle('hidden', id === undefined);
    if (id === undefined) {
      return;
    }
    try {
      const query = new URLSearchParams(this.search());
      query.set('incident', id);
      const response = await fetch(`${this.api}explain?${query}`);
      if (response.status === 404) {
        this.show(id, {}, `The scorer does not know incident ${id} any more.`);
      } else if (!response.ok) {
        throw new Error(`it answers ${response.status}`);
      } else {
        this.show(id, dict(await response.json()), '');
      }
    } catch (error) {
      this.show(id, {}, `Nothing is known at present: ${error instanceof Error ? error.message : String(error)}.`);
    }
  }

  private show(id: string, found: Dict, problem: string): void {
    const key = JSON.stringify([id, found, problem, this.answer]);
    if (key === this.shown) {
      // Whoever is choosing in the list is not disturbed.
      return;
    }
    this.shown = key;
    const opened = time(found['opened_ms']);
    const closed = time(found['closed_ms']);
    const state = closed ? `closed ${closed}` : found['open'] === true ? 'open' : '';
    const close = element('button', 'quoll-button', 'Close');
    close.type = 'button';
    close.addEventListener('click', () => {
      this.closed = true;
      history.replaceState(null, '', location.pathname + location.search);
      void this.refresh();
    });
    const head = element('div', 'console-head', element('h2', '', `Incident ${id}`), close);
    const parts: HTMLElement[] = [head];
    if (problem) {
      parts.push(element('p', '', problem));
    } else {
      parts.push(element('p', 'console-muted', [opened && `since ${opened}`, state].filter(Boolean).join(', ')));
      const lines = texts(found['explanation']).map((line) => element('li', '', line));
      parts.push(lines.length > 0 ? element('ol', 'console-explanation', ...lines) : element('p', '', 'No explanation yet.'));
      parts.push(...this.feedback(id, service(found['root']), dict(found['feedback'])));
    }
    this.node.replaceChildren(...parts);
  }

  private feedback(id: string, root: ServiceName | undefined, given: Dict): HTMLElement[] {
    const said = given['verdict'] === 'cause' ? service(given['service']) : undefined;
    const before = said ? `You said: the cause was ${full(said)}.` : given['verdict'] === 'not_an_incident' ? 'You said: this was no incident.' : '';
    const choice = element('select', '');
    choice.setAttribute('aria-label', 'The cause');
    const known = this.services();
    for (const one of known) {
      const option = element('option', '', full(one));
      option.selected = root !== undefined && full(one) === full(root);
      choice.append(option);
    }
    const send = (label: string, body: () => unknown): HTMLButtonElement => {
      const node = element('button', 'quoll-button', label);
      node.type = 'button';
      node.addEventListener('click', () => void this.send(id, body()));
      return node;
    };
    const cause = send('was the cause', () => ({ verdict: 'cause', service: known[choice.selectedIndex] }));
    cause.disabled = known.length === 0;
    const none = send('This was no incident', () => ({ verdict: 'not_an_incident' }));
    const answer = element('p', 'console-muted', this.answer || before);
    answer.setAttribute('role', 'status');
    const row = element('div', 'console-feedback', choice, cause, none);
    return [element('h3', '', 'What was it?'), row, answer];
  }

  private async send(id: string, body: unknown): Promise<void> {
    try {
      const response = await fetch(`${this.api}incidents/${encodeURIComponent(id)}/feedback${this.search()}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const text = (await response.text()).trim();
      this.answer = response.ok ? text || 'Noted.' : `Not taken: ${text || response.status}`;
    } catch (error) {
      this.answer = `Not sent: ${error instanceof Error ? error.message : String(error)}`;
    }
    await this.refresh();
  }
}
