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
//! | start | `attach`, `resize`, `theme`, `animate`, `flow`, `clusters_above` |
//! | take in a tick | `load`; then `summary`; `warm_up` when idle |
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

use std::collections::HashMap;
use std::f64::consts::{FRAC_PI_2, TAU};

use wasm_bindgen::prelude::*;
use web_sys::{CanvasRenderingContext2d as Context, HtmlCanvasElement};

use crate::camera::Point;
use crate::canvas::{Canvas, Font, Stroke};
use crate::colour::Colour;
use crate::json::{object, string};
use crate::layout::Arrangement;
use crate::model::Key;
use crate::samples::{RECORD, UNIT};
use crate::timeline::{Quantity, Series, Timeline};
use crate::view::{Hit, View};

/// Frames of a running flow are at least this many milliseconds apart.
const FLOW_FRAME_MS: f64 = 30.0;
/// Texts whose widths are kept.
const WIDTHS: usize = 5000;
/// Points per stroke and triangles per fill. Measured without a GPU, 4,000 lines: one path of all 158 ms,
/// four lines a path 24 ms, one line a path 47 ms, but 7 ms where it is one device pixel wide, which
/// Chromium's rasteriser draws without outlining it first.
const POINTS_PER_STROKE: usize = 10;
const TRIANGLES_PER_FILL: usize = 16;
const DISCS_PER_FILL: usize = 8;

/// Canvas2D. Errors of single calls (a text too long, say) leave that mark out.
struct Painter {
    context: Context,
    element: HtmlCanvasElement,
    ratio: f64,
    font: Option<Font>,
    widths: HashMap<(String, bool, u32), f64>,
}

impl Painter {
    fn of(element: HtmlCanvasElement) -> Result<Self, JsValue> {
        let context = element.get_context("2d")?.ok_or("this browser gives no 2D canvas")?;
        let context = context.dyn_into::<Context>().map_err(|_| "the canvas is used for something else")?;
        Ok(Self { context, element, ratio: 1.0, font: None, widths: HashMap::new() })
    }

    fn resize(&mut self, width: f64, height: f64, ratio: f64) {
        self.ratio = if ratio.is_finite() { ratio.clamp(0.5, 4.0) } else { 1.0 };
        self.element.set_width((width * self.ratio).round().max(1.0) as u32);
        self.element.set_height((height * self.ratio).round().max(1.0) as u32);
        self.font = None;
    }

    fn font(&mut self, font: Font) {
        if self.font != Some(font) {
            let weight = if font.bold { "600 " } else { "" };
            self.context.set_font(&format!("{weight}{}px Inter, Helvetica, Arial, sans-serif", font.size));
            self.font = Some(font);
        }
    }

    fn pen(&self, stroke: Stroke) {
        self.context.set_stroke_style_str(&stroke.colour.css(stroke.alpha));
        self.context.set_line_width(stroke.width);
        let dash = if stroke.dashed { "4,3" } else { "" };
        let segments = js_array(dash);
        let _ = self.context.set_line_dash(&segments);
    }

