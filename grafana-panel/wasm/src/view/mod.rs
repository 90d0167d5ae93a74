//! The whole panel but for the page around it: takes in ticks, answers the pointer, paints.
//!
//! Free of the browser, so that all of it is tested natively. No input makes it fail; what is wrong
//! with the data comes back as notes in the summary. Everything the user chose (filters, suppositions,
//! open namespaces, pinned nodes, the search) survives refreshes, also of services that are gone meanwhile.

mod arranging;
mod asking;
mod picture;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::camera::Camera;
use crate::colour::{Colour, Theme};
use crate::drawn::Drawn;
use crate::geometry::Geometry;
use crate::inference::Inference;
use crate::looks::{Looks, Worn};
use crate::marks::Mark;
use crate::model::{Key, Model};
use crate::samples::select;
use crate::shown::{Filter, Shown};
use crate::stage::{Change, Placed, Stage};
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
    pub(crate) moment: Option<Moment>,
    looks: Looks,
    worn: Worn,
    dark: bool,
    background: Option<Colour>,
    lab: Lab,
    closed: BTreeSet<String>,
    /// Namespaces the user opened, or has seen open: never closed by themselves.
    known: BTreeSet<String>,
    clusters_above: usize,
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
            moment: None,
            looks: Looks::default(),
            worn: Worn::default(),
            dark: true,
            background: None,
            lab: Lab::default(),
            closed: BTreeSet::new(),
            known: BTreeSet::new(),
            clusters_above: CLUSTERS_ABOVE,
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

    /// Takes in what the data says about looks; see [`Looks`] for the text.
    pub fn dress(&mut self, looks: &str) {
        self.looks = Looks::read(looks);
        self.colour_in();
        self.stale = Stale { geometry: true, marks: true, painting: true, ..self.stale };
    }

    fn colour_in(&mut self) {
        self.theme = Theme::new(self.dark, self.background);
        if let Some(score) = &self.looks.score {
            self.theme.score = score.clone();
        }
        if let Some(errors) = &self.looks.errors {
            self.theme.errors = errors.clone();
        }
    }

    /// Works out what later questions need; for a moment when nobody waits.
    pub fn warm_up(&mut self) {
        self.lab.warm_up(&self.model);
    }
}
