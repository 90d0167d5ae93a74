/** What is said about what lies under the pointer. */
import type { Detail, Details } from '../details';
import { describeCall, describeService, type Picked, type Summary } from '../report';
import { t, tn } from '../text';

export interface Tip {
  clientX: number;
  clientY: number;
  title: string;
  lines: string[];
}

/** What the data says about a call, whose ends are named as they are shown. */
export function callDetail(
  summary: Summary,
  details: Details | undefined,
  call: { client: string; server: string },
): Detail | undefined {
  const id = (label: string): string => summary.services.find((service) => service.label === label)?.id ?? label;
  return details?.call(id(call.client), id(call.server));
}

const extra = (detail: Detail | undefined): string[] => (detail?.lines ?? []).map(([name, value]) => `${name}: ${value}`);

export function tipOf(
  picked: NonNullable<Picked>,
  summary: Summary,
  details: Details | undefined,
): Pick<Tip, 'title' | 'lines'> | undefined {
  if (picked.kind === 'service') {
    const service = summary.services[picked.id];
    if (!service) {
      return undefined;
    }
    const detail = details?.service(service.id);
    return { title: service.id, lines: [...describeService(service, summary, detail), ...extra(detail)] };
  }
  if (picked.kind === 'cluster') {
    const cluster = summary.clusters.find(({ namespace }) => namespace === picked.namespace);
    const count = cluster?.services ?? 0;
    const lines = [tn('view.cluster', '{{count}} service; click to open', '{{count}} services; click to open', { count })];
    return { title: picked.namespace, lines };
  }
  if (picked.kind === 'hidden') {
    const count = summary.nodes.find(({ id }) => id === picked.id)?.hidden ?? 0;
    const title = tn('view.neighbours', '{{count}} hidden neighbour', '{{count}} hidden neighbours', { count });
    return { title, lines: [t('view.expand', 'click to show them')] };
  }
  const call = summary.calls[picked.calls[0] ?? -1];
  if (!call) {
    return undefined;
  }
  if (picked.calls.length > 1) {
    const end = (id: number): string => summary.nodes.find((node) => node.id === id)?.label ?? '';
    const count = picked.calls.length;
    const lines = [tn('menu.calls', '{{count}} call between these', '{{count}} calls between these', { count })];
    return { title: `${end(picked.client)} → ${end(picked.server)}`, lines };
  }
  const detail = callDetail(summary, details, call);
  return { title: `${call.client} → ${call.server}`, lines: [...describeCall(call, detail), ...extra(detail)] };
}

/** Keeps a box beside a point and within the room around. */
export function beside(box: HTMLElement, at: { x: number; y: number }, room: HTMLElement): void {
  const { clientWidth, clientHeight } = room;
  const { offsetWidth, offsetHeight } = box;
  const left = at.x + 14 + offsetWidth > clientWidth ? at.x - 14 - offsetWidth : at.x + 14;
  const top = Math.min(at.y + 10, clientHeight - offsetHeight - 2);
  box.style.left = `${Math.max(2, left)}px`;
  box.style.top = `${Math.max(2, top)}px`;
}
