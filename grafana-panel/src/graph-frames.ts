/**
 * Nodes and edges out of frames: Grafana's node-graph frames by their documented names, and those of any
 * other query by the names in the options. A frame is a table, or one series per row with labels.
 */
import { type DataFrame, type Field, FieldType, type GrafanaTheme2 } from '@grafana/data';
import { cellColour, cssColour } from './colours';
import { callKey, type Detail } from './details';
import { format, linksOf, shown } from './fields';
import type { Coloured } from './frames';
import type { EdgeLook, Looks, NodeLook } from './looks';
import type { Mapping } from './options';
import type { SampleList } from './samples';
import { t, tn } from './text';

export interface GraphFrames {
  nodes: DataFrame[];
  edges: DataFrame[];
}

function has(frame: DataFrame, name: string): boolean {
  return frame.fields.some((field) => field.name.toLowerCase() === name);
}

/** https://grafana.com/docs/grafana/latest/panels-visualizations/visualizations/node-graph/#data-requirements */
export function isEdges(frame: DataFrame): boolean {
  return has(frame, 'source') && has(frame, 'target');
}

export function isNodes(frame: DataFrame): boolean {
  const said = frame.meta?.preferredVisualisationType === 'nodeGraph' || frame.name === 'nodes' || frame.refId === 'nodes';
  const typical = frame.fields.some(({ name }) => /^(title|subtitle|mainstat|secondarystat|arc__.+|detail__.+)$/i.test(name));
  return has(frame, 'id') && !has(frame, '__name__') && (said || typical);
}

/** One node or edge: a row of a table, or a series with its labels. */
class Row {
  constructor(
    private readonly frame: DataFrame,
    private readonly row: number,
    /** The value field, where the row is a series. */
    private readonly series: Field | undefined,
  ) {}

  cell(name: string): [Field, number] | undefined {
    const wanted = name.toLowerCase();
    const found = this.series
      ? [this.series].find((field) => wanted === 'value' || field.name.toLowerCase() === wanted)
      : this.frame.fields.find((field) => field.name.toLowerCase() === wanted);
    return found ? [found, this.row] : undefined;
  }

  text(name: string): string {
    const label = this.series?.labels?.[name];
    const cell = this.cell(name);
    const value: unknown = label ?? (cell ? cell[0].values[cell[1]] : undefined);
    return value === null || value === undefined ? '' : String(value).trim();
  }

  number(name: string): number {
    const cell = this.cell(name);
    const value: unknown = cell ? cell[0].values[cell[1]] : undefined;
    return typeof value === 'number' ? value : typeof value === 'string' && value !== '' ? Number(value) : Number.NaN;
  }

  cells(): Array<[Field, number]> {
    return (this.series ? [this.series] : this.frame.fields).map((field) => [field, this.row]);
  }
}

function rowsOf(frame: DataFrame): Row[] {
  const isTable = frame.fields.some((field) => field.type === FieldType.string);
  if (isTable) {
    return Array.from({ length: frame.length }, (_, row) => new Row(frame, row, undefined));
  }
  const values = frame.fields.filter((field) => field.type === FieldType.number);
  return frame.length === 0 ? [] : values.map((field) => new Row(frame, frame.length - 1, field));
}

/** Told by the panel itself, or of no use in a tooltip. */
const PLUMBING =
  /^(id|source|target|title|color|icon|nodeRadius|thickness|highlighted|strokeDasharray|isInstrumented|fixedX|fixedY)$/i;
/** Units of rates per second, as Grafana and the tracing data sources write them. */
const PER_SECOND = /(ps$|\/s$|\/sec$)/i;

/** What a reader fills in, and reads with. */
export interface Reading {
  samples: SampleList;
  notes: string[];
  mapping: Mapping;
  theme: GrafanaTheme2;
  looks: Looks;
  scores: Coloured[];
}

/** A statistic of edges, added up over those that end at one node: what nodes show where they are not given. */
interface Sum {
  field: Field;
  value: number;
}

export class GraphReader {
  /** Parts of circles around nodes, for the legend. */
  readonly arcs: Array<{ name: string; colour: string }> = [];
  private readonly known = new Map<string, Row>();
  /** Names by id; of equal titles each gets its id. */
  private readonly names = new Map<string, { name: string; namespace: string | undefined }>();
  private readonly samples: SampleList;
  private readonly notes: string[];
  private readonly mapping: Mapping;

  constructor(private readonly reading: Reading) {
    this.samples = reading.samples;
    this.notes = reading.notes;
    this.mapping = reading.mapping;
  }

  read(frames: GraphFrames): void {
    this.nodes(frames.nodes);
    this.edges(frames.edges, frames.nodes.length > 0);
  }

