//! Where things lie: layouts, the camera, open and closed namespaces, nodes pinned by hand.

use std::collections::BTreeSet;

use super::{Stale, View};
use crate::camera::Point;
use crate::layout::Arrangement;
use crate::model::Key;

impl View {
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

    pub(super) fn fit(&mut self, fresh: bool) {
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
}
