/** What the WASM module painted last, as it reports it. */

export type Pair = [number, number];

export interface DrawnNode {
  id: string;
  centre: Pair;
  radius: number;
  fill: string | null;
  ring: number | null;
  halo: number | null;
  label: string | null;
  /** Centre x and y, half width and half height. */
  label_box: [number, number, number, number] | null;
}

export interface DrawnEdge {
  client: string;
  server: string;
  colour: string;
  width: number;
  points: Pair[];
}

export interface Drawn {
  size: Pair;
  nodes: DrawnNode[];
  edges: DrawnEdge[];
  hypothetical: string | null;
  moving: boolean;
}

export function parseDrawn(json: string): Drawn {
  return JSON.parse(json) as Drawn;
}
