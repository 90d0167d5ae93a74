//! Concentric layout: one node in the middle, its neighbours around it, theirs around them.
//!
//! Rings are as many hops out as they hold; within a ring nodes follow the angle of those they hang on
//! in the ring before, so that links cross little. Nodes without a way to the middle lie outermost.

use std::f64::consts::TAU;

use super::Slot;
use super::adjacency::Adjacency;

/// Distance between rings at least, and between neighbours on one.
const APART: f64 = 1.35;

/// Lays out around `middle` (the best connected node where there is none such).
#[must_use]
pub fn concentric(nodes: usize, links: &[(usize, usize)], middle: Option<usize>) -> Vec<Slot> {
    if nodes == 0 {
        return Vec::new();
    }
    let adjacency = Adjacency::new(nodes, links);
    let busiest = || (0..nodes).rev().max_by_key(|&n| adjacency.of(n).len()).unwrap_or(0);
    let middle = middle.filter(|&m| m < nodes).unwrap_or_else(busiest);
    let hops = adjacency.hops(middle);
    let last = hops.iter().copied().filter(|&h| h != u32::MAX).max().unwrap_or(0);
    let mut rings: Vec<Vec<usize>> = vec![Vec::new(); last as usize + 2];
    for (node, &h) in hops.iter().enumerate() {
        rings[h.min(last + 1) as usize].push(node);
    }
    let mut angle = vec![0.0_f64; nodes];
    let mut slots = vec![Slot::default(); nodes];
    let mut radius = 0.0_f64;
    for (depth, ring) in rings.iter_mut().enumerate().skip(1).filter(|(_, r)| !r.is_empty()) {
        if depth > 1 {
            let inner = |&n: &u32| hops[n as usize] != u32::MAX && (hops[n as usize] as usize) < depth;
            let wish = |node: usize| {
                let (x, y) = adjacency
                    .of(node)
                    .iter()
                    .filter(|n| inner(n))
                    .fold((0.0, 0.0), |sum, &n| (sum.0 + angle[n as usize].cos(), sum.1 + angle[n as usize].sin()));
                f64::atan2(y, x).rem_euclid(TAU)
            };
            let mut wished: Vec<(f64, usize)> = ring.iter().map(|&n| (wish(n), n)).collect();
            wished.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            *ring = wished.iter().map(|w| w.1).collect();
        }
        radius = (radius + APART).max(ring.len() as f64 * 1.15 / TAU);
        // Turned so that the ring as a whole lies where its nodes wish.
        let step = TAU / ring.len() as f64;
        for (place, &node) in ring.iter().enumerate() {
            angle[node] = place as f64 * step + if depth % 2 == 0 { step / 2.0 } else { 0.0 };
            slots[node] = Slot { layer: radius * angle[node].cos(), cross: radius * angle[node].sin() };
        }
    }
    slots
}

/// Rows and columns in id order, a little wider than high.
#[must_use]
pub fn grid(nodes: usize) -> Vec<Slot> {
    let columns = (nodes as f64 * 1.4).sqrt().ceil().max(1.0) as usize;
    (0..nodes).map(|n| Slot { layer: (n % columns) as f64, cross: (n / columns) as f64 }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::random_calls;
    use super::*;

    #[test]
    fn nodes_lie_as_many_rings_out_as_they_are_hops_away_and_never_touch() {
        let links = random_calls(120, 2);
        let slots = concentric(123, &links, Some(7));
        let far = |n: usize| slots[n].layer.hypot(slots[n].cross);
        assert_eq!(far(7), 0.0);
        let hops = Adjacency::new(123, &links).hops(7);
        for a in 0..123 {
            for b in 0..a {
                if hops[a] < hops[b] {
                    assert!(far(a) < far(b));
                }
                assert!((slots[a].layer - slots[b].layer).hypot(slots[a].cross - slots[b].cross) > 0.9);
            }
        }
    }

    #[test]
    fn empty_single_and_unlinked_graphs_have_rings_and_grids() {
        assert!(concentric(0, &[], None).is_empty() && grid(0).is_empty());
        assert_eq!(concentric(1, &[], Some(9)), [Slot::default()]);
        assert_eq!(concentric(5, &[], None).len(), 5);
        let slots = grid(10);
        assert!(slots.iter().enumerate().all(|(i, a)| slots[..i].iter().all(|b| a != b)));
    }
}
