//! The whole panel but for the page around it: takes in ticks, answers the pointer, paints.
//!
//! Free of the browser, so that all of it is tested natively. No input makes it fail; what is wrong
//! with the data comes back as notes in the summary. Everything the user chose (filters, suppositions,
//! open namespaces, pinned nodes, the search) survives refreshes, also of services that are gone meanwhile.

use std::collections::BTreeSet;

use crate::camera::{Camera, Point};
use crate::canvas::{Canvas, Font};
use crate::colour::{Colour, Theme};
use crate::drawn::Drawn;
use crate::geometry::{Geometry, Under};
use crate::inference::Inference;
use crate::layout::Arrangement;
use crate::marks::{Mark, Sources};
use crate::model::{Key, Model};
use crate::paint::Scene;
use crate::samples::select;
use crate::shown::{Filter, Shown};
use crate::stage::{Change, Placed, Stage};
use crate::svg::Svg;
use crate::timeline::{Moment, Timeline};
use crate::what_if::{Hypothesis, Lab, Suppositions};

/// Namespaces start closed where there are more services than this.
const CLUSTERS_ABOVE: usize = 250;

/// What lies under the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// Id of a node (a service, or past these a namespace).
    Node(usize),
    /// The mark of a service's hidden neighbours.
    Hidden(usize),
    /// Position of a link among those shown.
    Link(usize),
}

/// What has to be worked out again before the next painting.
#[derive(Debug, Clone, Copy, Default)]
struct Stale {
    placed: bool,
    geometry: bool,
    marks: bool,
    painting: bool,
}

/// The panel.
pub struct View {
    pub(crate) model: Model,
    pub(crate) inference: Inference,
    pub(crate) suppositions: Suppositions,
    pub(crate) hypothesis: Option<Hypothesis>,
    pub(crate) shown: Shown,
    pub(crate) stage: Stage,
    pub(crate) timeline: Timeline,
    pub(crate) time_ms: Option<f64>,
    pub(crate) search: String,
    pub(crate) filter: Filter,
    lab: Lab,
    closed: BTreeSet<String>,
    /// Namespaces the user opened, or has seen open: never closed by themselves.
    known: BTreeSet<String>,
    clusters_above: usize,
    moment: Option<Moment>,
    placed: Placed,
    camera: Camera,
    theme: Theme,
    geometry: Geometry,
    marks: Vec<Mark>,
    focus: Option<usize>,
    drawn: Drawn,
    animate: bool,
    flow: bool,
    fitted: bool,
    moved: bool,
    stale: Stale,
}

impl Default for View {
    fn default() -> Self {
        Self {
            model: Model::default(),
            inference: Inference::default(),
            suppositions: Suppositions::default(),
            hypothesis: None,
            shown: Shown::default(),
            stage: Stage::default(),
            timeline: Timeline::default(),
            time_ms: None,
            search: String::new(),
            filter: Filter::default(),
            lab: Lab::default(),
            closed: BTreeSet::new(),
            known: BTreeSet::new(),
            clusters_above: CLUSTERS_ABOVE,
            moment: None,
            placed: Placed::default(),
            camera: Camera::default(),
            theme: Theme::new(true, None),
            geometry: Geometry::default(),
            marks: Vec::new(),
            focus: None,
            drawn: Drawn::default(),
            animate: true,
            flow: false,
            fitted: false,
            moved: false,
            stale: Stale::default(),
        }
    }
}

impl View {
    /// Takes in one tick; see [`select`] for the packed form.
    pub fn load(&mut self, packed: &str, values: &[f64], now_ms: f64) {
        let focused = self.focus.and_then(|id| self.key_of(id));
        self.model = Model::read(select(packed, values));
        self.inference = Inference::of(&self.model, &mut self.lab);
        self.close_newcomers();
        self.show();
        self.focus = focused.and_then(|key| self.shown.nodes.iter().find(|n| n.key == key)).map(|n| n.id);
        self.conclude();
        let change = self.stage.refresh(&self.shown, now_ms);
        if change != Change::None || !self.fitted {
            self.fit(change == Change::All || !self.fitted);
            self.fitted = !self.shown.nodes.is_empty();
        }
    }

