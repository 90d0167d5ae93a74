/**
 * `GET /api/v1/graph` of the scorer: read with care (it may be another version), and turned into the
 * samples the panel would get from Prometheus, so that both show the same.
 */
import { SampleList, type Samples } from '../src/samples';

export interface Feature {
  name: string;
  unit: string;
  value: number | null;
  expected: number | null;
  /** What the expectation rests on, by its name in the data; another version may have others. */
  basis: string | null;
  score: number | null;
}

export interface GraphService {
  namespace: string | null;
  name: string;
  features: Feature[];
}

export interface GraphIncident {
  id: string;
  opened_ms: number | null;
  explanation: string[];
}

export interface Graph {
  tick_ms: number | null;
  model: { state: string; message: string | null };
  /** Leaves of a sharded scorer whose report of this tick is missing. */
  silent_leaves: string[];
  services: GraphService[];
  incidents: GraphIncident[];
  samples: Samples;
}

type Dict = Record<string, unknown>;

function dict(value: unknown): Dict {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Dict) : {};
}
function list(value: unknown): Dict[] {
  return Array.isArray(value) ? value.map(dict) : [];
}
function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((line): line is string => typeof line === 'string') : [];
}
function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
function num(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

export function parseGraph(json: unknown): Graph {
  const graph = dict(json);
  const samples = new SampleList();
  const add = (metric: string, labels: Record<string, string | null>, value: unknown): void => {
    const known = num(value);
    if (known !== null) {
      const present = Object.entries(labels).filter(([, label]) => label !== null) as Array<[string, string]>;
      samples.add({ __name__: metric, ...Object.fromEntries(present) }, known);
    }
  };
  const services: GraphService[] = [];
  for (const service of list(graph['services'])) {
    const name = text(service['name']);
    if (name === null) {
      continue;
    }
    const namespace = text(service['namespace']);
    const labels = { service_name: name, service_namespace: namespace };
    const incident = text(service['incident']);
    // Without a score (no model yet) the service itself is still there.
    const score = num(service['score']) ?? Number.NaN;
    samples.add({ __name__: 'quoll_anomaly_score', service_name: name, service_namespace: namespace ?? undefined }, score);
    add('quoll_anomaly_probability', labels, service['anomaly_probability']);
    add('quoll_evidence_log_likelihood_ratio', labels, service['log_likelihood_ratio']);
    add('quoll_fault_prior_probability', labels, service['fault_prior']);
    if (incident !== null) {
      add('quoll_root_cause_probability', { ...labels, incident }, service['root_cause_probability']);
    }
    const features = list(service['features']).map((feature) => ({
      name: text(feature['name']) ?? '?',
      unit: text(feature['unit']) ?? '',
      value: num(feature['value']),
      expected: num(feature['expected']),
      basis: text(feature['basis']),
      score: num(feature['score']),
    }));
    services.push({ namespace, name, features });
  }
  for (const edge of list(graph['edges'])) {
    const labels = {
      client: text(edge['client']),
      client_service_namespace: text(edge['client_namespace']),
      server: text(edge['server']),
      server_service_namespace: text(edge['server_namespace']),
    };
    add('quoll_edge_strength', labels, edge['strength']);
    add('quoll_edge_requests_per_second', labels, edge['requests_per_second']);
    add('quoll_edge_error_ratio', labels, edge['error_ratio']);
  }
  const incidents: GraphIncident[] = [];
  for (const incident of list(graph['incidents'])) {
    const id = text(incident['id']);
    if (id === null) {
      continue;
    }
    add('quoll_no_fault_prior_probability', { incident: id }, incident['no_fault_prior']);
    add('quoll_no_fault_probability', { incident: id }, incident['no_fault_probability']);
    for (const symptom of list(incident['symptoms'])) {
      const labels = { service_name: text(symptom['name']), service_namespace: text(symptom['namespace']) };
      add('quoll_symptom', { ...labels, incident: id }, 1);
    }
    const explanation = strings(incident['explanation']);
    incidents.push({
      id,
      opened_ms: num(incident['opened_ms']),
      explanation,
    });
  }
  const engine = text(graph['engine_version']);
  if (engine !== null) {
    add('quoll_inference_info', { engine_version: engine }, 1);
  }
  add('quoll_leak_probability', {}, graph['leak']);
  const tick = num(graph['tick_ms']);
  add('quoll_inference_tick_timestamp_seconds', {}, tick === null ? null : tick / 1000);
  const model = dict(graph['model']);
  return {
    tick_ms: tick,
    model: { state: text(model['state']) ?? 'unknown', message: text(model['message']) },
    silent_leaves: strings(graph['silent_leaves']),
    services,
    incidents,
    samples: samples.pack(),
  };
}
