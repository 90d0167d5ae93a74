/** The lists around the graph, built from the report alone. */
import { number, percent, type Summary } from '../report';
import { element, row, rows } from './dom';

const CAUSES = 6;
const HITS = 8;
/** A tick older than this many seconds is said to be old. */
const OLD_SECONDS = 120;
/** Causes less likely than this are only counted, past the first two. */
const LISTED = 0.005;

/** What colours, rings and widths mean. */
export function legend(summary: Summary): HTMLElement[] {
  const bar = (stops: Summary['score_scale'], className: string): HTMLElement => {
    const node = element('span', className);
    const last = Math.max(1, stops.length - 1);
    const colours = stops.map((stop, at) => `${stop.colour} ${(at / last) * 100}%`);
    node.style.background = `linear-gradient(to right, ${colours.join(', ')})`;
    return node;
  };
  const ends = (stops: Summary['score_scale'], format: (value: number) => string): [string, string] => [
    format(stops[0]?.value ?? 0),
    `${format(stops[stops.length - 1]?.value ?? 0)}+`,
  ];
  const score = ends(summary.score_scale, (value) => String(value));
  const errors = ends(summary.error_scale, (value) => `${value * 100} %`);
  return [
    element('span', '', `anomaly score ${score[0]}`, bar(summary.score_scale, 'quoll-bar'), score[1]),
    element('span', '', element('span', 'quoll-ring'), 'root cause'),
    element('span', '', element('span', 'quoll-halo'), 'blast radius'),
    element('span', '', `errors ${errors[0]}`, bar(summary.error_scale, 'quoll-bar quoll-thin'), errors[1]),
    element('span', '', 'wider = more requests'),
  ];
}

/** Notes, ranked causes with "no fault" among them, and the blast radius; or that there is no incident. */
export function causes(summary: Summary, suppose: (id: number) => void): HTMLElement[] {
  const parts: HTMLElement[] = [];
  const reach = summary.reach;
  if (summary.tick_seconds !== null) {
    const age = Date.now() / 1000 - summary.tick_seconds;
    if (age > OLD_SECONDS) {
      parts.push(element('p', 'quoll-note', `The last tick is ${Math.round(age / 60)} min old.`));
    }
  }
  if (summary.services.length > 0) {
    parts.push(...summary.notes.map((note) => element('p', 'quoll-note', note)));
  }
  if (reach?.hypothetical) {
    parts.push(element('h3', '', `If ${reach.root} failed`));
    parts.push(...hits(reach.hits, 'quoll-if'));
  }
  for (const incident of summary.incidents) {
    parts.push(element('h3', '', reach?.hypothetical ? 'Probable causes now' : 'Probable causes'));
    const shown = incident.causes.filter(
      (cause, at) => cause.service === null || at < 2 || (at < CAUSES && cause.probability >= LISTED),
    );
    const list = shown.map((cause) => {
      const id = cause.service;
      const open = id === null ? undefined : () => suppose(id);
      return row(cause.label, percent(cause.probability), cause.probability, open);
    });
    parts.push(rows(list));
    const rest = incident.causes.length - shown.length;
    if (rest > 0) {
      parts.push(element('p', '', `and ${rest} less likely`));
    }
    if (incident.symptoms.length > 0) {
      parts.push(element('p', '', `Symptoms: ${incident.symptoms.join(', ')}`));
    }
    if (incident.difference !== null && incident.difference <= 1e-9) {
      parts.push(element('p', '', `Incident ${incident.id}, posterior verified`));
    } else {
      parts.push(element('p', '', `Incident ${incident.id}`));
    }
  }
  if (reach && !reach.hypothetical) {
    parts.push(element('h3', '', `Blast radius of ${reach.root}`));
    parts.push(...hits(reach.hits, ''));
  }
  if (summary.incidents.length === 0 && summary.services.length > 0) {
    parts.push(element('h3', '', 'No incident'));
    const scored = summary.services.filter((service) => service.score !== null);
    if (scored.length === 0) {
      parts.push(element('p', '', 'There are no anomaly scores yet.'));
    } else {
      scored.sort((a, b) => (b.score ?? 0) - (a.score ?? 0));
      const list = scored
        .slice(0, CAUSES)
        .map((service) => row(service.label, number(service.score ?? 0), (service.score ?? 0) / 4));
      parts.push(element('p', '', 'Highest anomaly scores:'), rows(list, 'quoll-none'));
    }
  }
  return parts;
}

function hits(reached: Array<{ label: string; probability: number }>, className: string): HTMLElement[] {
  if (reached.length === 0) {
    return [element('p', '', 'It reaches no other service.')];
  }
  const list = reached.slice(0, HITS).map((hit) => row(hit.label, percent(hit.probability), hit.probability));
  const rest = reached.length - list.length;
  return [rows(list, className), ...(rest > 0 ? [element('p', '', `and ${rest} less likely`)] : [])];
}
