/** The lists around the graph, built from the report alone. */
import type { LegendNotes } from '../looks';
import { type Incident, number, percent, type Scale, type Summary, type WhatIf } from '../report';
import { languageTag, t, tn } from '../text';
import { button, element, row, rows } from './dom';

const CAUSES = 6;
const HITS = 8;
/** A tick older than this many seconds is said to be old. */
const OLD_SECONDS = 120;
/** One older than this is told by its time. */
const LONG_AGO_SECONDS = 7200;
/** Causes less likely than this are only counted, past the first two. */
const LISTED = 0.005;

/** What a click in a list does. */
export interface ListActions {
  open: (service: number) => void;
  reset: () => void;
  /** Nodes of others, of which no score is expected. */
  plain: boolean;
  /** Where an incident is explained; undefined where nobody said. */
  incidentUrl: ((incident: string) => string) | undefined;
}

/** What colours, rings and widths mean. */
export function legend(summary: Summary, told?: LegendNotes): HTMLElement[] {
  const ends = ({ stops }: Scale, format: (value: number) => string): [string, string] => {
    const known = stops.flatMap(({ value }) => (value === null ? [] : [value]));
    const first = stops[0]?.value ?? Math.min(0, ...known);
    return [format(first), `${format(Math.max(first, ...known))}+`];
  };
  const score = ends(summary.score_scale, told?.formatScore ?? number);
  const errors = ends(summary.error_scale, (value) => `${number(value * 100)} %`);
  const item = (...parts: Array<Node | string>): HTMLElement => element('span', '', ...parts);
  const arcs = (told?.arcs ?? []).map(({ name, colour }) => {
    const sign = element('span', 'quoll-arc');
    sign.style.borderColor = colour;
    return item(sign, name);
  });
  if (told?.plain) {
    return arcs;
  }
  const items = [
    ...arcs,
    item(`${t('legend.score', 'anomaly score')} ${score[0]}`, bar(summary.score_scale, 'quoll-bar'), score[1]),
    ...(summary.what_if
      ? [
          item(element('span', 'quoll-halo quoll-supposed'), t('legend.supposed', 'blast radius, supposed')),
          item(element('span', 'quoll-now'), t('legend.now', 'as it is')),
        ]
      : [
          item(element('span', 'quoll-ring'), t('legend.root', 'root cause')),
          item(element('span', 'quoll-halo'), t('legend.reach', 'blast radius')),
        ]),
    item(`${t('legend.errors', 'errors')} ${errors[0]}`, bar(summary.error_scale, 'quoll-bar quoll-thin'), errors[1]),
    item(t('legend.width', 'wider = more requests')),
  ];
  if (summary.services.some((service) => service.changed_seconds !== null)) {
    items.push(item('▲', t('legend.changed', 'changed lately')));
  }
  return items;
}

/** A scale's colours side by side: blending into one another, or in steps. */
function bar({ stops, stepped }: Scale, className: string): HTMLElement {
  const node = element('span', className);
  const parts = stepped ? stops.length : Math.max(1, stops.length - 1);
  const at = (place: number): string => `${(place / parts) * 100}%`;
  const colours = stops.map(({ colour }, place) =>
    stepped ? `${colour} ${at(place)} ${at(place + 1)}` : `${colour} ${at(place)}`,
  );
  node.style.background = `linear-gradient(to right, ${colours.join(', ')})`;
  return node;
}

/** What is supposed, in one sentence. */
export function supposed(whatIf: WhatIf): string {
  const parts: string[] = [];
  if (whatIf.failed !== null) {
    parts.push(t('what-if.failed', '{{service}} failed', { service: whatIf.failed }));
  }
  if (whatIf.healthy.length > 0) {
    parts.push(t('what-if.healthy', '{{services}} healthy', { services: whatIf.healthy.join(', ') }));
  }
  if (whatIf.drained.length > 0) {
    parts.push(t('what-if.drained', '{{services}} drained', { services: whatIf.drained.join(', ') }));
  }
  if (whatIf.cut.length > 0) {
    const calls = whatIf.cut.map(([client, server]) => `${client} → ${server}`).join(', ');
    parts.push(t('what-if.cut', '{{calls}} cut', { calls }));
  }
  return parts.join('; ');
}

