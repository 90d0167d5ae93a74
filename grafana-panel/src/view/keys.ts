/** Keys on the graph: arrows move, Enter opens, + - 0 zoom, / searches, Escape goes back. */

const ZOOM = 1.25;
const STEPS: Record<string, [number, number]> = {
  ArrowRight: [1, 0],
  ArrowLeft: [-1, 0],
  ArrowDown: [0, 1],
  ArrowUp: [0, -1],
};

export interface KeyDeeds {
  /** Goes back from what is supposed or narrowed; false where there is nothing to go back from. */
  back: () => boolean;
  move: (dx: number, dy: number) => void;
  /** False where nothing is focused. */
  open: () => boolean;
  zoom: (factor: number) => void;
  showAll: () => void;
  search: () => void;
}

/** Listens on `root`; all keys but Escape mean something on the canvas only. */
export function listenToKeys(root: HTMLElement, canvas: HTMLElement, deeds: KeyDeeds): void {
  const taken = (event: KeyboardEvent): boolean => {
    if (event.key === 'Escape' && deeds.back()) {
      return true;
    }
    if (event.target !== canvas || event.ctrlKey || event.metaKey || event.altKey) {
      return false;
    }
    const step = STEPS[event.key];
    if (step) {
      deeds.move(...step);
      return true;
    }
    switch (event.key) {
      case 'Enter':
      case ' ':
        return deeds.open();
      case '+':
      case '=':
        deeds.zoom(ZOOM);
        return true;
      case '-':
        deeds.zoom(1 / ZOOM);
        return true;
      case '0':
      case 'Home':
        deeds.showAll();
        return true;
      case '/':
        deeds.search();
        return true;
      default:
        return false;
    }
  };
  root.addEventListener('keydown', (event) => {
    if (taken(event)) {
      event.preventDefault();
      event.stopPropagation();
    }
  });
}
