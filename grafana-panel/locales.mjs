// The sentences of the source, as Grafana's locale files hold them: nested by the dots of their ids, plural
// forms under the suffixes of i18next. The source is where English is written; `locales/en-US` follows it.
//
//   node locales.mjs write   brings src/locales/en-US up to date
//   node locales.mjs check   says what the locale files lack, have too much, or fill in otherwise
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const TEXT = String.raw`'((?:[^'\\]|\\.)*)'`;
const CALL = new RegExp(String.raw`\bt\(\s*'([^']+)',\s*${TEXT}`, 'g');
const PLURAL = new RegExp(String.raw`\btn\(\s*'([^']+)',\s*(?:${TEXT}|(\w+)),\s*(?:${TEXT}|(\w+))`, 'g');
const ID = 'quoll-blastradius-panel';

function files(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? files(path) : /\.tsx?$/.test(entry.name) ? [path] : [];
  });
}

/** English by id; an id with two wordings is an error. */
export function sentences(folder) {
  const found = new Map();
  const add = (id, text) => {
    if (text === undefined || (found.has(id) && found.get(id) !== text)) {
      throw new Error(`${id} says both "${found.get(id)}" and "${text}"`);
    }
    found.set(id, text);
  };
  for (const file of files(folder)) {
    const source = readFileSync(file, 'utf8');
    for (const [, id, text] of source.matchAll(CALL)) {
      add(id, text);
    }
    for (const match of source.matchAll(PLURAL)) {
      const [, id, one, oneName, other, otherName] = match;
      // A text may stand in a constant just before.
      const named = (name) => {
        const before = source.slice(0, match.index);
        const all = [...before.matchAll(new RegExp(String.raw`const ${name} =\s*${TEXT}`, 'g'))];
        return all.at(-1)?.[1];
      };
      add(`${id}_one`, one ?? named(oneName));
      add(`${id}_other`, other ?? named(otherName));
    }
  }
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

export function nested(flat) {
  const tree = {};
  for (const [id, text] of flat) {
    const path = id.split('.');
    const last = path.pop();
    let at = tree;
    for (const part of path) {
      at[part] ??= {};
      at = at[part];
    }
    at[last] = text;
  }
  return tree;
}

export function flat(tree, prefix = '') {
  return new Map(
    Object.entries(tree).flatMap(([key, value]) =>
      typeof value === 'string' ? [[prefix + key, value]] : [...flat(value, `${prefix}${key}.`)],
    ),
  );
}

/** What of a language's file does not fit the sentences: ids, plural forms of its own, names filled in. */
export function misfits(language, tree, english) {
  const found = flat(tree);
  const forms = new Intl.PluralRules(language).resolvedOptions().pluralCategories;
  const wanted = new Map();
  for (const [id, text] of english) {
    const base = id.match(/^(.*)_(one|other)$/)?.[1];
    for (const key of base === undefined ? [id] : forms.map((form) => `${base}_${form}`)) {
      wanted.set(key, base === undefined ? text : english.get(`${base}_other`));
    }
  }
  const names = (text) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map(([, name]) => name).sort();
  const odd = [];
  for (const [key, text] of wanted) {
    const own = found.get(key);
    if (own === undefined || own === '') {
      odd.push(`${language} lacks ${key}`);
    } else {
      // A form that stands for one number may leave it out.
      const [expected, got] = [names(text), names(own)].map((all) => all.filter((name) => name !== 'count'));
      if (expected.join() !== got.join()) {
        odd.push(`${language}: ${key} fills in ${got} instead of ${expected}`);
      }
    }
  }
  return [...odd, ...[...found.keys()].filter((key) => !wanted.has(key)).map((key) => `${language} has ${key}, which nothing says`)];
}

const folder = join(import.meta.dirname, 'src');
export const localeFile = (language) => join(folder, 'locales', language, `${ID}.json`);
export const languages = () => readdirSync(join(folder, 'locales')).sort();

/** All misfits of all languages; English must be the source's to the letter. */
export function checkLocales() {
  const english = sentences(folder);
  const written = `${JSON.stringify(nested(english), null, 2)}\n`;
  const stale = readFileSync(localeFile('en-US'), 'utf8') === written ? [] : ['en-US is not what the source says: node locales.mjs write'];
  const others = languages().filter((language) => language !== 'en-US');
  return [...stale, ...others.flatMap((one) => misfits(one, JSON.parse(readFileSync(localeFile(one), 'utf8')), english))];
}

if (process.argv[1] === import.meta.filename) {
  if (process.argv[2] === 'write') {
    writeFileSync(localeFile('en-US'), `${JSON.stringify(nested(sentences(folder)), null, 2)}\n`);
  }
  const odd = checkLocales();
  console.error(odd.join('\n'));
  process.exit(odd.length === 0 ? 0 : 1);
}
