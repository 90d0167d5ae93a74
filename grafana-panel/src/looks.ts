/** What the data says about looks, in the form the WASM module takes (see its `looks` module). */

export interface ScaleLook {
  /** 1: each colour holds until the next one. */
  stepped: 0 | 1;
  /** Values and colours, rising; null is minus infinity. */
  stops: Array<[number | null, string]>;
}

export interface NodeLook {
  fill?: string;
  rim?: string;
  arcs?: Array<[string, number]>;
  main?: string;
  second?: string;
  subtitle?: string;
  /** A name here; the path of its picture for the module. */
  icon?: string;
  radius?: number;
  highlighted?: 1;
  plain?: 1;
  outside?: 1;
}

export interface EdgeLook {
  colour?: string;
  width?: number;
  dash?: string;
  highlighted?: 1;
}

export interface Looks {
  score?: ScaleLook;
  errors?: ScaleLook;
  nodes: Record<string, NodeLook>;
  edges: Array<[string, string, EdgeLook]>;
}

/** What the legend tells beyond the panel's own marks. */
export interface LegendNotes {
  /** Ends of the score's scale as its field shows them. */
  formatScore: ((value: number) => string) | undefined;
  /** Nodes of others, of which no score is expected. */
  plain: boolean;
  /** Parts of circles around nodes. */
  arcs: Array<{ name: string; colour: string }>;
}

export function emptyLooks(): Looks {
  return { nodes: {}, edges: [] };
}

export function isPlain({ score, errors, nodes, edges }: Looks): boolean {
  return !score && !errors && edges.length === 0 && Object.keys(nodes).length === 0;
}
