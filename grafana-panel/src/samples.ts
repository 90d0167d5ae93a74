/** Samples in the packed form that crosses into WASM in one call (see the `samples` module in Rust). */

const RECORD = '\u001e';
const UNIT = '\u001f';

export interface Samples {
  packed: string;
  values: Float64Array;
}

export type Labels = Record<string, string | undefined>;

/** Collects samples one by one. */
export class SampleList {
  private readonly records: string[] = [];
  private readonly values: number[] = [];

  add(labels: Labels, value: number): void {
    const parts: string[] = [];
    for (const [name, text] of Object.entries(labels)) {
      if (text !== undefined) {
        parts.push(name, text);
      }
    }
    this.records.push(parts.join(UNIT));
    this.values.push(value);
  }

  pack(): Samples {
    return { packed: this.records.join(RECORD), values: Float64Array.from(this.values) };
  }
}