/** Notes, what is supposed, ranked causes with "no fault" among them, and the blast radius. */
export function causes(summary: Summary, actions: ListActions): HTMLElement[] {
  const parts: HTMLElement[] = [];
  const reach = summary.reach;
  const whatIf = summary.what_if;
  if (summary.tick_seconds !== null) {
    const age = Date.now() / 1000 - summary.tick_seconds;
    if (age > OLD_SECONDS) {
      const count = Math.round(age / 60);
      const many = 'The last tick is {{count}} minutes old.';
      const time = new Date(summary.tick_seconds * 1000).toLocaleString(languageTag());
      const said =
        age > LONG_AGO_SECONDS
          ? t('lists.long-ago', 'The last tick is of {{time}}.', { time })
          : tn('lists.old', 'The last tick is {{count}} minute old.', many, { count });
      parts.push(element('p', 'quoll-note', said));
    }
  }
  if (summary.services.length > 0) {
    parts.push(...summary.notes.map((note) => element('p', 'quoll-note', note)));
  }
  if (whatIf) {
    parts.push(...compared(summary, whatIf, actions));
  }
  const past = summary.time_ms !== null;
  if (past) {
    parts.push(element('h3', '', t('lists.causes-then', 'Probable causes then')), ...causesThen(summary));
  }
  for (const incident of summary.incidents) {
    const title = whatIf || past ? t('lists.causes-now', 'Probable causes now') : t('lists.causes', 'Probable causes');
    parts.push(element('h3', '', title), ...ranked(incident, actions));
    if (incident.symptoms.length > 0) {
      const symptoms = incident.symptoms.join(', ');
      parts.push(element('p', '', t('lists.symptoms', 'Symptoms: {{symptoms}}', { symptoms })));
    }
    parts.push(name(incident, actions));
  }
  if (reach && !whatIf) {
    parts.push(element('h3', '', t('lists.reach', 'Blast radius of {{root}}', { root: reach.root })));
    parts.push(...hits(reach.hits));
  }
  if (summary.incidents.length === 0 && summary.services.length > 0 && !past && !actions.plain) {
    parts.push(...quiet(summary, actions));
  }
  return parts;
}

/** The likeliest at the time shown. */
function causesThen({ then }: Summary): HTMLElement[] {
  const list = then.slice(0, CAUSES).map(({ label, probability }) => row(label, percent(probability), probability));
  return [list.length > 0 ? rows(list) : element('p', '', t('lists.none-then', 'No service was suspected.'))];
}

/** What a click on a service in a list asks. */
function ask(label: string): string {
  return t('lists.ask', 'What if {{service}} failed?', { service: label });
}

function ranked(incident: Incident, actions: ListActions): HTMLElement[] {
  const shown = incident.causes.filter(
    (cause, at) => cause.service === null || at < 2 || (at < CAUSES && cause.probability >= LISTED),
  );
  const list = shown.map(({ service, label, probability }) => {
    const text = service === null ? t('lists.no-fault', 'no fault') : label;
    return row(text, percent(probability), probability, service === null ? undefined : () => actions.open(service), ask(label));
  });
  return [rows(list), ...less(incident.causes.length - shown.length)];
}

function less(count: number): HTMLElement[] {
  return count > 0 ? [element('p', '', tn('lists.less', 'and {{count}} less likely', 'and {{count}} less likely', { count }))] : [];
}

