// What the panel makes of data of every kind, in Grafana's VizPanel.
import { join } from 'node:path';
import { differ, frames, openPage, pixels, rgb, shown, tooltip } from './browser.mjs';
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
  const test = (name, run, limit) =>
    suite.test(
      name,
      async () => {
        await (page ?? open());
        await run();
      },
      limit,
    );
  const report = () => page.evaluate(() => window.harness.report());
  const drawn = () => page.evaluate(() => window.harness.drawn());
  const side = () => page.locator(`${HOST} .quoll-side`).innerText();
  const settled = () => frames(page);
  const give = async (frames, extra) => {
    await page.evaluate(([f, e]) => window.harness.frames(f, e), [frames, extra]);
    await shown(page);
  };
  const hover = async (id) => {
    const [x, y] = (await drawn()).nodes.find((node) => node.id === id).centre;
    await page.locator(`${HOST} .quoll-stage canvas`).hover({ position: { x, y } });
    return tooltip(page, id);
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
    assert.match(said, /1 node has no id/);
    assert.match(said, /1 node repeats an id/);
    assert.match(said, /1 edge lacks a source or a target/);
    assert.match(said, /1 end of edges is not among the nodes: elsewhere/);
    assert.doesNotMatch(said, /anomaly|request shares/, 'nothing is missed that such data never has');
    assert.match(await hover('front'), /front[\s\S]*mainstat: 12\.5 ms[\s\S]*failed: 25[\s\S]*zone: west/);
  });

  test('arcs, colours, sizes, icons, widths and dashes of node-graph frames are painted as documented', async () => {
    await give(nodeGraph());
    await until('the icon', () => page.evaluate(() => performance.getEntriesByName(`${location.origin}/public/build/img/icons/unicons/database.svg`).length > 0));
    await page.mouse.move(5, 5);
    await settled();
    const { nodes, edges } = await drawn();
    const node = (id) => nodes.find((one) => one.id === id);
    const around = ({ centre, radius }, turns, inside) => {
      const angle = (turns - 0.25) * 2 * Math.PI;
      const r = radius - inside;
      return [centre[0] + r * Math.cos(angle), centre[1] + r * Math.sin(angle)];
    };
    // Three quarters of the circle are green, the last one is red: Grafana's own colours of these names.
    const front = node('front');
    const [green, late, red] = await pixels(page, [0.1, 0.7, 0.87].map((turns) => around(front, turns, 1.6)));
    for (const [pixel, colour] of [[green, '#73bf69'], [late, '#73bf69'], [red, '#f2495c']]) {
      assert.ok(differ(pixel, rgb(colour)) < 40, `${pixel} is not ${colour}`);
    }
    const big = node('db (d)');
    assert.ok(Math.abs(big.radius / front.radius - 2) < 0.3, `twice as large: ${big.radius} ${front.radius}`);
    const [rim] = await pixels(page, [around(big, 0.4, 1.6)]);
    assert.ok(differ(rim, [10, 120, 250]) < 40, String(rim));
    const [icon] = await pixels(page, [node('db (c)').centre]);
    const [beside] = await pixels(page, [around(node('db (c)'), 0.5, 6)]);
    assert.ok(differ(icon, beside) > 60, 'an icon is in the middle');
    const line = (client, server) => edges.find((one) => one.client === client && one.server === server);
    assert.equal(line('front', 'cart').width, 5);
    assert.equal(line('cart', 'db (c)').colour, '#00ffff');
    const dashed = line('cart', 'elsewhere').points;
    const along = dashed.slice(0, -2).flatMap((from, at) =>
      [0, 0.25, 0.5, 0.75].map((share) => [0, 1].map((axis) => from[axis] + (dashed[at + 1][axis] - from[axis]) * share)),
    );
    const gaps = (await pixels(page, along)).filter((pixel) => pixel[3] < 40).length / along.length;
    assert.ok(gaps > 0.15 && gaps < 0.7, `${gaps} of its points lie in gaps`);
    assert.match(await page.locator(`${HOST} .quoll-legend`).innerText(), /ok[\s\S]*failed/);
    await page.locator('#panel').screenshot({ path: join(shots, 'plugin-node-graph-dark.png') });
  });

  test('thresholds, units, decimals and mappings of the field config decide fills, legend and tooltips', async () => {
    const step = (value, color) => ({ value, color });
    const thresholds = { mode: 'absolute', steps: [step(null, 'blue'), step(1.5, '#ff00ff')] };
    const configure = async (defaults, overrides = []) => {
      await page.evaluate((config) => window.harness.fieldConfig(config), { defaults, overrides });
      await give(expositionFrames(recordedTicks()[9]));
      return Object.fromEntries((await drawn()).nodes.map(({ id, fill }) => [id, fill]));
    };
    const usual = await configure({});
    const scores = Object.fromEntries((await report()).services.map(({ id, score }) => [id, score]));
    const stepped = await configure({ thresholds, color: { mode: 'thresholds' }, unit: 'percentunit', decimals: 0 });
    for (const [id, fill] of Object.entries(stepped)) {
      assert.equal(fill, scores[id] >= 1.5 ? '#ff00ff' : '#5794f2', `${id} has a score of ${scores[id]}`);
    }
    assert.ok(new Set(Object.values(stepped)).size === 2 && stepped['shop/web'] !== usual['shop/web']);
    const root = Object.entries(scores).sort((a, b) => b[1] - a[1])[0][0];
    assert.match(await hover(root), new RegExp(`anomaly score ${Math.round(scores[root] * 100)}%`));
    assert.match(await page.locator(`${HOST} .quoll-legend`).innerText(), /anomaly score 0%\s*150%\+/);
    const bar = await page.locator(`${HOST} .quoll-legend .quoll-bar`).first().evaluate((node) => node.style.background);
    assert.match(bar, /rgb\(87, 148, 242\) 0%, rgb\(87, 148, 242\) 50%, rgb\(255, 0, 255\) 50%/);
    // An override for single fields, and a mapping with a colour, beside the usual scale.
    const override = (properties, options) => ({ matcher: { id: 'byRegexp', options }, properties });
    const cart = override([{ id: 'thresholds', value: { mode: 'absolute', steps: [step(null, '#010203')] } }], '/anomaly_score.*"cart"/');
    const errors = override(
      [{ id: 'thresholds', value: { mode: 'absolute', steps: [step(null, '#0a0b0c'), step(0.05, '#ffff00')] } }],
      '/edge_error_ratio/',
    );
    const own = await configure({}, [cart, errors]);
    assert.equal(own['shop/cart'], '#010203');
    assert.equal(own['shop/web'], usual['shop/web']);
    const ratios = new Map((await report()).calls.map(({ client, server, error_ratio }) => [`shop/${client} shop/${server}`, error_ratio]));
    for (const { client, server, colour } of (await drawn()).edges) {
      assert.equal(colour, ratios.get(`${client} ${server}`) >= 0.05 ? '#ffff00' : '#0a0b0c', `${client} ${server}`);
    }
    const mapped = [{ type: 'range', options: { from: -1, to: 0.9, result: { text: 'fine', color: '#00ff7f' } } }];
    const calm = await configure({ mappings: mapped });
    const well = Object.keys(scores).filter((id) => scores[id] <= 0.9);
    assert.ok(well.length > 0 && well.every((id) => calm[id] === '#00ff7f'), JSON.stringify(calm));
    assert.match(await hover(well[0]), /anomaly score fine/);
    assert.deepEqual(await configure({}), usual, 'and back');
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
    for (const path of ['showCauses', 'clustersAbove', 'renderer', 'scorerUrl', 'mapping.edgesQuery', 'mapping.nodeScore', 'arrangement']) {
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
  }, 240_000);

  test('data of every kind logged no error', () => {
    assert.deepEqual(page.problems, []);
  });
}
