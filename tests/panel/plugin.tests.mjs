// The built plugin, unmodified, in Grafana's VizPanel on data of a real Prometheus.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { differ, frames, openPage, pixels, rgb, shown, tooltip } from './browser.mjs';
import { pause, until } from './prometheus.mjs';
import { DOCUMENTED, QUERY_A, TARGETS } from './queries.mjs';
import { assert } from './suite.mjs';

const targetA = { refId: 'A', expr: QUERY_A, instant: true, format: 'time_series' };
const HOST = '[data-testid="quoll-blast-radius"]';

/** Asserts that what was drawn is painted: fills at the nodes, lines along the edges, arrows at their ends. */
async function assertPainted(page, drawn) {
  for (const node of drawn.nodes) {
    assert.ok(node.fill, `${node.id} has a score and so a fill`);
    // The number is written in the middle: look beside it.
    const [x, y] = node.centre;
    const around = [0.75, -0.75].map((share) => [x, y + share * node.radius]);
    for (const pixel of await pixels(page, around)) {
      assert.ok(differ(pixel, rgb(node.fill)) <= 3 && pixel[3] === 255, `${node.id}: ${pixel} is not ${node.fill}`);
    }
  }
  for (const edge of drawn.edges) {
    assert.ok(edge.points.length >= 2, `${edge.client} -> ${edge.server} has a line`);
    const line = edge.points.slice(0, -1);
    const painted = await pixels(page, [line[1], line[Math.floor(line.length / 2)], line.at(-2)]);
    assert.ok(
      painted.filter((pixel) => pixel[3] > 60).length >= 2,
      `${edge.client} -> ${edge.server} is not painted: ${JSON.stringify(painted)}`,
    );
    const head = edge.points.slice(-2);
    const [arrow] = await pixels(page, [[(head[0][0] + head[1][0]) / 2, (head[0][1] + head[1][1]) / 2]]);
    assert.ok(arrow[3] > 60, `the arrow of ${edge.client} -> ${edge.server} is not painted`);
  }
}

