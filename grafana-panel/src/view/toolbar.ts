/** The row above the graph: search, layout, filters, namespaces, export, and everything in view again. */
import type { Layout, Summary } from '../report';
import { t, tn } from '../text';
import { button, element } from './dom';

export interface FilterState {
  /** Undefined shows all; the empty name is that of services without one. */
  namespaces: string[] | undefined;
  leastScore: number;
  leastRate: number;
}

export interface ToolbarActions {
  search: (text: string) => number;
  goToMatch: (text: string) => void;
  arrange: (layout: Layout) => void;
  filter: (filter: FilterState) => void;
  openNamespace: (namespace: string, open: boolean) => void;
  openAll: (open: boolean) => void;
  unpin: () => void;
  flow: (on: boolean) => void;
  save: (format: 'png' | 'svg' | 'json') => void;
  showAll: () => void;
}

const LAYOUTS: Layout[] = ['auto', 'layered', 'force', 'concentric', 'grid'];

function layoutName(layout: Layout): string {
  switch (layout) {
    case 'auto':
      return t('layout.auto', 'Automatic');
    case 'layered':
      return t('layout.layered', 'Layers');
    case 'force':
      return t('layout.force', 'Forces');
    case 'concentric':
      return t('layout.concentric', 'Rings');
    case 'grid':
      return t('layout.grid', 'Grid');
  }
}

export class Toolbar {
  readonly root = element('div', 'quoll-toolbar');
  private readonly find = element('input', 'quoll-input quoll-find');
  private readonly found = element('span', 'quoll-found');
  private readonly layout = element('select', 'quoll-input');
  private readonly least = element('input', 'quoll-input quoll-number');
  private readonly rate = element('input', 'quoll-input quoll-number');
  private readonly namespaces = element('div', 'quoll-namespaces');
  private readonly panes: Array<{ pane: HTMLElement; by: HTMLButtonElement }> = [];
  private hiddenNamespaces = new Set<string>();
  private listed = '';
  private readonly outside = (event: Event): void => {
    if (!(event.target instanceof Node && this.root.contains(event.target))) {
      this.closePanes();
    }
  };

