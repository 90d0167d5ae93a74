// A small runner: one line per test, a closing count, a non-zero exit on failure.
import assert from 'node:assert/strict';

export { assert };

/** Longest a single test may take, unless it asks for more; a hanging page must not hang the runner. */
const LIMIT_MS = 240_000;

function within(name, running, limit) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${name}: not done within ${limit / 1000} s`)), limit);
  });
  return Promise.race([running, late]).finally(() => clearTimeout(timer));
}

export class Suite {
  tests = [];

  test(name, run, limit = LIMIT_MS) {
    this.tests.push({ name, run, limit });
  }

  async run(filter) {
    let passed = 0;
    let failed = 0;
    for (const { name, run, limit } of this.tests.filter((t) => t.name.includes(filter))) {
      const start = Date.now();
      try {
        await within(name, run(), limit);
        passed += 1;
        console.log(`ok    ${name} (${Date.now() - start} ms)`);
      } catch (error) {
        failed += 1;
        console.log(`FAIL  ${name}\n      ${String(error.stack ?? error).replaceAll('\n', '\n      ')}`);
      }
    }
    console.log(`${passed} passed, ${failed} failed`);
    return failed === 0 && passed > 0;
  }
}
