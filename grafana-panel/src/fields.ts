/** Values and data links of Grafana's fields, as its own panels show them. */
import { type Field, formattedValueToString, type LinkModel } from '@grafana/data';
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
  const value: unknown = field.values[row];
  if (value === null || value === undefined || value === '') {
    return '';
  }
  return field.display ? formattedValueToString(field.display(value)) : String(value);
}

/** Cells whose field somebody has configured are worth a line; the others the panel tells by itself. */
export function fieldDetail(cells: Array<[Field, number]>): Detail {
  const lines = cells
    .filter(([field]) => field.config.unit !== undefined || (field.config.mappings?.length ?? 0) > 0)
    .map(([field, row]): [string, string] => [
      field.config.displayName ?? field.labels?.['__name__'] ?? field.name,
      shown(field, row),
    ]);
  return { lines, links: () => linksOf(cells) };
}
