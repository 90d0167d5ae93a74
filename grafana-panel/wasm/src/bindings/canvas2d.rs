//! Canvas2D behind the painting code's [`Canvas`]. Errors of single calls (a text too long, say) leave that mark out.

use std::collections::HashMap;
use std::f64::consts::TAU;

use wasm_bindgen::prelude::*;
use web_sys::{CanvasRenderingContext2d as Context, HtmlCanvasElement, Path2d};

use crate::camera::Point;
use crate::canvas::{Canvas, Dash, Font, GLYPH, Stroke};
use crate::colour::Colour;

/// Texts whose widths are kept.
const WIDTHS: usize = 5000;
/// Icons whose shapes are kept.
const GLYPHS: usize = 200;
/// Points per stroke and triangles per fill. Measured without a GPU, 4,000 lines: one path of all 158 ms,
/// four lines a path 24 ms, one line a path 47 ms, but 7 ms where it is one device pixel wide, which
/// Chromium's rasteriser draws without outlining it first.
const POINTS_PER_STROKE: usize = 10;
const TRIANGLES_PER_FILL: usize = 16;
const DISCS_PER_FILL: usize = 8;

/// Canvas2D. Errors of single calls (a text too long, say) leave that mark out.
pub(super) struct Painter {
    context: Context,
    element: HtmlCanvasElement,
    ratio: f64,
    font: Option<Font>,
    dash: Dash,
    glyphs: HashMap<String, Path2d>,
    widths: HashMap<(String, bool, u32), f64>,
}

impl Painter {
    pub(super) fn of(element: HtmlCanvasElement) -> Result<Self, JsValue> {
        let context = element.get_context("2d")?.ok_or("this browser gives no 2D canvas")?;
        let context = context.dyn_into::<Context>().map_err(|_| "the canvas is used for something else")?;
        Ok(Self {
            context,
            element,
            ratio: 1.0,
            font: None,
            dash: Dash::SOLID,
            glyphs: HashMap::new(),
            widths: HashMap::new(),
        })
    }

    pub(super) fn resize(&mut self, width: f64, height: f64, ratio: f64) {
        self.ratio = if ratio.is_finite() { ratio.clamp(0.5, 4.0) } else { 1.0 };
        self.element.set_width((width * self.ratio).round().max(1.0) as u32);
        self.element.set_height((height * self.ratio).round().max(1.0) as u32);
        // Setting a canvas's size forgets its state.
        self.font = None;
        self.dash = Dash::SOLID;
    }

    fn font(&mut self, font: Font) {
        if self.font != Some(font) {
            let weight = if font.bold { "600 " } else { "" };
            self.context.set_font(&format!("{weight}{}px Inter, Helvetica, Arial, sans-serif", font.size));
            self.font = Some(font);
        }
    }

    fn pen(&mut self, stroke: Stroke) {
        self.context.set_stroke_style_str(&stroke.colour.css(stroke.alpha));
        self.context.set_line_width(stroke.width);
        if self.dash != stroke.dash {
            self.dash = stroke.dash;
            let list = web_sys::js_sys::Array::new();
            for length in stroke.dash.0.iter().filter(|_| !stroke.dash.is_solid()) {
                list.push(&JsValue::from_f64(f64::from(*length)));
            }
            let _ = self.context.set_line_dash(&list);
        }
    }

    pub(super) fn copy(&mut self, other: &Self) {
        let _ = self.context.set_transform(1.0, 0.0, 0.0, 1.0, 0.0, 0.0);
        let (width, height) = (f64::from(self.element.width()), f64::from(self.element.height()));
        self.context.clear_rect(0.0, 0.0, width, height);
        let _ = self.context.draw_image_with_html_canvas_element(&other.element, 0.0, 0.0);
        let _ = self.context.set_transform(self.ratio, 0.0, 0.0, self.ratio, 0.0, 0.0);
    }
}

impl Canvas for Painter {
    fn clear(&mut self, width: f64, height: f64) {
        let _ = self.context.set_transform(self.ratio, 0.0, 0.0, self.ratio, 0.0, 0.0);
        self.context.clear_rect(0.0, 0.0, width + 1.0, height + 1.0);
        self.context.set_text_align("center");
        self.context.set_text_baseline("middle");
        self.context.set_line_join("round");
    }

