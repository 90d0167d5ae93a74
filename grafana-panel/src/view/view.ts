/**
 * The graph with everything around it: tools, legend, ranked causes, what-if, time line, tooltip, menu, and
 * a list of the same content for screen readers. Used by the Grafana panel and by the scorer's console alike.
 *
 * All decisions are in WASM; this listens, asks and shows.
 */
import type { Details } from '../details';
import { type Drawn, parseDrawn } from '../drawn';
import type { LegendNotes } from '../looks';
import { sentence } from '../notes';
import { describeService, type Picked, type Service, type Summary, type Written } from '../report';
import { packNames, type Samples } from '../samples';
import { languageTag, t, tn } from '../text';
import type { Panel } from '../wasm';
import { callItems, type Deeds, serviceItems } from './actions';
import { adoptStyles, button, element } from './dom';
import { asPng, download } from './download';
import { Dresser } from './dresser';
import type { Extra, ViewOptions, ViewTheme } from './given';
import { Gpu } from './gpu';
import { causes, legend, supposed } from './lists';
import { listenToKeys } from './keys';
import { Menu } from './menu';
import { listen, type Place } from './pointer';
import { tell } from './reader';
import { Strip } from './strip';
import { beside, callDetail, type Tip, tipOf } from './tips';
import { Toolbar } from './toolbar';
import css from './view.css';

/** Widths and heights in CSS pixels from which parts have room. */
const SIDE_WIDTH = 560;
const BELOW_HEIGHT = 420;
const LEGEND_HEIGHT = 220;
const TOOLBAR_HEIGHT = 240;
const TIMELINE_HEIGHT = 320;
const READER_DELAY_MS = 250;
const HINT_MS = 1500;

export class View {
  private readonly root = element('div', 'quoll');
  private readonly stage = element('div', 'quoll-stage');
  private readonly canvas = element('canvas');
  private readonly message = element('div', 'quoll-message quoll-hidden');
  private readonly tip = element('div', 'quoll-tip quoll-hidden');
  private readonly hint = element('div', 'quoll-hint quoll-hidden');
  private readonly banner = element('div', 'quoll-banner quoll-hidden');
  private readonly chips = element('div', 'quoll-chips');
  private readonly legend = element('div', 'quoll-legend');
  private readonly side = element('aside', 'quoll-side');
  private readonly causes = element('div');
  private readonly reader = element('div', 'quoll-sr');
  private readonly spoken = element('div', 'quoll-sr');
  private readonly menu = new Menu();
  private readonly toolbar: Toolbar;
  private readonly strip: Strip;
  private readonly gpu: Gpu;
  /** For the page's own content, below the ranked causes. */
  readonly extra = element('div');

  private summary: Summary | undefined;
  private details: Details | undefined;
  private legendNotes: LegendNotes | undefined;
  private readonly dresser: Dresser;
  private notes: string[] = [];
  private size = { width: 0, height: 0 };
  private options: ViewOptions = { showCauses: true, showLegend: true, emptyHint: '' };
  private background = '#000';
  private frame = 0;
  private reading = 0;
  private hinting = 0;
  private measured = '';
  private around = false;
  private held = -1;
  private arrangement = '';
  private hasTimeline = false;
  private readonly observer = new ResizeObserver(() => this.measure());
  private focused = -1;
  /** Told which service was clicked or chosen by key; undefined on reset. */
  onSelect: ((service: Service | undefined) => void) | undefined;
  /** Shows tooltips in place of this; undefined hides. */
  onTip: ((tip: Tip | undefined) => void) | undefined;
  /** Told when the user has arranged something that is worth keeping. */
  onArrange: ((arrangement: string) => void) | undefined;

