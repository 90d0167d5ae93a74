// Serves what the pages need on a free loopback port: the harness, the built plugin and console as they
// are, Prometheus behind a prefix, and recorded ticks whose time is set to now.
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { extname, join, normalize } from 'node:path';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.wasm': 'application/wasm',
};
/** No inline script or style, nothing from elsewhere. */
const STRICT = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'";

/**
 * What Grafana documents for sites that set a policy, with a nonce, and its host as its own root path:
 * https://grafana.com/docs/grafana/latest/setup-grafana/configure-security/configure-security-hardening/
 */
const GRAFANA =
  "script-src 'self' 'unsafe-eval' 'unsafe-inline' 'strict-dynamic' 'nonce-quoll'; object-src 'none'; font-src 'self'; " +
  "style-src 'self' 'unsafe-inline' blob:; img-src * data:; base-uri 'self'; " +
  "connect-src 'self' grafana.com; manifest-src 'self'; media-src 'none'; form-action 'self'";
/** The least that the panel itself needs: no code from text; Grafana's own styles are inline. */
const STRICTER =
  "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' 'nonce-quoll'; style-src 'self' 'unsafe-inline'; " +
  "img-src 'self' data:; object-src 'none'; base-uri 'self'; connect-src 'self'";
const POLICIES = { grafana: GRAFANA, stricter: STRICTER, none: STRICTER.replace(" 'wasm-unsafe-eval'", '') };
/** Stands for one of Grafana's icons, none of which are in its packages. */
const ICON = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path d="M4 4h16v16H4z"/></svg>';
const here = import.meta.dirname;
const panel = join(here, '../../grafana-panel');

function sendFile(response, folder, name, headers = {}) {
  try {
    const path = join(folder, normalize(`/${name}`));
    const body = readFileSync(path);
    response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream', ...headers });
    response.end(body);
  } catch {
    response.writeHead(404).end('not found');
  }
}

export class TestServer {
  /** Which recorded tick is shown: `healthy`, `incident`, or exposition text and JSON of one's own. */
  tick = 'healthy';
  own = new Map();
  /** What was said about incidents, and the scopes there are. */
  feedback = [];
  /** Queries that graphs were asked for with. */
  asked = [];
  scopes = [{ tenant: '', partition: '', services: 13, incidents: 0, tick_ms: 0 }];
  /** Whether the scorer's API answers. */
  reachable = true;
  prometheusPort = 0;
  /** How often Prometheus asked. */
  scrapes = 0;

  exposition() {
    const own = this.own.get(this.tick);
    const text = own ? (own.prom ?? '') : readFileSync(join(here, 'recorded', `${this.tick}.prom`), 'utf8');
    return text.replace(/^(quoll_inference_tick_timestamp_seconds\S*) .*$/m, `$1 ${Date.now() / 1000}`);
  }

  graph() {
    const text = this.own.get(this.tick)?.json ?? readFileSync(join(here, 'recorded', `${this.tick}.json`), 'utf8');
    return text.replace(/"tick_ms":\d+/, `"tick_ms":${Date.now()}`);
  }

  async start() {
    this.server = createServer((incoming, response) => this.route(incoming, response));
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.port = this.server.address().port;
    this.origin = `http://127.0.0.1:${this.port}`;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  route(incoming, response) {
    const { pathname, search } = new URL(incoming.url, this.origin);
    const after = (prefix) => (pathname.startsWith(prefix) ? pathname.slice(prefix.length) : undefined);
    if (pathname === '/exposition') {
      this.scrapes += 1;
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(this.exposition());
    } else if (after('/prometheus/') !== undefined) {
      this.proxy(`/${after('/prometheus/')}${search}`, response);
    } else if (pathname === '/harness') {
      const policy = POLICIES[new URL(incoming.url, this.origin).searchParams.get('policy') ?? 'grafana'];
      sendFile(response, join(here, '.build'), 'index.html', { 'content-security-policy': policy });
    } else if (pathname === '/public/build/img/icons/unicons/database.svg') {
      response.writeHead(200, { 'content-type': 'image/svg+xml' }).end(ICON);
    } else if (pathname === '/harness-axe.js') {
      sendFile(response, join(here, 'node_modules/axe-core'), 'axe.min.js');
    } else if (after('/harness/') !== undefined) {
      sendFile(response, join(here, '.build'), after('/harness/'));
    } else if (after('/public/plugins/quoll-blastradius-panel/') !== undefined) {
      sendFile(response, join(panel, 'dist'), after('/public/plugins/quoll-blastradius-panel/'));
    } else if (pathname === '/api/v1/graph') {
      this.asked.push(search);
      if (this.reachable) {
        response.writeHead(200, { 'content-type': 'application/json' }).end(this.graph());
      } else {
        response.writeHead(503).end('starting');
      }
    } else if (pathname === '/api/v1/scopes') {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(this.scopes));
    } else if (pathname === '/api/v1/explain') {
      this.explain(new URL(incoming.url, this.origin).searchParams.get('incident'), response);
    } else if (incoming.method === 'POST' && /^\/api\/v1\/incidents\/[^/]+\/feedback$/.test(pathname)) {
      let body = '';
      incoming.on('data', (chunk) => {
        body += chunk;
      });
      incoming.on('end', () => {
        this.feedback.push({ id: decodeURIComponent(pathname.split('/')[4]), ...JSON.parse(body) });
        response.writeHead(200).end('Noted: it will be learned from.');
      });
    } else {
      const name = (after('/console/') ?? pathname.slice(1)) || 'index.html';
      sendFile(response, join(panel, 'dist-console'), name, { 'content-security-policy': STRICT });
    }
  }

  /** As the scorer answers, from the recorded incident. */
  explain(id, response) {
    const { incidents, services } = JSON.parse(this.graph());
    const incident = incidents?.find((one) => one.id === id);
    if (!incident) {
      response.writeHead(404).end('no such incident');
      return;
    }
    const { opened_ms, explanation } = incident;
    const [{ namespace, name }] = services.sort((a, b) => (b.root_cause_probability ?? 0) - (a.root_cause_probability ?? 0));
    const answer = { id, open: true, opened_ms, closed_ms: null, root: { namespace, name }, explanation, feedback: null };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  }

  proxy(path, response) {
    const upstream = request({ host: '127.0.0.1', port: this.prometheusPort, path }, (answer) => {
      response.writeHead(answer.statusCode, { 'content-type': answer.headers['content-type'] ?? 'text/plain' });
      answer.pipe(response);
    });
    upstream.on('error', (error) => response.writeHead(502).end(String(error)));
    upstream.end();
  }
}