    fn discs(&mut self, discs: &[(Point, f64)], fill: Colour, alpha: f64) {
        self.context.set_fill_style_str(&fill.css(alpha));
        for some in discs.chunks(DISCS_PER_FILL) {
            self.context.begin_path();
            for (centre, radius) in some {
                self.context.move_to(centre.x + radius, centre.y);
                let _ = self.context.arc(centre.x, centre.y, radius.max(0.0), 0.0, TAU);
            }
            self.context.fill();
        }
    }

    fn circles(&mut self, circles: &[(Point, f64)], stroke: Stroke) {
        self.pen(stroke);
        self.context.begin_path();
        for (centre, radius) in circles {
            self.context.move_to(centre.x + radius, centre.y);
            let _ = self.context.arc(centre.x, centre.y, radius.max(0.0), 0.0, TAU);
        }
        self.context.stroke();
    }

    fn arc(&mut self, centre: Point, radius: f64, from: f64, share: f64, stroke: Stroke) {
        self.pen(stroke);
        self.context.begin_path();
        let start = (from - 0.25) * TAU;
        let end = start + share.clamp(0.0, 1.0) * TAU;
        let _ = self.context.arc(centre.x, centre.y, radius.max(0.0), start, end);
        self.context.stroke();
    }

    fn lines(&mut self, lines: &[&[Point]], stroke: Stroke) {
        let hairline = stroke.width * self.ratio <= 1.0 && stroke.dash.is_solid();
        self.pen(if hairline { Stroke { width: 1.0 / self.ratio, ..stroke } } else { stroke });
        let mut points = 0;
        for line in lines {
            if points == 0 {
                self.context.begin_path();
            }
            for (place, point) in line.iter().enumerate() {
                if place == 0 {
                    self.context.move_to(point.x, point.y);
                } else {
                    self.context.line_to(point.x, point.y);
                }
            }
            points += line.len();
            if hairline || points >= POINTS_PER_STROKE {
                self.context.stroke();
                points = 0;
            }
        }
        if points > 0 {
            self.context.stroke();
        }
    }

    fn triangles(&mut self, triangles: &[[Point; 3]], fill: Colour, alpha: f64) {
        self.context.set_fill_style_str(&fill.css(alpha));
        for some in triangles.chunks(TRIANGLES_PER_FILL) {
            self.context.begin_path();
            for [a, b, c] in some {
                self.context.move_to(a.x, a.y);
                self.context.line_to(b.x, b.y);
                self.context.line_to(c.x, c.y);
                self.context.close_path();
            }
            self.context.fill();
        }
    }

    fn text(&mut self, text: &str, at: Point, font: Font, fill: Colour, outline: Option<Colour>, alpha: f64) {
        self.font(font);
        if let Some(outline) = outline {
            self.pen(Stroke { colour: outline, alpha: 0.85 * alpha, width: 3.0, dash: Dash::SOLID });
            let _ = self.context.stroke_text(text, at.x, at.y);
        }
        self.context.set_fill_style_str(&fill.css(alpha));
        let _ = self.context.fill_text(text, at.x, at.y);
    }

    fn glyph(&mut self, path: &str, at: Point, size: f64, fill: Colour, alpha: f64) {
        if !self.glyphs.contains_key(path) {
            let Ok(shape) = Path2d::new_with_path_string(path) else { return };
            if self.glyphs.len() >= GLYPHS {
                self.glyphs.clear();
            }
            self.glyphs.insert(path.to_owned(), shape);
        }
        let Some(shape) = self.glyphs.get(path) else { return };
        let scale = size / GLYPH;
        self.context.set_fill_style_str(&fill.css(alpha));
        self.context.save();
        let _ = self.context.translate(at.x - size / 2.0, at.y - size / 2.0);
        let _ = self.context.scale(scale, scale);
        self.context.fill_with_path_2d(shape);
        self.context.restore();
    }

    fn measure(&mut self, text: &str, font: Font) -> f64 {
        let key = (text.to_owned(), font.bold, (font.size * 4.0) as u32);
        if let Some(&width) = self.widths.get(&key) {
            return width;
        }
        self.font(font);
        let width = self.context.measure_text(text).map_or(0.0, |m| m.width());
        if self.widths.len() >= WIDTHS {
            self.widths.clear();
        }
        self.widths.insert(key, width);
        width
    }
}
