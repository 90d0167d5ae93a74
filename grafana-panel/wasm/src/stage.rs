//! Where nodes stand, across refreshes: known ones keep their place, new ones find one and ease in.
//!
//! A full layout happens at first sight, on request, and where more than half of the nodes are new.
//! Otherwise a newcomer goes between its neighbours to the nearest free place; hundreds at once are laid out
//! together with the known ones, starting from where these are. Nodes that vanish keep
//! their place for a return (up to a limit), so a gap in the data moves nothing. Pinned nodes never move
//! but by hand; every layout leaves them where they are. Nodes that a new layout moves glide there.
//!
//! A force layout too large for one frame runs in slices of bounded work, one per [`Stage::advance`].

use std::collections::BTreeMap;

use crate::layout::force::Force;
use crate::layout::rings::{concentric, grid};
use crate::layout::{Arrangement, Layout, Slot, layered};
use crate::model::Key;
use crate::shown::{Node, Shown};

/// How long a newcomer takes to appear and a node to glide, in milliseconds.
pub const EASE_MS: f64 = 450.0;
/// Places remembered, per node shown.
const MEMORY: usize = 4;
/// Nodes moved by one step each, at once and per slice: some 60 and 12 ms.
const AT_ONCE: usize = 40_000;
const SLICE: usize = 9_000;

/// Newcomers times known places up to which newcomers find their places one by one.
const ONE_BY_ONE: usize = 40_000;

#[derive(Debug, Clone, PartialEq)]
struct Place {
    slot: Slot,
    born_ms: f64,
    /// Where it comes from, and since when.
    from: Option<(Slot, f64)>,
}

/// The places of all nodes seen.
#[derive(Debug, Default)]
pub struct Stage {
    wanted: Arrangement,
    used: Arrangement,
    middle: Option<Key>,
    places: BTreeMap<Key, Place>,
    pinned: BTreeMap<Key, Slot>,
    routes: BTreeMap<(Key, Key), Vec<Slot>>,
    running: Option<(Force, Vec<Key>)>,
    latest_ms: f64,
}

/// What a refresh changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Same nodes.
    None,
    /// Newcomers found a place.
    Some,
    /// Everything was laid out afresh.
    All,
}

/// Where the shown nodes and links lie at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placed {
    /// Per shown node.
    pub slots: Vec<Slot>,
    /// Per shown node, how far it has eased in, 0 to 1.
    pub presence: Vec<f64>,
    /// Per shown link, its way points.
    pub routes: Vec<Vec<Slot>>,
}

