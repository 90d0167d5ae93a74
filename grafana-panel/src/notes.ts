/** What the WASM module remarks about the data, by id and with what is to be filled in, as sentences. */
import { t, tn } from './text';

export interface Note {
  id: string;
  count: number | null;
  values: Record<string, string>;
}

/** Why a posterior cannot be worked out. */
function reason({ values }: Note): string {
  const what = values['what'] ?? '';
  switch (values['because']) {
    case 'no-priors':
      return t('note.no-priors', 'its priors are not among the data');
    case 'no-prior-of':
      return t('note.no-prior-of', '{{service}} has no prior', { service: what });
    default:
      return what;
  }
}

export function sentence(note: Note): string {
  const { id, values } = note;
  const count = note.count ?? 0;
  const incident = values['incident'] ?? '';
  switch (id) {
    case 'scopes':
      return tn(
        'note.scopes',
        'The data holds {{count}} scope; this shows {{shown}}. Filter the query by label to choose.',
        'The data holds {{count}} scopes; this shows {{shown}} and hides the others. Filter the query by label to choose.',
        { count, shown: values['shown'] ?? '' },
      );
    case 'unlabelled':
      return tn(
        'note.unlabelled',
        '{{count}} series lacks the labels that say what it belongs to, and is left out.',
        '{{count}} series lack the labels that say what they belong to, and are left out.',
        { count },
      );
    case 'rootless':
      return t('note.rootless', 'Incident {{incident}} names no service and is left out.', { incident });
    case 'shares':
      return t('note.shares', 'Strengths of calls are not among the data; blast radii use request shares.');
    case 'versions':
      return t(
        'note.versions',
        'The scorer’s engine is version {{scorer}}, this panel’s is {{panel}}: what-if may differ from the scorer.',
        values,
      );
    case 'approximate':
      return t('note.approximate', 'Incident {{incident}} is too wide for the exact posterior; it is approximate.', {
        incident,
      });
    case 'differs':
      return t(
        'note.differs',
        'Incident {{incident}}: written and recomputed posteriors differ by {{difference}}; the data may mix two ticks.',
        values,
      );
    case 'unchecked':
      return t('note.unchecked', 'Incident {{incident}}: the posterior could not be checked: {{reason}}.', {
        incident,
        reason: reason(note),
      });
    case 'uncomputed':
      return t('note.uncomputed', 'Incident {{incident}}: the posterior cannot be computed: {{reason}}.', {
        incident,
        reason: reason(note),
      });
    case 'bound':
      return t('note.bound', 'The graph is too wide for an exact blast radius; it is an upper bound.');
    case 'refused':
      return t('note.refused', 'The blast radius cannot be computed: {{what}}.', values);
    default:
      // A newer module than this page: better an id than nothing.
      return [id, ...Object.values(values)].join(': ');
  }
}
