// The archive by the rules that Grafana's plugin validator applies to archives and metadata
// (https://github.com/grafana/plugin-validator, its list of analyzers).
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkLocales, languages, localeFile } from '../../grafana-panel/locales.mjs';
import { assert } from './suite.mjs';

const panel = join(import.meta.dirname, '../../grafana-panel');
const READ = `
import base64, json, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
print(json.dumps({i.filename: base64.b64encode(z.read(i)).decode() for i in z.infolist() if not i.is_dir()}))`;

export function archiveTests(suite) {
  const dist = join(panel, 'dist');
  const archive = readdirSync(dist).find((file) => file.endsWith('.zip'));
  const json = execFileSync('python3', ['-c', READ, join(dist, archive)], { encoding: 'utf8', maxBuffer: 1 << 26 });
  const files = new Map(Object.entries(JSON.parse(json)).map(([name, data]) => [name, Buffer.from(data, 'base64')]));
  const id = 'quoll-blastradius-panel';
  const read = (name) => files.get(`${id}/${name}`);
  const meta = JSON.parse(read('plugin.json').toString());

  suite.test('archive: one folder named as the id, nothing executable, hidden or signed in it', () => {
    for (const name of files.keys()) {
      assert.ok(name.startsWith(`${id}/`), name);
      assert.doesNotMatch(name, /(^|\/)(\.|node_modules\/)|\.(sh|exe|ts|tsx|rs)$|MANIFEST\.txt$/, name);
    }
    for (const name of ['plugin.json', 'module.js', 'quoll_panel_wasm_bg.wasm', 'README.md', 'CHANGELOG.md', 'LICENSE-MIT']) {
      assert.ok(read(name)?.length > 0, name);
    }
    assert.equal(archive, `${id}-${meta.info.version}.zip`);
  });

  suite.test('metadata: id, type, version, dates, keywords, author and dependency are as required', () => {
    // The fields that the published schema knows; others are refused.
    const known = ['$schema', 'type', 'name', 'id', 'info', 'dependencies', 'languages'];
    assert.deepEqual(Object.keys(meta).filter((key) => !known.includes(key)), []);
    const about = ['author', 'description', 'keywords', 'links', 'logos', 'screenshots', 'updated', 'version'];
    assert.deepEqual(Object.keys(meta.info).filter((key) => !about.includes(key)), []);
    const { version } = JSON.parse(readFileSync(join(panel, 'package.json'), 'utf8'));
    assert.equal(meta.info.version, version);
    assert.match(meta.id, /^[0-9a-z]+-([0-9a-z]+-)?(app|panel|datasource)$/);
    assert.ok(meta.id.endsWith(`-${meta.type}`));
    assert.match(meta.info.version, /^\d+\.\d+\.\d+$/);
    assert.match(meta.info.updated, /^\d{4}-\d\d-\d\d$/);
    assert.match(meta.dependencies.grafanaDependency, /^>=\d+\.\d+\.\d+$/);
    assert.ok(meta.info.description.length > 20 && meta.info.keywords.length > 0 && meta.info.author.name !== '');
    assert.doesNotMatch(meta.name, /grafana|plugin$/i);
    assert.match(read('CHANGELOG.md').toString(), new RegExp(`^## ${meta.info.version.replaceAll('.', '\\.')}`, 'm'));
  });

  suite.test('metadata: logos and screenshots exist, are what they say, and are small', () => {
    const { logos, screenshots } = meta.info;
    for (const path of [logos.small, logos.large]) {
      assert.match(read(path).toString(), /^<svg/);
    }
    assert.ok(screenshots.length > 0);
    for (const { name, path } of screenshots) {
      assert.ok(name !== '' && read(path).subarray(1, 4).toString() === 'PNG', path);
      assert.ok(read(path).length < 200 * 1024, `${path} has ${read(path).length} bytes`);
    }
  });

  suite.test('readme: pictures lie in the archive, links are absolute and nothing is a template', () => {
    const readme = read('README.md').toString();
    assert.doesNotMatch(readme, /<!--|<\/[a-z]+>|lorem|\bTODO\b|This is a template|\byarn\b|\bnodejs\b/i);
    const targets = [...readme.matchAll(/!?\[[^\]]*\]\(([^)]+)\)/g)].map(([, target]) => target);
    assert.ok(targets.length > 0);
    for (const target of targets) {
      assert.ok(/^https:/.test(target) || read(target), target);
    }
  });

  suite.test('code: shared packages are not bundled, no source of code from text, no console chatter', () => {
    const code = read('module.js').toString();
    assert.match(code, /^define\(\["react","@grafana\/data","@grafana\/i18n","@grafana\/ui","module"\]/);
    assert.doesNotMatch(code, /\beval\(|new Function\(|console\.log\(|innerHTML/);
    assert.ok(code.length < 300 * 1024, `${code.length} bytes`);
  });

  suite.test('source map: it comes along, and holds the source of this repository to the letter', () => {
    const map = JSON.parse(read('module.js.map').toString());
    assert.match(read('module.js').toString(), /\n\/\/# sourceMappingURL=module\.js\.map\s*$/);
    const own = map.sources.map((source, at) => [source, map.sourcesContent[at]]).filter(([source]) => source.startsWith('../src/'));
    assert.ok(own.length > 20, String(map.sources));
    for (const [source, content] of own) {
      assert.equal(content, readFileSync(join(dist, source), 'utf8'), source);
    }
  });

  suite.test('pictures: the logo holds shapes only, without scripts, links or foreign content', () => {
    for (const [name, content] of [...files].filter(([file]) => file.endsWith('.svg'))) {
      const tags = [...content.toString().matchAll(/<([a-zA-Z]+)/g)].map(([, tag]) => tag);
      const shapes = ['svg', 'g', 'path', 'circle', 'rect', 'line', 'title', 'defs', 'linearGradient', 'stop'];
      assert.deepEqual(tags.filter((tag) => !shapes.includes(tag)), [], name);
      assert.doesNotMatch(content.toString(), /\son\w+=|href|url\((?!#)|javascript:/i, name);
    }
  });

  suite.test('licence: one that Grafana’s catalogue takes', () => {
    assert.match(read('LICENSE-APACHE').toString(), /Apache License\s+Version 2\.0/);
    assert.match(read('LICENSE-MIT').toString(), /Permission is hereby granted, free of charge/);
  });

  suite.test('translations: every language named has a file with every sentence of the source', () => {
    assert.deepEqual([...meta.languages].sort(), languages());
    assert.ok(meta.languages.length > 1);
    for (const language of meta.languages) {
      const written = read(`locales/${language}/${id}.json`).toString();
      assert.equal(written, readFileSync(localeFile(language), 'utf8'), language);
    }
    assert.deepEqual(checkLocales(), []);
  });
}
