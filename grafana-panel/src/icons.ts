/**
 * Grafana's own icons as paths: fetched from Grafana itself, once each. A name that is none, or a picture
 * that is more than paths in a square of 24 units, is left out.
 */
const NAME = /^[a-z0-9][a-z0-9-]*$/;
const SQUARE = '0 0 24 24';

const known = new Map<string, string | undefined>();

function parse(svg: string): string | undefined {
  const root = new DOMParser().parseFromString(svg, 'image/svg+xml').documentElement;
  const paths = [...root.querySelectorAll('path')].map((path) => path.getAttribute('d') ?? '');
  const square = (root.getAttribute('viewBox') ?? SQUARE) === SQUARE;
  return square && paths.length > 0 ? paths.join(' ') : undefined;
}

/** The path of an icon, if it is there already. */
export function iconPath(name: string): string | undefined {
  return known.get(name);
}

/** Fetches what is not there yet; true if anything came of it. */
export async function fetchIcons(names: Iterable<string>, folder: string): Promise<boolean> {
  const wanted = [...new Set(names)].filter((name) => NAME.test(name) && !known.has(name));
  const found = await Promise.all(
    wanted.map(async (name) => {
      known.set(name, undefined);
      const kind = name.startsWith('gf-') ? 'custom' : 'unicons';
      const response = await fetch(`${folder}${kind}/${name}.svg`).catch(() => undefined);
      const path = response?.ok ? parse(await response.text()) : undefined;
      known.set(name, path);
      return path !== undefined;
    }),
  );
  return found.includes(true);
}
