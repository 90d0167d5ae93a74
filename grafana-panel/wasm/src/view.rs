//! The whole panel but for the page around it: takes in ticks, answers the pointer, paints.
//!
//! Free of the browser, so that all of it is tested natively. No input makes it fail; what is wrong
//! with the data comes back as notes in the summary.

use crate::camera::{Camera, Point};
use crate::canvas::Canvas;
use crate::colour::{Colour, Theme};
use crate::drawn::Drawn;
use crate::inference::{Inference, Reach, reach};
use crate::model::{Key, Model};
use crate::paint::Scene;
use crate::path;
use crate::samples::select;
use crate::stage::{Change, Stage};

/// A call answers the pointer up to this many pixels beside its line.
const CALL_REACH: f64 = 6.0;

/// What lies under the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// Id of a service.
    Service(usize),
    /// Position of a call in the model.
    Call(usize),
}

/// The panel.
pub struct View {
    pub(crate) model: Model,
    pub(crate) inference: Inference,
    supposed: Option<Key>,
    pub(crate) what_if: Option<Reach>,
    stage: Stage,
    camera: Camera,
    theme: Theme,
    focus: Option<usize>,
    drawn: Drawn,
    animate: bool,
    shown: bool,
}

impl Default for View {
    fn default() -> Self {
        Self {
            model: Model::default(),
            inference: Inference::default(),
            supposed: None,
            what_if: None,
            stage: Stage::default(),
            camera: Camera::default(),
            theme: Theme::new(true, None),
            focus: None,
            drawn: Drawn::default(),
            animate: true,
            shown: false,
        }
    }
}

impl View {
    /// Takes in one tick; see [`select`] for the packed form.
    pub fn load(&mut self, packed: &str, values: &[f64], now_ms: f64) {
        let focused = self.focus.and_then(|f| self.model.services.get(f)).map(|s| s.key.clone());
        self.model = Model::read(select(packed, values));
        self.focus = focused.and_then(|key| self.model.find(&key));
        self.inference = Inference::of(&self.model);
        self.suppose_key(self.supposed.clone());
        let change = self.stage.refresh(&self.model, now_ms);
        if change != Change::None || !self.shown {
            self.fit(change == Change::All || !self.shown);
            self.shown = !self.model.services.is_empty();
        }
    }

    /// Lays everything out afresh.
    pub fn arrange(&mut self, now_ms: f64) {
        self.stage.arrange(&self.model, now_ms);
        self.show_all();
        self.fit(true);
    }

    /// The canvas has a new size, in CSS pixels.
    pub fn resize(&mut self, width: f64, height: f64) {
        self.camera.size = Point { x: width.max(1.0), y: height.max(1.0) };
        self.fit(!self.shown);
    }

    /// Dark or light, upon a background given as CSS colour (the usual one where that is not understood).
    pub fn set_theme(&mut self, dark: bool, background: &str) {
        self.theme = Theme::new(dark, Colour::parse(background));
    }

    /// Newcomers ease in (off for reduced motion).
    pub fn set_animate(&mut self, animate: bool) {
        self.animate = animate;
    }

    fn fit(&mut self, fresh: bool) {
        let services = &self.model.services;
        let mut slots: Vec<_> = services.iter().map(|s| self.stage.slot(&s.key)).collect();
        // Long calls bend around services: their way points belong into the picture, too.
        for call in &self.model.calls {
            slots.extend_from_slice(self.stage.route(&services[call.client].key, &services[call.server].key));
        }
        self.camera.fit(&slots, fresh);
    }

    /// Zooms by a factor around a point.
    pub fn zoom(&mut self, x: f64, y: f64, factor: f64) {
        if factor.is_finite() && factor > 0.0 {
            self.camera.zoom_at(Point { x, y }, factor);
        }
    }

    /// Moves the picture.
    pub fn pan(&mut self, dx: f64, dy: f64) {
        self.camera.pan.x += dx;
        self.camera.pan.y += dy;
    }

    /// Back to everything in view.
    pub fn show_all(&mut self) {
        self.camera.zoom = 1.0;
        self.camera.pan = Point::default();
    }

