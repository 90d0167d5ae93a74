/** What the data says about single services and calls beyond what is drawn: shown in tooltips and menus. */

export interface Link {
  title: string;
  href: string;
  newTab: boolean;
  /** Grafana's own handling of a click, where it has one. */
  onClick?: (event: MouseEvent) => void;
}

export interface Detail {
  /** Names and values, in the order of the data. */
  lines: Array<[string, string]>;
  /** Made when asked for: there may be thousands of services. */
  links: () => Link[];
  /** A metric's value as its field's configuration has it; undefined where nobody configured it. */
  value?: (metric: string) => string | undefined;
}

export interface Details {
  /** By `namespace/name`, or the name alone. */
  service: (id: string) => Detail | undefined;
  call: (client: string, server: string) => Detail | undefined;
}

export function callKey(client: string, server: string): string {
  return `${client}\u001f${server}`;
}
