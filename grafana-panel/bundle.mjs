// Bundles what esbuild can: the plugin as the AMD module Grafana's loader expects, and the console.
//
//   node bundle.mjs plugin|console
//
// esbuild writes CommonJS, which is wrapped in `define([...])`: every package Grafana shares is a
// dependency there, and none is bundled. The AMD module object itself comes along as `amd-module`, since
// its `uri` tells where Grafana serves this plugin from.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { checkLocales } from './locales.mjs';

const here = import.meta.dirname;
const wasm = join(here, '.build/wasm/quoll_panel_wasm_bg.wasm');
const { version } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
const shared = ['react', '@grafana/data', '@grafana/i18n', '@grafana/ui', 'amd-module'];
const common = {
  bundle: true,
  minify: true,
  target: 'es2022',
  loader: { '.css': 'text' },
  jsx: 'transform',
  logLevel: 'warning',
  absWorkingDir: here,
};

function empty(folder) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
}

async function plugin() {
  const out = join(here, 'dist');
  empty(out);
  const dependencies = shared.map((name) => (name === 'amd-module' ? 'module' : name));
  const cases = shared.map((name, at) => `${JSON.stringify(name)}:d${at}`).join(',');
  const names = shared.map((_, at) => `d${at}`).join(',');
  await build({
    ...common,
    entryPoints: ['src/module.ts'],
    format: 'cjs',
    platform: 'browser',
    external: shared,
    outfile: join(out, 'module.js'),
    // Grafana's catalogue wants the map, to see the source it comes from.
    sourcemap: true,
    banner: {
      js:
        `define(${JSON.stringify(dependencies)},function(${names}){` +
        `var s={${cases}},module={exports:{}},exports=module.exports,require=function(n){return s[n]};`,
    },
    footer: { js: 'return module.exports});' },
  });
  cpSync(wasm, join(out, 'quoll_panel_wasm_bg.wasm'));
  cpSync(join(here, 'src/img'), join(out, 'img'), { recursive: true });
  // The archive has no src/.
  const readme = readFileSync(join(here, 'README.md'), 'utf8').replaceAll('(src/img/', '(img/');
  writeFileSync(join(out, 'README.md'), readme);
  cpSync(join(here, 'CHANGELOG.md'), join(out, 'CHANGELOG.md'));
  for (const licence of readdirSync(join(here, '..')).filter((name) => name.startsWith('LICENSE'))) {
    cpSync(join(here, '..', licence), join(out, licence));
  }
  const misfits = checkLocales();
  if (misfits.length > 0) {
    throw new Error(misfits.join('; '));
  }
  cpSync(join(here, 'src/locales'), join(out, 'locales'), { recursive: true });
  const epoch = Number(process.env.SOURCE_DATE_EPOCH);
  const date = Number.isFinite(epoch) && epoch > 0 ? new Date(epoch * 1000) : new Date();
  const json = readFileSync(join(here, 'src/plugin.json'), 'utf8');
  const today = date.toISOString().slice(0, 10);
  writeFileSync(join(out, 'plugin.json'), json.replace('%VERSION%', version).replace('%TODAY%', today));
}

async function console_() {
  const out = join(here, 'dist-console');
  empty(out);
  await build({
    ...common,
    entryPoints: ['console/console.ts'],
    format: 'esm',
    outfile: join(out, 'console.js'),
  });
  cpSync(wasm, join(out, 'quoll_panel_wasm_bg.wasm'));
  for (const file of ['index.html', 'console.css', 'logo.svg']) {
    cpSync(join(here, file === 'logo.svg' ? 'src/img' : 'console', file), join(out, file));
  }
}

const targets = { plugin, console: console_ };
for (const target of process.argv.slice(2)) {
  if (!targets[target]) {
    throw new Error(`unknown target ${target}; known: ${Object.keys(targets).join(', ')}`);
  }
  await targets[target]();
}
