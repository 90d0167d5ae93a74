/** The time line under the graph: posteriors over the dashboard's range, any time of it, and playback. */
import type { Summary } from '../report';
import { languageTag, t } from '../text';
import type { Panel } from '../wasm';
import { button, element } from './dom';

/** A playback takes this long, whatever the range. */
const PLAY_MS = 12_000;
const FRAME_MS = 100;
/** One press of an arrow key moves by this share of the range. */
const KEY_SHARE = 1 / 40;

export class Strip {
  readonly root = element('div', 'quoll-strip quoll-hidden');
  private readonly canvas = element('canvas');
  private readonly said = element('span', 'quoll-time');
  private readonly play = button('', () => this.toggle());
  private readonly now = button(t('timeline.now', 'Now'), () => this.show(Number.NaN));
  private range: [number, number] | undefined;
  private shown: number | null = null;
  private timer = 0;
  private measured = '';

  constructor(
    private readonly panel: Panel,
    private readonly changed: () => void,
  ) {
    const canvas = this.canvas;
    canvas.tabIndex = 0;
    canvas.setAttribute('role', 'slider');
    canvas.setAttribute('aria-label', t('timeline.label', 'Time shown'));
    const at = (event: PointerEvent): void => {
      const box = canvas.getBoundingClientRect();
      const scale = box.width > 0 ? canvas.clientWidth / box.width : 1;
      this.stop();
      this.show(panel.time_at((event.clientX - box.left) * scale));
    };
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      at(event);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (event.buttons === 1) {
        at(event);
      }
    });
    canvas.addEventListener('keydown', (event) => this.key(event));
    this.root.append(element('div', 'quoll-strip-bar', this.play, this.said, this.now), canvas);
    this.label();
  }

  /** What the report says about the range and the time shown; true where there is a time line. */
  update(summary: Summary): boolean {
    const [first, last] = summary.time_range;
    this.range = first !== undefined && last !== undefined && last > first ? [first, last] : undefined;
    this.shown = summary.time_ms;
    if (!this.range) {
      this.stop();
    }
    this.label();
    return this.range !== undefined;
  }

  /** To be called whenever the graph is painted anew, or sizes may have changed. */
  paint(): void {
    const { clientWidth, clientHeight } = this.canvas;
    if (clientWidth > 0 && clientHeight > 0) {
      const ratio = window.devicePixelRatio || 1;
      const key = `${clientWidth} ${clientHeight} ${ratio}`;
      if (key !== this.measured) {
        this.measured = key;
        this.panel.attach_timeline(this.canvas, clientWidth, clientHeight, ratio);
      }
      this.panel.paint_timeline();
    }
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = 0;
    this.label();
  }

  private show(time: number): void {
    this.panel.set_time(time);
    this.shown = Number.isFinite(time) ? time : null;
    if (this.shown === null) {
      this.stop();
    }
    this.label();
    this.changed();
  }

  private toggle(): void {
    if (this.timer !== 0) {
      this.stop();
      return;
    }
    const range = this.range;
    if (!range) {
      return;
    }
    const step = ((range[1] - range[0]) * FRAME_MS) / PLAY_MS;
    if (this.shown === null || this.shown >= range[1]) {
      this.show(range[0]);
    }
    this.timer = window.setInterval(() => {
      const next = (this.shown ?? range[0]) + step;
      this.show(next >= range[1] ? Number.NaN : next);
    }, FRAME_MS);
    this.label();
  }

  private key(event: KeyboardEvent): void {
    const range = this.range;
    if (!range) {
      return;
    }
    const step = (range[1] - range[0]) * KEY_SHARE;
    const from = this.shown ?? range[1];
    const to = {
      ArrowLeft: from - step,
      ArrowDown: from - step,
      ArrowRight: from + step,
      ArrowUp: from + step,
      Home: range[0],
      End: Number.NaN,
      Escape: this.shown === null ? undefined : Number.NaN,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      event.stopPropagation();
      this.stop();
      this.show(to >= range[1] ? Number.NaN : Math.max(range[0], to));
    }
  }

  private label(): void {
    const playing = this.timer !== 0;
    this.play.textContent = playing ? t('timeline.pause', 'Pause') : t('timeline.play', 'Play');
    this.now.classList.toggle('quoll-hidden', this.shown === null);
    const text = this.shown === null ? t('timeline.at-now', 'now') : new Date(this.shown).toLocaleTimeString(languageTag());
    this.said.textContent = text;
    if (this.range) {
      this.canvas.setAttribute('aria-valuemin', String(this.range[0]));
      this.canvas.setAttribute('aria-valuemax', String(this.range[1]));
      this.canvas.setAttribute('aria-valuenow', String(this.shown ?? this.range[1]));
    }
    this.canvas.setAttribute('aria-valuetext', text);
  }
}