export function pluginTests(suite, { server, prometheus, browser, shots }) {
  const pages = new Map();
  const page = async (theme = 'dark') => {
    if (!pages.has(theme)) {
      const opened = await openPage(browser(), `${server.origin}/harness?theme=${theme}`, { colorScheme: theme });
      await until('the harness to start', () => opened.evaluate(() => Boolean(window.harness)));
      pages.set(theme, opened);
    }
    return pages.get(theme);
  };
  const serve = async (tick) => {
    server.tick = tick;
    const marks = { healthy: 0, incident: 1 };
    await until(`Prometheus to hold the ${tick} tick`, async () => {
      const found = await prometheus.query('quoll_no_fault_probability');
      return tick in marks ? found.length === marks[tick] && (await prometheus.query('quoll_anomaly_score')).length : true;
    });
    if (!(tick in marks)) {
      const before = server.scrapes;
      await until('a scrape that began after the change', async () => server.scrapes > before + 1);
      await pause(200);
    }
  };
  const show = async (opened, targets = [targetA]) => {
    await opened.evaluate((wanted) => window.harness.show(wanted), targets);
    await shown(opened);
    return opened.evaluate(() => window.harness.drawn());
  };
  const name = (labels, prefix) => {
    const namespace = labels[prefix === 'service' ? 'service_namespace' : `${prefix}_service_namespace`];
    const own = labels[prefix === 'service' ? 'service_name' : prefix];
    return namespace ? `${namespace}/${own}` : own;
  };
  const stored = async () => ({
    nodes: (await prometheus.query('quoll_anomaly_score')).map((s) => name(s.metric, 'service')).sort(),
    edges: (await prometheus.query('quoll_edge_strength'))
      .map((s) => `${name(s.metric, 'client')} -> ${name(s.metric, 'server')}`)
      .sort(),
  });
  const assertAsStored = async (drawn) => {
    const expected = await stored();
    assert.equal(expected.nodes.length, 13);
    assert.equal(expected.edges.length, 19);
    assert.deepEqual(drawn.nodes.map((n) => n.id).sort(), expected.nodes);
    assert.deepEqual(drawn.edges.map((e) => `${e.client} -> ${e.server}`).sort(), expected.edges);
  };
  const side = (opened) => opened.locator(`${HOST} .quoll-side`).innerText();

  suite.test('the dashboard asks the documented queries verbatim', () => {
    assert.deepEqual(TARGETS.map(({ expr }) => expr), DOCUMENTED);
  });

  suite.test('healthy: draws exactly the services and calls that Prometheus holds', async () => {
    await serve('healthy');
    const opened = await page();
    const drawn = await show(opened);
    await assertAsStored(drawn);
    await assertPainted(opened, drawn);
    assert.ok(drawn.nodes.every((n) => n.ring === null && n.halo === null));
    assert.match(await side(opened), /No incident/);
    await opened.locator('#panel').screenshot({ path: join(shots, 'plugin-healthy-dark.png') });
  });

  suite.test('incident: fills, ring, halo and ranking follow the written series', async () => {
    await serve('incident');
    const opened = await page();
    const before = await opened.evaluate(() => window.harness.drawn());
    const drawn = await show(opened);
    await assertAsStored(drawn);
    await assertPainted(opened, drawn);
    assert.deepEqual(drawn.nodes.map((n) => n.centre), before.nodes.map((n) => n.centre), 'no service moved');
    const root = drawn.nodes.find((n) => n.id === 'shop/catalog-db');
    const [written] = await prometheus.query('quoll_root_cause_probability{service_name="catalog-db"}');
    assert.equal(root.ring, Number(written.value[1]), 'the ring shows the written posterior');
    const halos = drawn.nodes.filter((n) => n.halo !== null).map((n) => n.id);
    const radius = await prometheus.query('quoll_blast_radius_probability{root_service="catalog-db"}');
    assert.deepEqual(halos, ['shop/catalog-db', ...radius.map((s) => name(s.metric, 'service'))].sort());
    for (const series of radius) {
      const node = drawn.nodes.find((n) => n.id === name(series.metric, 'service'));
      assert.equal(node.halo, Number(series.value[1]), `${node.id}: native and WASM agree to the bit`);
    }
    const text = await side(opened);
    assert.match(text, /Probable causes\s+catalog-db\s+86 %\s+catalog\s+14 %/);
    assert.match(text, /no fault\s+(<1|0) %/);
    await opened.locator('#panel').screenshot({ path: join(shots, 'plugin-incident-dark.png') });
  });

  suite.test('the posterior recomputed in WASM is bit-equal to the one written natively', async () => {
    const { incidents, notes, engine_version, panel_engine_version } = await (await page()).evaluate(() => window.harness.report());
    assert.equal(engine_version, panel_engine_version);
    assert.equal(incidents.length, 1);
    assert.equal(incidents[0].difference, 0);
    assert.deepEqual(notes, []);
  });

  suite.test('the ring is painted in proportion to the posterior', async () => {
    const opened = await page();
    const drawn = await opened.evaluate(() => window.harness.drawn());
    const { centre, radius } = drawn.nodes.find((n) => n.id === 'shop/catalog-db');
    const { inferred } = await opened.evaluate(() => window.harness.report());
    const at = (share) => {
      const angle = share * 2 * Math.PI - Math.PI / 2;
      const rim = radius + 3.25;
      return [centre[0] + rim * Math.cos(angle), centre[1] + rim * Math.sin(angle)];
    };
    const painted = await pixels(opened, [0.1, 0.3, 0.5, 0.7, 0.93].map(at));
    const full = painted.map((pixel) => differ(pixel, rgb(inferred)) < 40 && pixel[3] > 200);
    assert.deepEqual(full, [true, true, true, true, false]);
  });

  suite.test('table frames and the time line’s queries beside draw the same', async () => {
    const opened = await page();
    const plain = await show(opened);
    assert.deepEqual(await show(opened, [{ ...targetA, format: 'table' }]), plain);
    // The time line takes some of the height.
    const told = ({ nodes }) => nodes.map(({ id, fill, ring, halo }) => ({ id, fill, ring, halo }));
    assert.deepEqual(told(await show(opened, TARGETS)), told(plain));
    await show(opened);
  });

  suite.test('labels are all shown and overlap nothing', async () => {
    const drawn = await (await page()).evaluate(() => window.harness.drawn());
    const boxes = drawn.nodes.map((n) => {
      assert.ok(n.label, `${n.id} has a label`);
      return n.label_box;
    });
    boxes.forEach((a, i) => {
      for (const b of boxes.slice(i + 1)) {
        assert.ok(Math.abs(a[0] - b[0]) >= a[2] + b[2] || Math.abs(a[1] - b[1]) >= a[3] + b[3]);
      }
      for (const { id, centre, radius } of drawn.nodes) {
        const apart = Math.abs(a[0] - centre[0]) >= a[2] + radius || Math.abs(a[1] - centre[1]) >= a[3] + radius;
        assert.ok(apart, `a label covers ${id}`);
      }
    });
  });

  suite.test('pointing at services and calls tells about them', async () => {
    const opened = await page();
    const drawn = await opened.evaluate(() => window.harness.drawn());
    const canvas = opened.locator(`${HOST} .quoll-stage canvas`);
    const [x, y] = drawn.nodes.find((n) => n.id === 'shop/catalog-db').centre;
    await canvas.hover({ position: { x, y } });
    const tip = opened.getByTestId('quoll-tooltip');
    assert.match(await tooltip(opened, 'shop/catalog-db'), /anomaly score 3\.81[\s\S]*root cause with probability 86 %/);
    const edge = drawn.edges.find((e) => e.server === 'shop/catalog-db');
    const [ex, ey] = edge.points[Math.floor(edge.points.length / 2)];
    await canvas.hover({ position: { x: ex, y: ey } });
    assert.match(await tooltip(opened, 'catalog → catalog-db'), /61\.5 requests\/s[\s\S]*18\.4 % errors/);
    await canvas.hover({ position: { x: 2, y: 2 } });
    await until('the tooltip to go', () => tip.isHidden());
  });

  const canvasOf = (opened) => opened.locator(`${HOST} .quoll-stage canvas`);
  const state = (opened) => opened.evaluate(() => window.harness.drawn());
  // What the panel is about to draw comes with its next frame.
  const centre = async (opened, id) => {
    const node = await until(`${id} to be drawn`, async () => (await state(opened)).nodes.find((n) => n.id === id));
    const [x, y] = node.centre;
    return { x, y };
  };
  const lineOf = async (opened, client, server) => {
    const isIt = (edge) => edge.client === client && edge.server === server;
    return (await until(`${client} -> ${server} to be drawn`, async () => (await state(opened)).edges.find(isIt))).points;
  };
  const choose = (opened, name) => opened.getByRole('menuitem', { name }).click();
  const report = (opened) => opened.evaluate(() => window.harness.report());

  suite.test('a click offers what-if; a supposed fault is marked hypothetical until Escape or Reset', async () => {
    const opened = await page();
    await canvasOf(opened).click({ position: await centre(opened, 'shop/inventory') });
    assert.match(await opened.locator(`${HOST} .quoll-menu`).innerText(), /shop\/inventory[\s\S]*What if it failed\?/);
    await choose(opened, 'What if it failed?');
    let drawn = await state(opened);
    assert.equal(drawn.hypothetical, 'shop/inventory');
    const hit = drawn.nodes.filter((n) => n.halo !== null).map((n) => n.id);
    assert.ok(hit.includes('shop/checkout') && !hit.includes('shop/catalog-db'), String(hit));
    assert.ok(drawn.nodes.every((n) => n.ring === null || n.id === 'shop/inventory'), 'no posterior beside a supposition');
    assert.match(await opened.locator(`${HOST} .quoll-banner`).innerText(), /Hypothetical: inventory failed/);
    assert.match(await side(opened), /What if: inventory failed[\s\S]*nothing of this has happened/);
    // A refresh keeps it; Escape ends it.
    assert.equal((await show(opened)).hypothetical, 'shop/inventory');
    await canvasOf(opened).focus();
    await opened.keyboard.press('Escape');
    drawn = await state(opened);
    assert.equal(drawn.hypothetical, null);
    assert.ok(drawn.nodes.some((n) => n.ring !== null));
    // By keyboard alone, and ended by the button.
    await opened.keyboard.press('ArrowRight');
    await opened.keyboard.press('Enter');
    await opened.keyboard.press('Enter');
    assert.ok((await state(opened)).hypothetical);
    await opened.getByRole('button', { name: 'Reset' }).click();
    assert.equal((await state(opened)).hypothetical, null);
  });

  suite.test('assuming the cause healthy moves the posterior to the next one, beside what is now', async () => {
    const opened = await page();
    await canvasOf(opened).click({ position: await centre(opened, 'shop/catalog-db') });
    await choose(opened, 'What if it were healthy?');
    const { what_if, incidents } = await report(opened);
    assert.deepEqual(what_if.healthy, ['catalog-db']);
    assert.equal(what_if.incidents[0].causes[0].label, 'catalog');
    assert.ok(what_if.incidents[0].causes[0].probability > incidents[0].causes[1].probability);
    assert.match(await side(opened), /Probable causes then\s+catalog\s+14 % → >99 %/);
    await opened.getByRole('button', { name: 'Back to what is' }).click();
    assert.equal((await report(opened)).what_if, null);
  });

  suite.test('a call is selectable, and cutting it takes the fault’s way', async () => {
    const opened = await page();
    const line = await lineOf(opened, 'shop/web', 'shop/gateway');
    const [x, y] = line[Math.floor(line.length / 2)];
    await canvasOf(opened).click({ position: { x, y } });
    await choose(opened, /What if web → gateway were cut/);
    const cut = (await report(opened)).what_if;
    assert.deepEqual(cut.cut, [['web', 'gateway']]);
    const web = cut.hits.find(({ label }) => label === 'web');
    assert.ok(web.now > 0.5 && web.then < 0.01, JSON.stringify(web));
    await opened.getByRole('button', { name: 'Reset' }).click();
    await canvasOf(opened).click({ position: await centre(opened, 'shop/gateway') });
    await choose(opened, 'What if it were drained?');
    assert.deepEqual((await report(opened)).what_if.drained, ['gateway']);
    await opened.getByRole('button', { name: 'Reset' }).click();
    // All kinds at once, for the picture: one fails, one is drained, one call is cut.
    await canvasOf(opened).click({ position: await centre(opened, 'shop/inventory') });
    await choose(opened, 'What if it failed?');
    await canvasOf(opened).click({ position: await centre(opened, 'shop/search') });
    await choose(opened, 'What if it were drained?');
    await canvasOf(opened).click({ position: await centre(opened, 'shop/cart') });
    await choose(opened, /What if cart → inventory were cut/);
    await opened.mouse.move(5, 5);
    assert.match(await opened.locator(`${HOST} .quoll-banner`).innerText(), /inventory failed; search drained; cart → inventory cut/);
    await opened.locator('#panel').screenshot({ path: join(shots, 'plugin-what-if-dark.png') });
    await opened.getByRole('button', { name: 'Reset' }).click();
  });

  suite.test('search, filters and focus hide and find services, and say so', async () => {
    const opened = await page();
    const find = opened.getByRole('searchbox', { name: 'Search services' });
    await find.fill('cart');
    assert.match(await opened.locator('.quoll-found').innerText(), /2 found/);
    await find.press('Escape');
    await opened.getByRole('button', { name: 'Filter' }).click();
    await opened.getByRole('spinbutton', { name: 'Anomaly score at least' }).fill('2');
    assert.equal((await report(opened)).nodes.length, 5);
    assert.match(await opened.locator('.quoll-chips').innerText(), /8 services hidden/);
    await opened.getByRole('button', { name: 'Show them' }).click();
    assert.equal((await report(opened)).nodes.length, 13);
    await canvasOf(opened).click({ position: await centre(opened, 'shop/catalog-db') });
    await choose(opened, 'Only its neighbours');
    assert.deepEqual((await report(opened)).nodes.map(({ label }) => label).sort(), ['catalog', 'catalog-db']);
    const catalog = (await report(opened)).nodes.find(({ label }) => label === 'catalog');
    assert.equal(catalog.hidden, 4, 'what is hidden is marked');
    await canvasOf(opened).click({ position: await centre(opened, 'shop/catalog') });
    await choose(opened, /Show its 4 hidden neighbours/);
    assert.equal((await report(opened)).nodes.length, 6);
    await opened.getByRole('button', { name: 'Show them' }).click();
    assert.equal((await report(opened)).nodes.length, 13);
  });

  suite.test('layouts, closed namespaces and pinned services are kept in the options', async () => {
    const opened = await page();
    const layout = opened.getByRole('combobox', { name: 'Layout' });
    const before = await centre(opened, 'shop/web');
    for (const name of ['force', 'concentric', 'grid']) {
      await layout.selectOption(name);
      assert.equal((await report(opened)).layout_used, name);
    }
    assert.notDeepEqual(await centre(opened, 'shop/web'), before);
    await layout.selectOption('auto');
    const box = await canvasOf(opened).boundingBox();
    const from = await centre(opened, 'shop/web');
    await opened.mouse.move(box.x + from.x, box.y + from.y);
    await opened.mouse.down();
    await opened.mouse.move(box.x + from.x + 30, box.y + from.y + 60, { steps: 3 });
    await opened.mouse.up();
    const saved = JSON.parse((await opened.evaluate(() => window.harness.saved())).arrangement);
    assert.deepEqual(saved.pinned.map(({ name }) => name), ['web']);
    const pinned = await centre(opened, 'shop/web');
    assert.ok(Math.abs(pinned.y - from.y - 60) < 2, 'it is where it was put');
    await show(opened);
    assert.deepEqual(await centre(opened, 'shop/web'), pinned, 'and stays there');
    await opened.getByRole('button', { name: 'More' }).click();
    await opened.getByRole('button', { name: 'Unpin all' }).click();
    await opened.getByRole('button', { name: 'Filter' }).click();
    await opened.getByRole('button', { name: 'Close all' }).click();
    const { nodes } = await report(opened);
    assert.deepEqual(nodes.map(({ label, cluster, services }) => ({ label, cluster, services })), [
      { label: 'shop (13)', cluster: true, services: 13 },
    ]);
    await opened.getByRole('button', { name: 'Open all' }).click();
    assert.equal((await report(opened)).nodes.length, 13);
    await opened.getByRole('button', { name: 'Filter' }).click();
    await opened.getByRole('button', { name: 'Show all' }).click();
  });

  suite.test('exports PNG, SVG and JSON', async () => {
    const opened = await page();
    for (const [format, start] of [['PNG', '\u0089PNG'], ['SVG', '<svg'], ['JSON', '{"report":{']]) {
      await opened.getByRole('button', { name: 'More' }).click();
      const [file] = await Promise.all([
        opened.waitForEvent('download'),
        opened.getByRole('button', { name: format, exact: true }).click(),
      ]);
      assert.match(file.suggestedFilename(), new RegExp(`^blast-radius-.*\\.${format.toLowerCase()}$`));
      const content = readFileSync(await file.path(), 'latin1');
      assert.ok(content.startsWith(start), `${format}: ${content.slice(0, 20)}`);
      if (format === 'SVG') {
        assert.ok(content.includes('catalog-db'));
      } else if (format === 'JSON') {
        assert.equal(JSON.parse(content).report.incidents.length, 1);
      }
    }
  });

  suite.test('the time line shows the state at any time, by pointer, key and playback', async () => {
    const opened = await page();
    await until('a past of both states', async () => {
      const rings = (await prometheus.query('count_over_time(quoll_root_cause_probability{service_name="catalog-db"}[2m])'))[0];
      return Number(rings?.value[1]) >= 3;
    });
    await show(opened, TARGETS);
    const strip = opened.getByRole('slider', { name: 'Time shown' });
    assert.ok(await strip.isVisible());
    const [first, last] = (await report(opened)).time_range;
    assert.ok(last - first > 2000);
    await strip.focus();
    await opened.keyboard.press('Home');
    assert.equal((await report(opened)).time_ms, first);
    assert.ok((await state(opened)).nodes.every((n) => n.ring === null), 'healthy at first');
    assert.match(await opened.locator(`${HOST} .quoll-banner`).innerText(), /as of/);
    await opened.keyboard.press('End');
    assert.equal((await report(opened)).time_ms, null);
    assert.ok((await state(opened)).nodes.some((n) => n.ring > 0.8));
    await opened.getByRole('button', { name: 'Play' }).click();
    await until('it to move', async () => (await report(opened)).time_ms > first);
    await opened.getByRole('button', { name: 'Pause' }).click();
    await opened.locator('#panel').screenshot({ path: join(shots, 'plugin-past-dark.png') });
    await opened.getByRole('button', { name: 'Now' }).click();
    await show(opened);
    assert.ok(await strip.isHidden(), 'no time line without its query');
  });

  suite.test('dragging and zooming move the picture and Show all brings it back', async () => {
    const opened = await page();
    const before = await opened.evaluate(() => window.harness.drawn());
    const box = await opened.locator(`${HOST} .quoll-stage canvas`).boundingBox();
    await opened.mouse.move(box.x + 8, box.y + 8);
    await opened.mouse.down();
    await opened.mouse.move(box.x + 48, box.y + 38, { steps: 4 });
    await opened.mouse.up();
    const dragged = await opened.evaluate(() => window.harness.drawn());
    assert.ok(Math.abs(dragged.nodes[0].centre[0] - before.nodes[0].centre[0] - 40) < 1);
    await opened.keyboard.down('Control');
    await opened.mouse.wheel(0, -200);
    await opened.keyboard.up('Control');
    await until('the zoom', async () => {
      const zoomed = await opened.evaluate(() => window.harness.drawn());
      return Math.abs(zoomed.nodes[0].centre[0] - dragged.nodes[0].centre[0]) > 5;
    });
    await opened.getByRole('button', { name: 'Show all' }).click();
    const after = await opened.evaluate(() => window.harness.drawn());
    assert.deepEqual(after.nodes.map((n) => n.centre), before.nodes.map((n) => n.centre));
  });

  suite.test('screen readers get the same content', async () => {
    const opened = await page();
    const reader = opened.locator(`${HOST} .quoll-sr`).first();
    await until('the list to follow', async () => /86 %/.test((await reader.textContent()) ?? ''));
    const text = (await reader.textContent()) ?? '';
    for (const { id } of (await opened.evaluate(() => window.harness.drawn())).nodes) {
      assert.ok(text.includes(id.replace('shop/', '')), id);
    }
    assert.match(text, /likeliest cause catalog-db, 86 %/);
    assert.match((await opened.locator(`${HOST} .quoll-stage canvas`).getAttribute('aria-label')) ?? '', /13 services, 19 calls/);
  });

  suite.test('every size is filled, from a phone’s to a wide one', async () => {
    const opened = await page();
    for (const [width, height] of [[360, 640], [420, 260], [1240, 420], [960, 540]]) {
      await opened.evaluate(([w, h]) => window.harness.size(w, h), [width, height]);
      await until('the panel to follow', async () => {
        const box = await opened.locator(HOST).boundingBox();
        return box && Math.abs(box.width - width) < 40 && Math.abs(box.height - height) < 60;
      });
      await frames(opened);
      const drawn = await opened.evaluate(() => window.harness.drawn());
      for (const { id, centre, radius } of drawn.nodes) {
        const inside = centre.every((c, axis) => c - radius >= 0 && c + radius <= drawn.size[axis]);
        assert.ok(inside, `${id} lies outside at ${width} x ${height}`);
      }
      await assertPainted(opened, drawn);
      if (width === 360) {
        await opened.locator('#panel').screenshot({ path: join(shots, 'plugin-phone-dark.png') });
      }
    }
  });

  suite.test('options hide the list and the legend', async () => {
    const opened = await page();
    await opened.evaluate(() => window.harness.options({ showCauses: false, showLegend: false }));
    await until('both to go', async () => (await opened.locator(`${HOST} .quoll-side`).isHidden()) && (await opened.locator(`${HOST} .quoll-legend`).isHidden()));
    await opened.evaluate(() => window.harness.options({ showCauses: true, showLegend: true }));
    await until('both to come back', () => opened.locator(`${HOST} .quoll-side`).isVisible());
  });

  suite.test('the light theme has its own colours, painted', async () => {
    const dark = await (await page()).evaluate(() => window.harness.drawn());
    const opened = await page('light');
    const drawn = await show(opened);
    await assertAsStored(drawn);
    await assertPainted(opened, drawn);
    assert.notDeepEqual(drawn.nodes.map((n) => n.fill), dark.nodes.map((n) => n.fill));
    await opened.locator('#panel').screenshot({ path: join(shots, 'plugin-incident-light.png') });
    await serve('healthy');
    await show(opened);
    await opened.locator('#panel').screenshot({ path: join(shots, 'plugin-healthy-light.png') });
  });

  suite.test('nothing found says what to do', async () => {
    const opened = await page();
    const drawn = await show(opened, [{ ...targetA, expr: 'quoll_nothing_of_this_name' }]);
    assert.deepEqual([drawn.nodes, drawn.edges], [[], []]);
    assert.match(await opened.locator(`${HOST} .quoll-message`).innerText(), /No services to show[\s\S]*scorer/);
  });

  suite.test('edges alone give the topology and say what is estimated', async () => {
    const opened = await page();
    const drawn = await show(opened, [{ ...targetA, expr: 'quoll_edge_requests_per_second' }]);
    assert.equal(drawn.nodes.length, 13);
    assert.equal(drawn.edges.length, 19);
    assert.ok(drawn.nodes.every((n) => n.fill === null), 'no score, no fill');
    assert.match(await side(opened), /request shares[\s\S]*no anomaly scores/);
  });

  suite.test('another engine version, two scopes and a mixed tick are said', async () => {
    const text = server.exposition();
    const odd = text
      .replace(/engine_version="[^"]*"/, 'engine_version="0"')
      .concat('quoll_anomaly_score{service_name="elsewhere",cluster="west"} 1\n');
    server.own.set('odd', { prom: odd });
    await serve('odd');
    const opened = await page();
    const drawn = await show(opened);
    assert.equal(drawn.nodes.length, 13, 'one scope is shown');
    const said = await side(opened);
    assert.match(said, /engine is version 0/);
    assert.match(said, /2 scopes/);
  });

  suite.test('no page logged an error', () => {
    for (const [theme, opened] of pages) {
      assert.deepEqual(opened.problems, [], theme);
    }
  });
}
