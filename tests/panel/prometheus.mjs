// A real Prometheus on a free loopback port that scrapes the test server each second.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A port below those from which Linux gives outgoing connections theirs: nobody takes it in between. */
export async function freePort() {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    const free = await new Promise((resolve) => {
      const probe = createServer().on('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) {
      return port;
    }
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `check` gives something true; the last error says why not. */
export async function until(what, check, ms = 90_000) {
  const end = Date.now() + ms;
  let reason = '';
  while (Date.now() < end) {
    try {
      const result = await check();
      if (result) {
        return result;
      }
    } catch (error) {
      reason = `: ${error.message ?? error}`;
    }
    await pause(50);
  }
  throw new Error(`not within ${ms / 1000} s: ${what}${reason}`);
}

export class Prometheus {
  async start(target) {
    this.folder = mkdtempSync(join(tmpdir(), 'quoll-panel-'));
    this.port = await freePort();
    // The scorer's series bear no labels of a scrape: these go, so that what is stored is what it writes.
    const config = `
global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: recorded
    metrics_path: /exposition
    static_configs: [{ targets: ["${target}"] }]
    metric_relabel_configs: [{ action: labeldrop, regex: "job|instance" }]
`;
    writeFileSync(join(this.folder, 'prometheus.yml'), config);
    const flags = [
      `--config.file=${join(this.folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(this.folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${this.port}`,
      '--log.level=error',
    ];
    this.process = spawn('prometheus', flags, { stdio: ['ignore', 'inherit', 'inherit'] });
    await until('Prometheus ready', async () => (await fetch(`${this.url}/-/ready`)).ok);
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async query(expr) {
    const response = await fetch(`${this.url}/api/v1/query?${new URLSearchParams({ query: expr })}`);
    return (await response.json()).data.result;
  }

  async stop() {
    if (this.process) {
      const ended = new Promise((resolve) => this.process.once('exit', resolve));
      this.process.kill('SIGTERM');
      await Promise.race([ended, pause(5000)]);
      this.process.kill('SIGKILL');
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
