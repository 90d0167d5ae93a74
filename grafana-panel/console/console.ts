/** The scorer's own page: the live graph, incidents with their explanation, and what a service shows. */
import type { Service } from '../src/report';
import { number } from '../src/report';
import { element } from '../src/view/dom';
import { View } from '../src/view/view';
import { createPanel } from '../src/wasm';
import { type Graph, parseGraph } from './graph';
import { IncidentPage } from './incident';
import { Scopes } from './scopes';

const POLL_MS = 1000;
const TIMEOUT_MS = 5000;
/** The list of scopes changes rarely. */
const SCOPES_EVERY = 15;
/** A query of the page (`?tenant=&partition=`) is handed on. The page is served at the scorer's root and under `console/`, behind any path prefix. */
const API = `${location.pathname.replace(/(console\/)?(index\.html)?$/, '')}api/v1/`;
/** Longer than any usual interval of samples, so that a picture this old is not of now. */
const SILENT_MINUTES = 10;
const EMPTY_HINT = 'The scorer has seen no service yet: check that Prometheus sends to it (remote_write).';

function byId(id: string): HTMLElement {
  const node = document.getElementById(id);
  if (!node) {
    throw new Error(`the page lacks #${id}`);
  }
  return node;
}

/** The part of the page's own query that names the scope. */
function scopeQuery(): string {
  const own = new URLSearchParams(location.search);
  const scope = new URLSearchParams();
  for (const name of ['tenant', 'partition']) {
    const value = own.get(name);
    if (value !== null) {
      scope.set(name, value);
    }
  }
  return scope.size > 0 ? `?${scope}` : '';
}

const MODEL_STATES: Record<string, string> = {
  none: 'no model yet: topology only',
  provisional: 'model provisional: little history behind its alarms',
  calibrated: 'model calibrated',
};

/** What is missing from the picture, if anything: reports of leaves, or anything at all for some time. */
function whoIsSilent(graph: Graph, now_ms: number): string | undefined {
  const silent = graph.silent_leaves;
  if (silent.length > 0) {
    const leaves = silent.length === 1 ? `leaf ${silent[0]}` : `leaves ${silent.join(', ')}`;
    return `No report from ${leaves}: the services there are unknown until it comes.`;
  }
  const minutes = graph.tick_ms === null ? 0 : Math.floor((now_ms - graph.tick_ms) / 60_000);
  return minutes < SILENT_MINUTES ? undefined : `Nothing has come for ${minutes} minutes: this is the picture of then.`;
}

class Console {
  private graph: Graph | undefined;
  private selected: string | undefined;
  private polls = 0;
  private readonly incident = new IncidentPage(byId('incident'), API, scopeQuery, () => this.graph?.services ?? []);
  private readonly scopes = new Scopes(byId('scopes'), API, () => void this.poll());

  constructor(private readonly view: View) {
    view.onSelect = (service: Service | undefined) => {
      this.selected = service?.id;
      this.showDetails();
    };
  }

