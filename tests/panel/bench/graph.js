// Graphs to lay out and to ask: four calls per service, older services called more, and service-like ones.

/** A generator of whole numbers below a limit (Lehmer's, with Park and Miller's constants, 1988). */
function random(seed) {
  let state = seed;
  return (below) => {
    state = (state * 48271) % 2147483647;
    return Math.floor((state / 2147483647) * below);
  };
}

/** `services` services with four links each, to earlier ones, more to the oldest. */
export function graph(services) {
  const next = random(12345);
  const links = new Map();
  for (let server = 1; server < services; server++) {
    for (let k = 0; k < 4; k++) {
      const client = Math.floor((next(1000) * next(1000) * server) / 1e6);
      links.set(`${client} ${server}`, [client, server]);
    }
  }
  return { services, links: [...links.values()] };
}

/** Domains of 25 services, each a tree with a database behind one gateway; narrow enough for exact inference. */
export function domains(services) {
  const next = random(4321);
  const links = new Map();
  const add = (client, server) => client !== server && links.set(`${client} ${server}`, [client, server]);
  for (let entry = 1; entry < services; entry += 25) {
    const end = Math.min(entry + 25, services);
    add(0, entry);
    for (let server = entry + 1; server < end; server++) {
      add(entry + Math.floor((server - entry - 1) / 3), server);
      if (next(100) < 25) {
        add(entry + next(server - entry), server);
      }
      if (next(100) < 40) {
        add(server, end - 1);
      }
    }
  }
  return { services, links: [...links.values()] };
}

/** One tick of a graph, in the packed form the panel takes. */
export function samples({ services, links }, tick = 0) {
  const next = random(99 + tick);
  const records = [];
  const values = [];
  const add = (labels, value) => {
    records.push(Object.entries(labels).flat().join('\u001f'));
    values.push(value);
  };
  for (let service = 0; service < services; service++) {
    add({ __name__: 'quoll_anomaly_score', service_name: `service-${service}` }, next(300) / 100);
  }
  for (const [client, server] of links) {
    const labels = { client: `service-${client}`, server: `service-${server}` };
    add({ __name__: 'quoll_edge_strength', ...labels }, 0.5);
    add({ __name__: 'quoll_edge_requests_per_second', ...labels }, next(1000) / 10);
    add({ __name__: 'quoll_edge_error_ratio', ...labels }, next(20) === 0 ? next(100) / 300 : 0);
  }
  add({ __name__: 'quoll_leak_probability' }, 1e-11);
  add({ __name__: 'quoll_inference_tick_timestamp_seconds' }, 1e9 + tick);
  return { packed: records.join('\u001e'), values: Float64Array.from(values) };
}

/**
 * How far drawn distances are from numbers of hops: mean over pairs of ((scale x drawn - hops) / hops)^2 at
 * the best scale, over the pairs of 50 sources with all others (stress of weights 1/d^2; Gansner, Koren and
 * North, "Graph Drawing by Stress Majorization", 2004).
 */
export function stress({ services, links }, points) {
  const near = Array.from({ length: services }, () => []);
  for (const [a, b] of links) {
    near[a].push(b);
    near[b].push(a);
  }
  let squares = 0;
  let products = 0;
  let pairs = 0;
  for (let source = 0; source < services; source += Math.ceil(services / 50)) {
    const hops = new Int32Array(services).fill(-1);
    hops[source] = 0;
    const queue = [source];
    for (let at = 0; at < queue.length; at++) {
      for (const other of near[queue[at]]) {
        if (hops[other] < 0) {
          hops[other] = hops[queue[at]] + 1;
          queue.push(other);
        }
      }
    }
    for (let node = 0; node < services; node++) {
      if (hops[node] > 0) {
        const share = Math.hypot(points[node][0] - points[source][0], points[node][1] - points[source][1]) / hops[node];
        squares += share * share;
        products += share;
        pairs += 1;
      }
    }
  }
  return (pairs - (products * products) / squares) / pairs;
}
