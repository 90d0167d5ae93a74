//! Where services stand, across refreshes: known ones keep their place, new ones find one and ease in.
//!
//! A full layout happens at first sight, on request, and where more than half of the services are new.
//! Otherwise a newcomer goes between its callers and callees to the nearest free place. Services that
//! vanish keep their place for a return (up to a limit), so a gap in the data moves nothing.

use std::collections::BTreeMap;

use crate::layout::{Layout, Slot, layered};
use crate::model::{Key, Model};

/// How long a newcomer takes to appear, in milliseconds.
pub const EASE_MS: f64 = 450.0;
/// Places remembered, per service shown.
const MEMORY: usize = 4;

#[derive(Debug, Clone, PartialEq)]
struct Place {
    slot: Slot,
    born_ms: f64,
}

/// The places of all services seen.
#[derive(Debug, Default)]
pub struct Stage {
    places: BTreeMap<Key, Place>,
    routes: BTreeMap<(Key, Key), Vec<Slot>>,
}

/// What a refresh changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Same services.
    None,
    /// Newcomers found a place, or some left.
    Some,
    /// Everything was laid out afresh.
    All,
}

fn pairs(model: &Model) -> Vec<(usize, usize)> {
    model.calls.iter().map(|c| (c.client, c.server)).collect()
}

impl Stage {
    /// Takes in a model at `now_ms` (any monotonic clock).
    pub fn refresh(&mut self, model: &Model, now_ms: f64) -> Change {
        let newcomers: Vec<usize> =
            (0..model.services.len()).filter(|&s| !self.places.contains_key(&model.services[s].key)).collect();
        if newcomers.is_empty() {
            return Change::None;
        }
        if newcomers.len() * 2 > model.services.len() {
            self.arrange(model, now_ms);
            return Change::All;
        }
        for service in newcomers {
            let slot = self.free_place(model, service);
            self.places.insert(model.services[service].key.clone(), Place { slot, born_ms: now_ms });
        }
        if self.places.len() > MEMORY * model.services.len() {
            self.places.retain(|key, _| model.find(key).is_some());
        }
        Change::Some
    }

    /// Lays everything out afresh. Services already shown do not fade again.
    pub fn arrange(&mut self, model: &Model, now_ms: f64) {
        let calls = pairs(model);
        let Layout { nodes, routes } = layered(model.services.len(), &calls);
        let former = std::mem::take(&mut self.places);
        for (service, slot) in model.services.iter().zip(nodes) {
            let born_ms = former.get(&service.key).map_or(now_ms, |p| p.born_ms);
            self.places.insert(service.key.clone(), Place { slot, born_ms });
        }
        let key = |id: usize| model.services[id].key.clone();
        let routes = calls.iter().zip(routes).filter(|(_, r)| !r.is_empty());
        self.routes = routes.map(|(&(a, b), route)| ((key(a), key(b)), route)).collect();
    }

    /// Where a service stands.
    #[must_use]
    pub fn slot(&self, key: &Key) -> Slot {
        self.places.get(key).map(|p| p.slot).unwrap_or_default()
    }

    /// Way points of a call.
    #[must_use]
    pub fn route(&self, client: &Key, server: &Key) -> &[Slot] {
        self.routes.get(&(client.clone(), server.clone())).map_or(&[], Vec::as_slice)
    }

    /// How far a service has eased in, 0 to 1.
    #[must_use]
    pub fn presence(&self, key: &Key, now_ms: f64) -> f64 {
        let Some(place) = self.places.get(key) else { return 1.0 };
        let t = ((now_ms - place.born_ms) / EASE_MS).clamp(0.0, 1.0);
        t * t * (3.0 - 2.0 * t)
    }

    fn free_place(&self, model: &Model, service: usize) -> Slot {
        let place = |id: usize| self.places.get(&model.services[id].key).map(|p| p.slot);
        let callers: Vec<_> =
            model.calls.iter().filter(|c| c.server == service).filter_map(|c| place(c.client)).collect();
        let callees: Vec<_> =
            model.calls.iter().filter(|c| c.client == service).filter_map(|c| place(c.server)).collect();
        let lowest = callers.iter().map(|s| s.layer).fold(f64::NEG_INFINITY, f64::max);
        let highest = callees.iter().map(|s| s.layer).fold(f64::INFINITY, f64::min);
        let layer = if lowest.is_finite() {
            lowest + 1.0
        } else if highest.is_finite() {
            highest - 1.0
        } else {
            0.0
        };
        let near = callers.iter().chain(&callees);
        let count = near.clone().count().max(1) as f64;
        let wish = near.map(|s| s.cross).sum::<f64>() / count;
        let same_layer = |p: &&Place| (p.slot.layer - layer).abs() < 0.5;
        let taken: Vec<f64> = self.places.values().filter(same_layer).map(|p| p.slot.cross).collect();
        let free = |cross: f64| taken.iter().all(|t| (t - cross).abs() >= 0.999);
        let candidates = taken.iter().flat_map(|t| [t - 1.0, t + 1.0]).chain([wish]).filter(|&c| free(c));
        let cross = candidates.min_by(|a, b| (a - wish).abs().total_cmp(&(b - wish).abs())).unwrap_or(wish);
        Slot { layer, cross }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{select, tests::pack};

    fn model(calls: &[(&str, &str)]) -> Model {
        let lines: Vec<_> =
            calls.iter().map(|(c, s)| format!("quoll_edge_strength{{client={c},server={s}}} 0.5")).collect();
        let (packed, values) = pack(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        Model::read(select(&packed, &values))
    }

    const SHOP: &[(&str, &str)] = &[("web", "cart"), ("web", "search"), ("cart", "db"), ("search", "index")];

    #[test]
    fn known_services_keep_their_place_and_newcomers_ease_in() {
        let mut stage = Stage::default();
        let before = model(SHOP);
        assert_eq!(stage.refresh(&before, 0.0), Change::All);
        assert_eq!(stage.refresh(&before, 1000.0), Change::None);
        let places: Vec<_> = before.services.iter().map(|s| stage.slot(&s.key)).collect();
        let mut grown = SHOP.to_vec();
        grown.extend([("cart", "aaa"), ("web", "zzz")]);
        let after = model(&grown);
        assert_eq!(stage.refresh(&after, 5000.0), Change::Some);
        for (service, place) in before.services.iter().zip(places) {
            assert_eq!(stage.slot(&service.key), place);
            assert_eq!(stage.presence(&service.key, 5000.0), 1.0);
        }
        let newcomer = &after.services[0].key;
        assert_eq!(newcomer.name, "aaa");
        assert_eq!(stage.presence(newcomer, 5000.0), 0.0);
        assert_eq!(stage.presence(newcomer, 5000.0 + EASE_MS), 1.0);
        assert!(stage.slot(newcomer).layer > stage.slot(&after.services[1].key).layer);
        for (i, a) in after.services.iter().enumerate() {
            for b in &after.services[i + 1..] {
                let (a, b) = (stage.slot(&a.key), stage.slot(&b.key));
                assert!(a.layer != b.layer || (a.cross - b.cross).abs() > 0.99);
            }
        }
    }

    #[test]
    fn a_service_that_returns_stands_where_it_stood() {
        let mut stage = Stage::default();
        let all = model(SHOP);
        stage.refresh(&all, 0.0);
        let db = all.services.iter().find(|s| s.key.name == "db").unwrap().key.clone();
        let place = stage.slot(&db);
        stage.refresh(&model(&SHOP[..2]), 1.0);
        assert_eq!(stage.refresh(&all, 2.0), Change::None);
        assert_eq!(stage.slot(&db), place);
    }
}
