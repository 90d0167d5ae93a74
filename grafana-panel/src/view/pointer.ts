/**
 * Pointer, wheel and fingers on the canvas as what they mean. Plain scrolling stays with the page: the wheel
 * zooms with Ctrl or Cmd only, and one finger moves the page up and down.
 */
export interface Gestures {
  /** The pointer rests there, or has left (undefined). */
  point: (at: Place | undefined) => void;
  click: (at: Place) => void;
  /** What a press there takes hold of: true keeps the rest of the drag with `drag`, else it pans. */
  grab: (at: Place) => boolean;
  drag: (at: Place) => void;
  dropped: () => void;
  pan: (dx: number, dy: number) => void;
  zoom: (at: Place, factor: number) => void;
  /** Someone turned the wheel without a key. */
  scrolled: () => void;
}

export interface Place {
  x: number;
  y: number;
  clientX: number;
  clientY: number;
}

/** Moves shorter than this, in pixels, are still a click. */
const STILL = 4;

export function listen(canvas: HTMLCanvasElement, on: Gestures): void {
  const fingers = new Map<number, Place>();
  let start: Place | undefined;
  let moved = false;
  let held = false;
  const place = (event: MouseEvent): Place => {
    const box = canvas.getBoundingClientRect();
    // Grafana may scale panels with CSS transforms.
    const scale = box.width > 0 ? canvas.clientWidth / box.width : 1;
    const { clientX, clientY } = event;
    return { x: (clientX - box.left) * scale, y: (clientY - box.top) * scale, clientX, clientY };
  };
  const pinch = (event: PointerEvent, at: Place): void => {
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    const before = fingers.get(event.pointerId);
    if (other && before) {
      const apart = (p: Place): number => Math.max(1, Math.hypot(p.x - other.x, p.y - other.y));
      on.zoom({ ...at, x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 }, apart(at) / apart(before));
    }
    fingers.set(event.pointerId, at);
  };
  canvas.addEventListener('pointermove', (event) => {
    const at = place(event);
    if (fingers.size > 1) {
      moved = true;
      pinch(event, at);
    } else if (start && (event.buttons & 1) === 1) {
      if (moved || Math.hypot(at.clientX - start.clientX, at.clientY - start.clientY) > STILL) {
        if (!moved) {
          moved = true;
          held = on.grab(start);
          canvas.setPointerCapture(event.pointerId);
        }
        if (held) {
          on.drag(at);
        } else {
          on.pan(at.x - start.x, at.y - start.y);
        }
        start = at;
      }
    } else {
      on.point(at);
    }
  });
  canvas.addEventListener('pointerdown', (event) => {
    start = place(event);
    moved = false;
    held = false;
    if (event.pointerType === 'touch') {
      fingers.set(event.pointerId, start);
    }
  });
  for (const end of ['pointerup', 'pointercancel'] as const) {
    canvas.addEventListener(end, (event) => {
      fingers.delete(event.pointerId);
      if (held) {
        held = false;
        on.dropped();
      }
      start = undefined;
    });
  }
  canvas.addEventListener('pointerleave', () => on.point(undefined));
  canvas.addEventListener('click', (event) => {
    if (!moved) {
      on.click(place(event));
    }
    moved = false;
  });
  canvas.addEventListener('contextmenu', (event) => {
    event.preventDefault();
    on.click(place(event));
  });
  canvas.addEventListener(
    'wheel',
    (event) => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        on.zoom(place(event), Math.exp(-event.deltaY / 300));
      } else {
        on.scrolled();
      }
    },
    { passive: false },
  );
}
