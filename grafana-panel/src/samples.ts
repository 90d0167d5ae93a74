/** Samples in the packed form that crosses into WASM in one call (see the `samples` module in Rust). */

const RECORD = '\u001e';
const UNIT = '\u001f';

export interface Samples {
  packed: string;
  values: Float64Array;
}

/** Series over common times (milliseconds since the epoch), value by value, NaN for gaps. */
export interface TimelineSamples extends Samples {
  times: Float64Array;
}

export type Labels = Record<string, string | undefined>;

function pack(labels: Labels): string {
  const parts: string[] = [];
  for (const [name, text] of Object.entries(labels)) {
    if (text !== undefined) {
      parts.push(name, text);
    }
  }
  return parts.join(UNIT);
}

/** Several names in one text, as filters take them. */
export function packNames(names: string[]): string {
  return names.join(RECORD);
}

/** Collects samples one by one. */
export class SampleList {
  private readonly records: string[] = [];
  private readonly values: number[] = [];

  add(labels: Labels, value: number): void {
    this.records.push(pack(labels));
    this.values.push(value);
  }

  pack(): Samples {
    return { packed: this.records.join(RECORD), values: Float64Array.from(this.values) };
  }
}

/** Collects series whose times may differ from one to the next. */
export class SeriesList {
  private readonly series: Array<{ record: string; points: Map<number, number> }> = [];

  add(labels: Labels, points: Map<number, number>): void {
    this.series.push({ record: pack(labels), points });
  }

  pack(): TimelineSamples {
    const all = new Set<number>();
    for (const { points } of this.series) {
      for (const time of points.keys()) {
        all.add(time);
      }
    }
    const times = Float64Array.from(all).sort();
    const values = new Float64Array(times.length * this.series.length);
    this.series.forEach(({ points }, row) => {
      times.forEach((time, column) => {
        values[row * times.length + column] = points.get(time) ?? Number.NaN;
      });
    });
    return { packed: this.series.map(({ record }) => record).join(RECORD), times, values };
  }
}