  /** Never ends; a poll starts one interval after the former one has ended. */
  async run(): Promise<never> {
    for (;;) {
      if (!document.hidden) {
        await this.poll();
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  private async poll(): Promise<void> {
    try {
      const response = await fetch(`${API}graph${scopeQuery()}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!response.ok) {
        throw new Error(`it answers ${response.status} ${response.statusText}`);
      }
      this.show(parseGraph(await response.json()));
      this.problem(undefined);
      await this.incident.refresh();
      if (this.polls++ % SCOPES_EVERY === 0) {
        await this.scopes.refresh();
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const known = this.graph ? ' What is shown is the last it said.' : '';
      this.problem(`The scorer cannot be reached: ${reason}.${known} Trying again each second.`);
    }
  }

  private problem(text: string | undefined): void {
    const node = byId('problem');
    node.textContent = text ?? '';
    node.classList.toggle('hidden', text === undefined);
    if (text !== undefined) {
      byId('state').textContent = 'not connected';
    }
  }

  private show(graph: Graph): void {
    this.graph = graph;
    this.view.load(graph.samples);
    byId('model').textContent = graph.model.message ?? MODEL_STATES[graph.model.state] ?? graph.model.state;
    const tick = graph.tick_ms === null ? 'no tick yet' : `tick ${new Date(graph.tick_ms).toLocaleTimeString()}`;
    const count = graph.services.length;
    byId('state').textContent = `${count} ${count === 1 ? 'service' : 'services'} · ${tick}`;
    const silent = whoIsSilent(graph, Date.now());
    byId('silent').textContent = silent ?? '';
    byId('silent').classList.toggle('hidden', silent === undefined);
    this.showDetails();
  }

  private showDetails(): void {
    const graph = this.graph;
    if (!graph) {
      return;
    }
    const parts: HTMLElement[] = [];
    for (const incident of graph.incidents) {
      if (incident.explanation.length > 0) {
        const opened = incident.opened_ms === null ? '' : `, since ${new Date(incident.opened_ms).toLocaleTimeString()}`;
        parts.push(element('h3', '', `Why${opened}`));
        const lines = incident.explanation.map((line) => element('li', '', line));
        parts.push(element('ul', 'console-explanation', ...lines));
        const link = element('a', '', 'The whole account, and what you say about it');
        link.href = `#incident=${encodeURIComponent(incident.id)}`;
        parts.push(element('p', '', link));
      }
    }
    const full = (namespace: string | null, name: string) => (namespace === null ? name : `${namespace}/${name}`);
    const service = graph.services.find((s) => full(s.namespace, s.name) === this.selected);
    if (service) {
      parts.push(element('h3', '', `What ${service.name} shows`));
      parts.push(service.features.length > 0 ? features(service.features) : element('p', '', 'Nothing yet.'));
    } else {
      parts.push(element('p', '', 'Click a service to see what it shows and what its failure would reach.'));
    }
    this.view.extra.replaceChildren(...parts);
  }
}

/** What an expectation rests on, in plain words. */
const BASES: Record<string, string> = {
  last_steps: 'would follow from what went before',
  normal_pattern: 'would be normal after what went before',
  usual_level: 'usual',
  hour_of_day: 'usual at this hour',
  other_features: 'would go with its other metrics',
};

/** An amount with its unit, at a size that reads well; as the accounts of incidents tell it. */
function amount(value: number, unit: string): string {
  const told = (scaled: number): string => (scaled !== 0 && Math.abs(scaled) < 0.01 ? '<0.01' : number(scaled));
  if (unit === 'seconds') {
    return Math.abs(value) < 1 ? `${told(1000 * value)} ms` : `${told(value)} s`;
  }
  if (unit === 'ratio') {
    return `${told(100 * value)} %`;
  }
  if (unit === 'bytes') {
    return `${told(value / 1048576)} MiB`;
  }
  return unit.endsWith('/s') ? `${told(value)} /s` : `${told(value)} ${unit}`.trim();
}

/** `caller_request_latency_seconds` as `request latency, by callers`. */
function readable(name: string, unit: string): string {
  const plain = name.replace(new RegExp(`_(${unit}|per_second)$`), '');
  const seen = plain.startsWith('caller_') ? ', by callers' : '';
  return plain.replace(/^caller_/, '').replaceAll('_', ' ') + seen;
}

function features(list: Graph['services'][number]['features']): HTMLElement {
  const cell = (value: number | null, unit: string): HTMLElement =>
    element('td', '', value === null ? '–' : amount(value, unit));
  const heads = ['feature', 'value', 'expected', 'score'].map((text) => element('th', '', text));
  const table = element('table', 'console-features', element('thead', '', element('tr', '', ...heads)));
  const sorted = [...list].sort((a, b) => (b.score ?? -1) - (a.score ?? -1));
  const body = sorted.map((feature) => {
    const name = element('td', '', readable(feature.name, feature.unit));
    const expected = cell(feature.expected, feature.unit);
    const why = feature.basis === null ? undefined : BASES[feature.basis];
    if (why !== undefined && (feature.score ?? 0) > 1) {
      expected.append(element('div', 'console-basis', why));
    }
    const score = element('td', '', feature.score === null ? '–' : feature.score.toFixed(2));
    const cells = [name, cell(feature.value, feature.unit), expected, score];
    return element('tr', (feature.score ?? 0) > 1 ? 'high' : '', ...cells);
  });
  table.append(element('tbody', '', ...body));
  return table;
}

declare global {
  interface Window {
    /** For tests and tools: what was painted last. */
    quollView?: View;
  }
}

async function start(): Promise<void> {
  const host = byId('graph');
  const panel = await createPanel(new URL('quoll_panel_wasm_bg.wasm', import.meta.url).href);
  const view = new View(host, panel);
  window.quollView = view;
  const scheme = matchMedia('(prefers-color-scheme: dark)');
  const theme = (): void => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
    view.setTheme({
      dark: scheme.matches,
      background: colour('background'),
      raised: colour('raised'),
      text: colour('text'),
      muted: colour('muted'),
    });
  };
  theme();
  scheme.addEventListener('change', theme);
  view.setOptions({ showCauses: true, showLegend: true, emptyHint: EMPTY_HINT });
  const resize = (): void => view.resize(host.clientWidth - 16, host.clientHeight - 12);
  new ResizeObserver(resize).observe(host);
  resize();
  await new Console(view).run();
}

start().catch((error: unknown) => {
  const node = byId('problem');
  node.classList.remove('hidden');
  node.textContent = `The console could not start: ${error instanceof Error ? error.message : String(error)}`;
});
