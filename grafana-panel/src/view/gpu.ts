/**
 * Shapes by WebGL2 where that is faster: many nodes, and a GPU that is none in software (there Canvas2D is
 * quicker). Whatever goes wrong, the picture goes back to Canvas2D.
 */
import type { Renderer } from '../options';
import type { Panel } from '../wasm';
import { element } from './dom';

/** From so many shown nodes on. */
const MANY = 400;
/** Names of renderers that compute on the processor. */
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render|virgl|swrast/i;

let real: boolean | undefined;

function giveBack(context: WebGL2RenderingContext | null): void {
  context?.getExtension('WEBGL_lose_context')?.loseContext();
}

/** Asked once per page. */
function hasGpu(): boolean {
  if (real === undefined) {
    const context = element('canvas').getContext('webgl2', { failIfMajorPerformanceCaveat: true });
    const names = context?.getExtension('WEBGL_debug_renderer_info');
    const name: unknown = context?.getParameter(names?.UNMASKED_RENDERER_WEBGL ?? context.RENDERER);
    real = typeof name === 'string' && !SOFTWARE.test(name);
    giveBack(context);
  }
  return real;
}

export class Gpu {
  private canvas: HTMLCanvasElement | undefined;
  private refused = false;

  /** `above` is the canvas for texts and the pointer; `changed` is told when the picture must be painted anew. */
  constructor(
    private readonly panel: Panel,
    private readonly above: HTMLCanvasElement,
    private readonly changed: () => void,
  ) {}

  /** What lies below the other canvas at present. */
  get below(): HTMLCanvasElement | undefined {
    return this.canvas;
  }

  /** Takes the renderer that suits so many nodes; after a failure, Canvas2D for good. */
  choose(renderer: Renderer, nodes: number): void {
    const wanted = !this.refused && (renderer === 'webgl' || (renderer === 'auto' && nodes >= MANY && hasGpu()));
    if (wanted && !this.canvas) {
      this.attach();
    } else if (!wanted && this.canvas) {
      this.detach();
    }
  }

  detach(): void {
    const canvas = this.canvas;
    if (canvas) {
      this.canvas = undefined;
      this.panel.detach_gpu();
      canvas.remove();
      giveBack(canvas.getContext('webgl2'));
    }
  }

  private attach(): void {
    const canvas = element('canvas', 'quoll-shapes');
    canvas.setAttribute('aria-hidden', 'true');
    try {
      this.panel.attach_gpu(canvas);
    } catch {
      // Said nowhere: the picture is the same on the other canvas.
      this.refused = true;
      return;
    }
    canvas.addEventListener('webglcontextlost', () => {
      if (this.canvas === canvas) {
        this.refused = true;
        this.detach();
        this.changed();
      }
    });
    this.above.before(canvas);
    this.canvas = canvas;
  }
}
