/**
 * The graph with everything around it: legend, ranked causes, what-if banner, tooltip, and a list of
 * the same content for screen readers. Used by the Grafana panel and by the scorer's console alike.
 *
 * All decisions are in WASM; this listens, asks and shows.
 */
import { type Drawn, parseDrawn } from '../drawn';
import { describeCall, describeService, percent, type Service, type Summary } from '../report';
import type { Samples } from '../samples';
import type { Panel } from '../wasm';
import { adoptStyles, button, element } from './dom';
import { causes, legend } from './lists';
import css from './view.css';

export interface ViewTheme {
  dark: boolean;
  /** CSS colours of the surroundings. */
  background: string;
  raised: string;
  text: string;
  muted: string;
}

export interface ViewOptions {
  showCauses: boolean;
  showLegend: boolean;
  /** Said where there is no service at all. */
  emptyHint: string;
}

/** Widths and heights in CSS pixels from which parts have room. */
const SIDE_WIDTH = 560;
const BELOW_HEIGHT = 420;
const LEGEND_HEIGHT = 220;
const READER_DELAY_MS = 250;

export class View {
  private readonly root = element('div', 'quoll');
  private readonly stage = element('div', 'quoll-stage');
  private readonly canvas = element('canvas');
  private readonly message = element('div', 'quoll-message quoll-hidden');
  private readonly tip = element('div', 'quoll-tip quoll-hidden');
  private readonly banner = element('div', 'quoll-banner quoll-hidden');
  private readonly bannerText = element('span');
  private readonly legend = element('div', 'quoll-legend');
  private readonly side = element('aside', 'quoll-side');
  private readonly causes = element('div');
  private readonly reader = element('div', 'quoll-sr');
  private readonly spoken = element('div', 'quoll-sr');
  private readonly tools = element('div', 'quoll-tools quoll-hidden');
  /** For the page's own content, below the ranked causes. */
  readonly extra = element('div');

  private summary: Summary | undefined;
  private size = { width: 0, height: 0 };
  private options: ViewOptions = { showCauses: true, showLegend: true, emptyHint: '' };
  private frame = 0;
  private reading = 0;
  private measured = '';
  private readonly observer = new ResizeObserver(() => this.measure());
  private focused = -1;
  private drag: { x: number; y: number; moved: boolean } | undefined;
  /** Told which service was clicked or chosen by key; undefined on reset. */
  onSelect: ((service: Service | undefined) => void) | undefined;

