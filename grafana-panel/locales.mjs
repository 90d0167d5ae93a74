// The sentences of the source, as Grafana's locale files hold them: nested by the dots of their ids.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const CALL = /\bt\(\s*'([^']+)',\s*'((?:[^'\\]|\\.)*)'/g;

function files(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? files(path) : /\.tsx?$/.test(entry.name) ? [path] : [];
  });
}

/** English by id; an id with two wordings is an error. */
export function sentences(folder) {
  const found = new Map();
  for (const file of files(folder)) {
    for (const [, id, text] of readFileSync(file, 'utf8').matchAll(CALL)) {
      if (found.has(id) && found.get(id) !== text) {
        throw new Error(`${id} says both "${found.get(id)}" and "${text}"`);
      }
      found.set(id, text);
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
