//! The panel as a JavaScript class, painting on a Canvas2D context: all that the page around it may call.
//!
//! Thin on purpose: what is decided here is not tested natively. Lengths are CSS pixels, times are
//! milliseconds of one monotonic clock (`performance.now()`), except those of the time line, which are
//! milliseconds since the epoch. Node ids are those of services (positions in the summary's `services`),
//! then one per namespace (past the number of services, in the order of `clusters`); -1 is none. A canvas
//! without a 2D context is the only error; painting before [`Panel::attach`] does nothing.
//!
//! | To | Call |
//! |---|---|
//! | start | `attach`, `attach_gpu`, `detach_gpu`, `resize`, `theme`, `animate`, `flow`, `clusters_above` |
//! | take in a tick | `load`, `dress`; then `summary`; `warm_up` when idle |
//! | paint | `paint` (again while it says true), `settle` to have a layout at once |
//! | answer the pointer | `pick` (JSON), or `service_at` / `call_at`; `focus`, `zoom`, `pan`, `drag`, `unpin` |
//! | answer keys | `beside`, `centre_on` |
//! | suppose | `suppose`, `suppose_healthy`, `drain`, `cut`, `reset`; read `summary().what_if` |
//! | choose what is shown | `filter`, `around`, `expand`, `search`, `open_namespace`, `open_all` |
//! | lay out | `arrange`, `arrange_as`, `save`, `restore` |
//! | show another time | `timeline`, `attach_timeline`, `paint_timeline`, `time_at`, `set_time` |
//! | export | `svg`, `json`; PNG by the canvas itself |
//!
//! After anything that changes the picture, call `paint`.

mod answers;
mod canvas2d;
mod choices;
mod times;
mod webgl;

use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

use crate::camera::Point;
use crate::view::View;
use canvas2d::Painter;
use webgl::{Both, Shapes};

/// Frames of a running flow are at least this many milliseconds apart.
const FLOW_FRAME_MS: f64 = 30.0;
fn id(id: i32) -> Option<usize> {
    usize::try_from(id).ok()
}

fn number(id: Option<usize>) -> i32 {
    id.and_then(|id| i32::try_from(id).ok()).unwrap_or(-1)
}

/// The panel on one canvas.
#[wasm_bindgen]
#[derive(Default)]
pub struct Panel {
    view: View,
    painter: Option<Painter>,
    /// What dots run over, while they do.
    still: Option<Painter>,
    /// Shapes on a GPU, below the canvas, which then holds the texts alone.
    shapes: Option<Shapes>,
    strip: Option<(Painter, Point)>,
    size: (f64, f64, f64),
    flow_ms: f64,
}

#[wasm_bindgen]
impl Panel {
    /// Without data and canvas yet.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Paints on this canvas from now on.
    ///
    /// # Errors
    /// Where the canvas gives no 2D context.
    pub fn attach(&mut self, canvas: HtmlCanvasElement) -> Result<(), JsValue> {
        let still = canvas.clone_node()?.dyn_into::<HtmlCanvasElement>()?;
        self.still = Some(Painter::of(still)?);
        self.painter = Some(Painter::of(canvas)?);
        Ok(())
    }

    /// Paints shapes by WebGL2 on this canvas, which lies below the other one, from now on; texts stay on that.
    ///
    /// # Errors
    /// Where there is no WebGL2, or its shaders do not compile: everything stays as it was.
    pub fn attach_gpu(&mut self, canvas: HtmlCanvasElement) -> Result<(), JsValue> {
        let mut shapes = Shapes::of(canvas)?;
        let (width, height, ratio) = self.size;
        shapes.resize(width, height, ratio);
        self.shapes = Some(shapes);
        self.view.repaint();
        Ok(())
    }

    /// Paints everything on the canvas itself again.
    pub fn detach_gpu(&mut self) {
        self.shapes = None;
        self.view.repaint();
    }

    /// Size in CSS pixels and device pixels per CSS pixel.
    pub fn resize(&mut self, width: f64, height: f64, ratio: f64) {
        for painter in [&mut self.painter, &mut self.still].into_iter().flatten() {
            painter.resize(width, height, ratio);
        }
        if let Some(shapes) = &mut self.shapes {
            shapes.resize(width, height, ratio);
        }
        self.size = (width, height, ratio);
        self.view.resize(width, height);
    }

    /// One tick: see the `samples` module for the packed form.
    pub fn load(&mut self, packed: &str, values: &[f64], now_ms: f64) {
        self.view.load(packed, values, now_ms);
    }

    /// What the data says about looks: see the `looks` module for the text. After `load`.
    pub fn dress(&mut self, looks: &str) {
        self.view.dress(looks);
    }

    /// Works out what later questions need: for a moment when nobody waits.
    pub fn warm_up(&mut self) {
        self.view.warm_up();
    }

    /// Dark or light, upon a background given as CSS colour.
    pub fn theme(&mut self, dark: bool, background: &str) {
        self.view.set_theme(dark, background);
    }

    /// Whether anything eases, glides or flows (not for reduced motion).
    pub fn animate(&mut self, animate: bool) {
        self.view.set_animate(animate);
    }

    /// Whether dots run along busy links; off at first.
    pub fn flow(&mut self, flow: bool) {
        self.view.set_flow(flow);
    }

    /// Namespaces start closed where there are more services than this; 250 at first.
    pub fn clusters_above(&mut self, services: u32) {
        self.view.set_clusters_above(services as usize);
    }

    /// Paints; true while something still moves, and painting again at the next frame makes sense.
    pub fn paint(&mut self, now_ms: f64) -> bool {
        let (Some(painter), Some(still)) = (&mut self.painter, &mut self.still) else { return false };
        if let Some(shapes) = &mut self.shapes {
            let changed = self.view.needs_painting(now_ms);
            let mut moving = false;
            if changed || !self.view.flows() {
                moving = self.view.paint(&mut Both { shapes, texts: painter }, now_ms);
                shapes.keep();
            }
            shapes.rewind();
            if self.view.flows() {
                self.view.paint_flow(&mut Both { shapes, texts: painter }, now_ms);
                moving = true;
            }
            shapes.show();
            return moving;
        }
        if !self.view.flows() {
            return self.view.paint(painter, now_ms);
        }
        let changed = self.view.needs_painting(now_ms);
        if changed {
            self.view.paint(still, now_ms);
        } else if (now_ms - self.flow_ms).abs() < FLOW_FRAME_MS {
            return true;
        }
        self.flow_ms = now_ms;
        painter.copy(still);
        self.view.paint_flow(painter, now_ms);
        true
    }
}