  /** By the id of a service, or the key of a call. */
  detail(key: string): Detail | undefined {
    const row = this.known.get(key);
    if (!row) {
      return undefined;
    }
    const cells = row.cells();
    const lines = cells.flatMap(([field, at]): Array<[string, string]> => {
      const text = shown(field, at);
      const name = field.config.displayName ?? field.name.replace(/^(detail|arc)__/, '');
      return PLUMBING.test(field.name) || text === '' || field.type === FieldType.time ? [] : [[name, text]];
    });
    return { lines, links: () => linksOf(cells) };
  }

  private nodes(frames: DataFrame[]): void {
    const { nodeId, nodeTitle, nodeNamespace, nodeScore } = this.mapping;
    const rows = this.columns(frames, [nodeId, nodeTitle, nodeNamespace, nodeScore]);
    const titles = new Map<string, number>();
    const read = rows.map((row) => {
      const id = row.text(nodeId || 'id');
      const title = row.text(nodeTitle || 'title') || id;
      titles.set(title, (titles.get(title) ?? 0) + 1);
      return { row, id, title };
    });
    let nameless = 0;
    let twice = 0;
    for (const { row, id, title } of read) {
      if (id === '') {
        nameless += 1;
      } else if (this.names.has(id)) {
        twice += 1;
      } else {
        const name = titles.get(title) === 1 || title === id ? title : `${title} (${id})`;
        const namespace = (nodeNamespace && row.text(nodeNamespace)) || undefined;
        this.names.set(id, { name, namespace });
        const full = namespace ? `${namespace}/${name}` : name;
        this.known.set(full, row);
        this.reading.looks.nodes[full] = this.nodeLook(row, nodeScore === '');
        const cell = nodeScore ? row.cell(nodeScore) : undefined;
        if (cell) {
          this.reading.scores.push({ key: full, field: cell[0], row: cell[1] });
        }
        const score = nodeScore ? row.number(nodeScore) : Number.NaN;
        this.samples.add({ __name__: 'quoll_anomaly_score', service_name: name, service_namespace: namespace }, score);
      }
    }
    if (nameless > 0) {
      const values = { count: nameless };
      const many = '{{count}} nodes have no id, and are left out.';
      this.notes.push(tn('frames.nameless', '{{count}} node has no id, and is left out.', many, values));
    }
    if (twice > 0) {
      const many = '{{count}} nodes repeat an id; the first of each is shown.';
      this.notes.push(tn('frames.twice', '{{count}} node repeats an id; the first is shown.', many, { count: twice }));
    }
  }

  /** https://grafana.com/docs/grafana/latest/panels-visualizations/visualizations/node-graph/#nodes-data-frame-structure */
  private nodeLook(row: Row, plain: boolean): NodeLook {
    const { theme } = this.reading;
    const look: NodeLook = plain ? { plain: 1 } : {};
    const said = (name: string): string => {
      const cell = row.cell(name);
      return cell ? shown(...cell) : '';
    };
    const text = (part: 'main' | 'second' | 'subtitle' | 'icon', value: string): void => {
      if (value !== '') {
        look[part] = value;
      }
    };
    text('main', said('mainstat'));
    text('second', said('secondarystat'));
    text('subtitle', row.text('subtitle'));
    text('icon', row.text('icon'));
    const arcs = row.cells().filter(([field]) => /^arc__/i.test(field.name));
    look.arcs = arcs.flatMap(([field, at], place): Array<[string, number]> => {
      const palette = theme.visualization.palette;
      const colour = cssColour(theme, field.config.color?.fixedColor ?? palette[place % palette.length]);
      const share: unknown = field.values[at];
      if (colour === undefined || typeof share !== 'number' || !(share > 0)) {
        return [];
      }
      const name = field.config.displayName ?? field.name.replace(/^arc__/i, '');
      if (!this.arcs.some((arc) => arc.name === name)) {
        this.arcs.push({ name, colour });
      }
      return [[colour, share]];
    });
    const colour = row.cell('color');
    const rim = colour && cellColour(...colour, theme);
    if (rim !== undefined) {
      look.rim = rim;
    }
    const radius = row.number('nodeRadius');
    if (radius > 0) {
      look.radius = radius;
    }
    if (row.text('highlighted') === 'true') {
      look.highlighted = 1;
    }
    if (row.text('isInstrumented') === 'false') {
      look.outside = 1;
    }
    return look;
  }

  /** https://grafana.com/docs/grafana/latest/panels-visualizations/visualizations/node-graph/#edges-data-frame-structure */
  private edgeLook(row: Row): EdgeLook {
    const look: EdgeLook = {};
    const colour = row.cell('color');
    const line = colour && cellColour(...colour, this.reading.theme);
    if (line !== undefined) {
      look.colour = line;
    }
    const width = row.number('thickness');
    if (width > 0) {
      look.width = width;
    }
    const dash = row.text('strokeDasharray');
    if (dash !== '') {
      look.dash = dash;
    }
    if (row.text('highlighted') === 'true') {
      look.highlighted = 1;
    }
    return look;
  }

