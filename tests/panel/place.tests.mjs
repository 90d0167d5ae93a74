// The panel where it is used: other languages, stricter policies, fingers instead of a pointer.
import { openPage, shown, tooltip } from './browser.mjs';
import { expositionFrames, recordedTicks } from './frames.mjs';
import { until } from './prometheus.mjs';
import { assert } from './suite.mjs';

const HOST = '[data-testid="quoll-blast-radius"]';

export function placeTests(suite, { server, browser }) {
  const open = async (query, options) => {
    const page = await openPage(browser(), `${server.origin}/harness?${query}`, options);
    await until('the harness to start', () => page.evaluate(() => Boolean(window.harness)));
    return page;
  };
  const give = async (page, frames) => {
    await page.evaluate((given) => window.harness.frames(given), frames);
    await shown(page);
  };
  const tick = () => expositionFrames(recordedTicks()[9]);

  suite.test('German: every sentence, with plurals and numbers of its own, also those that come from the module', async () => {
    const page = await open('language=de-DE');
    const west = expositionFrames('quoll_anomaly_score{service_name="elsewhere",cluster="west"} 1\nquoll_anomaly_score{} 1');
    await give(page, [...tick(), ...west]);
    const side = await page.locator(`${HOST} .quoll-side`).innerText();
    assert.match(side, /Wahrscheinliche Ursachen[\s\S]*kein Fehler[\s\S]*Auswirkung von catalog-db/);
    assert.match(side, /Die Daten enthalten 2 Bereiche; gezeigt wird/);
    assert.match(await page.locator(`${HOST} .quoll-toolbar`).innerText(), /Mehr[\s\S]*Alles zeigen/);
    const drawn = await page.evaluate(() => window.harness.drawn());
    const [x, y] = drawn.nodes.find(({ id }) => id === 'shop/catalog-db').centre;
    await page.locator(`${HOST} .quoll-stage canvas`).hover({ position: { x, y } });
    assert.match(await tooltip(page, 'shop/catalog-db'), /Anomaliewert \d,\d+/, 'with a decimal comma');
    await page.getByRole('searchbox', { name: 'Dienste suchen' }).fill('cart');
    assert.match(await page.locator('.quoll-found').innerText(), /2 gefunden/);
    const lone = { refId: 'A', fields: [{ name: 'source', type: 'string', values: ['', 'a'] }, { name: 'target', type: 'string', values: ['b', 'b'] }] };
    await give(page, [lone]);
    await until('the note', async () => /1 Kante fehlt Quelle oder Ziel; sie wird/.test(await page.locator(`${HOST} .quoll-side`).innerText()));
    assert.deepEqual(page.problems, []);
    await page.context().close();
  });

  suite.test('a policy without code from text needs wasm-unsafe-eval and no more', async () => {
    const page = await open('load=script&policy=stricter');
    await give(page, tick());
    assert.equal((await page.evaluate(() => window.harness.drawn())).nodes.length, 13);
    // A style sheet of Grafana's own packages asks for fonts that are not among them.
    assert.deepEqual(page.problems.filter((text) => !/font/i.test(text)), []);
    await page.context().close();
    const barred = await open('load=script&policy=none');
    await barred.evaluate((given) => window.harness.frames(given), tick());
    const alert = barred.getByRole('alert').filter({ hasText: 'WebAssembly' });
    await until('the panel to say what is missing', () => alert.isVisible());
    assert.match(await alert.innerText(), /script-src needs ‘wasm-unsafe-eval’/);
    await barred.context().close();
  });

  suite.test('two fingers zoom around their middle, one taps, on a phone', async () => {
    const page = await open('theme=dark', { width: 390, height: 720, hasTouch: true });
    await page.evaluate(() => window.harness.size(380, 680));
    await give(page, tick());
    await until('the panel to follow', async () => (await page.locator(HOST).boundingBox()).width < 390);
    const session = await page.context().newCDPSession(page);
    const touch = (type, points) =>
      session.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
    const box = await page.locator(`${HOST} .quoll-stage canvas`).boundingBox();
    const middle = [box.x + box.width / 2, box.y + box.height / 2];
    const fingers = (apart) => [[middle[0] - apart, middle[1]], [middle[0] + apart, middle[1]]];
    const spread = async () => {
      const { nodes } = await page.evaluate(() => window.harness.drawn());
      const all = nodes.map(({ centre }) => centre[0]);
      return Math.max(...all) - Math.min(...all);
    };
    const before = await spread();
    await touch('touchStart', fingers(30));
    for (const apart of [40, 50, 60]) {
      await touch('touchMove', fingers(apart));
    }
    await touch('touchEnd', []);
    await until('the zoom', async () => (await spread()) > before * 1.7);
    const wide = await spread();
    assert.ok(wide < before * 2.4, `twice as far apart, twice as large: ${wide / before}`);
    await page.getByRole('button', { name: 'Show all' }).tap();
    await until('all of it', async () => Math.abs((await spread()) - before) < 1);
    const { nodes } = await page.evaluate(() => window.harness.drawn());
    const [x, y] = nodes.find(({ id }) => id === 'shop/catalog-db').centre;
    await page.touchscreen.tap(box.x + x, box.y + y);
    await until('the menu', () => page.getByRole('menuitem', { name: 'What if it failed?' }).isVisible());
    await page.keyboard.press('Escape');
    assert.deepEqual(page.problems, []);
    await page.context().close();
  });
}