  constructor(
    host: HTMLElement,
    private readonly panel: Panel,
  ) {
    adoptStyles(css);
    panel.attach(this.canvas);
    panel.animate(!matchMedia('(prefers-reduced-motion: reduce)').matches);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'application');
    this.canvas.setAttribute('aria-roledescription', t('view.graph', 'graph'));
    this.canvas.setAttribute('aria-label', t('reader.graph', 'Service graph'));
    this.side.setAttribute('role', 'region');
    this.side.setAttribute('aria-label', t('lists.causes', 'Probable causes'));
    this.side.tabIndex = 0;
    this.spoken.setAttribute('aria-live', 'polite');
    this.banner.setAttribute('role', 'status');
    this.toolbar = new Toolbar({
      search: (text) => this.changing(() => panel.search(text)),
      goToMatch: (text) => this.goTo(text),
      arrange: (layout) => this.arranging(() => panel.arrange_as(layout, performance.now())),
      filter: (filter) =>
        this.changing(() => {
          const names = filter.namespaces && packNames(filter.namespaces);
          panel.filter(names, filter.leastScore, filter.leastRate, performance.now());
        }),
      openNamespace: (namespace, open) => this.arranging(() => panel.open_namespace(namespace, open, performance.now())),
      openAll: (open) => this.arranging(() => panel.open_all(open, performance.now())),
      unpin: () =>
        this.arranging(() => {
          panel.unpin(-1);
          panel.arrange(performance.now());
        }),
      flow: (on) => this.changing(() => panel.flow(on)),
      save: (format) => this.save(format),
      showAll: () => this.showAll(),
    });
    this.dresser = new Dresser(panel, () => this.paint());
    this.gpu = new Gpu(panel, this.canvas, () => this.paint());
    this.strip = new Strip(panel, () => this.refresh());
    this.stage.append(this.canvas, this.message, this.hint, this.chips, this.tip, this.menu.root);
    this.side.append(this.causes, this.extra);
    const main = element(
      'div',
      'quoll-main',
      this.toolbar.root,
      this.banner,
      this.stage,
      this.legend,
      this.strip.root,
    );
    this.root.append(main, this.side, this.reader, this.spoken);
    host.append(this.root);
    this.observer.observe(this.stage);
    this.listen();
  }

  setTheme(theme: ViewTheme): void {
    this.panel.theme(theme.dark, theme.background);
    this.background = theme.background;
    const style = this.root.style;
    style.setProperty('--quoll-text', theme.text);
    style.setProperty('--quoll-muted', theme.muted);
    style.setProperty('--quoll-raised', theme.raised);
    style.setProperty('color-scheme', theme.dark ? 'dark' : 'light');
    this.refresh();
  }

  setOptions(options: ViewOptions): void {
    this.options = options;
    this.arrangeParts();
    this.refresh();
  }

  /** Namespaces start closed where there are more services than this. */
  setClustersAbove(services: number): void {
    this.panel.clusters_above(services);
  }

  /** Takes back what `onArrange` gave; anything else leaves things as they are. */
  restore(arrangement: string): void {
    if (arrangement !== '' && arrangement !== this.arrangement) {
      this.arrangement = arrangement;
      this.panel.restore(arrangement, performance.now());
      this.refresh();
    }
  }

  /** Lays out in another way than so far, without telling that it changed. */
  setLayout(layout: string): void {
    this.panel.arrange_as(layout, performance.now());
    this.refresh();
  }

  resize(width: number, height: number): void {
    if (width === this.size.width && height === this.size.height) {
      return;
    }
    this.size = { width, height };
    this.arrangeParts();
  }

  load(samples: Samples, extra: Extra = {}): void {
    this.panel.load(samples.packed, samples.values, performance.now());
    const { timeline } = extra;
    if (timeline || this.hasTimeline) {
      this.hasTimeline = timeline !== undefined && timeline.times.length > 1;
      const none = new Float64Array();
      this.panel.timeline(timeline?.packed ?? '', timeline?.times ?? none, timeline?.values ?? none);
    }
    this.notes = extra.notes ?? [];
    this.details = extra.details;
    this.legendNotes = extra.legend;
    this.dresser.dress(extra.looks, extra.icons);
    this.refresh();
  }

  /** What was painted last; for tests and tools. */
  drawn(): Drawn {
    return parseDrawn(this.panel.drawn());
  }

  report(): Summary | undefined {
    return this.summary;
  }

  /** Assumes that a service failed; a negative id goes back to what is. */
  suppose(id: number): void {
    this.panel.suppose(id);
    this.refresh();
    this.onSelect?.(this.summary?.services[id]);
  }

  destroy(): void {
    this.dresser.stop();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.reading);
    clearTimeout(this.hinting);
    this.strip.stop();
    this.gpu.detach();
    this.menu.close(false);
    this.toolbar.destroy();
    this.observer.disconnect();
    this.onTip?.(undefined);
    this.root.remove();
    this.panel.free();
  }

  private arrangeParts(): void {
    const { width, height } = this.size;
    const beside = width >= SIDE_WIDTH;
    const room = beside || height >= BELOW_HEIGHT;
    const { showCauses, showLegend, showToolbar = true, showTimeline = true } = this.options;
    const empty = this.summary?.services.length === 0;
    this.root.classList.toggle('quoll-below', !beside);
    const silent = this.causes.childElementCount === 0 && this.extra.childElementCount === 0;
    this.side.classList.toggle('quoll-hidden', !showCauses || !room || empty || silent);
    this.legend.classList.toggle('quoll-hidden', !showLegend || height < LEGEND_HEIGHT || empty);
    this.toolbar.root.classList.toggle('quoll-hidden', !showToolbar || height < TOOLBAR_HEIGHT || empty);
    const range = this.summary ? this.strip.update(this.summary) : false;
    this.strip.root.classList.toggle('quoll-hidden', !showTimeline || !range || height < TIMELINE_HEIGHT);
    this.measure();
  }

  /** Gives the canvas the room it has; also told by the observer, since the parts around take from it. */
  private measure(): void {
    const width = Math.max(1, this.stage.clientWidth);
    const height = Math.max(1, this.stage.clientHeight);
    const ratio = window.devicePixelRatio || 1;
    const key = `${width} ${height} ${ratio}`;
    if (key !== this.measured) {
      this.measured = key;
      this.panel.resize(width, height, ratio);
      this.paint();
    }
  }

  /** Does something that changes the picture, and shows that. */
  private changing<R>(change: () => R): R {
    const result = change();
    this.refresh();
    return result;
  }

  /** The same, and worth keeping. */
  private arranging(change: () => void): void {
    this.changing(change);
    this.kept();
  }

  private kept(): void {
    this.arrangement = this.panel.save();
    this.onArrange?.(this.arrangement);
  }

  private refresh(): void {
    const read = JSON.parse(this.panel.summary()) as Written;
    const plain = this.legendNotes?.plain === true;
    // Data that is none of ours cannot lack what only ours has.
    const remarks = read.notes.filter(({ id }) => !(plain && id === 'shares'));
    const summary: Summary = { ...read, notes: [...this.notes, ...remarks.map(sentence)] };
    this.summary = summary;
    const style = this.root.style;
    style.setProperty('--quoll-inferred', summary.inferred);
    style.setProperty('--quoll-hypothetical', summary.hypothetical);
    this.showBanner(summary);
    const empty = summary.services.length === 0;
    this.message.classList.toggle('quoll-hidden', !empty);
    if (empty) {
      this.message.replaceChildren(
        element('strong', '', t('view.empty', 'No services to show')),
        element('span', '', this.options.emptyHint),
        ...summary.notes.map((note) => element('span', '', note)),
      );
    }
    this.legend.replaceChildren(...legend(summary, this.legendNotes));
    const open = (id: number): void => this.suppose(id);
    const reset = (): void => this.suppose(-1);
    this.causes.replaceChildren(...causes(summary, { open, reset, plain, incidentUrl: this.options.incidentUrl }));
    this.showChips(summary);
    this.toolbar.show(summary);
    this.gpu.choose(this.options.renderer ?? 'auto', summary.nodes.length);
    this.arrangeParts();
    this.paint();
    // Long for large graphs, and nobody reads it within a moment of a refresh.
    clearTimeout(this.reading);
    this.reading = window.setTimeout(() => {
      const told = tell(summary);
      this.canvas.setAttribute('aria-label', told.label);
      this.reader.replaceChildren(...told.content);
      // So that the first what-if is as quick as the later ones.
      this.panel.warm_up();
    }, READER_DELAY_MS);
  }

  /** What differs from now: suppositions, and another time. */
  private showBanner(summary: Summary): void {
    const parts: HTMLElement[] = [];
    if (summary.what_if) {
      const text = t('view.hypothetical', 'Hypothetical: {{supposed}}', { supposed: supposed(summary.what_if) });
      parts.push(element('span', '', text), button(t('view.reset', 'Reset'), () => this.suppose(-1)));
    }
    if (summary.time_ms !== null) {
      const time = new Date(summary.time_ms).toLocaleTimeString(languageTag());
      parts.push(element('span', '', t('view.past', 'Scores and posteriors as of {{time}}', { time })));
    }
    this.banner.classList.toggle('quoll-hidden', parts.length === 0);
    this.banner.replaceChildren(...parts);
  }

  /** What is not shown, and how to get it back. */
  private showChips(summary: Summary): void {
    if (summary.hidden === 0 && !this.around) {
      this.chips.replaceChildren();
      return;
    }
    const text = tn('view.hidden', '{{count}} service hidden', '{{count}} services hidden', { count: summary.hidden });
    this.chips.replaceChildren(
      element('span', '', text),
      button(t('view.unhide', 'Show them'), () => this.everywhere()),
    );
  }

  private everywhere(): void {
    this.around = false;
    this.panel.around(-1, 0, performance.now());
    this.toolbar.clearFilters();
  }

  private paint(): void {
    cancelAnimationFrame(this.frame);
    const moving = this.panel.paint(performance.now());
    this.strip.paint();
    if (moving) {
      this.frame = requestAnimationFrame(() => this.paint());
    }
  }

  private showAll(): void {
    this.panel.show_all();
    this.paint();
  }

  private save(format: 'png' | 'svg' | 'json'): void {
    const name = `blast-radius-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.${format}`;
    if (format === 'svg') {
      download(name, new Blob([this.panel.svg(performance.now())], { type: 'image/svg+xml' }));
    } else if (format === 'json') {
      download(name, new Blob([this.panel.json()], { type: 'application/json' }));
    } else {
      const canvases = this.gpu.below ? [this.gpu.below, this.canvas] : [this.canvas];
      asPng(canvases, this.background).then(
        (picture) => download(name, picture),
        (reason: unknown) => this.say(String(reason)),
      );
    }
  }

  /** Says something for a moment, over the graph. */
  private say(text: string): void {
    this.hint.textContent = text;
    this.hint.classList.remove('quoll-hidden');
    clearTimeout(this.hinting);
    this.hinting = window.setTimeout(() => this.hint.classList.add('quoll-hidden'), HINT_MS);
  }

  private goTo(text: string): void {
    const wanted = text.trim().toLowerCase();
    const match = this.summary?.nodes.find(({ label }) => label.toLowerCase().includes(wanted));
    if (wanted !== '' && match && this.panel.centre_on(match.id)) {
      this.canvas.focus();
      this.focusOn(match.id);
      this.paint();
    }
  }

  private listen(): void {
    listen(this.canvas, {
      point: (at) => {
        if (!this.menu.open) {
          this.point(at);
        }
      },
      click: (at) => this.click(at),
      grab: (at) => {
        const picked = this.pick(at);
        this.held = picked?.kind === 'service' || picked?.kind === 'cluster' ? picked.id : -1;
        this.showTip(undefined);
        return this.held >= 0;
      },
      drag: ({ x, y }) => {
        this.panel.drag(this.held, x, y);
        this.paint();
      },
      dropped: () => this.kept(),
      pan: (dx, dy) => {
        this.panel.pan(dx, dy);
        this.showTip(undefined);
        this.paint();
      },
      zoom: (at, factor) => this.zoom(at, factor),
      scrolled: () => this.say(t('view.scroll', 'Hold Ctrl to zoom')),
    });
    this.canvas.addEventListener('focus', () => this.showTip(undefined));
    listenToKeys(this.root, this.canvas, {
      back: () => {
        const narrowed = this.around;
        if (this.summary?.what_if) {
          this.suppose(-1);
        } else if (narrowed) {
          this.everywhere();
        } else {
          return false;
        }
        return true;
      },
      move: (dx, dy) => {
        const next = this.panel.beside(this.focused, dx, dy);
        if (next >= 0) {
          this.focusOn(next);
          this.speak(next);
        }
      },
      open: () => {
        const focused = this.focused >= 0;
        if (focused) {
          this.openFocused();
        }
        return focused;
      },
      zoom: (factor) => this.zoom({ x: this.stage.clientWidth / 2, y: this.stage.clientHeight / 2 }, factor),
      showAll: () => this.showAll(),
      search: () => this.toolbar.focusSearch(),
    });
  }

  private zoom(at: { x: number; y: number }, factor: number): void {
    this.panel.zoom(at.x, at.y, factor);
    this.showTip(undefined);
    this.paint();
  }

  private pick(at: { x: number; y: number }): Picked {
    return JSON.parse(this.panel.pick(at.x, at.y)) as Picked;
  }

  private deeds(): Deeds {
    const now = (): number => performance.now();
    return {
      suppose: (id) => this.suppose(id),
      healthy: (id, healthy) => this.changing(() => this.panel.suppose_healthy(id, healthy)),
      drain: (id, drained) => this.changing(() => this.panel.drain(id, drained)),
      cut: (call, cut) => this.changing(() => this.panel.cut(call, cut)),
      around: (id, depth) => {
        this.around = true;
        this.changing(() => this.panel.around(id, depth, now()));
      },
      everywhere: () => this.everywhere(),
      expand: (id) => this.changing(() => this.panel.expand(id, now())),
      closeNamespace: (namespace) => this.arranging(() => this.panel.open_namespace(namespace, false, now())),
      reset: () => this.suppose(-1),
    };
  }

  private click(at: Place): void {
    const picked = this.pick(at);
    this.showTip(undefined);
    switch (picked?.kind) {
      case 'service':
        this.openService(picked.id, at);
        break;
      case 'cluster':
        this.arranging(() => this.panel.open_namespace(picked.namespace, true, performance.now()));
        break;
      case 'hidden':
        this.changing(() => this.panel.expand(picked.id, performance.now()));
        break;
      case 'link':
        this.openLink(picked.calls, at);
        break;
      default:
        this.focusOn(-1);
    }
  }

  private openService(id: number, at: { x: number; y: number }): void {
    const summary = this.summary;
    const service = summary?.services[id];
    if (!summary || !service) {
      return;
    }
    this.focusOn(id);
    this.onSelect?.(service);
    const items = serviceItems(summary, service, this.details?.service(service.id), this.around, this.deeds());
    this.menu.show(service.label, items, { x: at.x + 8, y: at.y + 8 }, () => this.canvas.focus());
  }

  private openLink(calls: number[], at: { x: number; y: number }): void {
    const summary = this.summary;
    const only = calls.length === 1 ? summary?.calls[calls[0] ?? -1] : undefined;
    if (summary) {
      const items = callItems(summary, calls, only && callDetail(summary, this.details, only), this.deeds());
      const label = only ? `${only.client} → ${only.server}` : t('view.calls', 'Calls');
      this.menu.show(label, items, { x: at.x + 8, y: at.y + 8 }, () => this.canvas.focus());
    }
  }

  private openFocused(): void {
    const node = this.summary?.nodes.find(({ id }) => id === this.focused);
    if (node?.cluster && node.namespace !== null) {
      const namespace = node.namespace;
      this.arranging(() => this.panel.open_namespace(namespace, true, performance.now()));
      return;
    }
    const service = this.summary?.services[this.focused];
    const centre = this.drawn().nodes.find(({ id }) => id === service?.id)?.centre;
    this.openService(this.focused, { x: centre?.[0] ?? 0, y: centre?.[1] ?? 0 });
  }

  private speak(id: number): void {
    const summary = this.summary;
    const service = summary?.services[id];
    const text =
      summary && service
        ? [service.label, ...describeService(service, summary)].join(', ')
        : (summary?.nodes.find((node) => node.id === id)?.label ?? '');
    this.spoken.textContent = text;
  }

  private focusOn(id: number): void {
    this.focused = id;
    if (this.panel.focus(id)) {
      this.paint();
    }
  }

  private point(at: Place | undefined): void {
    const picked = at ? this.pick(at) : null;
    this.canvas.classList.toggle('quoll-pointing', picked !== null);
    this.focusOn(picked?.kind === 'service' || picked?.kind === 'cluster' ? picked.id : -1);
    const told = picked && this.summary ? tipOf(picked, this.summary, this.details) : undefined;
    this.showTip(at && told ? { clientX: at.clientX, clientY: at.clientY, ...told } : undefined, at);
  }

  private showTip(tip: Tip | undefined, at?: Place): void {
    if (this.onTip) {
      this.onTip(tip);
      return;
    }
    this.tip.classList.toggle('quoll-hidden', !tip);
    if (tip && at) {
      this.tip.replaceChildren(element('strong', '', tip.title), ...tip.lines.map((line) => element('div', '', line)));
      beside(this.tip, at, this.stage);
    }
  }
}