    fn copy(&mut self, other: &Self) {
        let _ = self.context.set_transform(1.0, 0.0, 0.0, 1.0, 0.0, 0.0);
        let (width, height) = (f64::from(self.element.width()), f64::from(self.element.height()));
        self.context.clear_rect(0.0, 0.0, width, height);
        let _ = self.context.draw_image_with_html_canvas_element(&other.element, 0.0, 0.0);
        let _ = self.context.set_transform(self.ratio, 0.0, 0.0, self.ratio, 0.0, 0.0);
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

    fn arc(&mut self, centre: Point, radius: f64, share: f64, stroke: Stroke) {
        self.pen(stroke);
        self.context.begin_path();
        let end = share.clamp(0.0, 1.0) * TAU - FRAC_PI_2;
        let _ = self.context.arc(centre.x, centre.y, radius.max(0.0), -FRAC_PI_2, end);
        self.context.stroke();
    }

    fn lines(&mut self, lines: &[&[Point]], stroke: Stroke) {
        let hairline = stroke.width * self.ratio <= 1.0 && !stroke.dashed;
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
            self.pen(Stroke { colour: outline, alpha: 0.85 * alpha, width: 3.0, dashed: false });
            let _ = self.context.stroke_text(text, at.x, at.y);
        }
        self.context.set_fill_style_str(&fill.css(alpha));
        let _ = self.context.fill_text(text, at.x, at.y);
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
    strip: Option<(Painter, Point)>,
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

    /// Size in CSS pixels and device pixels per CSS pixel.
    pub fn resize(&mut self, width: f64, height: f64, ratio: f64) {
        for painter in [&mut self.painter, &mut self.still].into_iter().flatten() {
            painter.resize(width, height, ratio);
        }
        self.view.resize(width, height);
    }

    /// One tick: see the `samples` module for the packed form.
    pub fn load(&mut self, packed: &str, values: &[f64], now_ms: f64) {
        self.view.load(packed, values, now_ms);
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

    /// What lies at a point, as JSON: `{"kind":"service","id":3}`, `{"kind":"cluster","id":..,"namespace":..}`,
    /// `{"kind":"hidden","id":3}` (the mark of a service's hidden neighbours), or
    /// `{"kind":"link","client":id,"server":id,"calls":[positions in the summary's calls]}`; `null` for nothing.
    pub fn pick(&mut self, x: f64, y: f64) -> String {
        let mut out = String::new();
        let plain = |o: &mut String, n: usize| o.push_str(&n.to_string());
        match self.view.hit(x, y) {
            None => out.push_str("null"),
            Some(Hit::Hidden(id)) => object(&mut out, &[("kind", &|o| string(o, "hidden")), ("id", &|o| plain(o, id))]),
            Some(Hit::Node(id)) => match self.view.namespace_of(id) {
                None => object(&mut out, &[("kind", &|o| string(o, "service")), ("id", &|o| plain(o, id))]),
                Some(name) => object(
                    &mut out,
                    &[
                        ("kind", &|o| string(o, "cluster")),
                        ("id", &|o| plain(o, id)),
                        ("namespace", &|o| string(o, name)),
                    ],
                ),
            },
            Some(Hit::Link(link)) => {
                let (client, server, calls) = self.view.link(link);
                object(
                    &mut out,
                    &[
                        ("kind", &|o| string(o, "link")),
                        ("client", &|o| plain(o, client)),
                        ("server", &|o| plain(o, server)),
                        ("calls", &|o| crate::json::list(o, calls, |o, c| plain(o, *c))),
                    ],
                );
            }
        }
        out
    }

    /// Id of the service at a point, or -1.
    pub fn service_at(&mut self, x: f64, y: f64) -> i32 {
        match self.view.hit(x, y) {
            Some(Hit::Node(id)) if self.view.namespace_of(id).is_none() => number(Some(id)),
            _ => -1,
        }
    }

    /// Position of the call at a point where there is no node, or -1 (also for several calls in one link).
    pub fn call_at(&mut self, x: f64, y: f64) -> i32 {
        match self.view.hit(x, y) {
            Some(Hit::Link(link)) => match self.view.link(link).2 {
                [call] => number(Some(*call)),
                _ => -1,
            },
            _ => -1,
        }
    }

    /// Emphasises a node; -1 none. True if that changed anything.
    pub fn focus(&mut self, node: i32) -> bool {
        self.view.set_focus(id(node))
    }

    /// The node beside another in a direction (`dx`, `dy` of -1, 0 or 1), or -1; from -1, the likeliest cause.
    #[must_use]
    pub fn beside(&self, node: i32, dx: f64, dy: f64) -> i32 {
        number(self.view.beside(id(node), dx, dy))
    }

    /// Brings a node to the middle; false where it is not shown.
    pub fn centre_on(&mut self, node: i32) -> bool {
        id(node).is_some_and(|id| self.view.centre_on(id))
    }

    /// Assumes that a service has failed; -1 takes that back, along with every other supposition.
    pub fn suppose(&mut self, service: i32) {
        match id(service) {
            Some(service) => self.view.suppose_failed(Some(service)),
            None => self.view.reset(),
        }
    }

    /// Assumes that a service is healthy, or no longer.
    pub fn suppose_healthy(&mut self, service: i32, healthy: bool) {
        self.view.suppose(|model, s| {
            if let Some(key) = id(service).and_then(|id| model.services.get(id)).map(|s| s.key.clone()) {
                if healthy {
                    s.healthy.insert(key)
                } else {
                    s.healthy.remove(&key)
                };
            }
        });
    }

    /// Drains a service (nobody calls it any more), or no longer.
    pub fn drain(&mut self, service: i32, drained: bool) {
        self.view.suppose(|model, s| {
            if let Some(key) = id(service).and_then(|id| model.services.get(id)).map(|s| s.key.clone()) {
                if drained {
                    s.drained.insert(key)
                } else {
                    s.drained.remove(&key)
                };
            }
        });
    }

    /// Cuts a call, by its position in the summary's calls, or no longer.
    pub fn cut(&mut self, call: i32, cut: bool) {
        self.view.suppose(|model, s| {
            if let Some(call) = id(call).and_then(|id| model.calls.get(id)) {
                let key = |id: usize| model.services[id].key.clone();
                let ends = (key(call.client), key(call.server));
                if cut {
                    s.cut.insert(ends)
                } else {
                    s.cut.remove(&ends)
                };
            }
        });
    }

    /// Forgets every supposition.
    pub fn reset(&mut self) {
        self.view.reset();
    }

    /// Shows only these namespaces (separated by U+001E; the empty name for services without one; an absent
    /// text for all), scores and rates of at least this much (NaN for any).
    pub fn filter(&mut self, namespaces: Option<String>, least_score: f64, least_rate: f64, now_ms: f64) {
        let some = |v: f64| Some(v).filter(|v| v.is_finite());
        self.view.refilter(
            |_, f| {
                f.namespaces = namespaces.map(|n| n.split(RECORD).map(str::to_owned).collect());
                f.least_score = some(least_score);
                f.least_rate = some(least_rate);
            },
            now_ms,
        );
    }

    /// Shows only services at most `depth` calls away from one; -1 shows all again, and forgets what was expanded.
    pub fn around(&mut self, service: i32, depth: u32, now_ms: f64) {
        self.view.refilter(
            |model, f| {
                f.around = id(service).and_then(|id| model.services.get(id)).map(|s| (s.key.clone(), depth as usize));
                f.expanded.clear();
            },
            now_ms,
        );
    }

    /// Shows the hidden neighbours of a service, too.
    pub fn expand(&mut self, service: i32, now_ms: f64) {
        self.view.refilter(
            |model, f| f.expanded.extend(id(service).and_then(|id| model.services.get(id)).map(|s| s.key.clone())),
            now_ms,
        );
    }

    /// Dims what does not match a text; an empty one ends that. How many nodes match.
    pub fn search(&mut self, text: &str) -> u32 {
        self.view.set_search(text) as u32
    }

    /// Opens or closes a namespace; false where there is none of this name.
    pub fn open_namespace(&mut self, namespace: &str, open: bool, now_ms: f64) -> bool {
        self.view.set_open(namespace, open, now_ms)
    }

    /// Opens or closes all namespaces.
    pub fn open_all(&mut self, open: bool, now_ms: f64) {
        self.view.set_all_open(open, now_ms);
    }

    /// Zooms by a factor around a point.
    pub fn zoom(&mut self, x: f64, y: f64, factor: f64) {
        self.view.zoom(x, y, factor);
    }

    /// Moves the picture.
    pub fn pan(&mut self, dx: f64, dy: f64) {
        self.view.pan(dx, dy);
    }

    /// Puts a node to a point, where every layout leaves it from now on.
    pub fn drag(&mut self, node: i32, x: f64, y: f64) {
        if let Some(node) = id(node) {
            self.view.drag(node, x, y);
        }
    }

    /// Lets a node go where the next layout wants it; -1 all of them.
    pub fn unpin(&mut self, node: i32) {
        self.view.unpin(id(node));
    }

    /// Back to everything in view.
    pub fn show_all(&mut self) {
        self.view.show_all();
    }

    /// Lays everything out afresh.
    pub fn arrange(&mut self, now_ms: f64) {
        let wanted = self.view.stage.wanted();
        self.view.arrange(wanted, now_ms);
    }

    /// Lays everything out as `auto`, `layered`, `force`, `concentric` (around the focus, the neighbourhood's
    /// middle or the likeliest cause) or `grid`; false for any other word.
    pub fn arrange_as(&mut self, layout: &str, now_ms: f64) -> bool {
        let wanted = Arrangement::parse(layout);
        if let Some(wanted) = wanted {
            self.view.arrange(wanted, now_ms);
        }
        wanted.is_some()
    }

    /// Finishes a layout that is under way at once, rather than in slices, one per `paint`.
    pub fn settle(&mut self) {
        self.view.settle();
    }

    /// One slice of a layout that is under way, without painting; whether more are left.
    pub fn layout_slice(&mut self) -> bool {
        self.view.stage.advance();
        self.view.stage.laying_out()
    }

    /// Layout, open namespaces and pinned nodes, as JSON.
    #[must_use]
    pub fn save(&self) -> String {
        self.view.save()
    }

    /// Takes back what `save` gave; false for any other text. May come before the first tick.
    pub fn restore(&mut self, saved: &str, now_ms: f64) -> bool {
        self.view.restore(saved, now_ms)
    }

    /// The time line: series packed like samples, with the labels `service_name`, `service_namespace` and
    /// `quantity` (`posterior` or `score`); times in milliseconds since the epoch, rising; values series by
    /// series, as many each as there are times, NaN for a gap.
    pub fn timeline(&mut self, packed: &str, times_ms: &[f64], values: &[f64]) {
        let chunks = values.chunks(times_ms.len().max(1));
        let series = packed.split(RECORD).zip(chunks).filter_map(|(record, values)| {
            let parts: Vec<&str> = record.split(UNIT).collect();
            let label = |name: &str| {
                let pair = parts.chunks(2).find(|p| p.first() == Some(&name));
                pair.and_then(|p| p.get(1)).filter(|v| !v.is_empty()).map(|v| (*v).to_owned())
            };
            let quantity = match label("quantity")?.as_str() {
                "posterior" => Quantity::Posterior,
                "score" => Quantity::Score,
                _ => return None,
            };
            let key = Key { namespace: label("service_namespace"), name: label("service_name")? };
            Some(Series { key, quantity, values: values.to_vec() })
        });
        let series = series.collect();
        self.view.set_timeline(Timeline::new(times_ms, series));
    }

    /// Paints the time line on this canvas, of this size in CSS pixels, from now on.
    ///
    /// # Errors
    /// Where the canvas gives no 2D context.
    pub fn attach_timeline(
        &mut self,
        canvas: HtmlCanvasElement,
        width: f64,
        height: f64,
        ratio: f64,
    ) -> Result<(), JsValue> {
        let mut painter = Painter::of(canvas)?;
        painter.resize(width, height, ratio);
        self.strip = Some((painter, Point { x: width, y: height }));
        Ok(())
    }

    /// Paints the time line.
    pub fn paint_timeline(&mut self) {
        if let Some((painter, size)) = &mut self.strip {
            self.view.paint_timeline(painter, *size);
        }
    }

    /// The time at a horizontal position of the time line; NaN without one.
    #[must_use]
    pub fn time_at(&self, x: f64) -> f64 {
        let width = self.strip.as_ref().map_or(0.0, |s| s.1.x);
        self.view.timeline.time_at(x, width).unwrap_or(f64::NAN)
    }

    /// Shows the state at a time; NaN shows the last tick again.
    pub fn set_time(&mut self, time_ms: f64) {
        self.view.set_time(Some(time_ms));
    }

    /// The picture as an SVG document.
    pub fn svg(&mut self, now_ms: f64) -> String {
        let painter = &mut self.painter;
        let mut measure = |text: &str, font: Font| match painter {
            Some(painter) => painter.measure(text, font),
            None => text.chars().count() as f64 * font.size * 0.55,
        };
        self.view.svg(&mut measure, now_ms)
    }

    /// Everything known, concluded and painted, as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let (summary, drawn, saved) = (self.view.summary(), self.view.drawn_json(), self.view.save());
        let mut out = String::new();
        object(
            &mut out,
            &[
                ("report", &|o| o.push_str(&summary)),
                ("picture", &|o| o.push_str(&drawn)),
                ("arrangement", &|o| o.push_str(&saved)),
            ],
        );
        out
    }

    /// What was painted last, as JSON.
    #[must_use]
    pub fn drawn(&self) -> String {
        self.view.drawn_json()
    }

    /// The model and its conclusions, as JSON.
    #[must_use]
    pub fn summary(&self) -> String {
        self.view.summary()
    }
}
