//! Layouts, all deterministic, in abstract coordinates: layered (here), [`force`], [`rings`].
//!
//! Layered, callers stand before callees. The steps are those of Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical
//! System Structures" (1981): break cycles, assign layers, order within layers, assign coordinates.
//! Long calls pass through way points so that they bend around services rather than cross them.
//!
//! Coordinates: `layer` counts along the calls (callers lower), `cross` runs across them with 1.0
//! between neighbouring services. The camera maps both to pixels. The other layouts have no direction:
//! their coordinates are those of a plane, with about 1.0 between neighbours.
//!
//! Never fails: any set of calls (cycles, no calls, unconnected parts) has a layout.

mod adjacency;
mod bodies;
mod coordinates;
pub mod force;
mod layers;
mod order;
mod pivots;
pub mod rings;

pub(crate) use adjacency::Adjacency;

use coordinates::assign;
use layers::{Layering, layer};
use order::reduce_crossings;

/// Where something lies, in abstract coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Slot {
    /// Along the calls.
    pub layer: f64,
    /// Across them.
    pub cross: f64,
}

/// How nodes are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arrangement {
    /// Layered up to a few hundred nodes, force-directed beyond.
    #[default]
    Auto,
    /// Callers before callees.
    Layered,
    /// By springs and repulsion.
    Force,
    /// In rings around one node.
    Concentric,
    /// Rows and columns.
    Grid,
}

impl Arrangement {
    /// By its name; `None` for any other word.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "auto" => Self::Auto,
            "layered" => Self::Layered,
            "force" => Self::Force,
            "concentric" => Self::Concentric,
            "grid" => Self::Grid,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Layered => "layered",
            Self::Force => "force",
            Self::Concentric => "concentric",
            Self::Grid => "grid",
        }
    }

    /// What [`Arrangement::Auto`] means for that many nodes; any other is itself.
    #[must_use]
    pub fn of(self, nodes: usize) -> Self {
        match self {
            Self::Auto if nodes > LAYERED_LIMIT => Self::Force,
            Self::Auto => Self::Layered,
            other => other,
        }
    }
}

/// Past this many nodes layers are a wall of crossings.
const LAYERED_LIMIT: usize = 300;

/// A laid-out graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// Per service.
    pub nodes: Vec<Slot>,
    /// Per call, the way points strictly between its ends, from caller to callee; mostly none.
    pub routes: Vec<Vec<Slot>>,
}

/// Past this many way points in all, calls spanning many layers go straight instead.
const WAY_POINTS_LIMIT: usize = 20_000;

/// A service or a way point within the layering.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Item {
    pub(crate) layer: usize,
    /// Half the room this needs across the calls.
    pub(crate) half: f64,
}

/// Services and way points with their links from one layer to the next.
#[derive(Debug, Default)]
pub(crate) struct Proper {
    pub(crate) items: Vec<Item>,
    /// Per item, items in the layer above.
    pub(crate) above: Vec<Vec<usize>>,
    /// Per item, items in the layer below.
    pub(crate) below: Vec<Vec<usize>>,
    /// Per layer, items from left to right.
    pub(crate) layers: Vec<Vec<usize>>,
}

/// Lays out `services` services with calls given as (caller, callee). Calls naming others are ignored.
#[must_use]
pub fn layered(services: usize, calls: &[(usize, usize)]) -> Layout {
    if services == 0 {
        return Layout { nodes: Vec::new(), routes: vec![Vec::new(); calls.len()] };
    }
    let layering = layer(services, calls);
    let (mut proper, chains) = expand(&layering, calls);
    reduce_crossings(&mut proper);
    let cross = assign(&proper);
    let slot = |item: usize| Slot {
        layer: proper.items.get(item).map_or(0.0, |i| i.layer as f64),
        cross: cross.get(item).copied().unwrap_or(0.0),
    };
    Layout {
        nodes: (0..services).map(slot).collect(),
        routes: chains.iter().map(|chain| chain.iter().copied().map(slot).collect()).collect(),
    }
}

