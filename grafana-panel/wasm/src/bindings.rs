//! The panel as a JavaScript class, painting on a Canvas2D context.
//!
//! Thin on purpose: what is decided here is not tested natively. Lengths are CSS pixels, times are
//! milliseconds of one monotonic clock (`performance.now()`). A canvas without a 2D context is the
//! only error; painting before [`Panel::attach`] does nothing.

use std::f64::consts::{FRAC_PI_2, TAU};

use wasm_bindgen::prelude::*;
use web_sys::{CanvasRenderingContext2d as Context, HtmlCanvasElement};

use crate::camera::Point;
use crate::canvas::{Canvas, Font, Stroke};
use crate::colour::Colour;
use crate::view::{Hit, View};

/// Canvas2D. Errors of single calls (a text too long, say) leave that mark out.
struct Painter {
    context: Context,
    element: HtmlCanvasElement,
    ratio: f64,
}

impl Painter {
    fn font(&self, font: Font) {
        let weight = if font.bold { "600 " } else { "" };
        self.context.set_font(&format!("{weight}{}px Inter, Helvetica, Arial, sans-serif", font.size));
    }

    fn pen(&self, stroke: Stroke) {
        self.context.set_stroke_style_str(&stroke.colour.css(stroke.alpha));
        self.context.set_line_width(stroke.width);
        let dash = if stroke.dashed { "4,3" } else { "" };
        let segments = js_array(dash);
        let _ = self.context.set_line_dash(&segments);
    }
}

fn js_array(numbers: &str) -> JsValue {
    let list = web_sys::js_sys::Array::new();
    for number in numbers.split(',').filter_map(|n| n.parse::<f64>().ok()) {
        list.push(&JsValue::from_f64(number));
    }
    list.into()
}

impl Canvas for Painter {
    fn clear(&mut self, width: f64, height: f64) {
        let _ = self.context.set_transform(self.ratio, 0.0, 0.0, self.ratio, 0.0, 0.0);
        self.context.clear_rect(0.0, 0.0, width + 1.0, height + 1.0);
        self.context.set_text_align("center");
        self.context.set_text_baseline("middle");
        self.context.set_line_join("round");
    }

    fn disc(&mut self, centre: Point, radius: f64, fill: Colour, alpha: f64) {
        self.context.begin_path();
        let _ = self.context.arc(centre.x, centre.y, radius.max(0.0), 0.0, TAU);
        self.context.set_fill_style_str(&fill.css(alpha));
        self.context.fill();
    }

    fn arc(&mut self, centre: Point, radius: f64, share: f64, stroke: Stroke) {
        self.pen(stroke);
        self.context.begin_path();
        let end = share.clamp(0.0, 1.0) * TAU - FRAC_PI_2;
        let _ = self.context.arc(centre.x, centre.y, radius.max(0.0), -FRAC_PI_2, end);
        self.context.stroke();
    }

    fn lines(&mut self, lines: &[&[Point]], stroke: Stroke) {
        self.pen(stroke);
        self.context.begin_path();
        for line in lines {
            for (place, point) in line.iter().enumerate() {
                if place == 0 {
                    self.context.move_to(point.x, point.y);
                } else {
                    self.context.line_to(point.x, point.y);
                }
            }
        }
        self.context.stroke();
    }

    fn triangles(&mut self, triangles: &[[Point; 3]], fill: Colour, alpha: f64) {
        self.context.begin_path();
        for [a, b, c] in triangles {
            self.context.move_to(a.x, a.y);
            self.context.line_to(b.x, b.y);
            self.context.line_to(c.x, c.y);
            self.context.close_path();
        }
        self.context.set_fill_style_str(&fill.css(alpha));
        self.context.fill();
    }