/** Which incident it is, whether its posterior was recomputed to the same, and where it is explained. */
function name(incident: Incident, actions: ListActions): HTMLElement {
  const verified = incident.difference !== null && incident.difference <= 1e-9;
  const id = incident.id;
  const text = verified
    ? t('lists.verified', 'Incident {{id}}, posterior verified', { id })
    : t('lists.incident', 'Incident {{id}}', { id });
  const url = actions.incidentUrl?.(id);
  if (url === undefined) {
    return element('p', '', text);
  }
  const link = element('a', 'quoll-link', t('lists.explain', 'Explain'));
  link.href = url;
  link.target = '_blank';
  link.rel = 'noopener noreferrer';
  link.setAttribute('aria-label', t('lists.explain-label', 'Explain incident {{id}} in the scorer’s console', { id }));
  return element('p', '', `${text} · `, link);
}

/** The supposition beside what is: posteriors where they change, and who is hit. */
function compared(summary: Summary, whatIf: WhatIf, actions: ListActions): HTMLElement[] {
  const box = element('div', 'quoll-if');
  box.append(
    element('h3', '', t('what-if.title', 'What if: {{supposed}}', { supposed: supposed(whatIf) })),
    element('p', 'quoll-hypothetical', t('what-if.mark', 'Hypothetical: nothing of this has happened.')),
  );
  const arrow = (before: number, after: number): string =>
    percent(before) === percent(after) ? percent(after) : `${percent(before)} → ${percent(after)}`;
  for (const incident of whatIf.incidents) {
    const now = summary.incidents.find(({ id }) => id === incident.id);
    const list = incident.causes.slice(0, CAUSES).map(({ service, label, probability }) => {
      const before = now?.causes.find((cause) => cause.service === service)?.probability ?? 0;
      const text = service === null ? t('lists.no-fault', 'no fault') : label;
      return row(text, arrow(before, probability), probability);
    });
    box.append(element('h3', '', t('what-if.causes', 'Probable causes then')), rows(list));
  }
  if (whatIf.root !== null) {
    const changed = whatIf.hits.some(({ now, then }) => percent(now) !== percent(then));
    const root = whatIf.root;
    box.append(
      element(
        'h3',
        '',
        changed
          ? t('what-if.reach-compared', 'Who is hit, now → then')
          : t('what-if.reach', 'Blast radius of {{root}}', { root }),
      ),
    );
    const reached = whatIf.hits.filter(({ now, then }) => changed || then >= 0.01 || now >= 0.01);
    // They come by how much they differ; where nothing does, the likeliest is first.
    if (!changed) {
      reached.sort((a, b) => b.then - a.then);
    }
    const list = reached.slice(0, HITS).map((hit) => row(hit.label, arrow(hit.now, hit.then), hit.then));
    box.append(list.length > 0 ? rows(list) : element('p', '', nobody()), ...less(reached.length - list.length));
  }
  box.append(button(t('what-if.back', 'Back to what is'), actions.reset));
  return [box];
}

function quiet(summary: Summary, actions: ListActions): HTMLElement[] {
  const title = element('h3', '', t('lists.none', 'No incident'));
  const scored = summary.services.flatMap(({ label, score }, id) => (score === null ? [] : [{ label, score, id }]));
  if (scored.length === 0) {
    return [title, element('p', '', t('lists.no-scores', 'There are no anomaly scores yet.'))];
  }
  scored.sort((a, b) => b.score - a.score);
  const list = scored
    .slice(0, CAUSES)
    .map(({ label, score, id }) => row(label, number(score), score / 4, () => actions.open(id), ask(label)));
  return [title, element('p', '', t('lists.highest', 'Highest anomaly scores:')), rows(list, 'quoll-none')];
}

function nobody(): string {
  return t('lists.nobody', 'It reaches no other service.');
}

function hits(reached: Array<{ label: string; probability: number }>): HTMLElement[] {
  if (reached.length === 0) {
    return [element('p', '', nobody())];
  }
  const list = reached.slice(0, HITS).map((hit) => row(hit.label, percent(hit.probability), hit.probability));
  return [rows(list), ...less(reached.length - list.length)];
}
