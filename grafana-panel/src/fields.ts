/** Values and data links of Grafana's fields, as its own panels show them. */
import { type Field, type FieldConfig, formattedValueToString, type LinkModel } from '@grafana/data';
import type { Detail, Link } from './details';

/** Pages and mail only: whatever else a link may hold is not followed. */
const FOLLOWED = /^(https?:|mailto:|\/|\.|\?|#)/i;

function link({ href, title, target, onClick }: LinkModel<Field>): Link[] {
  if (!onClick && !FOLLOWED.test(href)) {
    return [];
  }
  return [{ href, title: title || href, newTab: target === '_blank', ...(onClick ? { onClick } : {}) }];
}

/** The data links of some cells, without repetition. */
export function linksOf(cells: Array<[Field, number]>): Link[] {
  const links = cells.flatMap(([field, row]) => (field.getLinks?.({ valueRowIndex: row }) ?? []).flatMap(link));
  return links.filter((one, at) => links.findIndex(({ href, title }) => href === one.href && title === one.title) === at);
}

/** A value as its field's configuration has it: unit, decimals, mappings. */
export function shown(field: Field, row: number): string {
  return format(field, field.values[row]);
}

export function format(field: Field, value: unknown): string {
  if (value === null || value === undefined || value === '') {
    return '';
  }
  return field.display ? formattedValueToString(field.display(value)) : String(value);
}

/** Whether somebody has said how a field's values are to be written. */
export function isFormatted({ unit, decimals, mappings }: FieldConfig): boolean {
  return (unit !== undefined && unit !== '') || (decimals ?? undefined) !== undefined || (mappings?.length ?? 0) > 0;
}

/** What the panel has words for; see `describeService` and `describeCall`. */
const TOLD =
  /^quoll_(anomaly_score|anomaly_probability|root_cause_probability|edge_requests_per_second|edge_error_ratio|edge_strength)$/;

/**
 * Cells of our own metrics: those the panel tells by itself are worded with their field's formatting, and
 * each other one is worth a line where it is formatted in another way than all fields are.
 */
export function metricDetail(cells: Array<[Field, number]>, defaults: FieldConfig): Detail {
  const named = (field: Field): string => field.labels?.['__name__'] ?? field.name;
  const own = ({ config }: Field): boolean =>
    (config.unit ?? '') !== (defaults.unit ?? '') ||
    JSON.stringify(config.mappings ?? []) !== JSON.stringify(defaults.mappings ?? []);
  const lines = cells
    .filter(([field]) => !TOLD.test(named(field)) && isFormatted(field.config) && own(field))
    .map(([field, row]): [string, string] => [field.config.displayName ?? named(field), shown(field, row)]);
  const value = (metric: string): string | undefined => {
    const found = cells.find(([field]) => named(field) === metric && isFormatted(field.config));
    return found ? shown(...found) : undefined;
  };
  return { lines, links: () => linksOf(cells), value };
}
