// What the panel makes of data of every kind, in Grafana's VizPanel.
import { join } from 'node:path';
import { openPage } from './browser.mjs';
import { expositionFrames, field, large, nodeGraph, recordedTicks } from './frames.mjs';
import { until } from './prometheus.mjs';
import { assert } from './suite.mjs';

const HOST = '[data-testid="quoll-blast-radius"]';
const ARIA = 'wcag2a,wcag2aa,wcag21a,wcag21aa,wcag22aa,best-practice';

export function dataTests(suite, { server, browser, shots }) {
  let page;
  const open = async () => {
    page = await openPage(browser(), `${server.origin}/harness?theme=dark`, { colorScheme: 'dark' });
    await until('the harness to start', () => page.evaluate(() => Boolean(window.harness)));
  };
  const test = (name, run) =>
    suite.test(name, async () => {
      await (page ?? open());
      await run();
    });
  const report = () => page.evaluate(() => window.harness.report());
  const drawn = () => page.evaluate(() => window.harness.drawn());
  const side = () => page.locator(`${HOST} .quoll-side`).innerText();
  const settled = () =>
    page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  const give = async (frames, extra) => {
    await page.evaluate(([f, e]) => window.harness.frames(f, e), [frames, extra]);
    await until('the panel to draw', drawn);
    await settled();
  };
  const hover = async (id) => {
    const [x, y] = (await drawn()).nodes.find((node) => node.id === id).centre;
    await page.locator(`${HOST} .quoll-stage canvas`).hover({ position: { x, y } });
    return page.getByTestId('quoll-tooltip').innerText();
  };

  test('ten recorded ticks: the browser’s posteriors are those of the native engine to the bit', async () => {
    const ticks = recordedTicks();
    assert.equal(ticks.length, 10);
    const first = [];
    for (const tick of ticks) {
      await give(expositionFrames(tick));
      const { incidents, engine_version, panel_engine_version } = await report();
      assert.equal(engine_version, panel_engine_version);
      assert.deepEqual(incidents.map(({ difference }) => difference), [0]);
      first.push(incidents[0].causes[0].probability);
    }
    assert.ok(new Set(first).size > 5, `the ticks differ: ${first}`);
  });

  test('Grafana’s node-graph frames are drawn, told with their units, and what is odd is said', async () => {
    await give(nodeGraph());
    const { nodes, edges } = await drawn();
    assert.deepEqual(nodes.map(({ id }) => id).sort(), ['cart', 'db (c)', 'db (d)', 'elsewhere', 'front']);
    assert.deepEqual(edges.map((e) => `${e.client} ${e.server}`).sort(), ['cart db (c)', 'cart elsewhere', 'front cart']);
    assert.deepEqual((await report()).calls.map(({ rate }) => rate).sort(), [1, 10, 40]);
    const said = await side();
    assert.match(said, /1 nodes have no id/);
    assert.match(said, /1 nodes repeat an id/);
    assert.match(said, /1 edges lack a source or a target/);
    assert.match(said, /1 ends of edges are not among the nodes: elsewhere/);
    assert.match(await hover('front'), /front[\s\S]*mainstat: 12\.5 ms[\s\S]*failed: 10[\s\S]*zone: west/);
  });

  test('data links are offered by the menu of a node', async () => {
    await give(nodeGraph());
    const [x, y] = (await drawn()).nodes.find(({ id }) => id === 'cart').centre;
    await page.locator(`${HOST} .quoll-stage canvas`).click({ position: { x, y } });
    const link = page.getByRole('menuitem', { name: 'Open the trace' });
    assert.equal(await link.getAttribute('href'), 'https://traces.example.net/search');
    assert.equal(await link.getAttribute('target'), '_blank');
    await page.keyboard.press('Escape');
    assert.ok(await page.locator(`${HOST} .quoll-menu`).isHidden());
  });

  test('nodes and edges of any query, as series and as a table, by the names in the options', async () => {
    const labelled = (caller, callee, rate) => ({
      refId: 'E',
      fields: [
        field('Time', 'time', [1, 2]),
        { ...field('Value', 'number', [0, rate]), labels: { from_app: caller, to_app: callee } },
      ],
    });
    const nodes = {
      refId: 'N',
      fields: [
        field('app', 'string', ['shop', 'bank']),
        field('team', 'string', ['red', 'blue']),
        field('badness', 'number', [2.5, Number.NaN]),
      ],
    };
    const mapping = { nodesQuery: 'N', nodeId: 'app', nodeNamespace: 'team', nodeScore: 'badness' };
    const edges = { edgesQuery: 'E', edgeSource: 'from_app', edgeTarget: 'to_app', edgeRate: 'value', edgeErrors: 'nowhere' };
    await page.evaluate((m) => window.harness.options({ mapping: m }), { ...mapping, ...edges });
    await give([nodes, labelled('shop', 'bank', 7)]);
    const { services, calls } = await report();
    assert.deepEqual(services.map(({ id, score }) => [id, score]), [['blue/bank', null], ['red/shop', 2.5]]);
    assert.deepEqual(calls.map(({ client, server, rate }) => [client, server, rate]), [['shop', 'bank', 7]]);
    assert.match(await side(), /No field or label is named nowhere; there are Time, Value/);
    await page.evaluate(() => window.harness.options({ mapping: {} }));
  });

  test('empty, strange and failing queries say so, and the next good one is drawn', async () => {
    const message = () => page.locator(`${HOST} .quoll-message`).innerText();
    await give([]);
    assert.match(await message(), /No services to show/);
    await give([{ refId: 'A', fields: [] }]);
    assert.match(await message(), /No services to show/);
    await give([{ refId: 'A', fields: [field('Time', 'time', [1]), field('Value', 'number', [1])] }]);
    assert.match(await message(), /neither Quoll’s metrics/);
    await give([], { errors: [{ message: 'bad gateway' }] });
    assert.match(await message(), /A query failed: bad gateway/);
    await give(expositionFrames(recordedTicks()[9]));
    assert.equal((await drawn()).nodes.length, 13);
  });

  test('hosts and unknown labels beside services break nothing', async () => {
    const hosts = ['quoll_anomaly_score{service_name="node-1",kind="host",hostname="n1",rack="7"} 0.4', ''].join('\n');
    await give(expositionFrames(recordedTicks()[9] + hosts));
    const { services } = await report();
    assert.equal(services.find(({ name }) => name === 'node-1').kind, 'host');
    assert.match(await hover('node-1'), /host/);
  });

  test('a service that started lately is marked as changed', async () => {
    const started = `quoll_service_start_time_seconds{service_name="cart",service_namespace="shop"} 1763764000\n`;
    await give(expositionFrames(recordedTicks()[9] + started));
    assert.match(await hover('shop/cart'), /last changed/);
    assert.match(await page.locator(`${HOST} .quoll-legend`).innerText(), /changed lately/);
    await page.mouse.move(5, 5);
  });

  test('an incident links to its page in the scorer’s console, and only to a page', async () => {
    await give(expositionFrames(recordedTicks()[9]));
    await page.evaluate(() => window.harness.options({ scorerUrl: 'https://quoll.example.net/q/?tenant=a' }));
    const link = page.locator(`${HOST} .quoll-side a`);
    await until('the link', () => link.isVisible());
    assert.equal(await link.getAttribute('href'), 'https://quoll.example.net/q/?tenant=a#incident=1763764200-catalog-db');
    await page.evaluate(() => window.harness.options({ scorerUrl: 'javascript:alert(1)' }));
    await until('it to go', async () => (await link.count()) === 0);
  });

  test('options of older versions, of the node graph and of nonsense become today’s', async () => {
    const migrated = await page.evaluate(() => {
      const migrate = window.harness.plugin().onPanelMigration;
      const old = [{ showCauses: false, showLegend: true }, { nodes: { mainStatUnit: 'ms' } }, { showLegend: 'yes', mapping: 3 }];
      return old.map((options) => migrate({ id: 1, options }));
    });
    assert.deepEqual(migrated.map(({ showCauses }) => showCauses), [false, true, true]);
    assert.ok(migrated.every(({ showLegend, showTimeline, mapping }) => showLegend && showTimeline && mapping.nodeId === ''));
  });

  test('the options editor offers every option', async () => {
    const paths = await page.evaluate(() => {
      const items = [];
      const one = (item) => { items.push(item.path); return builder; };
      const builder = new Proxy({}, { get: () => one });
      window.harness.plugin().getPanelOptionsSupplier()(builder, { data: [] });
      return items;
    });
    for (const path of ['showCauses', 'clustersAbove', 'scorerUrl', 'mapping.edgesQuery', 'mapping.nodeScore', 'arrangement']) {
      assert.ok(paths.includes(path), path);
    }
  });

  test('accessibility: no rule of WCAG 2.2 AA is broken, in an incident, a supposition and an open menu', async () => {
    await give(expositionFrames(recordedTicks()[9]));
    // As a module of the page's own origin: its policy allows no script of unknown origin.
    await page.evaluate(() => import('/harness-axe.js'));
    const check = async (what) => {
      const found = await page.evaluate(
        async ([host, tags]) => {
          const { violations, passes } = await window.axe.run(host, { runOnly: { type: 'tag', values: tags.split(',') } });
          const broken = violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`);
          return { broken, kept: passes.map(({ id }) => id) };
        },
        [HOST, ARIA],
      );
      assert.deepEqual(found.broken, [], what);
      assert.ok(found.kept.includes('color-contrast') && found.kept.length > 10, `${what}: ${found.kept}`);
    };
    await check('incident');
    const [x, y] = (await drawn()).nodes.find(({ id }) => id === 'shop/inventory').centre;
    await page.locator(`${HOST} .quoll-stage canvas`).click({ position: { x, y } });
    await check('menu');
    await page.getByRole('menuitem', { name: 'What if it failed?' }).click();
    await page.getByRole('button', { name: 'Filter' }).click();
    await check('supposition and filter');
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.getByRole('button', { name: 'Reset' }).click();
  });

  test('a thousand services start as closed namespaces', async () => {
    await give(expositionFrames(large(1000)));
    const { nodes, clusters } = await report();
    assert.equal(clusters.length, 20);
    assert.deepEqual([nodes.length, nodes.every(({ cluster }) => cluster)], [20, true]);
    await page.mouse.move(5, 5);
    await settled();
    await page.locator('#panel').screenshot({ path: join(shots, 'plugin-1000-dark.png') });
  });

  test('a thousand refreshes keep memory where it was', async () => {
    const session = await page.context().newCDPSession(page);
    const heap = async () => {
      await session.send('HeapProfiler.collectGarbage');
      const { usedSize, backingStorageSize } = await session.send('Runtime.getHeapUsage');
      return usedSize + backingStorageSize;
    };
    const frames = expositionFrames(recordedTicks()[9]);
    const refresh = (times) =>
      page.evaluate(
        async ([f, n]) => {
          for (let i = 0; i < n; i++) {
            window.harness.frames(f);
            await new Promise((resolve) => setTimeout(resolve));
          }
        },
        [frames, times],
      );
    await refresh(100);
    const before = await heap();
    await refresh(1000);
    const grown = (await heap()) - before;
    console.log(`      1,000 refreshes of 13 services: heap and buffers ${Math.round(grown / 1024)} KiB more`);
    assert.ok(grown < 4 * 1024 * 1024, `${grown} bytes`);
    assert.equal((await drawn()).nodes.length, 13);
  });

  test('data of every kind logged no error', () => {
    assert.deepEqual(page.problems, []);
  });
}