    fn close_newcomers(&mut self) {
        let mut namespaces: BTreeSet<&String> = BTreeSet::new();
        namespaces.extend(self.model.services.iter().filter_map(|s| s.key.namespace.as_ref()));
        let many = self.model.services.len() > self.clusters_above && namespaces.len() > 1;
        for namespace in namespaces {
            if self.known.insert(namespace.clone()) && many {
                self.closed.insert(namespace.clone());
            }
        }
    }

    /// The key of a node that is shown, or of any service.
    fn key_of(&self, id: usize) -> Option<Key> {
        let shown = self.shown.place(id).map(|place| self.shown.nodes[place].key.clone());
        shown.or_else(|| self.model.services.get(id).map(|s| s.key.clone()))
    }

    fn show(&mut self) {
        self.shown = Shown::of(&self.model, &self.filter, &self.closed);
        self.stale = Stale { placed: true, geometry: true, marks: true, painting: true };
    }

    /// Shows what a changed filter lets through; known nodes stay where they are.
    fn reshow(&mut self, now_ms: f64) {
        self.show();
        let change = self.stage.refresh(&self.shown, now_ms);
        self.fit(change == Change::All);
    }

    fn conclude(&mut self) {
        self.hypothesis = self.lab.suppose(&self.model, &self.inference, &self.suppositions);
        // Rings need room beside lines.
        self.stale = Stale { geometry: true, marks: true, painting: true, ..self.stale };
    }

    /// Works out what later questions need; for a moment when nobody waits.
    pub fn warm_up(&mut self) {
        self.lab.warm_up(&self.model);
    }

    /// Chooses an arrangement and lays everything out by it.
    pub fn arrange(&mut self, wanted: Arrangement, now_ms: f64) {
        let middle = match &self.filter.around {
            Some((key, _)) => Some(key.clone()),
            None => self.focus.and_then(|id| self.key_of(id)).or_else(|| {
                let root = self.inference.incidents.first()?.causes.iter().find_map(|c| c.0)?;
                self.shown.place_of_service(root).map(|place| self.shown.nodes[place].key.clone())
            }),
        };
        self.stage.choose(wanted, middle);
        self.stage.arrange(&self.shown, now_ms, false);
        self.show_all();
        self.fit(true);
    }

    /// Finishes a layout that is under way at once.
    pub fn settle(&mut self) {
        if self.stage.settle() {
            self.stale.placed = true;
            self.fit(false);
        }
    }

    /// The canvas has a new size, in CSS pixels.
    pub fn resize(&mut self, width: f64, height: f64) {
        self.camera.size = Point { x: width.max(1.0), y: height.max(1.0) };
        self.fit(!self.fitted);
    }

