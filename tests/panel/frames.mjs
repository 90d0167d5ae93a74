// Frames as other data sources hand them over, and recorded ticks as Prometheus's.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const field = (name, type, values, config = {}) => ({ name, type, values, config });

/** A frame per series of an exposition. */
export function expositionFrames(text) {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, metric, inside, value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
      const labels = Object.fromEntries([...(inside ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, k, v]) => [k, v]));
      return {
        refId: 'A',
        fields: [
          field('Time', 'time', [Date.now()]),
          { ...field('Value', 'number', [Number(value)]), labels: { __name__: metric, ...labels } },
        ],
      };
    });
}

/** Ten consecutive ticks of one incident, computed natively by the scorer's engine. */
export function recordedTicks() {
  const text = readFileSync(join(import.meta.dirname, 'recorded/ticks.prom'), 'utf8');
  return text.split(/^# tick \d+$/m).slice(1);
}

/** Grafana's node-graph frames, with a link and a unit, and the oddities that data has. */
export function nodeGraph() {
  const link = [{ title: 'Open the trace', url: 'https://traces.example.net/search', targetBlank: true }];
  return [
    {
      name: 'nodes',
      meta: { preferredVisualisationType: 'nodeGraph' },
      fields: [
        field('id', 'string', ['a', 'b', 'c', 'c', '', 'd'], { links: link }),
        field('title', 'string', ['front', 'cart', 'db', 'again', 'nameless', 'db']),
        field('mainstat', 'number', [12.5, 3, Number.NaN, 1, 1, 4], { unit: 'ms' }),
        field('subtitle', 'string', ['php', '', '', '', '', '']),
        field('arc__ok', 'number', [0.75, 1, 0.5, 0, 0, 0], { color: { mode: 'fixed', fixedColor: 'green' } }),
        field('arc__failed', 'number', [0.25, 0, 0.5, 0, 0, 0], {
          unit: 'percentunit',
          color: { mode: 'fixed', fixedColor: 'red' },
        }),
        field('color', 'string', ['', '', '', '', '', 'rgb(10, 120, 250)']),
        field('icon', 'string', ['', '', 'database', '', '', '']),
        field('nodeRadius', 'number', [40, 40, 40, 40, 40, 80]),
        field('highlighted', 'boolean', [false, true, false, false, false, false]),
        field('detail__zone', 'string', ['west', 'east', 'east', '', '', 'north']),
      ],
    },
    {
      name: 'edges',
      meta: { preferredVisualisationType: 'nodeGraph' },
      fields: [
        field('id', 'string', ['1', '2', '3', '4']),
        field('source', 'string', ['a', 'b', 'b', '']),
        field('target', 'string', ['b', 'c', 'elsewhere', 'c']),
        field('secondarystat', 'number', [40, 10, 1, 1], { unit: 'reqps' }),
        field('thickness', 'number', [5, 1, 1, 1]),
        field('color', 'string', ['', '#00ffff', '', '']),
        field('strokeDasharray', 'string', ['', '', '12 8', '']),
      ],
    },
  ];
}

/** So many services in namespaces of fifty, with an incident in one of them, as an exposition. */
export function large(services) {
  const lines = [];
  const name = (i) => `service_name="s${i}",service_namespace="ns${Math.floor(i / 50)}"`;
  const end = (i, of) => `${of}="s${i}",${of}_service_namespace="ns${Math.floor(i / 50)}"`;
  let state = 12345;
  const next = (below) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return Math.floor((state / 2147483648) * below);
  };
  for (let i = 0; i < services; i++) {
    lines.push(`quoll_anomaly_score{${name(i)}} ${i % 333 === 7 ? 3 : next(90) / 100}`);
    for (let k = 0; i % 50 > 0 && k < 3; k++) {
      const caller = i - (i % 50) + next(i % 50);
      lines.push(`quoll_edge_requests_per_second{${end(caller, 'client')},${end(i, 'server')}} ${next(100)}`);
    }
    if (i % 50 === 0 && i > 0) {
      lines.push(`quoll_edge_requests_per_second{${end(next(i), 'client')},${end(i, 'server')}} ${next(100)}`);
    }
  }
  return lines.join('\n');
}
