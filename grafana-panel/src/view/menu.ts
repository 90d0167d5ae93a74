/** A small menu at a point: keys move in it, Escape and a click elsewhere close it. */
import { element } from './dom';

export type MenuItem =
  | { kind: 'heading' | 'text'; label: string }
  | { kind: 'action'; label: string; run: () => void }
  | { kind: 'link'; label: string; href: string; newTab: boolean; onClick?: (event: MouseEvent) => void };

export class Menu {
  readonly root = element('div', 'quoll-menu quoll-hidden');
  private closed: (() => void) | undefined;
  private readonly outside = (event: Event): void => {
    if (!(event.target instanceof Node && this.root.contains(event.target))) {
      this.close(false);
    }
  };

  constructor() {
    this.root.addEventListener('keydown', (event) => this.key(event));
    this.root.addEventListener('click', (event) => event.stopPropagation());
  }

  get open(): boolean {
    return !this.root.classList.contains('quoll-hidden');
  }

  /** Shows the items at a point of the element around; `closed` runs when it goes, with the focus in it. */
  show(label: string, items: MenuItem[], at: { x: number; y: number }, closed: () => void): void {
    this.close(false);
    this.closed = closed;
    const list = element('div', '');
    list.setAttribute('role', 'menu');
    list.setAttribute('aria-label', label);
    list.append(...items.filter((item) => item.kind !== 'heading' && item.kind !== 'text').map((item) => this.item(item)));
    const heads = items.flatMap((item) =>
      item.kind === 'heading' ? [element('strong', '', item.label)] : item.kind === 'text' ? [element('p', '', item.label)] : [],
    );
    this.root.replaceChildren(...heads, list);
    this.root.classList.remove('quoll-hidden');
    const around = this.root.parentElement;
    if (around) {
      const keep = (wanted: number, own: number, all: number): string => `${Math.max(2, Math.min(wanted, all - own - 2))}px`;
      this.root.style.left = keep(at.x, this.root.offsetWidth, around.clientWidth);
      this.root.style.top = keep(at.y, this.root.offsetHeight, around.clientHeight);
    }
    this.items()[0]?.focus();
    document.addEventListener('pointerdown', this.outside, true);
  }

  close(refocus = true): void {
    if (this.open) {
      document.removeEventListener('pointerdown', this.outside, true);
      this.root.classList.add('quoll-hidden');
      const closed = this.closed;
      this.closed = undefined;
      if (refocus) {
        closed?.();
      }
    }
  }

  private items(): HTMLElement[] {
    return [...this.root.querySelectorAll<HTMLElement>('[role="menuitem"]')];
  }

  private item(item: MenuItem): HTMLElement {
    if (item.kind === 'link') {
      const node = element('a', '', item.label);
      node.href = item.href;
      if (item.newTab) {
        node.target = '_blank';
        node.rel = 'noopener noreferrer';
      }
      node.addEventListener('click', (event) => {
        item.onClick?.(event);
        this.close();
      });
      node.setAttribute('role', 'menuitem');
      return node;
    }
    const node = element('button', '', item.label);
    node.type = 'button';
    node.setAttribute('role', 'menuitem');
    node.addEventListener('click', () => {
      this.close();
      if (item.kind === 'action') {
        item.run();
      }
    });
    return node;
  }

  private key(event: KeyboardEvent): void {
    const items = this.items();
    const at = items.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      items[(to + items.length) % items.length]?.focus();
    } else if (event.key === 'Escape' || event.key === 'Tab') {
      event.preventDefault();
      this.close();
    } else {
      return;
    }
    event.stopPropagation();
  }
}