    fn text(&mut self, text: &str, at: Point, font: Font, fill: Colour, outline: Option<Colour>, alpha: f64) {
        self.font(font);
        if let Some(outline) = outline {
            self.pen(Stroke { colour: outline, alpha: 0.85 * alpha, width: 3.0, dashed: false });
            let _ = self.context.stroke_text(text, at.x, at.y);
        }
        self.context.set_fill_style_str(&fill.css(alpha));
        let _ = self.context.fill_text(text, at.x, at.y);
    }

    fn measure(&mut self, text: &str, font: Font) -> f64 {
        self.font(font);
        self.context.measure_text(text).map_or(0.0, |m| m.width())
    }
}

/// The panel on one canvas.
#[wasm_bindgen]
#[derive(Default)]
pub struct Panel {
    view: View,
    painter: Option<Painter>,
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
        let context = canvas.get_context("2d")?.ok_or("this browser gives no 2D canvas")?;
        let context = context.dyn_into::<Context>().map_err(|_| "the canvas is used for something else")?;
        self.painter = Some(Painter { context, element: canvas, ratio: 1.0 });
        Ok(())
    }

    /// Size in CSS pixels and device pixels per CSS pixel.
    pub fn resize(&mut self, width: f64, height: f64, ratio: f64) {
        if let Some(painter) = &mut self.painter {
            painter.ratio = if ratio.is_finite() { ratio.clamp(0.5, 4.0) } else { 1.0 };
            painter.element.set_width((width * painter.ratio).round().max(1.0) as u32);
            painter.element.set_height((height * painter.ratio).round().max(1.0) as u32);
        }
        self.view.resize(width, height);
    }

    /// One tick: see the `samples` module for the packed form.
    pub fn load(&mut self, packed: &str, values: &[f64], now_ms: f64) {
        self.view.load(packed, values, now_ms);
    }

    /// Dark or light, upon a background given as CSS colour.
    pub fn theme(&mut self, dark: bool, background: &str) {
        self.view.set_theme(dark, background);
    }

    /// Whether newcomers ease in.
    pub fn animate(&mut self, animate: bool) {
        self.view.set_animate(animate);
    }

    /// Paints; true while something still moves.
    pub fn paint(&mut self, now_ms: f64) -> bool {
        self.painter.as_mut().is_some_and(|painter| self.view.paint(painter, now_ms))
    }

    /// Id of the service at a point, or -1.
    #[must_use]
    pub fn service_at(&self, x: f64, y: f64) -> i32 {
        match self.view.hit(x, y) {
            Some(Hit::Service(id)) => i32::try_from(id).unwrap_or(-1),
            _ => -1,
        }
    }

    /// Position of the call at a point where there is no service, or -1.
    #[must_use]
    pub fn call_at(&self, x: f64, y: f64) -> i32 {
        match self.view.hit(x, y) {
            Some(Hit::Call(id)) => i32::try_from(id).unwrap_or(-1),
            _ => -1,
        }
    }

    /// Emphasises a service; a negative id none. True if that changed anything.
    pub fn focus(&mut self, service: i32) -> bool {
        self.view.set_focus(usize::try_from(service).ok())
    }

    /// Assumes that a service has failed; a negative id goes back to what is.
    pub fn suppose(&mut self, service: i32) {
        self.view.suppose(usize::try_from(service).ok());
    }

    /// Zooms by a factor around a point.
    pub fn zoom(&mut self, x: f64, y: f64, factor: f64) {
        self.view.zoom(x, y, factor);
    }

    /// Moves the picture.
    pub fn pan(&mut self, dx: f64, dy: f64) {
        self.view.pan(dx, dy);
    }

    /// Back to everything in view.
    pub fn show_all(&mut self) {
        self.view.show_all();
    }

    /// Lays everything out afresh.
    pub fn arrange(&mut self, now_ms: f64) {
        self.view.arrange(now_ms);
    }

    /// What was painted last, as JSON.
    #[must_use]
    pub fn drawn(&self) -> String {
        self.view.drawn().json()
    }

    /// The model and its conclusions, as JSON.
    #[must_use]
    pub fn summary(&self) -> String {
        self.view.summary()
    }
}
