// Bundles Grafana's libraries and the harness page into .build/, once per lock file and sources.
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const here = import.meta.dirname;
const out = join(here, '.build');
const hash = createHash('sha256');
for (const file of ['package-lock.json', 'build.mjs', ...readdirSync(join(here, 'src')).map((name) => `src/${name}`)]) {
  hash.update(file).update(readFileSync(join(here, file)));
}
const stamp = hash.digest('hex');
const stampFile = join(out, 'stamp');
if (!existsSync(stampFile) || readFileSync(stampFile, 'utf8') !== stamp) {
  mkdirSync(out, { recursive: true });
  // @grafana/scenes is written for react-router 6, the rest of this version's packages for 5.
  const router = {
    name: 'router',
    setup(bundle) {
      bundle.onResolve({ filter: /^react-router-dom$/ }, (wanted) =>
        /@grafana[\\/]scenes/.test(wanted.importer)
          ? bundle.resolve('react-router-dom-v5-compat', { resolveDir: here, kind: wanted.kind })
          : undefined,
      );
    },
  };
  const asset = Object.fromEntries(['.svg', '.png', '.woff', '.woff2', '.ttf'].map((ext) => [ext, 'dataurl']));
  await build({
    absWorkingDir: here,
    entryPoints: ['src/page.js'],
    bundle: true,
    outfile: join(out, 'page.js'),
    format: 'esm',
    platform: 'browser',
    mainFields: ['browser', 'module', 'main'],
    define: { 'process.env.NODE_ENV': '"production"', global: 'window', define: 'undefined' },
    loader: { ...asset, '.md': 'text' },
    plugins: [router],
    logLevel: 'error',
  });
  copyFileSync(join(here, 'src/index.html'), join(out, 'index.html'));
  writeFileSync(stampFile, stamp);
}