    /// Dark or light, upon a background given as CSS colour (the usual one where that is not understood).
    pub fn set_theme(&mut self, dark: bool, background: &str) {
        self.theme = Theme::new(dark, Colour::parse(background));
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

    fn fit(&mut self, fresh: bool) {
        let placed = self.stage.placed(&self.shown, 0.0, false);
        // Long calls bend around services: their way points belong into the picture, too.
        let slots: Vec<_> = placed.slots.into_iter().chain(placed.routes.into_iter().flatten()).collect();
        self.camera.plane = !matches!(self.stage.used(), Arrangement::Auto | Arrangement::Layered);
        self.camera.fit(&slots, fresh);
        self.stale = Stale { placed: true, geometry: true, painting: true, ..self.stale };
    }

    /// Zooms by a factor around a point.
    pub fn zoom(&mut self, x: f64, y: f64, factor: f64) {
        if factor.is_finite() && factor > 0.0 {
            self.camera.zoom_at(Point { x, y }, factor);
            self.stale = Stale { geometry: true, painting: true, ..self.stale };
        }
    }

    /// Moves the picture.
    pub fn pan(&mut self, dx: f64, dy: f64) {
        if dx.is_finite() && dy.is_finite() {
            self.camera.pan.x += dx;
            self.camera.pan.y += dy;
            self.stale = Stale { geometry: true, painting: true, ..self.stale };
        }
    }

    /// Back to everything in view.
    pub fn show_all(&mut self) {
        self.camera.zoom = 1.0;
        self.camera.pan = Point::default();
        self.stale = Stale { geometry: true, painting: true, ..self.stale };
    }

    /// Brings a node (or the closed namespace of a service) to the middle. False where it is not shown.
    pub fn centre_on(&mut self, id: usize) -> bool {
        let place = self.shown.place(id).or_else(|| self.shown.place_of_service(id));
        let Some(place) = place else { return false };
        let at = self.camera.project(self.stage.slot(&self.shown.nodes[place].key));
        self.camera.centre_on(at);
        self.stale = Stale { geometry: true, painting: true, ..self.stale };
        true
    }

    /// What was painted at a point.
    pub fn hit(&mut self, x: f64, y: f64) -> Option<Hit> {
        let under = self.geometry.under(&self.shown, Point { x, y })?;
        Some(match under {
            Under::Node(place) => Hit::Node(self.shown.nodes[place].id),
            Under::Hidden(place) => Hit::Hidden(self.shown.nodes[place].id),
            Under::Link(link) => Hit::Link(link),
        })
    }

    /// The name of a closed namespace, by its node's id.
    pub fn namespace_of(&self, id: usize) -> Option<&str> {
        let cluster = id.checked_sub(self.model.services.len())?;
        self.shown.clusters.get(cluster).map(|c| c.namespace.as_str())
    }

    /// Ids of a shown link's nodes, and its calls.
    pub fn link(&self, link: usize) -> (usize, usize, &[usize]) {
        let Some(link) = self.shown.links.get(link) else { return (0, 0, &[]) };
        (self.shown.nodes[link.from].id, self.shown.nodes[link.to].id, &link.calls)
    }

    /// Emphasises a node; `None` or one that is not shown none. True if that changed anything.
    pub fn set_focus(&mut self, id: Option<usize>) -> bool {
        let focus = id.filter(|id| self.shown.place(*id).is_some());
        let changed = std::mem::replace(&mut self.focus, focus) != focus;
        self.stale.painting |= changed;
        changed
    }

    /// The node beside another in a direction; from nowhere, the most important one.
    #[must_use]
    pub fn beside(&self, id: Option<usize>, dx: f64, dy: f64) -> Option<usize> {
        let Some(place) = id.and_then(|id| self.shown.place(id)) else {
            let weight = |m: &Mark| m.ring.unwrap_or(0.0) * 1e3 + m.score.unwrap_or(0.0);
            let best = self.marks.iter().enumerate().rev().max_by(|a, b| weight(a.1).total_cmp(&weight(b.1)));
            return best.and_then(|(place, _)| self.shown.nodes.get(place)).map(|n| n.id);
        };
        self.geometry.beside(place, dx, dy).map(|place| self.shown.nodes[place].id)
    }

    /// Changes what is supposed, and concludes again.
    pub fn suppose(&mut self, change: impl FnOnce(&Model, &mut Suppositions)) {
        change(&self.model, &mut self.suppositions);
        self.conclude();
    }

    /// Assumes that a service has failed; `None` or an unknown id takes that back.
    pub fn suppose_failed(&mut self, service: Option<usize>) {
        self.suppose(|model, s| s.failed = service.and_then(|id| model.services.get(id)).map(|s| s.key.clone()));
    }

    /// Forgets every supposition.
    pub fn reset(&mut self) {
        self.suppose(|_, s| *s = Suppositions::default());
    }

    /// Changes the filter, and shows what it lets through.
    pub fn refilter(&mut self, change: impl FnOnce(&Model, &mut Filter), now_ms: f64) {
        let before = self.filter.clone();
        change(&self.model, &mut self.filter);
        if self.filter != before {
            self.reshow(now_ms);
        }
    }

    /// Dims what does not match; an empty text ends that. How many nodes match.
    pub fn set_search(&mut self, text: &str) -> usize {
        self.search = text.trim().to_lowercase();
        self.stale = Stale { marks: true, painting: true, ..self.stale };
        let sources = self.sources();
        self.shown.nodes.iter().filter(|n| sources.matches(n)).count()
    }

    /// Opens or closes a namespace; false where there is none of this name with two services or more.
    pub fn set_open(&mut self, namespace: &str, open: bool, now_ms: f64) -> bool {
        if !self.shown.clusters.iter().any(|c| c.namespace == namespace) {
            return false;
        }
        let changed = if open { self.closed.remove(namespace) } else { self.closed.insert(namespace.to_owned()) };
        if changed {
            let before: BTreeSet<Key> = self.shown.nodes.iter().map(|n| n.key.clone()).collect();
            let cluster = Key { namespace: Some(namespace.to_owned()), name: String::new() };
            let from = self.stage.slot(&cluster);
            self.show();
            self.stage.arrange(&self.shown, now_ms, true);
            if open {
                let new = self.shown.nodes.iter().map(|n| &n.key).filter(|k| !before.contains(*k));
                self.stage.emerge(new, from, now_ms);
            }
            self.fit(false);
        }
        true
    }

    /// Opens or closes all namespaces.
    pub fn set_all_open(&mut self, open: bool, now_ms: f64) {
        let names = self.shown.clusters.iter().map(|c| c.namespace.clone());
        self.closed = if open { BTreeSet::new() } else { names.collect() };
        self.show();
        self.stage.arrange(&self.shown, now_ms, true);
        self.fit(true);
    }

    /// Namespaces of later ticks start closed where there are more services than this.
    pub fn set_clusters_above(&mut self, services: usize) {
        self.clusters_above = services;
    }

    /// Puts a node to a point for good.
    pub fn drag(&mut self, id: usize, x: f64, y: f64) {
        if let Some(place) = self.shown.place(id) {
            let slot = self.camera.unproject(Point { x, y });
            self.stage.pin(&self.shown.nodes[place].key, slot);
            self.stale = Stale { placed: true, geometry: true, marks: true, painting: true };
        }
    }

    /// Lets a node go where layouts want it; `None` all of them. Takes effect with the next layout.
    pub fn unpin(&mut self, id: Option<usize>) {
        match id {
            Some(id) => {
                if let Some(key) = self.key_of(id) {
                    self.stage.unpin(Some(&key));
                }
            }
            None => self.stage.unpin(None),
        }
        self.stale = Stale { marks: true, painting: true, ..self.stale };
    }

    pub(crate) fn closed(&self) -> &BTreeSet<String> {
        &self.closed
    }

    pub(crate) fn open_and_close(&mut self, open: &BTreeSet<String>, closed: &BTreeSet<String>) {
        self.known.extend(open.iter().chain(closed).cloned());
        self.closed.retain(|name| !open.contains(name));
        self.closed.extend(closed.iter().cloned());
    }

    pub(crate) fn opened(&self) -> impl Iterator<Item = &String> {
        self.known.iter().filter(|name| !self.closed.contains(*name))
    }

    pub(crate) fn rearrange(&mut self, now_ms: f64) {
        self.show();
        self.stage.arrange(&self.shown, now_ms, false);
        self.show_all();
        self.fit(true);
        self.fitted = !self.shown.nodes.is_empty();
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

    fn sources(&self) -> Sources<'_> {
        Sources {
            model: &self.model,
            inference: &self.inference,
            suppositions: &self.suppositions,
            hypothesis: self.hypothesis.as_ref(),
            moment: self.moment.as_ref(),
            search: &self.search,
        }
    }

    fn moving(&self, now_ms: f64) -> bool {
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
        }
        if self.stale.geometry {
            let ringed = |place: usize| self.marks.get(place).is_some_and(|m| m.ring.is_some());
            self.geometry = Geometry::of(&self.shown, &self.placed, &self.camera, &ringed);
        }
        self.stale = Stale::default();
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            model: &self.model,
            shown: &self.shown,
            geometry: &self.geometry,
            marks: &self.marks,
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
        let name = |place: usize| view.shown.nodes[place].label.as_str();
        assert_eq!((0..4).map(name).collect::<Vec<_>>(), ["cart", "db", "search", "web"]);
        let edges: Vec<_> = view.shown.links.iter().map(|l| (name(l.from), name(l.to))).collect();
        assert_eq!(edges, [("cart", "db"), ("web", "cart"), ("web", "search")]);
        assert_eq!((drawn.nodes.len(), drawn.edges.len()), (4, 3));
        assert_eq!(
            (canvas.lines, canvas.triangles),
            (3 + 2, 3),
            "three calls, and two of them on the way of the fault"
        );
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
        view.suppose_failed(view.model.services.iter().position(|s| s.label == "search"));
        view.paint(&mut canvas, 1e6);
        let drawn = view.drawn();
        assert_eq!(drawn.hypothetical.as_deref(), Some("search"));
        assert_eq!(drawn.nodes.iter().map(|n| n.halo.is_some()).collect::<Vec<_>>(), [false, false, true, true]);
        assert_eq!(drawn.nodes.iter().map(|n| n.ring.is_some()).collect::<Vec<_>>(), [false, false, true, false]);
        // A refresh keeps the supposition; reset ends it.
        let (packed, values) = pack(&shop());
        view.load(&packed, &values, 2e6);
        view.paint(&mut canvas, 2e6);
        assert_eq!(view.drawn().hypothetical.as_deref(), Some("search"));
        view.reset();
        view.paint(&mut canvas, 2e6);
        assert_eq!(view.drawn().hypothetical, None);
    }

