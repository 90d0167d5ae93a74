//! What the view paints: brings shapes and marks up to date, and paints them on any canvas.

use super::{Stale, View};
use crate::camera::Point;
use crate::canvas::{Canvas, Font};
use crate::colour::{Colour, Theme};
use crate::drawn::Drawn;
use crate::geometry::Geometry;
use crate::marks::Sources;
use crate::paint::Scene;
use crate::svg::Svg;
use crate::timeline::Timeline;

impl View {
    /// The canvas has a new size, in CSS pixels.
    pub fn resize(&mut self, width: f64, height: f64) {
        self.camera.size = Point { x: width.max(1.0), y: height.max(1.0) };
        self.fit(!self.fitted);
    }

    /// Dark or light, upon a background given as CSS colour (the usual one where that is not understood).
    pub fn set_theme(&mut self, dark: bool, background: &str) {
        (self.dark, self.background) = (dark, Colour::parse(background));
        self.colour_in();
        self.stale.painting = true;
    }

    /// Newcomers ease in, nodes glide (off for reduced motion, which also stops the flow).
    pub fn set_animate(&mut self, animate: bool) {
        self.animate = animate;
    }

    /// Dots run along busy links.
    pub fn set_flow(&mut self, flow: bool) {
        self.flow = flow;
        self.stale.painting = true;
    }

    /// Whether dots run at present.
    #[must_use]
    pub fn flows(&self) -> bool {
        self.flow && self.animate && self.time_ms.is_none() && self.shown.links.iter().any(|l| l.rate.is_some())
    }

    /// Takes in the time line.
    pub fn set_timeline(&mut self, timeline: Timeline) {
        self.timeline = timeline;
        self.set_time(self.time_ms);
    }

    /// Shows the state at a time of the time line; `None` shows the tick.
    pub fn set_time(&mut self, time_ms: Option<f64>) {
        self.time_ms = time_ms.filter(|t| t.is_finite() && !self.timeline.is_empty());
        self.moment = self.time_ms.map(|t| self.timeline.at(t));
        self.stale = Stale { geometry: true, marks: true, painting: true, ..self.stale };
    }

    /// Paints the time line's strip.
    pub fn paint_timeline(&self, canvas: &mut dyn Canvas, size: Point) {
        self.timeline.paint(canvas, size, &self.theme, self.time_ms);
    }

    /// The next painting shows everything anew, on whichever canvas.
    pub fn repaint(&mut self) {
        self.stale.painting = true;
    }

    pub(super) fn sources(&self) -> Sources<'_> {
        Sources {
            model: &self.model,
            inference: &self.inference,
            suppositions: &self.suppositions,
            hypothesis: self.hypothesis.as_ref(),
            moment: self.moment.as_ref(),
            search: &self.search,
        }
    }

    pub(super) fn moving(&self, now_ms: f64) -> bool {
        self.stage.laying_out() || (self.animate && self.stage.moving(now_ms))
    }

    /// Whether [`View::paint`] would show anything else than it last did (dots aside).
    #[must_use]
    pub fn needs_painting(&self, now_ms: f64) -> bool {
        self.stale.painting || self.moved || self.moving(now_ms)
    }

    /// Brings everything that painting reads up to date.
    fn prepare(&mut self, now_ms: f64) {
        let advanced = self.stage.advance();
        // Without animation a layout under way is not shown before it is done.
        if advanced && (self.animate || !self.stage.laying_out()) {
            self.fit(false);
        }
        let moving = self.moving(now_ms);
        if self.stale.placed || (self.animate && (moving || self.moved)) {
            self.placed = self.stage.placed(&self.shown, now_ms, self.animate);
            self.stale.geometry = true;
        }
        self.moved = moving;
        if self.stale.marks {
            let mut marks = self.sources().marks(&self.shown);
            for (mark, node) in marks.iter_mut().zip(&self.shown.nodes) {
                mark.pinned = self.stage.is_pinned(&node.key);
            }
            self.marks = marks;
            self.worn = self.looks.worn(&self.shown);
        }
        if self.stale.geometry {
            let ringed = |place: usize| self.marks.get(place).is_some_and(|m| m.ring.is_some());
            self.geometry = Geometry::of(&self.shown, &self.placed, &self.camera, &ringed, &self.worn);
        }
        self.stale = Stale::default();
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            model: &self.model,
            shown: &self.shown,
            geometry: &self.geometry,
            marks: &self.marks,
            worn: &self.worn,
            past: self.moment.is_some(),
            suppositions: &self.suppositions,
            hypothetical: self.hypothesis.is_some() && self.moment.is_none(),
            focus: self.focus.and_then(|id| self.shown.place(id)),
            size: self.camera.size,
            theme: &self.theme,
            moving: self.moved,
        }
    }

    /// Paints all but the flow; true while something still moves.
    pub fn paint(&mut self, canvas: &mut dyn Canvas, now_ms: f64) -> bool {
        self.prepare(now_ms);
        self.drawn = self.scene().paint(canvas);
        self.drawn.moving
    }

    /// Paints the dots that run along links, over what was painted last.
    pub fn paint_flow(&self, canvas: &mut dyn Canvas, now_ms: f64) {
        if self.flows() {
            self.scene().flow(canvas, now_ms);
        }
    }

    /// The picture as an SVG document; `measure` gives widths of texts in CSS pixels.
    pub fn svg(&mut self, measure: &mut dyn FnMut(&str, Font) -> f64, now_ms: f64) -> String {
        self.settle();
        self.prepare(now_ms);
        let mut svg = Svg::new(measure);
        self.scene().paint(&mut svg);
        svg.document(self.theme.background, "Service graph")
    }

    /// What was painted last, as JSON.
    #[must_use]
    pub fn drawn_json(&self) -> String {
        self.drawn.json(&self.shown, &self.geometry)
    }

    /// What was painted last.
    #[must_use]
    pub fn drawn(&self) -> &Drawn {
        &self.drawn
    }

    /// The theme in use.
    #[must_use]
    pub fn theme(&self) -> &Theme {
        &self.theme
    }
}
