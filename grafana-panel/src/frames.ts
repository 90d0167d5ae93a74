/**
 * Grafana's frames as samples: both shapes Prometheus data comes in, without any configuration.
 *
 * - Time series: one frame per series, its labels on the value field, `__name__` among them.
 * - Table: one frame, a column per label and one for the value.
 *
 * The newest row of a series counts. Series without `__name__` (the time line's, whose aggregation
 * drops it) are skipped in Rust.
 */
import { type DataFrame, type Field, FieldType } from '@grafana/data';
import { type Labels, SampleList, type Samples } from './samples';

function numeric(value: unknown): number {
  return typeof value === 'number' ? value : Number.NaN;
}

function addSeries(list: SampleList, frame: DataFrame, field: Field): void {
  if (frame.length > 0 && field.labels) {
    list.add(field.labels, numeric(field.values[frame.length - 1]));
  }
}

function addTable(list: SampleList, frame: DataFrame, value: Field): void {
  const columns = frame.fields.filter((field) => field.type === FieldType.string);
  const time = frame.fields.find((field) => field.type === FieldType.time);
  // A range as a table has many rows per series: the newest wins.
  const newest = new Map<string, { labels: Labels; at: number; value: number }>();
  for (let row = 0; row < frame.length; row++) {
    const labels: Labels = {};
    for (const column of columns) {
      const text: unknown = column.values[row];
      labels[column.name] = typeof text === 'string' ? text : undefined;
    }
    const key = JSON.stringify(labels);
    const at = time ? numeric(time.values[row]) : row;
    const known = newest.get(key);
    if (!known || at >= known.at) {
      newest.set(key, { labels, at, value: numeric(value.values[row]) });
    }
  }
  for (const sample of newest.values()) {
    list.add(sample.labels, sample.value);
  }
}

export function framesToSamples(frames: DataFrame[]): Samples {
  const list = new SampleList();
  for (const frame of frames) {
    const values = frame.fields.filter((field) => field.type === FieldType.number);
    const isTable = frame.fields.some((field) => field.type === FieldType.string);
    for (const field of values) {
      if (isTable) {
        addTable(list, frame, field);
      } else {
        addSeries(list, frame, field);
      }
    }
  }
  return list.pack();
}