    #[test]
    fn the_pointer_finds_what_was_painted() {
        let (mut view, _) = view(&shop());
        for (place, disc) in view.geometry.discs.clone().into_iter().enumerate() {
            assert_eq!(view.hit(disc.centre.x + 3.0, disc.centre.y), Some(Hit::Node(place)));
        }
        for (link, path) in view.geometry.paths.clone().into_iter().enumerate() {
            let middle = path.points[path.points.len() / 2];
            assert_eq!(view.hit(middle.x, middle.y), Some(Hit::Link(link)));
        }
        assert_eq!(view.hit(-50.0, -50.0), None);
    }

    fn crowd(services: usize, namespaces: usize) -> Vec<String> {
        let name = |i: usize| (format!("ns-{}", i % namespaces), format!("service-{i}"));
        let line = |&(a, b): &(usize, usize)| {
            let ((an, a), (bn, b)) = (name(a), name(b));
            format!(
                "quoll_edge_requests_per_second{{client={a},client_service_namespace={an},server={b},server_service_namespace={bn}}} 5"
            )
        };
        random_calls(services, 3).iter().map(line).collect()
    }

    fn texts(lines: &[String]) -> Vec<&str> {
        lines.iter().map(String::as_str).collect()
    }

    #[test]
    fn many_services_start_as_closed_namespaces_that_open_and_close() {
        let lines = crowd(400, 8);
        let (mut view, mut canvas) = view(&texts(&lines));
        assert_eq!(view.drawn().nodes.len(), 8);
        let at = view.drawn().nodes[2].centre;
        assert_eq!(view.hit(at.x, at.y), Some(Hit::Node(402)));
        assert!(view.set_open("ns-2", true, 1e6));
        assert!(!view.set_open("ghost", true, 1e6));
        assert!(view.paint(&mut canvas, 1e6), "services come out of their namespace");
        let start = view.drawn().nodes[0].centre;
        view.paint(&mut canvas, 2e6);
        assert_eq!(view.drawn().nodes.len(), 57);
        assert!(start.distance(view.drawn().nodes[0].centre) > 1.0);
        let (packed, values) = pack(&texts(&lines));
        view.load(&packed, &values, 3e6);
        assert_eq!(view.shown.nodes.len(), 57, "a refresh closes nothing");
        view.set_open("ns-2", false, 4e6);
        view.paint(&mut canvas, 5e6);
        assert_eq!(view.drawn().nodes.len(), 8);
    }

