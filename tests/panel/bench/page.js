// The page of the bench: the panel's own module beside d3-force and MSAGL, each asked from outside.
import { forceCenter, forceLink, forceManyBody, forceSimulation } from 'd3-force';
import { GeomEdge, GeomGraph, GeomNode, Graph, Edge, Node, layoutGeomGraph, MdsLayoutSettings, Point, CurveFactory, EdgeRoutingMode } from '@msagl/core';
import init, { Panel } from '../../../grafana-panel/.build/wasm/quoll_panel_wasm.js';
import { domains, graph, samples, stress } from './graph.js';

const WIDTH = 1280;
const HEIGHT = 760;
const FRAMES = 90;
/** Frames are counted for no longer than this, but at least so many. */
const FRAMES_MS = 12_000;
const LEAST_FRAMES = 12;

const canvas = document.createElement('canvas');
canvas.style.cssText = `width:${WIDTH}px;height:${HEIGHT}px`;
document.body.append(canvas);
const now = () => performance.now();
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * q))];

/** Waits until the canvas is really painted: without a GPU, drawing is only noted down at first. */
const painted = (context) => context.getImageData(0, 0, 1, 1);

/** Time between frames while `draw` paints each; the first few are left out. */
async function frames(draw) {
  const times = [];
  let last = 0;
  const begin = now();
  for (let at = 0; at < FRAMES + 8 && (times.length < LEAST_FRAMES || now() - begin < FRAMES_MS); at++) {
    const time = await frame();
    if (at > 2) {
      times.push(time - last);
    }
    last = time;
    draw(at);
  }
  return { fps: 1000 / (times.reduce((a, b) => a + b, 0) / times.length), p95: quantile(times, 0.95) };
}

let memory;
let panel;
async function start(wasm) {
  memory = (await init({ module_or_path: wasm })).memory;
  panel = new Panel();
  panel.attach(canvas);
  panel.theme(true, '#181b1f');
  panel.animate(true);
  panel.flow(true);
  panel.clusters_above(1e6);
  panel.resize(WIDTH, HEIGHT, 1);
}

function load(what, tick = 0) {
  const { packed, values } = samples(what, tick);
  panel.load(packed, values, now());
}

/** Positions as painted, by the number in the service's name. */
function points() {
  const list = [];
  for (const node of JSON.parse(panel.drawn()).nodes) {
    list[Number(node.id.slice('service-'.length))] = node.centre;
  }
  return list;
}

