// The same picture by WebGL2, computed on the processor here, and by Canvas2D.
import { launchWithWebGl, openPage, shown } from './browser.mjs';
import { expositionFrames, nodeGraph, recordedTicks } from './frames.mjs';
import { until } from './prometheus.mjs';
import { assert } from './suite.mjs';

const HOST = '[data-testid="quoll-blast-radius"]';

/** Keeps both canvases upon the panel's background, under a name. */
const keep = (page, name) =>
  page.evaluate((under) => {
    const canvases = [...document.querySelectorAll('.quoll-stage canvas')];
    const copy = document.createElement('canvas');
    copy.width = canvases[0].width;
    copy.height = canvases[0].height;
    const context = copy.getContext('2d');
    context.fillStyle = '#181b1f';
    context.fillRect(0, 0, copy.width, copy.height);
    for (const canvas of canvases) {
      context.drawImage(canvas, 0, 0);
    }
    window.kept ??= {};
    window.kept[under] = context.getImageData(0, 0, copy.width, copy.height).data;
  }, name);

/** How far two kept pictures are from one another. */
const compare = (page, names) =>
  page.evaluate(([first, second]) => {
    const [one, two] = [window.kept[first], window.kept[second]];
    const found = { pixels: one.length / 4, far: 0, inked: 0, mean: 0 };
    for (let at = 0; at < one.length; at += 4) {
      const off = Math.max(...[0, 1, 2].map((channel) => Math.abs(one[at + channel] - two[at + channel])));
      found.far += off > 48 ? 1 : 0;
      found.inked += Math.abs(one[at] - 24) + Math.abs(one[at + 1] - 27) + Math.abs(one[at + 2] - 31) > 24 ? 1 : 0;
      found.mean += off / found.pixels;
    }
    return found;
  }, names);

export function gpuTests(suite, { server }) {
  suite.test('WebGL2 paints what Canvas2D paints, and a lost context goes back to that', async () => {
    const browser = await launchWithWebGl();
    try {
      const page = await openPage(browser, `${server.origin}/harness?theme=dark`);
      await until('the harness to start', () => page.evaluate(() => Boolean(window.harness)));
      const shapes = page.locator(`${HOST} canvas.quoll-shapes`);
      const by = async (renderer) => {
        await page.evaluate((chosen) => window.harness.options({ renderer: chosen }), renderer);
        await until(renderer, async () => (await shapes.count()) === (renderer === 'webgl' ? 1 : 0));
        await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
        await keep(page, renderer);
      };
      const same = async (what) => {
        await by('canvas');
        await by('webgl');
        const { pixels, far, inked, mean } = await compare(page, ['canvas', 'webgl']);
        console.log(`      ${what}: ${far} of ${inked} painted pixels differ by more than 48, ${mean.toFixed(3)} in the mean`);
        assert.ok(inked > pixels * 0.02, 'something is painted');
        assert.ok(far < inked * 0.012 && mean < 0.6, what);
      };
      const give = async (frames) => {
        await page.evaluate((given) => window.harness.frames(given), frames);
        await shown(page);
      };
      await give(expositionFrames(recordedTicks()[9]));
      await same('incident');
      const [x, y] = (await page.evaluate(() => window.harness.drawn())).nodes.find(({ id }) => id === 'shop/inventory').centre;
      await page.locator(`${HOST} .quoll-stage canvas:not(.quoll-shapes)`).click({ position: { x, y } });
      await page.getByRole('menuitem', { name: 'What if it failed?' }).click();
      await page.mouse.move(5, 5);
      await same('what-if');
      await page.getByRole('button', { name: 'Reset' }).click();
      await give(nodeGraph());
      await same('node graph');
      await by('canvas');
      await by('webgl');
      await shapes.evaluate((canvas) => canvas.getContext('webgl2').getExtension('WEBGL_lose_context').loseContext());
      await until('Canvas2D', async () => (await shapes.count()) === 0);
      await keep(page, 'after');
      assert.equal((await compare(page, ['canvas', 'after'])).mean, 0, 'the picture is painted by Canvas2D again');
      assert.deepEqual(page.problems, []);
    } finally {
      await browser.close();
    }
  }, 120_000);
}
