/**
 * Grafana's frames as what the panel shows. Three kinds are understood, in any mixture:
 *
 * - **Quoll's own metrics**, without any configuration: time series (one frame per series, its labels on the
 *   value field) or a table (a column per label). The newest row of a series counts. Series whose name an
 *   aggregation has dropped are the time line: posteriors have an `incident`, scores have none.
 * - **Nodes and edges of any query**, by the names of their fields or labels in the options.
 * - **Grafana's node-graph frames**, by their documented field names.
 *
 * What cannot be used is counted and said, never guessed.
 */
import { type DataFrame, type Field, type FieldConfig, FieldType, type GrafanaTheme2 } from '@grafana/data';
import { cellColour, colourKey, mappedColour, scaleOf } from './colours';
import { callKey, type Details } from './details';
import { format, isFormatted, metricDetail } from './fields';
import { type GraphFrames, GraphReader, isEdges, isNodes } from './graph-frames';
import { emptyLooks, type LegendNotes, type Looks } from './looks';
import type { Mapping } from './options';
import { type Labels, SampleList, type Samples, SeriesList, type TimelineSamples } from './samples';
import { t } from './text';

export interface Input {
  samples: Samples;
  timeline: TimelineSamples | undefined;
  notes: string[];
  details: Details;
  looks: Looks;
  legend: LegendNotes;
}

/** What frames are read with. */
export interface Surroundings {
  mapping: Mapping;
  theme: GrafanaTheme2;
  /** The configuration of all fields, before overrides. */
  defaults: FieldConfig;
}

/** A value that has a colour: whose, and where it lies. */
export interface Coloured {
  key: string;
  field: Field;
  row: number;
}

/** A series of ours: its labels, and where its values lie. */
interface Series {
  labels: Labels;
  field: Field;
  rows: number[];
  times: Field | undefined;
}

export function numeric(value: unknown): number {
  return typeof value === 'number' ? value : Number.NaN;
}

function tableSeries(frame: DataFrame, value: Field, times: Field | undefined): Series[] {
  const columns = frame.fields.filter((field) => field.type === FieldType.string);
  const known = new Map<string, Series>();
  for (let row = 0; row < frame.length; row++) {
    const labels: Labels = {};
    for (const column of columns) {
      const text: unknown = column.values[row];
      labels[column.name] = typeof text === 'string' ? text : undefined;
    }
    const key = JSON.stringify(labels);
    const series = known.get(key);
    if (series) {
      series.rows.push(row);
    } else {
      known.set(key, { labels, field: value, rows: [row], times });
    }
  }
  return [...known.values()];
}

function seriesOf(frame: DataFrame): Series[] {
  const times = frame.fields.find((field) => field.type === FieldType.time);
  const values = frame.fields.filter((field) => field.type === FieldType.number);
  const isTable = frame.fields.some((field) => field.type === FieldType.string);
  return values.flatMap((field): Series[] => {
    if (isTable) {
      return tableSeries(frame, field, times);
    }
    const rows = Array.from({ length: frame.length }, (_, row) => row);
    return frame.length > 0 && field.labels ? [{ labels: field.labels, field, rows, times }] : [];
  });
}

/** The row of the newest value. */
function newest({ rows, times }: Series): number {
  return rows.reduce((best, row) => (times && numeric(times.values[row]) < numeric(times.values[best]) ? best : row));
}

function subject(labels: Labels): { service?: string; call?: string } {
  const full = (namespace: string | undefined, name: string): string => (namespace ? `${namespace}/${name}` : name);
  if (labels['service_name']) {
    return { service: full(labels['service_namespace'], labels['service_name']) };
  }
  if (labels['client'] && labels['server']) {
    const client = full(labels['client_service_namespace'], labels['client']);
    return { call: callKey(client, full(labels['server_service_namespace'], labels['server'])) };
  }
  return {};
}

