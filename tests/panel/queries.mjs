// The panel's queries, verbatim as in the dashboard and in the panel's README.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const readme = readFileSync(join(import.meta.dirname, '../../grafana-panel/README.md'), 'utf8');
const [a, b] = [...readme.matchAll(/```\n([\s\S]*?)\n```/g)].map((match) => match[1].split('\n'));

export const QUERY_A = a[0];
export const QUERIES_B = b;
