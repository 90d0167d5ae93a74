// The scorer's console, under a policy without inline scripts and styles, on recorded answers.
import { join } from 'node:path';
import { differ, frames, openPage, pixels, rgb } from './browser.mjs';
import { until } from './prometheus.mjs';
import { assert } from './suite.mjs';

export function consoleTests(suite, { server, browser, shots }) {
  let page;
  const drawn = () => page.evaluate(() => window.quollView?.drawn());
  /** The picture with all services, once it stands still: what is around it may take its room a frame later. */
  const until13 = () =>
    until('13 services that stand still', async () => {
      const before = await drawn();
      await frames(page);
      const after = await drawn();
      return after?.nodes.length === 13 && JSON.stringify(after) === JSON.stringify(before) && after;
    });

  suite.test('console: draws the services and calls of the scorer', async () => {
    server.tick = 'healthy';
    page = await openPage(browser(), `${server.origin}/`, { colorScheme: 'dark', ratio: 2 });
    const { nodes, edges } = await until13();
    const graph = JSON.parse(server.graph());
    assert.deepEqual(nodes.map((n) => n.id), graph.services.map((s) => `${s.namespace}/${s.name}`));
    assert.equal(edges.length, graph.edges.length);
    for (const node of nodes) {
      const [pixel] = await pixels(page, [[node.centre[0], node.centre[1] + node.radius * 0.75]]);
      assert.ok(differ(pixel, rgb(node.fill)) <= 3, `${node.id}: ${pixel} is not ${node.fill}`);
    }
    assert.match(await page.locator('header').innerText(), /model provisional: 150 s of history[\s\S]*13 services · tick/);
  });

  suite.test('console: an incident appears by itself, with its explanation', async () => {
    server.tick = 'incident';
    await until('the root', async () => (await drawn()).nodes.some((n) => n.ring > 0.8));
    const text = await page.locator('.quoll-side').innerText();
    assert.match(text, /catalog-db\s+86 %[\s\S]*Why, since[\s\S]*request latency 412 ms/);
    assert.match(text, /posterior verified/);
    await page.screenshot({ path: join(shots, 'console-incident-dark.png') });
  });

  suite.test('console: the page of an incident tells the whole account and takes feedback', async () => {
    await page.locator('.quoll-side a').click();
    const incident = page.locator('#incident');
    await until('the account', async () => /request latency 412 ms/.test(await incident.innerText()));
    assert.match(await incident.innerText(), /Incident 1763764200-catalog-db[\s\S]*What was it\?/);
    assert.equal(await incident.locator('select').inputValue(), 'shop/catalog-db', 'the likeliest cause is offered');
    await page.screenshot({ path: join(shots, 'console-account-dark.png') });
    await incident.getByText('was the cause').click();
    await until('the answer', async () => /Noted/.test(await incident.innerText()));
    assert.deepEqual(server.feedback.map(({ id, verdict, service }) => [id, verdict, service.namespace, service.name]), [
      ['1763764200-catalog-db', 'cause', 'shop', 'catalog-db'],
    ]);
    await incident.getByText('Close').click();
    await until('the page to go', () => incident.isHidden());
  });

  suite.test('console: several scopes can be chosen from, one is not offered', async () => {
    assert.ok(await page.locator('#scopes').isHidden());
    server.scopes = [
      { tenant: '', partition: 'cluster=east', services: 13, incidents: 0, tick_ms: 0 },
      { tenant: '', partition: 'cluster=west', services: 13, incidents: 2, tick_ms: 0 },
    ];
    await page.reload();
    await until('the list', () => page.locator('#scopes').isVisible());
    await page.locator('#scopes select').selectOption({ label: 'cluster=west (2 incidents)' });
    await until('its graph to be asked for', () => server.asked.includes('?tenant=&partition=cluster%3Dwest'));
    assert.match(page.url(), /partition=cluster%3Dwest/);
    server.scopes = server.scopes.slice(0, 1);
    await page.goto(`${server.origin}/`);
    await until13();
  });

  suite.test('console: a clicked service shows its features beside its reach', async () => {
    const [x, y] = (await until13()).nodes.find((n) => n.id === 'shop/catalog-db').centre;
    await page.locator('.quoll-stage canvas').click({ position: { x, y } });
    await page.getByRole('menuitem', { name: 'What if it failed?' }).click();
    const text = await page.locator('.quoll-side').innerText();
    assert.match(text, /What catalog-db shows/);
    assert.match(text, /request latency\s+\d+ ms\s+6\.1 ms\s+usual at this hour\s+3\.81/);
    await page.mouse.move(5, 5);
    await page.screenshot({ path: join(shots, 'console-details-dark.png') });
    await page.keyboard.press('Escape');
    assert.equal((await drawn()).hypothetical, null);
  });

  suite.test('console: a leaf that does not report and a picture that is old are said so', async () => {
    const silent = page.locator('#silent');
    assert.ok(await silent.isHidden());
    const healthy = JSON.parse(server.graph());
    server.own.set('silent', { json: JSON.stringify({ ...healthy, silent_leaves: ['b'] }) });
    server.tick = 'silent';
    await until('the message', () => silent.isVisible());
    assert.match(await silent.innerText(), /No report from leaf b: the services there are unknown/);
    await page.screenshot({ path: join(shots, 'console-silent-leaf-dark.png') });
    // With a space, so that the server does not set it to now.
    const old = JSON.stringify(healthy).replace(/"tick_ms":\d+/, `"tick_ms": ${Date.now() - 3_600_000}`);
    server.own.set('silent', { json: old });
    await until('the age', async () => /Nothing has come for \d+ minutes/.test(await silent.innerText()));
    server.tick = 'incident';
    await until('it to go', () => silent.isHidden());
  });

  suite.test('console: says that the scorer is unreachable, keeps the picture, and recovers', async () => {
    server.reachable = false;
    const problem = page.locator('#problem');
    await until('the message', () => problem.isVisible());
    assert.match(await problem.innerText(), /cannot be reached: it answers 503/);
    assert.equal((await drawn()).nodes.length, 13);
    server.reachable = true;
    await until('recovery', () => problem.isHidden());
    page.problems = page.problems.filter((text) => !/503/.test(text));
  });

  suite.test('console: follows the system’s light scheme', async () => {
    const dark = (await drawn()).nodes.map((n) => n.fill);
    await page.emulateMedia({ colorScheme: 'light' });
    await until('other colours', async () => (await drawn()).nodes.some((n, at) => n.fill !== dark[at]));
    await page.screenshot({ path: join(shots, 'console-incident-light.png') });
  });

  suite.test('console: odd answers are no crash', async () => {
    server.own.set('odd', { json: '{"services":[{"name":"alone"},{"x":1},null],"edges":"?","incidents":[{}]}' });
    server.tick = 'odd';
    await until('one service', async () => (await drawn()).nodes.length === 1);
    server.own.set('odd', { json: 'not json' });
    await until('the message', () => page.locator('#problem').isVisible());
    server.tick = 'healthy';
    await until13();
    page.problems = page.problems.filter((text) => !/503/.test(text));
    assert.deepEqual(page.problems, []);
  });

  suite.test('console: a thousand services are laid out, painted and asked what-if', async () => {
    // Not a timed test: the figures are for the reader. Polling must not replace the picture meanwhile.
    server.reachable = false;
    await until('polling to fail', () => page.locator('#problem').isVisible());
    const figures = await page.evaluate(async () => {
      const view = window.quollView;
      const [records, values] = [[], []];
      let state = 12345;
      const next = (below) => {
        state = (state * 1103515245 + 12345) % 2147483648;
        return Math.floor((state / 2147483648) * below);
      };
      const add = (labels, value) => {
        records.push(Object.entries(labels).flat().join('\u001f'));
        values.push(value);
      };
      for (let i = 0; i < 1000; i++) {
        add({ __name__: 'quoll_anomaly_score', service_name: `s${i}` }, next(300) / 100);
        for (let k = 0; i > 0 && k < 4; k++) {
          const labels = { client: `s${Math.floor((next(1000) * next(1000) * i) / 1e6)}`, server: `s${i}` };
          add({ __name__: 'quoll_edge_strength', ...labels }, 0.5);
          add({ __name__: 'quoll_edge_requests_per_second', ...labels }, next(100));
        }
      }
      const samples = { packed: records.join('\u001e'), values: Float64Array.from(values) };
      const time = (run) => {
        const start = performance.now();
        run();
        return Math.round((performance.now() - start) * 10) / 10;
      };
      const arrange = () => time(() => view.panel.arrange(performance.now()));
      const paint = () => time(() => view.panel.paint(performance.now()));
      const small = { layout: arrange(), painting: paint(), services: view.drawn().nodes.length };
      const first = time(() => view.load(samples));
      const layout = arrange();
      const refresh = time(() => view.load(samples));
      const painted = paint();
      const read = time(() => view.panel.load(samples.packed, samples.values, performance.now()));
      const reach = time(() => view.panel.suppose(900));
      const report = time(() => JSON.parse(view.panel.summary()));
      const whatIf = time(() => view.suppose(900));
      const { nodes, edges } = view.drawn();
      const exact = view.report().reach?.exact;
      const counts = { nodes: nodes.length, edges: edges.length };
      const result = { small, first, layout, refresh, read, painted, whatIf, reach, report, exact, ...counts };
      view.suppose(-1);
      return result;
    });
    assert.equal(figures.nodes, 1000);
    assert.ok(figures.edges > 3000);
    const { small } = figures;
    console.log(
      `      ${small.services} services: layout ${small.layout} ms, painting ${small.painting} ms\n` +
        `      1,000 services, ${figures.edges} calls: first sight ${figures.first} ms (layout ${figures.layout} ms), ` +
        `refresh ${figures.refresh} ms (reading and inference ${figures.read} ms, painting ${figures.painted} ms), ` +
        `what-if ${figures.whatIf} ms (inference ${figures.reach} ms, exact: ${figures.exact}, report ${figures.report} ms)`,
    );
    await page.screenshot({ path: join(shots, 'console-1000-light.png') });
    server.reachable = true;
  });
}
