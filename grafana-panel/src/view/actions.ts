/** What can be done with a service or a call, as the items of its menu. */
import type { Detail } from '../details';
import type { Service, Summary } from '../report';
import { t, tn } from '../text';
import type { MenuItem } from './menu';

/** Calls whose cut the menu of a caller offers. */
const CALLS = 4;
const DEPTHS = [1, 2];

export interface Deeds {
  suppose: (service: number) => void;
  healthy: (service: number, healthy: boolean) => void;
  drain: (service: number, drained: boolean) => void;
  cut: (call: number, cut: boolean) => void;
  around: (service: number, depth: number) => void;
  everywhere: () => void;
  expand: (service: number) => void;
  closeNamespace: (namespace: string) => void;
  reset: () => void;
}

function links(detail: Detail | undefined): MenuItem[] {
  return (detail?.links() ?? []).map(({ title, href, newTab, onClick }) => ({
    kind: 'link',
    label: title,
    href,
    newTab,
    ...(onClick ? { onClick } : {}),
  }));
}

function act(label: string, run: () => void): MenuItem {
  return { kind: 'action', label, run };
}

function cutItem(summary: Summary, call: number, deeds: Deeds): MenuItem[] {
  const found = summary.calls[call];
  if (!found) {
    return [];
  }
  const { client, server } = found;
  const cut = summary.what_if?.cut.some(([a, b]) => a === client && b === server) === true;
  return [
    act(
      cut
        ? t('menu.uncut', 'Restore the calls {{client}} → {{server}}', { client, server })
        : t('menu.cut', 'What if {{client}} → {{server}} were cut?', { client, server }),
      () => deeds.cut(call, !cut),
    ),
  ];
}

export function serviceItems(
  summary: Summary,
  service: Service,
  detail: Detail | undefined,
  focused: boolean,
  deeds: Deeds,
): MenuItem[] {
  const id = summary.services.indexOf(service);
  const whatIf = summary.what_if;
  const healthy = whatIf?.healthy.includes(service.label) === true;
  const drained = whatIf?.drained.includes(service.label) === true;
  const items: MenuItem[] = [{ kind: 'heading', label: service.id }];
  if (whatIf?.failed !== service.label) {
    items.push(act(t('menu.fail', 'What if it failed?'), () => deeds.suppose(id)));
  }
  items.push(
    healthy
      ? act(t('menu.unhealthy', 'No longer assume it healthy'), () => deeds.healthy(id, false))
      : act(t('menu.healthy', 'What if it were healthy?'), () => deeds.healthy(id, true)),
    drained
      ? act(t('menu.undrain', 'No longer drain it'), () => deeds.drain(id, false))
      : act(t('menu.drain', 'What if it were drained?'), () => deeds.drain(id, true)),
  );
  const calls = summary.calls.flatMap(({ client }, at) => (client === service.label ? [at] : []));
  for (const call of calls.slice(0, CALLS)) {
    items.push(...cutItem(summary, call, deeds));
  }
  if (whatIf) {
    items.push(act(t('menu.reset', 'Back to what is'), deeds.reset));
  }
  for (const depth of DEPTHS) {
    const label =
      depth === 1
        ? t('menu.around-one', 'Only its neighbours')
        : t('menu.around', 'Only up to {{depth}} calls away', { depth });
    items.push(act(label, () => deeds.around(id, depth)));
  }
  if (focused) {
    items.push(act(t('menu.everything', 'Show all services'), deeds.everywhere));
  }
  const node = summary.nodes.find((shown) => shown.id === id);
  if (node && node.hidden > 0) {
    const values = { count: node.hidden };
    const many = 'Show its {{count}} hidden neighbours';
    const label = tn('menu.expand', 'Show its {{count}} hidden neighbour', many, values);
    items.push(act(label, () => deeds.expand(id)));
  }
  const namespace = service.namespace;
  if (namespace !== null && summary.clusters.some((cluster) => cluster.namespace === namespace)) {
    const label = t('menu.close-namespace', 'Close namespace {{namespace}}', { namespace });
    items.push(act(label, () => deeds.closeNamespace(namespace)));
  }
  return [...items.slice(0, 1), ...lines(detail), ...links(detail), ...items.slice(1)];
}

export function callItems(summary: Summary, calls: number[], detail: Detail | undefined, deeds: Deeds): MenuItem[] {
  const first = summary.calls[calls[0] ?? -1];
  if (!first) {
    return [];
  }
  const one = calls.length === 1;
  const heading = one
    ? `${first.client} → ${first.server}`
    : tn('menu.calls', '{{count}} call between these', '{{count}} calls between these', { count: calls.length });
  const items: MenuItem[] = [{ kind: 'heading', label: heading }, ...lines(detail), ...links(detail)];
  for (const call of calls.slice(0, CALLS)) {
    items.push(...cutItem(summary, call, deeds));
  }
  if (summary.what_if) {
    items.push(act(t('menu.reset', 'Back to what is'), deeds.reset));
  }
  return items;
}

function lines(detail: Detail | undefined): MenuItem[] {
  return (detail?.lines ?? []).map(([name, value]) => ({ kind: 'text', label: `${name}: ${value}` }));
}
