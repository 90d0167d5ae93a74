/** What the WASM module reports, as it writes it in JSON. */
import type { Detail } from './details';
import type { Note } from './notes';
import { languageTag, t } from './text';

export interface Cause {
  /** Id of the service; null is no fault at all. */
  service: number | null;
  label: string;
  probability: number;
}

export interface Incident {
  id: string;
  causes: Cause[];
  /** Largest difference between written and recomputed probabilities; null where not recomputed. */
  difference: number | null;
  symptoms: string[];
}

export interface Service {
  label: string;
  id: string;
  namespace: string | null;
  name: string;
  score: number | null;
  anomaly_probability: number | null;
  log_likelihood_ratio: number | null;
  root_cause: number | null;
  hit: number | null;
  alias_of: string | null;
  /** What it is, where it is no service (`host`). */
  kind: string | null;
  /** When it last changed, seconds since the epoch. */
  changed_seconds: number | null;
  /** Shown itself, or within its closed namespace. */
  shown: boolean;
}

/** A node of the picture: a service, or a closed namespace. */
export interface ShownNode {
  id: number;
  label: string;
  namespace: string | null;
  cluster: boolean;
  services: number;
  /** Neighbours that are not shown. */
  hidden: number;
}

export interface Cluster {
  namespace: string;
  services: number;
  open: boolean;
}

/** What is supposed, and how that differs from now; the largest difference first. */
export interface WhatIf {
  failed: string | null;
  healthy: string[];
  drained: string[];
  cut: Array<[string, string]>;
  /** Posteriors under the suppositions; empty where they stay as they are. */
  incidents: Incident[];
  /** Whose blast radius is compared. */
  root: string | null;
  hits: Array<{ label: string; now: number; then: number }>;
}

/** What lies under the pointer. */
export type Picked =
  | { kind: 'service'; id: number }
  | { kind: 'cluster'; id: number; namespace: string }
  | { kind: 'hidden'; id: number }
  | { kind: 'link'; client: number; server: number; calls: number[] }
  | null;

export type Layout = 'auto' | 'layered' | 'force' | 'concentric' | 'grid';

export interface Call {
  client: string;
  server: string;
  rate: number | null;
  error_ratio: number | null;
  strength: number | null;
}

export interface Reach {
  root: string;
  exact: boolean;
  hypothetical: boolean;
  hits: Array<{ label: string; probability: number }>;
}

export interface ScaleStop {
  value: number | null;
  colour: string;
}

export interface Scale {
  /** Each colour holds until the next one; else they blend. */
  stepped: boolean;
  /** A value of null is minus infinity. */
  stops: ScaleStop[];
}

/** As the module writes it: remarks are not sentences yet. */
export type Written = Omit<Summary, 'notes'> & { notes: Note[] };

export interface Summary {
  tick_seconds: number | null;
  engine_version: string | null;
  panel_engine_version: string;
  notes: string[];
  services: Service[];
  calls: Call[];
  incidents: Incident[];
  reach: Reach | null;
  what_if: WhatIf | null;
  layout: Layout;
  /** What `auto` came to. */
  layout_used: Layout;
  nodes: ShownNode[];
  clusters: Cluster[];
  /** Services that filters hide. */
  hidden: number;
  search: string;
  /** The time shown, if not now. */
  time_ms: number | null;
  /** First and last time of the time line; empty without one. */
  time_range: number[];
  /** Posteriors at the time shown, the likeliest first; empty at present. */
  then: Array<{ label: string; probability: number }>;
  score_scale: Scale;
  error_scale: Scale;
  inferred: string;
  hypothetical: string;
}

/** A probability for reading: whole per cent, without claiming 0 or 100 that it is not. */
export function percent(p: number): string {
  if (p > 0 && p < 0.01) {
    return '<1 %';
  }
  if (p < 1 && p >= 0.995) {
    return '>99 %';
  }
  return `${Math.round(p * 100)} %`;
}

export function number(value: number): string {
  return value.toLocaleString(languageTag(), { maximumSignificantDigits: 3 });
}

/** One sentence each, for tooltips and screen readers. */
export function describeService(service: Service, summary: Summary, detail?: Detail): string[] {
  const lines: string[] = [];
  if (service.kind !== null) {
    lines.push(service.kind === 'host' ? t('service.host', 'host') : service.kind);
  }
  const formatted = (metric: string, usual: string): string => detail?.value?.(metric) ?? usual;
  lines.push(
    service.score === null
      ? t('service.no-score', 'no score yet')
      : t('service.score', 'anomaly score {{score}}', {
          score: formatted('quoll_anomaly_score', number(service.score)),
        }),
  );
  if (service.anomaly_probability !== null) {
    const probability = formatted('quoll_anomaly_probability', percent(service.anomaly_probability));
    lines.push(t('service.anomalous', 'anomalous with probability {{probability}}', { probability }));
  }
  if (service.root_cause !== null) {
    const probability = formatted('quoll_root_cause_probability', percent(service.root_cause));
    lines.push(t('service.root-cause', 'root cause with probability {{probability}}', { probability }));
  }
  const reach = summary.reach;
  if (service.hit !== null && service.hit >= 0.01 && reach && reach.root !== service.label) {
    const values = { probability: percent(service.hit), root: reach.root };
    lines.push(
      reach.hypothetical
        ? t('service.hit-if', '{{probability}} likely hit if {{root}} failed', values)
        : t('service.hit', '{{probability}} likely hit if {{root}} is the cause', values),
    );
  }
  if (service.changed_seconds !== null) {
    const time = new Date(service.changed_seconds * 1000).toLocaleString(languageTag());
    lines.push(t('service.changed', 'last changed {{time}}', { time }));
  }
  if (service.alias_of !== null) {
    lines.push(t('service.alias', 'another name of {{name}}', { name: service.alias_of }));
  }
  return lines;
}

export function describeCall(call: Call, detail?: Detail): string[] {
  const lines: string[] = [];
  const [ownRate, ownErrors, ownStrength] = [
    detail?.value?.('quoll_edge_requests_per_second'),
    detail?.value?.('quoll_edge_error_ratio'),
    detail?.value?.('quoll_edge_strength'),
  ];
  if (call.rate !== null) {
    lines.push(
      ownRate === undefined
        ? t('call.rate', '{{rate}} requests/s', { rate: number(call.rate) })
        : t('call.own-rate', 'requests: {{rate}}', { rate: ownRate }),
    );
  }
  if (call.error_ratio !== null) {
    const errors = (call.error_ratio * 100).toLocaleString(languageTag(), { maximumFractionDigits: 1 });
    lines.push(
      ownErrors === undefined
        ? t('call.errors', '{{errors}} % errors', { errors })
        : t('call.own-errors', 'errors: {{errors}}', { errors: ownErrors }),
    );
  }
  if (call.strength !== null) {
    const probability = ownStrength ?? percent(call.strength);
    lines.push(t('call.strength', 'passes a fault on with probability {{probability}}', { probability }));
  }
  return lines;
}
