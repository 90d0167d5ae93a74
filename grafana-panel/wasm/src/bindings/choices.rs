//! What the user chooses: suppositions, what is shown, where it lies.

use wasm_bindgen::prelude::*;

use super::{Panel, id};
use crate::layout::Arrangement;
use crate::samples::RECORD;

#[wasm_bindgen]
impl Panel {
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
}