const bench = {
  /** Milliseconds of a force layout, from the first step to the last, and how good it is. */
  quoll(services, runs) {
    const what = graph(services);
    load(what);
    const times = [];
    for (let run = 0; run < runs; run++) {
      const begin = now();
      panel.arrange_as('force', begin);
      panel.settle();
      times.push(now() - begin);
    }
    panel.paint(now() + 1e6);
    return { ms: median(times), stress: stress(what, points()) };
  },

  /** Longest time the page is held by one slice of that layout, painting left out. */
  slices(services) {
    load(graph(services));
    const times = [];
    const begin = now();
    panel.arrange_as('force', begin);
    times.push(now() - begin);
    for (let moving = true; moving && times.length < 2000; ) {
      const slice = now();
      moving = JSON.parse(panel.layout_slice());
      times.push(now() - slice);
    }
    return { first: times[0], longest: Math.max(...times.slice(1)), slices: times.length };
  },

  /** d3-force as its documentation has it: links, repulsion, centre, 300 ticks. */
  d3(services) {
    const what = graph(services);
    const nodes = Array.from({ length: services }, (_, id) => ({ id }));
    const links = what.links.map(([source, target]) => ({ source, target }));
    const begin = now();
    const simulation = forceSimulation(nodes)
      .force('link', forceLink(links).id((node) => node.id))
      .force('charge', forceManyBody())
      .force('center', forceCenter())
      .stop();
    simulation.tick(300);
    const ms = now() - begin;
    bench.last = { services, nodes, links };
    return { ms, stress: stress(what, nodes.map((n) => [n.x, n.y])) };
  },

  /** MSAGL's layout for large graphs (pivot multidimensional scaling), with straight edges. */
  msagl(services) {
    const what = graph(services);
    const nodes = new Graph();
    const geometry = new GeomGraph(nodes);
    const list = Array.from({ length: services }, (_, id) => {
      const node = new Node(`n${id}`);
      nodes.addNode(node);
      new GeomNode(node).boundaryCurve = CurveFactory.mkCircle(8, new Point(0, 0));
      return node;
    });
    for (const [a, b] of what.links) {
      new GeomEdge(new Edge(list[a], list[b]));
    }
    geometry.layoutSettings = new MdsLayoutSettings();
    geometry.layoutSettings.commonSettings.edgeRoutingSettings.edgeRoutingMode = EdgeRoutingMode.StraightLine;
    const begin = now();
    layoutGeomGraph(geometry);
    const ms = now() - begin;
    return { ms, stress: stress(what, list.map((n) => { const c = GeomNode.getGeom(n).center; return [c.x, c.y]; })) };
  },

  /** Frames while the picture is moved, so that all of it is painted each time. */
  async quollFrames(services) {
    load(graph(services));
    panel.arrange_as('force', now());
    panel.settle();
    for (let time = now(); now() - time < 600; ) {
      panel.paint(now());
      await frame();
    }
    const result = await frames((at) => {
      panel.pan(at % 2 === 0 ? 3 : -3, 0);
      panel.paint(now());
    });
    const still = await frames(() => panel.paint(now()));
    return { ...result, still: still.fps };
  },

  /** The same graph as d3's examples draw it: one path per link, an arrow head, a disc and a label each. */
  async d3Frames(services) {
    if (bench.last?.services !== services) {
      bench.d3(services);
    }
    const { nodes, links } = bench.last;
    const context = canvas.getContext('2d');
    const range = (key) => [Math.min(...nodes.map((n) => n[key])), Math.max(...nodes.map((n) => n[key]))];
    const [[left, right], [top, bottom]] = [range('x'), range('y')];
    const scale = Math.min(WIDTH / (right - left), HEIGHT / (bottom - top)) * 0.95;
    const draw = (at) => {
      context.setTransform(1, 0, 0, 1, WIDTH / 2 + (at % 2) * 3, HEIGHT / 2);
      context.clearRect(-WIDTH, -HEIGHT, 2 * WIDTH, 2 * HEIGHT);
      const place = (n) => [(n.x - (left + right) / 2) * scale, (n.y - (top + bottom) / 2) * scale];
      context.strokeStyle = 'rgba(140,150,160,0.6)';
      context.fillStyle = 'rgba(140,150,160,0.8)';
      for (const { source, target } of links) {
        const [[x, y], [u, v]] = [place(source), place(target)];
        const length = Math.hypot(u - x, v - y) || 1;
        const [dx, dy] = [(u - x) / length, (v - y) / length];
        context.beginPath();
        context.moveTo(x, y);
        context.lineTo(u, v);
        context.stroke();
        context.beginPath();
        context.moveTo(u, v);
        context.lineTo(u - 6 * dx - 3 * dy, v - 6 * dy + 3 * dx);
        context.lineTo(u - 6 * dx + 3 * dy, v - 6 * dy - 3 * dx);
        context.fill();
      }
      context.fillStyle = '#6fa87b';
      context.font = '10px sans-serif';
      for (const node of nodes) {
        const [x, y] = place(node);
        context.beginPath();
        context.arc(x, y, 4, 0, 2 * Math.PI);
        context.fill();
        context.fillText(`service-${node.id}`, x + 5, y + 3);
      }
    };
    return frames(draw);
  },

  /** From the click to the painted picture, over services from all over the graph. */
  whatIf(kind, services) {
    const what = kind === 'domains' ? domains(services) : graph(services);
    load(what);
    panel.arrange_as('force', now());
    panel.settle();
    panel.paint(now());
    panel.warm_up();
    panel.flow(false);
    const context = canvas.getContext('2d');
    painted(context);
    const times = [];
    for (let at = 0; at < 15; at++) {
      const begin = now();
      panel.suppose(Math.floor(((at + 0.5) * services) / 15));
      panel.paint(begin);
      painted(context);
      times.push(now() - begin);
    }
    const { exact } = JSON.parse(panel.summary()).reach;
    const cuts = [];
    for (let at = 0; at < 9; at++) {
      const begin = now();
      panel.cut(Math.floor(((at + 0.5) * what.links.length) / 9), true);
      panel.paint(begin);
      painted(context);
      cuts.push(now() - begin);
    }
    panel.reset();
    panel.flow(true);
    return { ms: median(times), p95: quantile(times, 0.95), cut: median(cuts), exact };
  },

  /** Bytes of the module's memory. */
  memory: () => memory.buffer.byteLength,

  /** Takes in and paints ticks one after the other. */
  refresh(services, from, count) {
    const what = graph(services);
    for (let tick = from; tick < from + count; tick++) {
      load(what, tick);
      panel.paint(now());
      JSON.parse(panel.summary());
    }
  },
};

window.bench = bench;
window.start = start;
