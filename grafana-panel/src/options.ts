/** The panel's options, their defaults, and how those of older versions become today's. */
import type { PanelModel } from '@grafana/data';

/** Which queries hold nodes and edges of others, and what their fields or labels are named; empty for the usual. */
export interface Mapping {
  nodesQuery: string;
  nodeId: string;
  nodeTitle: string;
  nodeNamespace: string;
  nodeScore: string;
  edgesQuery: string;
  edgeSource: string;
  edgeTarget: string;
  edgeRate: string;
  edgeErrors: string;
}

/** What shapes are painted by; `auto` is WebGL2 for many nodes on a real GPU, else Canvas2D. */
export type Renderer = 'auto' | 'canvas' | 'webgl';

export const RENDERERS: Renderer[] = ['auto', 'canvas', 'webgl'];

export interface Options {
  /** The list of probable causes beside the graph. */
  showCauses: boolean;
  showLegend: boolean;
  showToolbar: boolean;
  /** Where the queries give one. */
  showTimeline: boolean;
  /** Namespaces start closed where there are more services than this. */
  clustersAbove: number;
  renderer: Renderer;
  /** The scorer's console, for links to incidents. */
  scorerUrl: string;
  mapping: Mapping;
  /** Layout, open namespaces and pinned services, as the core writes them. */
  arrangement: string;
}

export const noMapping: Mapping = {
  nodesQuery: '',
  nodeId: '',
  nodeTitle: '',
  nodeNamespace: '',
  nodeScore: '',
  edgesQuery: '',
  edgeSource: '',
  edgeTarget: '',
  edgeRate: '',
  edgeErrors: '',
};

export const defaults: Options = {
  showCauses: true,
  showLegend: true,
  showToolbar: true,
  showTimeline: true,
  clustersAbove: 250,
  renderer: 'auto',
  scorerUrl: '',
  mapping: noMapping,
  arrangement: '',
};

function object(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

/**
 * Whatever a dashboard holds as today's options: of older versions, of Grafana's node graph (whose own
 * options mean nothing here), or edited by hand. A value of another kind than it should be is the default.
 */
export function complete(stored: unknown): Options {
  const given = object(stored);
  const like = <T>(value: unknown, fallback: T): T => (typeof value === typeof fallback ? (value as T) : fallback);
  const mapping = object(given['mapping']);
  const named = Object.entries(noMapping).map(([key, fallback]) => [key, like(mapping[key], fallback)]);
  const least = like(given['clustersAbove'], defaults.clustersAbove);
  return {
    showCauses: like(given['showCauses'], defaults.showCauses),
    showLegend: like(given['showLegend'], defaults.showLegend),
    showToolbar: like(given['showToolbar'], defaults.showToolbar),
    showTimeline: like(given['showTimeline'], defaults.showTimeline),
    clustersAbove: Number.isFinite(least) && least >= 0 ? Math.round(least) : defaults.clustersAbove,
    renderer: RENDERERS.find((one) => one === given['renderer']) ?? defaults.renderer,
    scorerUrl: like(given['scorerUrl'], defaults.scorerUrl),
    mapping: Object.fromEntries(named) as unknown as Mapping,
    arrangement: like(given['arrangement'], defaults.arrangement),
  };
}

export function migrate(panel: PanelModel<unknown>): Partial<Options> {
  return complete(panel.options);
}

/** Where an incident is explained; undefined unless the address of the console is one of a page. */
export function incidentUrl(scorerUrl: string, incident: string): string | undefined {
  try {
    const url = new URL(scorerUrl);
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
      return undefined;
    }
    url.hash = `incident=${encodeURIComponent(incident)}`;
    return url.href;
  } catch {
    return undefined;
  }
}