    #[test]
    fn flow_runs_only_where_animation_is_allowed() {
        let (mut view, mut canvas) = view(&shop());
        view.set_flow(true);
        let dots = |view: &View, canvas: &mut Recorder, now: f64| {
            canvas.discs.clear();
            view.paint_flow(canvas, now);
            canvas.discs.clone()
        };
        let (one, two) = (dots(&view, &mut canvas, 1000.0), dots(&view, &mut canvas, 1200.0));
        assert!(!one.is_empty() && one != two);
        view.set_animate(false);
        assert!(dots(&view, &mut canvas, 1000.0).is_empty());
    }

    #[test]
    fn what_the_user_chose_survives_being_saved_and_restored() {
        let (mut first, mut canvas) = view(&shop());
        first.arrange(Arrangement::Force, 1e6);
        first.drag(1, 123.0, 77.0);
        first.paint(&mut canvas, 2e6);
        let saved = first.save();
        let (mut second, mut canvas) = view(&shop());
        assert!(second.restore(&saved, 1e6));
        second.paint(&mut canvas, 2e6);
        assert_eq!(second.stage.used(), Arrangement::Force);
        assert_eq!(second.save(), saved);
        assert_eq!(second.stage.slot(&second.model.services[1].key), first.stage.slot(&first.model.services[1].key));
        for bad in ["", "{}", "{\"version\":99}", "[1]"] {
            assert!(!second.restore(bad, 3e6), "{bad}");
        }
    }