  /** Nodes that only edges name show what their incoming edges add up to, as Grafana's node graph has it. */
  private sumUp(name: string, row: Row, sums: Map<string, Partial<Record<'main' | 'second', Sum>>>): void {
    const sum = sums.get(name) ?? {};
    for (const [part, field] of [['main', 'mainstat'], ['second', 'secondarystat']] as const) {
      const cell = row.cell(field);
      const value: unknown = cell?.[0].values[cell[1]];
      if (cell && typeof value === 'number' && Number.isFinite(value)) {
        sum[part] = { field: cell[0], value: (sum[part]?.value ?? 0) + value };
      }
    }
    sums.set(name, sum);
  }

  private edges(frames: DataFrame[], nodesGiven: boolean): void {
    const { edgeSource, edgeTarget, edgeRate, edgeErrors } = this.mapping;
    const rows = this.columns(frames, [edgeSource, edgeTarget, edgeRate, edgeErrors]);
    let endless = 0;
    const strangers = new Set<string>();
    const { looks } = this.reading;
    const sums = new Map<string, Partial<Record<'main' | 'second', Sum>>>();
    for (const row of rows) {
      const ends = [row.text(edgeSource || 'source'), row.text(edgeTarget || 'target')];
      const [source, target] = ends.map((id) => {
        const known = this.names.get(id);
        if (!known && id !== '' && nodesGiven) {
          strangers.add(id);
        }
        return known ?? { name: id, namespace: undefined };
      });
      if (!source || !target || source.name === '' || target.name === '') {
        endless += 1;
        continue;
      }
      const labels = {
        client: source.name,
        client_service_namespace: source.namespace,
        server: target.name,
        server_service_namespace: target.namespace,
      };
      const full = ({ name, namespace }: typeof source): string => (namespace ? `${namespace}/${name}` : name);
      this.known.set(callKey(full(source), full(target)), row);
      const look = this.edgeLook(row);
      if (Object.keys(look).length > 0) {
        looks.edges.push([full(source), full(target), look]);
      }
      for (const end of [source, target]) {
        if (!nodesGiven) {
          looks.nodes[full(end)] ??= { plain: 1 };
        }
      }
      if (!nodesGiven) {
        this.sumUp(full(target), row, sums);
      }
      this.samples.add({ __name__: 'quoll_edge_requests_per_second', ...labels }, this.rate(row));
      if (edgeErrors) {
        const cell = row.cell(edgeErrors);
        const share = row.number(edgeErrors) / (cell?.[0].config.unit === 'percent' ? 100 : 1);
        this.samples.add({ __name__: 'quoll_edge_error_ratio', ...labels }, share);
      }
    }
    for (const [name, { main, second }] of sums) {
      const look = looks.nodes[name];
      if (look && main) {
        look.main = format(main.field, main.value);
      }
      if (look && second) {
        look.second = format(second.field, second.value);
      }
    }
    if (endless > 0) {
      const one = '{{count}} edge lacks a source or a target, and is left out.';
      const many = '{{count}} edges lack a source or a target, and are left out.';
      this.notes.push(tn('frames.endless', one, many, { count: endless }));
    }
    if (strangers.size > 0) {
      const names = [...strangers].slice(0, 3).join(', ');
      const values = { count: strangers.size, names };
      const one = '{{count}} end of edges is not among the nodes: {{names}}';
      this.notes.push(tn('frames.strangers', one, '{{count}} ends of edges are not among the nodes: {{names}}', values));
    }
  }

  /** Requests per second, where a field says so by its unit or the options name it. */
  private rate(row: Row): number {
    const { edgeRate } = this.mapping;
    if (edgeRate) {
      return row.number(edgeRate);
    }
    const rated = ['mainstat', 'secondarystat'].find((name) => PER_SECOND.test(row.cell(name)?.[0].config.unit ?? ''));
    return rated === undefined ? Number.NaN : row.number(rated);
  }

  /** All rows; says which of the named fields are nowhere. */
  private columns(frames: DataFrame[], names: string[]): Row[] {
    const rows = frames.flatMap(rowsOf);
    for (const name of names.filter((wanted) => wanted !== '')) {
      if (rows.length > 0 && !rows.some((row) => row.cell(name) || row.text(name) !== '')) {
        const all = [...new Set(frames.flatMap((frame) => frame.fields.map((field) => field.name)))];
        const values = { name, fields: all.slice(0, 8).join(', ') };
        this.notes.push(t('frames.missing', 'No field or label is named {{name}}; there are {{fields}}.', values));
      }
    }
    return rows;
  }
}