    /// What was painted at a point.
    #[must_use]
    pub fn hit(&self, x: f64, y: f64) -> Option<Hit> {
        let at = Point { x, y };
        let nodes = self.drawn.nodes.iter().enumerate();
        let near = nodes
            .map(|(id, n)| (id, n.centre.distance(at) - n.radius))
            .filter(|(_, gap)| *gap <= 4.0)
            .min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((id, _)) = near {
            return Some(Hit::Service(id));
        }
        let calls = self.drawn.edges.iter().enumerate().map(|(id, e)| (id, path::distance(&e.points, at)));
        let near = calls.filter(|(_, d)| *d <= CALL_REACH).min_by(|a, b| a.1.total_cmp(&b.1));
        near.map(|(id, _)| Hit::Call(id))
    }

    /// Emphasises a service; `None` or an unknown id none. True if that changed anything.
    pub fn set_focus(&mut self, service: Option<usize>) -> bool {
        let focus = service.filter(|s| *s < self.model.services.len());
        std::mem::replace(&mut self.focus, focus) != focus
    }

    /// Assumes that a service has failed; `None` or an unknown id goes back to what is.
    pub fn suppose(&mut self, service: Option<usize>) {
        let key = service.and_then(|s| self.model.services.get(s)).map(|s| s.key.clone());
        self.suppose_key(key);
    }

    fn suppose_key(&mut self, key: Option<Key>) {
        let id = key.as_ref().and_then(|k| self.model.find(k));
        self.what_if = id.and_then(|id| match reach(&self.model, id) {
            Ok(reach) => Some(reach),
            Err(note) => {
                self.inference.notes.push(note);
                None
            }
        });
        self.supposed = key;
    }

    /// Paints; true while something still moves.
    pub fn paint(&mut self, canvas: &mut dyn Canvas, now_ms: f64) -> bool {
        let reach = self.what_if.as_ref().or(self.inference.reach.as_ref());
        let scene = Scene {
            model: &self.model,
            inference: &self.inference,
            hit: reach.map(|r| r.hit.as_slice()),
            hypothetical: self.what_if.as_ref().map(|r| r.root),
            focus: self.focus,
            stage: &self.stage,
            camera: &self.camera,
            theme: &self.theme,
            now_ms,
            animate: self.animate,
        };
        self.drawn = scene.paint(canvas);
        self.drawn.moving
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::recorder::Recorder;
    use crate::colour::on_scale;
    use crate::layout::tests::random_calls;
    use crate::samples::tests::pack;

    fn shop() -> Vec<&'static str> {
        vec![
            "quoll_edge_strength{client=web,server=cart} 0.8",
            "quoll_edge_requests_per_second{client=web,server=cart} 100",
            "quoll_edge_error_ratio{client=web,server=cart} 0.3",
            "quoll_edge_strength{client=cart,server=db} 0.9",
            "quoll_edge_requests_per_second{client=cart,server=db} 3",
            "quoll_edge_strength{client=web,server=search} 0.6",
            "quoll_anomaly_score{service_name=db} 3.5",
            "quoll_anomaly_score{service_name=cart} 1.2",
            "quoll_anomaly_score{service_name=search} 0.2",
            "quoll_root_cause_probability{service_name=db,incident=i} 0.91",
            "quoll_root_cause_probability{service_name=cart,incident=i} 0.06",
            "quoll_no_fault_probability{incident=i} 0.03",
        ]
    }

    fn view(lines: &[&str]) -> (View, Recorder) {
        let mut view = View::default();
        let mut canvas = Recorder::default();
        view.resize(800.0, 400.0);
        let (packed, values) = pack(lines);
        view.load(&packed, &values, 0.0);
        view.paint(&mut canvas, 1e6);
        (view, canvas)
    }