  constructor(
    host: HTMLElement,
    private readonly panel: Panel,
  ) {
    adoptStyles(css);
    panel.attach(this.canvas);
    panel.animate(!matchMedia('(prefers-reduced-motion: reduce)').matches);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'img');
    this.side.setAttribute('aria-label', 'Probable causes');
    this.spoken.setAttribute('aria-live', 'polite');
    this.banner.setAttribute('role', 'status');
    this.banner.append(
      this.bannerText,
      button('Reset', () => this.suppose(-1)),
    );
    this.tools.append(button('Show all', () => this.showAll()));
    this.stage.append(this.canvas, this.message, this.banner, this.tools, this.tip);
    this.side.append(this.causes, this.extra);
    const main = element('div', 'quoll-main', this.stage, this.legend);
    this.root.append(main, this.side, this.reader, this.spoken);
    host.append(this.root);
    this.observer.observe(this.stage);
    this.listen();
  }

  setTheme(theme: ViewTheme): void {
    this.panel.theme(theme.dark, theme.background);
    const style = this.root.style;
    style.setProperty('--quoll-text', theme.text);
    style.setProperty('--quoll-muted', theme.muted);
    style.setProperty('--quoll-raised', theme.raised);
    this.refresh();
  }

  setOptions(options: ViewOptions): void {
    this.options = options;
    this.arrangeParts();
    this.refresh();
  }

  resize(width: number, height: number): void {
    if (width === this.size.width && height === this.size.height) {
      return;
    }
    this.size = { width, height };
    this.arrangeParts();
    this.measure();
  }

  load(samples: Samples): void {
    this.panel.load(samples.packed, samples.values, performance.now());
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
    cancelAnimationFrame(this.frame);
    clearTimeout(this.reading);
    this.observer.disconnect();
    this.root.remove();
    this.panel.free();
  }

  private arrangeParts(): void {
    const { width, height } = this.size;
    const beside = width >= SIDE_WIDTH;
    const room = beside || height >= BELOW_HEIGHT;
    this.root.classList.toggle('quoll-below', !beside);
    this.side.classList.toggle('quoll-hidden', !this.options.showCauses || !room);
    this.legend.classList.toggle('quoll-hidden', !this.options.showLegend || height < LEGEND_HEIGHT);
  }

  /** Gives the canvas the room it has; also told by the observer, since legend and list take from it. */
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

  private refresh(): void {
    const summary = JSON.parse(this.panel.summary()) as Summary;
    this.summary = summary;
    const style = this.root.style;
    style.setProperty('--quoll-inferred', summary.inferred);
    style.setProperty('--quoll-hypothetical', summary.hypothetical);
    const hypothetical = summary.reach?.hypothetical === true;
    this.banner.classList.toggle('quoll-hidden', !hypothetical);
    if (hypothetical && summary.reach) {
      this.bannerText.textContent = `Hypothetical: what ${summary.reach.root} would reach if it failed`;
    }
    const empty = summary.services.length === 0;
    this.message.classList.toggle('quoll-hidden', !empty);
    if (empty) {
      this.message.replaceChildren(
        element('strong', '', 'No services to show'),
        element('span', '', this.options.emptyHint),
        ...summary.notes.map((note) => element('span', '', note)),
      );
    }
    this.legend.replaceChildren(...legend(summary));
    this.causes.replaceChildren(...causes(summary, (id) => this.suppose(id)));
    this.paint();
    // Long for large graphs, and nobody reads it within a moment of a refresh.
    clearTimeout(this.reading);
    this.reading = setTimeout(() => {
      this.showReader(summary);
      // So that the first what-if is as quick as the later ones.
      this.panel.warm_up();
    }, READER_DELAY_MS);
  }

  private paint(): void {
    cancelAnimationFrame(this.frame);
    const moving = this.panel.paint(performance.now());
    if (moving) {
      this.frame = requestAnimationFrame(() => this.paint());
    }
  }

  private showAll(): void {
    this.panel.show_all();
    this.tools.classList.add('quoll-hidden');
    this.paint();
  }

  private showReader(summary: Summary): void {
    const worst = summary.incidents[0]?.causes[0];
    const state = worst ? `likeliest cause ${worst.label}, ${percent(worst.probability)}` : 'no incident';
    const size = `${summary.services.length} services, ${summary.calls.length} calls`;
    this.canvas.setAttribute(
      'aria-label',
      `Service graph: ${size}; ${state}. Arrow keys move between services, Enter supposes a fault, Escape resets.`,
    );
    const called = new Map<string, string[]>();
    for (const call of summary.calls) {
      const known = called.get(call.client) ?? [];
      known.push([call.server, ...describeCall(call)].join(', '));
      called.set(call.client, known);
    }
    const items = summary.services.map((service) => {
      const text = [service.label, ...describeService(service, summary)].join(', ');
      const calls = called.get(service.label)?.join('; ');
      return element('li', '', calls ? `${text}. Calls ${calls}.` : `${text}.`);
    });
    const list = element('ul', '', ...items);
    this.reader.replaceChildren(element('p', '', `${size}; ${state}`), list);
  }

  private listen(): void {
    const canvas = this.canvas;
    const at = (event: MouseEvent): [number, number] => {
      const box = canvas.getBoundingClientRect();
      // Grafana may scale panels with CSS transforms.
      const scale = box.width > 0 ? canvas.clientWidth / box.width : 1;
      return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    };
    canvas.addEventListener('pointermove', (event) => {
      if (this.drag && event.buttons === 1) {
        const [dx, dy] = [event.clientX - this.drag.x, event.clientY - this.drag.y];
        if (this.drag.moved || Math.hypot(dx, dy) > 4) {
          this.drag = { x: event.clientX, y: event.clientY, moved: true };
          this.panel.pan(dx, dy);
          this.tools.classList.remove('quoll-hidden');
          this.hideTip();
          this.paint();
          return;
        }
      }
      this.point(...at(event));
    });
    canvas.addEventListener('pointerdown', (event) => {
      this.drag = { x: event.clientX, y: event.clientY, moved: false };
    });
    canvas.addEventListener('pointerleave', () => {
      this.hideTip();
      this.focus(-1);
    });
    canvas.addEventListener('click', (event) => {
      const moved = this.drag?.moved === true;
      this.drag = undefined;
      if (!moved) {
        const id = this.panel.service_at(...at(event));
        if (id >= 0) {
          this.suppose(id);
        }
      }
    });
    canvas.addEventListener(
      'wheel',
      (event) => {
        // Plain scrolling stays with the page.
        if (event.ctrlKey || event.metaKey) {
          event.preventDefault();
          this.panel.zoom(...at(event), Math.exp(-event.deltaY / 300));
          this.tools.classList.remove('quoll-hidden');
          this.paint();
        }
      },
      { passive: false },
    );
    this.root.addEventListener('keydown', (event) => this.key(event));
  }

  private key(event: KeyboardEvent): void {
    const count = this.summary?.services.length ?? 0;
    if (event.key === 'Escape' && this.summary?.reach?.hypothetical) {
      event.stopPropagation();
      this.suppose(-1);
    } else if (event.target === this.canvas && count > 0) {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step !== undefined) {
        event.preventDefault();
        this.focus((Math.max(this.focused, step < 0 ? 0 : -1) + step + count) % count);
        const service = this.summary?.services[this.focused];
        if (service && this.summary) {
          this.spoken.textContent = [service.label, ...describeService(service, this.summary)].join(', ');
        }
      } else if (event.key === 'Enter' && this.focused >= 0) {
        event.preventDefault();
        this.suppose(this.focused);
      }
    }
  }

  private focus(id: number): void {
    this.focused = id;
    if (this.panel.focus(id)) {
      this.paint();
    }
  }

  private point(x: number, y: number): void {
    const id = this.panel.service_at(x, y);
    this.canvas.classList.toggle('quoll-pointing', id >= 0);
    this.focus(id);
    const summary = this.summary;
    const service = summary?.services[id];
    const call = id < 0 ? summary?.calls[this.panel.call_at(x, y)] : undefined;
    if (summary && service) {
      this.showTip(x, y, service.id, describeService(service, summary));
    } else if (call) {
      this.showTip(x, y, `${call.client} → ${call.server}`, describeCall(call));
    } else {
      this.hideTip();
    }
  }

  private showTip(x: number, y: number, title: string, lines: string[]): void {
    this.tip.replaceChildren(element('strong', '', title), ...lines.map((line) => element('div', '', line)));
    this.tip.classList.remove('quoll-hidden');
    const { clientWidth, clientHeight } = this.stage;
    const { offsetWidth, offsetHeight } = this.tip;
    const left = x + 14 + offsetWidth > clientWidth ? x - 14 - offsetWidth : x + 14;
    const top = Math.min(y + 10, clientHeight - offsetHeight - 2);
    this.tip.style.left = `${Math.max(2, left)}px`;
    this.tip.style.top = `${Math.max(2, top)}px`;
  }

  private hideTip(): void {
    this.tip.classList.add('quoll-hidden');
  }
}