/** Everything that frames say. */
export function readFrames(frames: DataFrame[], { mapping, theme, defaults }: Surroundings): Input {
  const samples = new SampleList();
  const timeline = new SeriesList();
  const notes: string[] = [];
  const fields = new Map<string, Array<[Field, number]>>();
  const graph: GraphFrames = { nodes: [], edges: [] };
  const looks = emptyLooks();
  const scores: Coloured[] = [];
  const errors: Coloured[] = [];
  let odd = 0;
  let told = 0;
  for (const frame of frames) {
    const mapped = frame.refId !== undefined && frame.refId !== '';
    if (mapped && frame.refId === mapping.nodesQuery) {
      graph.nodes.push(frame);
    } else if (mapped && frame.refId === mapping.edgesQuery) {
      graph.edges.push(frame);
    } else if (isEdges(frame)) {
      graph.edges.push(frame);
    } else if (isNodes(frame)) {
      graph.nodes.push(frame);
    } else {
      const all = seriesOf(frame);
      for (const series of all) {
        const { labels, field } = series;
        const row = newest(series);
        if (labels['__name__']) {
          samples.add(labels, numeric(field.values[row]));
          const { service, call } = subject(labels);
          const key = service ?? call;
          if (key !== undefined) {
            if (labels['__name__'] === SCORE) {
              scores.push({ key, field, row });
            } else if (labels['__name__'] === ERRORS) {
              errors.push({ key, field, row });
            }
            const known = fields.get(key);
            if (known) {
              known.push([field, row]);
            } else {
              fields.set(key, [[field, row]]);
            }
          }
          told += 1;
        } else if (labels['service_name'] && series.times) {
          addToTimeline(timeline, series, series.times);
          told += 1;
        }
      }
      odd += all.length === 0 && frame.length > 0 ? 1 : 0;
    }
  }
  const reader = new GraphReader({ samples, notes, mapping, theme, looks, scores });
  reader.read(graph);
  told += graph.nodes.length + graph.edges.length;
  if (odd > 0 || (told === 0 && frames.some((frame) => frame.length > 0))) {
    notes.push(
      t(
        'frames.odd',
        'The queries return data that is neither Quoll’s metrics (with their names) nor nodes and edges. Name the fields of nodes and edges in the panel’s options.',
      ),
    );
  }
  const find = (key: string) => {
    const found = fields.get(key);
    return reader.detail(key) ?? (found ? metricDetail(found, defaults) : undefined);
  };
  const details: Details = { service: find, call: (client, server) => find(callKey(client, server)) };
  const packed = timeline.pack();
  const usual = colourScores(scores, looks, theme);
  colourErrors(errors, looks, theme, defaults);
  const formatScore = usual && isFormatted(usual.config) ? (value: number) => format(usual, value) : undefined;
  return {
    samples: samples.pack(),
    timeline: packed.times.length > 1 ? packed : undefined,
    notes,
    details,
    looks,
    legend: { formatScore, arcs: reader.arcs, plain: scores.length === 0 && graph.nodes.length + graph.edges.length > 0 },
  };
}

const SCORE = 'quoll_anomaly_score';
const ERRORS = 'quoll_edge_error_ratio';

/** The configuration that most fields share becomes the scale; whoever has another one gets its colour from that. */
function colourScores(scores: Coloured[], looks: Looks, theme: GrafanaTheme2): Field | undefined {
  const groups = new Map<string, Coloured[]>();
  for (const score of scores) {
    const key = colourKey(score.field.config);
    const group = groups.get(key);
    if (group) {
      group.push(score);
    } else {
      groups.set(key, [score]);
    }
  }
  const [most, ...others] = [...groups.values()].sort((a, b) => b.length - a.length);
  const usual = most?.[0]?.field;
  const scale = usual && scaleOf(usual, theme);
  if (scale) {
    looks.score = scale;
  }
  const fill = (key: string, colour: string | undefined): void => {
    if (colour !== undefined) {
      looks.nodes[key] = { ...looks.nodes[key], fill: colour };
    }
  };
  for (const { key, field, row } of others.flat()) {
    if (scaleOf(field, theme)) {
      fill(key, cellColour(field, row, theme));
    }
  }
  for (const { key, field, row } of scores) {
    fill(key, mappedColour(field, row, theme));
  }
  return usual;
}

/** Error ratios are coloured by what is configured for them alone: thresholds of all fields are meant for scores. */
function colourErrors(errors: Coloured[], looks: Looks, theme: GrafanaTheme2, defaults: FieldConfig): void {
  const own = errors.find(({ field }) => colourKey(field.config) !== colourKey({ ...field.config, ...pickColours(defaults) }));
  const scale = own && scaleOf(own.field, theme);
  if (scale) {
    looks.errors = scale;
  }
}

function pickColours({ thresholds, color, min, max }: FieldConfig): Partial<FieldConfig> {
  return { thresholds, color, min, max } as Partial<FieldConfig>;
}

function addToTimeline(list: SeriesList, { labels, field, rows }: Series, times: Field): void {
  const points = new Map<number, number>();
  for (const row of rows) {
    points.set(numeric(times.values[row]), numeric(field.values[row]));
  }
  points.delete(Number.NaN);
  list.add({ ...labels, quantity: labels['incident'] ? 'posterior' : 'score' }, points);
}
