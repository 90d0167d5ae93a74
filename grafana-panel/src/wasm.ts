/** Loads the WASM module, once per page. */
import init, { Panel } from '../.build/wasm/quoll_panel_wasm.js';

export type { Panel };

let ready: Promise<unknown> | undefined;

/** A new panel, from the module at `url`. A failed load is tried again by the next call. */
export async function createPanel(url: string): Promise<Panel> {
  ready ??= init({ module_or_path: url });
  try {
    await ready;
  } catch (error) {
    ready = undefined;
    throw error;
  }
  return new Panel();
}