    #[test]
    fn another_time_shows_its_state_and_now_comes_back() {
        use crate::timeline::{Quantity, Series};
        let (mut view, mut canvas) = view(&shop());
        let key = view.model.services[0].key.clone();
        let series = vec![Series { key, quantity: Quantity::Posterior, values: vec![0.7, 0.2] }];
        view.set_timeline(Timeline::new(&[1000.0, 2000.0], series));
        view.set_time(Some(1500.0));
        view.paint(&mut canvas, 1e6);
        let rings = |view: &View| view.drawn().nodes.iter().map(|n| n.ring).collect::<Vec<_>>();
        assert_eq!(rings(&view), [Some(0.7), None, None, None]);
        view.set_time(None);
        view.paint(&mut canvas, 1e6);
        assert_eq!(rings(&view), [Some(0.06), Some(0.91), None, None]);
    }

    #[test]
    fn arrows_walk_from_node_to_node_and_search_dims_the_rest() {
        let (mut view, mut canvas) = view(&shop());
        assert_eq!(view.beside(None, 1.0, 0.0), Some(1), "the root first");
        let cart = view.beside(Some(3), 1.0, 0.0).unwrap();
        assert!(cart == 0 || cart == 2);
        assert_eq!(view.set_search("Sea"), 1);
        view.paint(&mut canvas, 1e6);
        assert_eq!(view.marks.iter().map(|m| m.dim).collect::<Vec<_>>(), [true, true, false, true]);
        assert_eq!(view.set_search(""), 4);
    }

    #[test]
    fn the_picture_is_written_as_svg() {
        let (mut view, _) = view(&shop());
        let svg = view.svg(&mut |text, font| text.len() as f64 * font.size * 0.5, 1e6);
        for part in ["<svg ", ">catalog<", ">91%<", "stroke-dasharray"] {
            assert_eq!(svg.contains(part), part != ">catalog<", "{part}");
        }
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
        let (view, _) = view(&texts(&lines));
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
        view.suppose_failed(Some(3));
        assert!(!view.set_focus(Some(9)));
        assert!(view.drawn_json().starts_with("{\"size\":[800.0,400.0],\"nodes\":[]"));
    }
}