  constructor(private readonly actions: ToolbarActions) {
    this.root.setAttribute('role', 'toolbar');
    this.root.setAttribute('aria-label', t('toolbar.label', 'Graph'));
    this.find.type = 'search';
    this.find.placeholder = t('toolbar.search', 'Search');
    this.find.setAttribute('aria-label', t('toolbar.search-label', 'Search services'));
    this.find.addEventListener('input', () => this.searched());
    this.find.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') {
        actions.goToMatch(this.find.value);
      } else if (event.key === 'Escape' && this.find.value !== '') {
        event.stopPropagation();
        this.find.value = '';
        this.searched();
      }
    });
    this.found.setAttribute('role', 'status');
    this.layout.setAttribute('aria-label', t('toolbar.layout', 'Layout'));
    for (const layout of LAYOUTS) {
      const option = element('option', '', layoutName(layout));
      option.value = layout;
      this.layout.append(option);
    }
    this.layout.addEventListener('change', () => actions.arrange(this.layout.value as Layout));
    for (const input of [this.least, this.rate]) {
      input.type = 'number';
      input.min = '0';
      input.step = 'any';
      input.addEventListener('input', () => this.filtered());
    }
    const labelled = (text: string, input: HTMLElement): HTMLElement => element('label', '', element('span', '', text), input);
    const flow = element('input');
    flow.type = 'checkbox';
    flow.addEventListener('change', () => actions.flow(flow.checked));
    const filter = this.pane(
      t('toolbar.filter', 'Filter'),
      labelled(t('filter.score', 'Anomaly score at least'), this.least),
      labelled(t('filter.rate', 'Requests/s at least'), this.rate),
      this.namespaces,
      element(
        'div',
        'quoll-line',
        button(t('filter.open-all', 'Open all'), () => actions.openAll(true)),
        button(t('filter.close-all', 'Close all'), () => actions.openAll(false)),
      ),
    );
    const save = (format: 'png' | 'svg' | 'json', text: string): HTMLElement =>
      button(text, () => {
        this.closePanes();
        actions.save(format);
      });
    const more = this.pane(
      t('toolbar.more', 'More'),
      element('label', 'quoll-check', flow, element('span', '', t('more.flow', 'Show the flow of requests'))),
      button(t('more.unpin', 'Unpin all'), actions.unpin),
      element(
        'div',
        'quoll-line',
        element('span', '', t('more.export', 'Export')),
        save('png', 'PNG'),
        save('svg', 'SVG'),
        save('json', 'JSON'),
      ),
    );
    const all = button(t('toolbar.show-all', 'Show all'), actions.showAll);
    this.root.append(this.find, this.found, this.layout, filter, more, all);
  }

  focusSearch(): void {
    this.find.focus();
  }

  /** Namespaces and the layout as they are. */
  show(summary: Summary): void {
    if (document.activeElement !== this.layout) {
      this.layout.value = summary.layout;
    }
    const key = JSON.stringify(summary.clusters);
    if (key !== this.listed) {
      this.listed = key;
      this.listNamespaces(summary);
    }
  }

  destroy(): void {
    document.removeEventListener('pointerdown', this.outside, true);
  }

  private listNamespaces(summary: Summary): void {
    const rows = summary.clusters.map(({ namespace, services, open }) => {
      const shown = element('input');
      shown.type = 'checkbox';
      shown.checked = !this.hiddenNamespaces.has(namespace);
      shown.addEventListener('change', () => {
        if (shown.checked) {
          this.hiddenNamespaces.delete(namespace);
        } else {
          this.hiddenNamespaces.add(namespace);
        }
        this.filtered();
      });
      const name = element('label', 'quoll-check', shown, element('span', '', `${namespace} (${services})`));
      const toggle = button(open ? t('filter.close', 'Close') : t('filter.open', 'Open'), () =>
        this.actions.openNamespace(namespace, !open),
      );
      toggle.setAttribute(
        'aria-label',
        open
          ? t('filter.close-namespace', 'Close namespace {{namespace}}', { namespace })
          : t('filter.open-namespace', 'Open namespace {{namespace}}', { namespace }),
      );
      return element('div', 'quoll-line', name, toggle);
    });
    this.namespaces.replaceChildren(...rows);
    this.known = summary.clusters.map(({ namespace }) => namespace);
  }

  private known: string[] = [];

  private filtered(): void {
    const least = (input: HTMLInputElement): number => (input.value === '' ? Number.NaN : Number(input.value));
    const shown = this.known.filter((namespace) => !this.hiddenNamespaces.has(namespace));
    this.actions.filter({
      // Services without a namespace are never among those that can be hidden by name.
      namespaces: this.hiddenNamespaces.size === 0 ? undefined : ['', ...shown],
      leastScore: least(this.least),
      leastRate: least(this.rate),
    });
  }

  /** Everything that filters hide is shown again. */
  clearFilters(): void {
    this.hiddenNamespaces.clear();
    this.least.value = '';
    this.rate.value = '';
    this.listed = '';
    this.filtered();
  }

  private searched(): void {
    const count = this.actions.search(this.find.value.trim());
    this.found.textContent = this.find.value.trim() === '' ? '' : tn('toolbar.found', '{{count}} found', '{{count}} found', { count });
  }

  private pane(name: string, ...content: HTMLElement[]): HTMLElement {
    const pane = element('div', 'quoll-pane quoll-hidden', ...content);
    pane.setAttribute('role', 'group');
    pane.setAttribute('aria-label', name);
    const by = button(name, () => {
      const open = pane.classList.contains('quoll-hidden');
      this.closePanes();
      pane.classList.toggle('quoll-hidden', !open);
      by.setAttribute('aria-expanded', String(open));
      if (open) {
        document.addEventListener('pointerdown', this.outside, true);
      }
    });
    by.setAttribute('aria-expanded', 'false');
    pane.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        this.closePanes();
        by.focus();
      }
    });
    this.panes.push({ pane, by });
    return element('span', 'quoll-anchor', by, pane);
  }

  private closePanes(): void {
    document.removeEventListener('pointerdown', this.outside, true);
    for (const { pane, by } of this.panes) {
      pane.classList.add('quoll-hidden');
      by.setAttribute('aria-expanded', 'false');
    }
  }
}
