/** The picture's content as text, for those who do not see it. */
import { describeCall, describeService, percent, type Summary } from '../report';
import { t, tn } from '../text';
import { element } from './dom';
import { supposed } from './lists';

export interface Told {
  /** One sentence, for the canvas. */
  label: string;
  content: HTMLElement[];
}

export function tell(summary: Summary): Told {
  const worst = summary.incidents[0]?.causes[0];
  const state = worst
    ? t('reader.likeliest', 'likeliest cause {{service}}, {{probability}}', {
        service: worst.service === null ? t('lists.no-fault', 'no fault') : worst.label,
        probability: percent(worst.probability),
      })
    : t('reader.none', 'no incident');
  const services = { count: summary.services.length };
  const calls = { count: summary.calls.length };
  const size = [
    tn('reader.services', '{{count}} service', '{{count}} services', services),
    tn('reader.calls-count', '{{count}} call', '{{count}} calls', calls),
  ].join(', ');
  const keys = t('reader.keys', 'Arrow keys move between services, Enter opens what can be done, Escape goes back.');
  const hypothetical = summary.what_if
    ? ` ${t('reader.hypothetical', 'Hypothetical: {{supposed}}.', { supposed: supposed(summary.what_if) })}`
    : '';
  const called = new Map<string, string[]>();
  for (const call of summary.calls) {
    const known = called.get(call.client) ?? [];
    known.push([call.server, ...describeCall(call)].join(', '));
    called.set(call.client, known);
  }
  const items = summary.services.map((service) => {
    const text = [service.label, ...describeService(service, summary)].join(', ');
    const calls = called.get(service.label)?.join('; ');
    return element('li', '', calls ? `${text}. ${t('reader.calls', 'Calls {{calls}}', { calls })}.` : `${text}.`);
  });
  return {
    label: `${t('reader.graph', 'Service graph')}: ${size}; ${state}.${hypothetical} ${keys}`,
    content: [element('p', '', `${size}; ${state}.${hypothetical}`), element('ul', '', ...items)],
  };
}