/// Adds way points to calls that span more than one layer; returns per call its chain of way points.
fn expand(layering: &Layering, calls: &[(usize, usize)]) -> (Proper, Vec<Vec<usize>>) {
    let services = layering.layer_of.len();
    let depth = layering.layer_of.iter().max().map_or(1, |m| m + 1);
    let items = layering.layer_of.iter().map(|&layer| Item { layer, half: 0.5 }).collect();
    let mut proper = Proper {
        items,
        above: vec![Vec::new(); services],
        below: vec![Vec::new(); services],
        layers: vec![Vec::new(); depth],
    };
    for (service, &layer) in layering.layer_of.iter().enumerate() {
        proper.layers[layer].push(service);
    }
    let span = |&(a, b): &(usize, usize)| layering.layer_of[a].abs_diff(layering.layer_of[b]);
    let usable = |&(a, b): &(usize, usize)| a < services && b < services && a != b;
    let wanted: usize = calls.iter().filter(|c| usable(c)).map(|c| span(c).saturating_sub(1)).sum();
    let longest = if wanted > WAY_POINTS_LIMIT { 4 } else { usize::MAX };
    let mut chains = vec![Vec::new(); calls.len()];
    for (call, chain) in calls.iter().zip(&mut chains) {
        if !usable(call) || span(call) == 0 || span(call) > longest {
            continue;
        }
        let (a, b) = *call;
        let downward = layering.layer_of[a] < layering.layer_of[b];
        let (top, bottom) = if downward { (a, b) } else { (b, a) };
        let mut previous = top;
        for layer in layering.layer_of[top] + 1..layering.layer_of[bottom] {
            let item = proper.items.len();
            proper.items.push(Item { layer, half: 0.2 });
            proper.above.push(vec![previous]);
            proper.below.push(Vec::new());
            proper.below[previous].push(item);
            proper.layers[layer].push(item);
            chain.push(item);
            previous = item;
        }
        proper.below[previous].push(bottom);
        proper.above[bottom].push(previous);
        if !downward {
            chain.reverse();
        }
    }
    (proper, chains)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A fixed pseudo-random sequence (xorshift64, Marsaglia 2003).
    pub(crate) fn random_calls(services: usize, per_service: usize) -> Vec<(usize, usize)> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below.max(1)
        };
        let mut calls = Vec::new();
        for service in 1..services {
            for _ in 0..per_service {
                // Mostly to later services, as in real systems; some calls close cycles.
                let other = next(services);
                let (a, b) = if other < service && next(20) > 0 { (other, service) } else { (service, other) };
                if a != b {
                    calls.push((a, b));
                }
            }
        }
        calls.sort_unstable();
        calls.dedup();
        calls
    }

    fn assert_apart(layout: &Layout) {
        for (i, a) in layout.nodes.iter().enumerate() {
            assert!(a.layer.is_finite() && a.cross.is_finite());
            for b in layout.nodes.iter().skip(i + 1).filter(|b| b.layer == a.layer) {
                assert!((a.cross - b.cross).abs() > 0.999, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn callers_lie_before_callees_and_no_two_services_touch() {
        let calls = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (0, 4)];
        let layout = layered(5, &calls);
        for (a, b) in calls {
            assert!(layout.nodes[a].layer < layout.nodes[b].layer);
        }
        assert_apart(&layout);
        assert_eq!(layout.routes[5].len(), 2, "the long call bends through both layers between");
    }

    #[test]
    fn cycles_loners_and_nonsense_have_a_layout() {
        for (services, calls) in [
            (0, vec![(0, 1)]),
            (1, vec![]),
            (3, vec![(0, 1), (1, 2), (2, 0)]),
            (2, vec![(0, 1), (1, 0)]),
            (9, vec![]),
            (2, vec![(0, 7), (1, 1)]),
        ] {
            let layout = layered(services, &calls);
            assert_eq!(layout.nodes.len(), services);
            assert_eq!(layout.routes.len(), calls.len());
            assert_apart(&layout);
        }
    }

    #[test]
    fn services_without_calls_form_a_block_not_a_line() {
        let layout = layered(9, &[]);
        let layers = layout.nodes.iter().map(|n| n.layer as usize).max().unwrap() + 1;
        assert_eq!(layers, 3);
    }

    #[test]
    fn a_tree_is_drawn_without_crossings() {
        let calls: Vec<_> = (1..15_usize).map(|i| ((i - 1) / 2, i)).rev().collect();
        let layout = layered(15, &calls);
        for (i, &(a, b)) in calls.iter().enumerate() {
            for &(c, d) in &calls[i + 1..] {
                let (a, b, c, d) = (layout.nodes[a], layout.nodes[b], layout.nodes[c], layout.nodes[d]);
                if a.layer == c.layer {
                    assert!((a.cross - c.cross) * (b.cross - d.cross) >= 0.0);
                }
            }
        }
    }

    #[test]
    fn large_graphs_are_laid_out_the_same_each_time() {
        let calls = random_calls(300, 4);
        let layout = layered(300, &calls);
        assert_apart(&layout);
        assert_eq!(layout, layered(300, &calls));
    }
}