    #[test]
    fn paints_exactly_the_services_and_calls_it_was_given() {
        let (view, canvas) = view(&shop());
        let drawn = view.drawn();
        assert_eq!(drawn.nodes.iter().map(|n| n.id.as_str()).collect::<Vec<_>>(), ["cart", "db", "search", "web"]);
        let edges: Vec<_> = drawn.edges.iter().map(|e| (e.client.as_str(), e.server.as_str())).collect();
        assert_eq!(edges, [("cart", "db"), ("web", "cart"), ("web", "search")]);
        assert_eq!((canvas.lines, canvas.triangles), (3, 3));
        let theme = view.theme();
        assert_eq!(drawn.nodes[1].fill, Some(on_scale(theme.score, 3.5)));
        assert_eq!(drawn.nodes[3].fill, None, "no score, no fill");
        assert_eq!(drawn.nodes[1].ring, Some(0.91));
        assert!(drawn.edges[1].width > drawn.edges[0].width, "more requests, wider line");
        assert_eq!(drawn.edges[1].colour, on_scale(theme.errors, 0.3));
        assert!(drawn.nodes.iter().all(|n| n.label.is_some()));
        assert!(canvas.texts.iter().any(|t| t.0 == "91%"));
        let radius_of_db: Vec<_> = drawn.nodes.iter().map(|n| n.halo.is_some()).collect();
        assert_eq!(radius_of_db, [true, true, false, true], "db's fault reaches cart and web, not search");
    }

    #[test]
    fn supposing_a_fault_shows_its_reach_until_reset() {
        let (mut view, mut canvas) = view(&shop());
        view.suppose(view.model.services.iter().position(|s| s.label == "search"));
        view.paint(&mut canvas, 1e6);
        let drawn = view.drawn();
        assert_eq!(drawn.hypothetical.as_deref(), Some("search"));
        assert_eq!(drawn.nodes.iter().map(|n| n.halo.is_some()).collect::<Vec<_>>(), [false, false, true, true]);
        assert!(drawn.nodes.iter().all(|n| n.ring.is_none() || n.id == "search"));
        // A refresh keeps the supposition; reset ends it.
        let (packed, values) = pack(&shop());
        view.load(&packed, &values, 2e6);
        view.paint(&mut canvas, 2e6);
        assert_eq!(view.drawn().hypothetical.as_deref(), Some("search"));
        view.suppose(None);
        view.paint(&mut canvas, 2e6);
        assert_eq!(view.drawn().hypothetical, None);
    }

    #[test]
    fn the_pointer_finds_what_was_painted() {
        let (view, _) = view(&shop());
        for (id, node) in view.drawn().nodes.iter().enumerate() {
            assert_eq!(view.hit(node.centre.x + 3.0, node.centre.y), Some(Hit::Service(id)));
        }
        for (id, edge) in view.drawn().edges.iter().enumerate() {
            let middle = edge.points[edge.points.len() / 2];
            assert_eq!(view.hit(middle.x, middle.y), Some(Hit::Call(id)));
        }
        assert_eq!(view.hit(-50.0, -50.0), None);
    }

    #[test]
    fn a_refresh_moves_nothing() {
        let (mut view, mut canvas) = view(&shop());
        let before: Vec<_> = view.drawn().nodes.iter().map(|n| n.centre).collect();
        let (packed, values) = pack(&shop());
        view.load(&packed, &values, 2e6);
        view.paint(&mut canvas, 2e6);
        assert_eq!(before, view.drawn().nodes.iter().map(|n| n.centre).collect::<Vec<_>>());
    }

    #[test]
    fn painted_labels_do_not_overlap_even_in_a_crowd() {
        let lines: Vec<String> = random_calls(120, 3)
            .iter()
            .map(|(a, b)| format!("quoll_edge_strength{{client=service-{a},server=service-{b}}} 0.5"))
            .collect();
        let (view, _) = view(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let labels: Vec<_> = view.drawn().nodes.iter().filter_map(|n| n.label.as_ref()).collect();
        assert!(labels.len() > 10);
        for (i, a) in labels.iter().enumerate() {
            assert!(labels[i + 1..].iter().all(|b| !a.1.overlaps(&b.1)));
        }
    }

    #[test]
    fn nothing_to_show_paints_nothing() {
        let (mut view, canvas) = view(&[]);
        assert_eq!((canvas.lines, canvas.discs.len()), (0, 0));
        assert_eq!(view.hit(1.0, 1.0), None);
        view.suppose(Some(3));
        assert!(!view.set_focus(Some(9)));
        assert!(view.drawn().json().starts_with("{\"size\":[800.0,400.0],\"nodes\":[]"));
    }
}
