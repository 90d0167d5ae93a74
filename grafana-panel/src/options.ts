export interface Options {
  /** The list of probable causes beside the graph. */
  showCauses: boolean;
  showLegend: boolean;
}

export const defaults: Options = { showCauses: true, showLegend: true };
