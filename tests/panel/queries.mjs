// The panel's queries as users run them: those of the provided dashboard, verbatim.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const repo = join(import.meta.dirname, '../..');
const dashboard = JSON.parse(readFileSync(join(repo, 'dashboards/quoll-overview.json'), 'utf8'));
const every = (panels) => panels.flatMap((panel) => [panel, ...every(panel.panels ?? [])]);
const panel = every(dashboard.panels).find(({ type }) => type === 'quoll-blastradius-panel');

/** Targets of the dashboard's panel: `{ refId, expr, instant, format }`. */
export const TARGETS = panel.targets.map(({ refId, expr, instant, format }) => ({ refId, expr, instant, format }));
export const QUERY_A = TARGETS.find(({ instant }) => instant).expr;

const readme = readFileSync(join(repo, 'grafana-panel/README.md'), 'utf8');
/** What the panel's README tells users to ask. */
export const DOCUMENTED = [...readme.matchAll(/```\n([\s\S]*?)\n```/g)].flatMap(([, block]) => block.split('\n'));
