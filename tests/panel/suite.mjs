// A small runner: one line per test, a closing count, a non-zero exit on failure.
import assert from 'node:assert/strict';

export { assert };

/** Longest a single test may take; a hanging page must not hang the runner. */
const LIMIT_MS = 45_000;

function within(name, running) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${name}: not done within ${LIMIT_MS / 1000} s`)), LIMIT_MS);
  });
  return Promise.race([running, late]).finally(() => clearTimeout(timer));
}

export class Suite {
  tests = [];

  test(name, run) {
    this.tests.push({ name, run });
  }

  async run(filter) {
    let passed = 0;
    let failed = 0;
    for (const { name, run } of this.tests.filter((t) => t.name.includes(filter))) {
      const start = Date.now();
      try {
        await within(name, run());
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
