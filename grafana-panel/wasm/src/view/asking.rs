//! What the user asks: what lies at a point, what would follow, what is to be shown.

use super::{Hit, Stale, View};
use crate::camera::Point;
use crate::geometry::Under;
use crate::marks::Mark;
use crate::model::Model;
use crate::shown::Filter;
use crate::what_if::Suppositions;

impl View {
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
}