fn ease(since_ms: f64, now_ms: f64) -> f64 {
    let t = ((now_ms - since_ms) / EASE_MS).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

impl Stage {
    /// What was asked for.
    #[must_use]
    pub fn wanted(&self) -> Arrangement {
        self.wanted
    }

    /// What is in use; never [`Arrangement::Auto`] once laid out.
    #[must_use]
    pub fn used(&self) -> Arrangement {
        self.used
    }

    /// Chooses an arrangement; the node in the middle counts for the concentric one.
    pub fn choose(&mut self, wanted: Arrangement, middle: Option<Key>) {
        self.wanted = wanted;
        self.middle = middle;
    }

    /// Takes in what is shown at `now_ms` (any monotonic clock).
    pub fn refresh(&mut self, shown: &Shown, now_ms: f64) -> Change {
        let newcomers: Vec<usize> =
            (0..shown.nodes.len()).filter(|&n| !self.places.contains_key(&shown.nodes[n].key)).collect();
        if newcomers.is_empty() {
            return Change::None;
        }
        if newcomers.len() * 2 > shown.nodes.len() {
            self.arrange(shown, now_ms, false);
            return Change::All;
        }
        // Looking for one free place after the other is for a few newcomers.
        if newcomers.len() * self.places.len() > ONE_BY_ONE {
            self.arrange(shown, now_ms, true);
            return Change::All;
        }
        for place in newcomers {
            let slot = self.free_place(shown, place);
            self.places.insert(shown.nodes[place].key.clone(), Place { slot, born_ms: now_ms, from: None });
        }
        self.latest_ms = now_ms;
        if self.places.len() > MEMORY * shown.nodes.len() {
            let kept: std::collections::BTreeSet<&Key> = shown.nodes.iter().map(|n| &n.key).collect();
            self.places.retain(|key, _| kept.contains(key));
        }
        Change::Some
    }

    /// Lays everything out afresh, or, if `warm`, starting from where nodes are. Nodes already shown do
    /// not fade in again; they glide.
    pub fn arrange(&mut self, shown: &Shown, now_ms: f64, warm: bool) {
        self.used = self.wanted.of(shown.nodes.len());
        self.running = None;
        let pairs = shown.pairs();
        let count = shown.nodes.len();
        let Layout { nodes, routes } = match self.used {
            Arrangement::Concentric => {
                let middle = self.middle.as_ref().and_then(|key| shown.nodes.iter().position(|n| n.key == *key));
                Layout { nodes: concentric(count, &pairs, middle), routes: Vec::new() }
            }
            Arrangement::Grid => Layout { nodes: grid(count), routes: Vec::new() },
            Arrangement::Force => {
                let known: Vec<Option<(Slot, bool)>> = shown.nodes.iter().map(|n| self.known(n, warm)).collect();
                let mut force = Force::new(count, &pairs, &known);
                force.advance(AT_ONCE / force.size().max(1));
                let slots = force.slots();
                if !force.done() {
                    self.running = Some((force, shown.nodes.iter().map(|n| n.key.clone()).collect()));
                }
                Layout { nodes: slots, routes: Vec::new() }
            }
            Arrangement::Auto | Arrangement::Layered => layered(count, &pairs),
        };
        let former = std::mem::take(&mut self.places);
        for (node, slot) in shown.nodes.iter().zip(nodes) {
            let slot = self.pinned.get(&node.key).copied().unwrap_or(slot);
            let place = match former.get(&node.key) {
                Some(old) if self.running.is_none() && old.slot != slot => {
                    Place { slot, born_ms: old.born_ms, from: Some((old.slot, now_ms)) }
                }
                Some(old) => Place { slot, born_ms: old.born_ms, from: None },
                None => Place { slot, born_ms: now_ms, from: None },
            };
            self.places.insert(node.key.clone(), place);
        }
        self.latest_ms = now_ms;
        let key = |place: usize| shown.nodes[place].key.clone();
        let routes = pairs.iter().zip(routes).filter(|(_, r)| !r.is_empty());
        self.routes = routes.map(|(&(a, b), route)| ((key(a), key(b)), route)).collect();
    }

    /// Lets nodes glide to their places from one common place.
    pub fn emerge<'a>(&mut self, keys: impl Iterator<Item = &'a Key>, from: Slot, now_ms: f64) {
        for key in keys {
            if let Some(place) = self.places.get_mut(key) {
                place.from = Some((from, now_ms));
            }
        }
    }

    fn known(&self, node: &Node, warm: bool) -> Option<(Slot, bool)> {
        let pinned = self.pinned.get(&node.key).map(|s| (*s, true));
        pinned.or_else(|| self.places.get(&node.key).filter(|_| warm).map(|p| (p.slot, false)))
    }

    /// One slice of a layout under way; true if that moved anything.
    pub fn advance(&mut self) -> bool {
        let Some((force, keys)) = &mut self.running else { return false };
        force.advance((SLICE / force.size().max(1)).max(1));
        for (key, slot) in keys.iter().zip(force.slots()) {
            if let Some(place) = self.places.get_mut(key) {
                place.slot = self.pinned.get(key).copied().unwrap_or(slot);
            }
        }
        if force.done() {
            self.running = None;
        }
        true
    }

    /// Finishes a layout under way; true if there was one.
    pub fn settle(&mut self) -> bool {
        let running = self.running.is_some();
        if let Some((force, _)) = &mut self.running {
            force.advance(usize::MAX);
            self.advance();
        }
        running
    }

    /// Whether a layout is under way.
    #[must_use]
    pub fn laying_out(&self) -> bool {
        self.running.is_some()
    }

    /// Whether anything eases or glides at `now_ms`.
    #[must_use]
    pub fn moving(&self, now_ms: f64) -> bool {
        self.running.is_some() || now_ms < self.latest_ms + EASE_MS
    }

    /// Where everything is at `now_ms`; without `animate`, where it will be.
    #[must_use]
    pub fn placed(&self, shown: &Shown, now_ms: f64, animate: bool) -> Placed {
        let mut placed = Placed::default();
        for node in &shown.nodes {
            let (slot, presence) = match self.places.get(&node.key) {
                Some(place) if animate => {
                    let slot = match place.from {
                        Some((from, since)) if now_ms < since + EASE_MS => {
                            let t = ease(since, now_ms);
                            let mix = |a: f64, b: f64| a + (b - a) * t;
                            Slot { layer: mix(from.layer, place.slot.layer), cross: mix(from.cross, place.slot.cross) }
                        }
                        _ => place.slot,
                    };
                    (slot, ease(place.born_ms, now_ms))
                }
                Some(place) => (place.slot, 1.0),
                None => (Slot::default(), 1.0),
            };
            placed.slots.push(slot);
            placed.presence.push(presence);
        }
        let none = self.routes.is_empty();
        for link in &shown.links {
            let route = if none {
                None
            } else {
                let key = |place: usize| shown.nodes[place].key.clone();
                self.routes.get(&(key(link.from), key(link.to)))
            };
            placed.routes.push(route.cloned().unwrap_or_default());
        }
        placed
    }

    /// Where a node stands, once everything has settled.
    #[must_use]
    pub fn slot(&self, key: &Key) -> Slot {
        self.places.get(key).map(|p| p.slot).unwrap_or_default()
    }

    /// How far a node has eased in, 0 to 1.
    #[must_use]
    pub fn presence(&self, key: &Key, now_ms: f64) -> f64 {
        self.places.get(key).map_or(1.0, |place| ease(place.born_ms, now_ms))
    }

    /// Puts a node somewhere for good. Places that are no numbers are ignored.
    pub fn pin(&mut self, key: &Key, slot: Slot) {
        if !(slot.layer.is_finite() && slot.cross.is_finite()) {
            return;
        }
        self.pinned.insert(key.clone(), slot);
        let born_ms = self.places.get(key).map_or(f64::NEG_INFINITY, |p| p.born_ms);
        self.places.insert(key.clone(), Place { slot, born_ms, from: None });
        self.routes.retain(|(a, b), _| a != key && b != key);
    }

    /// Lets a node go where the next layout wants it; all, for `None`.
    pub fn unpin(&mut self, key: Option<&Key>) {
        match key {
            Some(key) => drop(self.pinned.remove(key)),
            None => self.pinned.clear(),
        }
    }

    /// Pinned nodes and their places.
    pub fn pinned(&self) -> impl Iterator<Item = (&Key, Slot)> {
        self.pinned.iter().map(|(key, slot)| (key, *slot))
    }

    /// Whether a node is pinned.
    #[must_use]
    pub fn is_pinned(&self, key: &Key) -> bool {
        self.pinned.contains_key(key)
    }

    fn free_place(&self, shown: &Shown, node: usize) -> Slot {
        if let Some(slot) = self.pinned.get(&shown.nodes[node].key) {
            return *slot;
        }
        let place = |at: usize| self.places.get(&shown.nodes[at].key).map(|p| p.slot);
        let callers: Vec<_> = shown.links.iter().filter(|l| l.to == node).filter_map(|l| place(l.from)).collect();
        let callees: Vec<_> = shown.links.iter().filter(|l| l.from == node).filter_map(|l| place(l.to)).collect();
        let near = callers.iter().chain(&callees);
        let count = near.clone().count().max(1) as f64;
        let mean = near.clone().map(|s| s.cross).sum::<f64>() / count;
        if !matches!(self.used, Arrangement::Auto | Arrangement::Layered) {
            let layer = near.map(|s| s.layer).sum::<f64>() / count;
            return self.free_nearby(Slot { layer, cross: mean });
        }
        let lowest = callers.iter().map(|s| s.layer).fold(f64::NEG_INFINITY, f64::max);
        let highest = callees.iter().map(|s| s.layer).fold(f64::INFINITY, f64::min);
        let layer = if lowest.is_finite() {
            lowest + 1.0
        } else if highest.is_finite() {
            highest - 1.0
        } else {
            0.0
        };
        let same_layer = |p: &&Place| (p.slot.layer - layer).abs() < 0.5;
        let taken: Vec<f64> = self.places.values().filter(same_layer).map(|p| p.slot.cross).collect();
        let free = |cross: f64| taken.iter().all(|t| (t - cross).abs() >= 0.999);
        let candidates = taken.iter().flat_map(|t| [t - 1.0, t + 1.0]).chain([mean]).filter(|&c| free(c));
        let cross = candidates.min_by(|a, b| (a - mean).abs().total_cmp(&(b - mean).abs())).unwrap_or(mean);
        Slot { layer, cross }
    }

    /// The nearest place on a spiral around `wish` with room for a node.
    fn free_nearby(&self, wish: Slot) -> Slot {
        let mut slot = wish;
        for turn in 0..600_u32 {
            let (radius, angle) = (0.35 * f64::from(turn).sqrt(), f64::from(turn) * 2.399_963);
            slot = Slot { layer: wish.layer + radius * angle.cos(), cross: wish.cross + radius * angle.sin() };
            let taken = |p: &Place| (p.slot.layer - slot.layer).hypot(p.slot.cross - slot.cross) < 0.75;
            if !self.places.values().any(taken) {
                break;
            }
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Model;
    use crate::samples::{select, tests::pack};
    use crate::shown::Filter;

    fn shown(calls: &[(&str, &str)]) -> Shown {
        let lines: Vec<_> =
            calls.iter().map(|(c, s)| format!("quoll_edge_strength{{client={c},server={s}}} 0.5")).collect();
        let (packed, values) = pack(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        Shown::of(&Model::read(select(&packed, &values)), &Filter::default(), &BTreeSet::new())
    }

    const SHOP: &[(&str, &str)] = &[("web", "cart"), ("web", "search"), ("cart", "db"), ("search", "index")];

    #[test]
    fn known_nodes_keep_their_place_and_newcomers_ease_in_whatever_the_layout() {
        for wanted in [Arrangement::Layered, Arrangement::Force, Arrangement::Concentric, Arrangement::Grid] {
            let mut stage = Stage::default();
            stage.choose(wanted, None);
            let before = shown(SHOP);
            assert_eq!(stage.refresh(&before, 0.0), Change::All);
            assert_eq!(stage.refresh(&before, 1000.0), Change::None);
            let places: Vec<_> = before.nodes.iter().map(|n| stage.slot(&n.key)).collect();
            let mut grown = SHOP.to_vec();
            grown.extend([("cart", "aaa"), ("web", "zzz")]);
            let after = shown(&grown);
            assert_eq!(stage.refresh(&after, 5000.0), Change::Some);
            for (node, place) in before.nodes.iter().zip(places) {
                assert_eq!(stage.slot(&node.key), place);
                assert_eq!(stage.presence(&node.key, 5000.0), 1.0);
            }
            let newcomer = &after.nodes[0].key;
            assert_eq!(newcomer.name, "aaa");
            assert_eq!(stage.presence(newcomer, 5000.0), 0.0);
            assert_eq!(stage.presence(newcomer, 5000.0 + EASE_MS), 1.0);
            for (i, a) in after.nodes.iter().enumerate() {
                for b in &after.nodes[i + 1..] {
                    let (a, b) = (stage.slot(&a.key), stage.slot(&b.key));
                    assert!((a.layer - b.layer).hypot(a.cross - b.cross) > 0.7, "{wanted:?}: {a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn a_node_that_returns_stands_where_it_stood() {
        let mut stage = Stage::default();
        let all = shown(SHOP);
        stage.refresh(&all, 0.0);
        let db = all.nodes.iter().find(|n| n.key.name == "db").unwrap().key.clone();
        let place = stage.slot(&db);
        stage.refresh(&shown(&SHOP[..2]), 1.0);
        assert_eq!(stage.refresh(&all, 2.0), Change::None);
        assert_eq!(stage.slot(&db), place);
    }

    #[test]
    fn pinned_nodes_stay_through_every_layout_and_the_others_glide() {
        let mut stage = Stage::default();
        let all = shown(SHOP);
        stage.refresh(&all, 0.0);
        let cart = all.nodes[0].key.clone();
        let pinned = Slot { layer: 7.0, cross: -3.0 };
        stage.pin(&cart, pinned);
        for wanted in [Arrangement::Force, Arrangement::Grid, Arrangement::Concentric, Arrangement::Layered] {
            let web = &all.nodes.iter().find(|n| n.key.name == "web").unwrap().key;
            let before = stage.slot(web);
            stage.choose(wanted, None);
            stage.arrange(&all, 10_000.0, false);
            stage.settle();
            assert_eq!(stage.slot(&cart), pinned, "{wanted:?}");
            let start = stage.placed(&all, 10_000.0, true);
            assert_eq!(start.slots[4], before, "{wanted:?} begins where the former layout ended");
            let end = stage.placed(&all, 10_000.0 + EASE_MS, true);
            assert_eq!(end.slots[4], stage.slot(web));
        }
        stage.unpin(Some(&cart));
        stage.arrange(&all, 20_000.0, false);
        assert_ne!(stage.slot(&cart), pinned);
    }

    #[test]
    fn many_newcomers_are_laid_out_together() {
        let names: Vec<String> = (0..1000).map(|i| format!("s{i}")).collect();
        let tree = |nodes: usize| -> Vec<(&str, &str)> {
            (1..nodes).map(|i| (names[(i - 1) / 3].as_str(), names[i].as_str())).collect()
        };
        let mut stage = Stage::default();
        stage.refresh(&shown(&tree(600)), 0.0);
        stage.settle();
        let grown = shown(&tree(1000));
        assert_eq!(stage.refresh(&grown, 1.0), Change::All);
        stage.settle();
        assert!(grown.nodes.iter().all(|n| stage.slot(&n.key).layer.is_finite()));
    }

    #[test]
    fn a_large_layout_is_done_in_slices_and_ends() {
        let calls: Vec<_> = crate::layout::tests::random_calls(900, 3);
        let names: Vec<String> = (0..900).map(|i| format!("s{i}")).collect();
        let all = shown(&calls.iter().map(|&(a, b)| (names[a].as_str(), names[b].as_str())).collect::<Vec<_>>());
        let mut stage = Stage::default();
        stage.refresh(&all, 0.0);
        assert_eq!(stage.used(), Arrangement::Force);
        assert!(stage.laying_out());
        let mut slices = 0;
        while stage.advance() {
            slices += 1;
            assert!(slices < 1000);
        }
        assert!(slices > 2 && !stage.laying_out());
    }
}
