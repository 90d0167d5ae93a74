// Runs the panel's browser tests: node run.mjs [part of a test's name]
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { archiveTests } from './archive.tests.mjs';
import { launch } from './browser.mjs';
import { consoleTests } from './console.tests.mjs';
import { dataTests } from './data.tests.mjs';
import { gpuTests } from './gpu.tests.mjs';
import { placeTests } from './place.tests.mjs';
import { pluginTests } from './plugin.tests.mjs';
import { Prometheus } from './prometheus.mjs';
import { TestServer } from './server.mjs';
import { Suite } from './suite.mjs';

const shots = join(import.meta.dirname, '.build/screenshots');
mkdirSync(shots, { recursive: true });
const server = new TestServer();
const prometheus = new Prometheus();
let browser;
// However this process ends, Prometheus does not outlive it.
process.once('exit', () => prometheus.process?.kill('SIGKILL'));
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await prometheus.stop();
    process.exit(1);
  });
}
let passed = false;
try {
  await server.start();
  await prometheus.start(`127.0.0.1:${server.port}`);
  server.prometheusPort = prometheus.port;
  browser = await launch();
  const suite = new Suite();
  const parts = { server, prometheus, shots, browser: () => browser };
  archiveTests(suite);
  pluginTests(suite, parts);
  dataTests(suite, parts);
  placeTests(suite, parts);
  gpuTests(suite, parts);
  consoleTests(suite, parts);
  passed = await suite.run(process.argv[2] ?? '');
} catch (error) {
  console.error(error);
} finally {
  await browser?.close();
  await prometheus.stop();
  server.stop();
}
process.exit(passed ? 0 : 1);
