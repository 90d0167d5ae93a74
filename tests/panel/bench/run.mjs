// Measures the panel beside d3-force and MSAGL in one page of headless Chromium, and prints one JSON object
// per line: {"note": text}, {"figure": name, "value": number}.
//
//   node bench/run.mjs [--quick]
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { launch } from '../browser.mjs';

const here = import.meta.dirname;
const wasm = readFileSync(join(here, '../../../grafana-panel/.build/wasm/quoll_panel_wasm_bg.wasm'));
const quick = process.argv.includes('--quick');
/** A peer that takes longer for one graph is given up. */
const LIMIT_MS = 75_000;

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const note = (text) => say({ note: text });
const figure = (name, value) => say({ figure: name, value });
const ms = (value) => `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;

const { outputFiles } = await build({
  absWorkingDir: here,
  entryPoints: ['page.js'],
  bundle: true,
  format: 'iife',
  write: false,
  minify: true,
  define: { 'import.meta.url': '""' },
  logLevel: 'error',
});
const files = {
  '/': ['text/html', '<!doctype html><meta charset="utf-8"><title>bench</title><body style="margin:0"><script src="page.js"></script>'],
  '/page.js': ['text/javascript', outputFiles[0].contents],
  '/panel.wasm': ['application/wasm', wasm],
};
const server = createServer((request, response) => {
  const file = files[request.url];
  if (file) {
    response.writeHead(200, { 'content-type': file[0] }).end(file[1]);
  } else {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const browser = await launch();
const open = async () => {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
  page.on('pageerror', (error) => note(`page: ${error}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.evaluate(() => window.start('panel.wasm'));
  return page;
};
/**
 * Asks a peer in a page of its own, which is closed if that takes too long: the answers it gave until then,
 * by name, and undefined for the others. Not asked where as many services as it gave up before are exceeded.
 */
const gaveUp = new Map();
const peer = async (of, names, services) => {
  if (services > (gaveUp.get(of) ?? Number.POSITIVE_INFINITY)) {
    return {};
  }
  const page = await open();
  const answers = {};
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve('late'), LIMIT_MS);
  });
  const all = async () => {
    for (const name of names) {
      answers[name] = await page.evaluate(([n, s]) => window.bench[n](s), [name, services]);
    }
  };
  const ended = await Promise.race([all().catch((error) => String(error)), late]);
  clearTimeout(timer);
  if (ended !== undefined) {
    gaveUp.set(of, services);
    note(`${of}, ${services} services: given up (${ended === 'late' ? `not within ${LIMIT_MS / 1000} s` : ended.split('\n')[0]})`);
  }
  // A page that still computes does not close by itself.
  await Promise.race([page.context().close(), new Promise((resolve) => setTimeout(resolve, 5000))]);
  return answers;
};
const told = (answer) => (answer ? `${ms(answer.ms)}, stress ${answer.stress.toFixed(3)}` : 'given up');

let failed = false;
try {
  const page = await open();
  const ask = (name, ...given) => page.evaluate(([n, g]) => window.bench[n](...g), [name, given]);
  note(`Chromium ${browser.version()}, no GPU, canvas of 1280 x 760; four links per service, everything drawn`);
  for (const services of quick ? [200, 1000] : [200, 1000, 5000, 10000]) {
    const own = await ask('quoll', services, services > 1000 ? 1 : 3);
    const { d3, d3Frames: peerFrames } = await peer('d3-force', ['d3', 'd3Frames'], services);
    const { msagl } = await peer('MSAGL', ['msagl'], services);
    note(
      `${services} services, layout: panel ${told(own)}; d3-force ${told(d3)}; MSAGL (MDS, straight edges) ${told(msagl)}`,
    );
    if (services === 1000) {
      figure('layout_ms_1000', own.ms);
      figure('layout_ratio_vs_d3_1000', own.ms / d3?.ms);
      figure('stress_ratio_vs_d3', own.stress / d3?.stress);
    } else if (services === 5000) {
      figure('layout_ms_5000', own.ms);
      figure('layout_ratio_vs_d3_5000', own.ms / d3?.ms);
      figure('stress_ratio_vs_d3_5000', own.stress / d3?.stress);
    } else if (services === 10000) {
      figure('layout_ms_10000', own.ms);
      figure('stress_ratio_vs_d3_10000', own.stress / d3?.stress);
    }
    const frames = await ask('quollFrames', services);
    note(
      `${services} services, frames while moving: panel ${frames.fps.toFixed(1)} per second (95 % within ${ms(frames.p95)}; ` +
        `only the flow moving ${frames.still.toFixed(1)} per second)` +
        (peerFrames ? `; d3's way of drawing ${peerFrames.fps.toFixed(1)} (${ms(peerFrames.p95)})` : ''),
    );
    if (services === 1000) {
      figure('fps_1000', frames.fps);
      figure('frame_p95_ms_1000', frames.p95);
      figure('fps_ratio_vs_d3_1000', frames.fps / peerFrames?.fps);
    }
  }
  const slices = await ask('slices', quick ? 1000 : 5000);
  note(`a layout in slices: first answer after ${ms(slices.first)}, then at most ${ms(slices.longest)} at a time, ${slices.slices} slices`);
  for (const kind of ['graph', 'domains']) {
    const answer = await ask('whatIf', kind, 1000);
    note(
      `what-if at 1,000 services, ${kind === 'graph' ? 'four links each' : 'service-like'}, ` +
        `${answer.exact ? 'exact' : 'an upper bound (too wide to be exact)'}: ${ms(answer.ms)} (95 % within ${ms(answer.p95)}), ` +
        `another cut call ${ms(answer.cut)}, until painted`,
    );
    figure(kind === 'graph' ? 'what_if_ms_1000' : 'what_if_exact_ms_1000', answer.ms);
  }
  const session = await page.context().newCDPSession(page);
  const used = async () => {
    await session.send('HeapProfiler.collectGarbage');
    const { usedSize } = await session.send('Runtime.getHeapUsage');
    return { heap: usedSize, wasm: await ask('memory') };
  };
  const rounds = quick ? 2 : 10;
  note(`${rounds * 100 + 100} refreshes of 1,000 services`);
  await ask('refresh', 1000, 0, 100);
  const before = await used();
  for (let round = 0; round < rounds; round++) {
    await ask('refresh', 1000, 100 + round * 100, 100);
  }
  const after = await used();
  const growth = after.heap - before.heap + after.wasm - before.wasm;
  note(`${rounds * 100} refreshes: JavaScript heap ${after.heap - before.heap} bytes, WASM memory ${after.wasm - before.wasm} bytes more`);
  figure('heap_growth_bytes_1000_refreshes', quick ? Number.NaN : growth);
  figure('wasm_gzip_bytes', gzipSync(wasm, { level: 9 }).length);
} catch (error) {
  failed = true;
  process.stderr.write(`${error.stack ?? error}\n`);
} finally {
  await browser.close();
  server.close();
}
process.exit(failed ? 1 : 0);
