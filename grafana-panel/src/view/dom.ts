/** Small helpers to build DOM without markup strings: data is always text, never HTML. */

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  ...children: Array<Node | string>
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (className) {
    node.className = className;
  }
  node.append(...children);
  return node;
}

export function button(text: string, onClick: () => void): HTMLButtonElement {
  const node = element('button', 'quoll-button', text);
  node.type = 'button';
  node.addEventListener('click', onClick);
  return node;
}

/** Adds a style sheet to the page once; allowed under a Content-Security-Policy without inline styles. */
const adopted = new Set<string>();
export function adoptStyles(css: string): void {
  if (adopted.has(css)) {
    return;
  }
  adopted.add(css);
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}

/** A row of a ranked list, with a bar behind it as long as its share. */
export function row(label: string, value: string, share: number, onClick?: () => void, title = ''): HTMLElement {
  const bar = element('i');
  bar.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  const parts = [bar, element('span', '', label), element('span', '', value)];
  if (!onClick) {
    return element('div', 'quoll-row', ...parts);
  }
  const node = element('button', 'quoll-row', ...parts);
  node.type = 'button';
  node.title = title;
  node.addEventListener('click', onClick);
  return node;
}

export function rows(items: HTMLElement[], className = ''): HTMLElement {
  return element('ul', `quoll-rows ${className}`, ...items.map((item) => element('li', '', item)));
}
