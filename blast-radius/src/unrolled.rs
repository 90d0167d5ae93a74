//! The call graph as a network without cycles: one slice of time, and of its cycles a second, earlier one.
//!
//! # What it stands for
//! An edge that would close a cycle is deferred ([`crate::CallGraph`]): what its callee was in the previous slice,
//! not what it is now, reaches the caller. Evidence of the earlier slice has its say through the prior of this
//! one (`dynamics`) and is not counted again. What is left of that slice is the state of the callee **under the
//! same hypothesis**: a fault lasts far longer than a step, so it was there a step ago. Hence, for a hypothesis
//! or an intervention, the network is static:
//!
//! - A service is **on a cycle** if it lies on acyclic calls from the callee of a deferred edge to the caller of one,
//!   within a strongly connected component of all calls.
//!   Such a service `i` is two nodes more: its **copy** `i'` is what it was a step ago, and `o_i` whether anything
//!   from outside its cycles makes it anomalous: its own fault or leak, or a callee that is not on them.
//! - `o_i` makes both `i` and `i'` anomalous for sure: no cycle leads back to what it depends on, so under a
//!   lasting fault it is now what it was.
//! - A call `i -> j` on a cycle makes `i` a child of `j`, and `i'` a child of `j'`, each with its strength; a
//!   deferred call makes `i` a child of `j'`, and no copy anything: that would need a third slice.
//! - A copy has no evidence. All other services are as they are without cycles.
//!
//! A graph without cycles has no copies, and is answered with the same operations as if there were none of this.
//!
//! # What it cannot see
//! More than one turn round a cycle: a path of calls that uses two deferred edges has no effect.
//! Whether a call on a cycle carries is drawn anew in each slice, as in any two-slice network; whether one from
//! outside does, once.

use alloc::vec;
use alloc::vec::Vec;

use crate::wide::Wide;
use crate::{CallEdge, CallGraph};

/// A parent's anomaly makes its child anomalous with probability `strength`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Link {
    pub(crate) child: u32,
    /// A node, or nothing for a parent that is certainly anomalous.
    pub(crate) parent: Option<u32>,
    pub(crate) strength: f64,
}

/// Nodes `0..services` are this slice; then the copies in the order of `copied`; then their causes from outside.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unrolled {
    pub(crate) services: u32,
    /// Services on cycles, ascending.
    pub(crate) copied: Vec<u32>,
    /// Without cycles, sorted by (child, parent).
    pub(crate) links: Vec<Link>,
}

impl Unrolled {
    pub(crate) fn of(graph: &CallGraph) -> Self {
        let mut unrolled = Self { services: graph.services(), copied: Vec::new(), links: Vec::new() };
        let cycle = if graph.deferred_edges().is_empty() { Vec::new() } else { components(graph) };
        unrolled.copied = on_cycles(graph, &cycle);
        let inside = |unrolled: &Self, edge: &CallEdge| {
            let copies = unrolled.copy_of(edge.client).zip(unrolled.copy_of(edge.server));
            copies.filter(|_| cycle[edge.client as usize] == cycle[edge.server as usize])
        };
        for edge in graph.dag_edges() {
            let child = if inside(&unrolled, edge).is_some() { edge.client } else { unrolled.own_node(edge.client) };
            unrolled.links.push(Link { child, parent: Some(edge.server), strength: edge.strength });
        }
        for edge in graph.deferred_edges() {
            let parent = unrolled.copy_of(edge.server);
            unrolled.links.push(Link { child: edge.client, parent, strength: edge.strength });
        }
        for place in 0..unrolled.copied.len() {
            let service = unrolled.copied[place];
            let parent = Some(unrolled.own_node(service));
            for child in [Some(service), unrolled.copy_of(service)].into_iter().flatten() {
                unrolled.links.push(Link { child, parent, strength: 1.0 });
            }
            for edge in graph.callees(service) {
                if let Some((child, parent)) = inside(&unrolled, edge) {
                    unrolled.links.push(Link { child, parent: Some(parent), strength: edge.strength });
                }
            }
        }
        unrolled
    }

    /// Number of nodes.
    pub(crate) fn nodes(&self) -> u32 {
        self.services + 2 * self.copied.len() as u32
    }

    /// The node whose OR takes in a service's own fault or leak.
    pub(crate) fn own_node(&self, service: u32) -> u32 {
        self.copy_of(service).map_or(service, |copy| copy + self.copied.len() as u32)
    }

    /// The copy of a service, if it has one.
    fn copy_of(&self, service: u32) -> Option<u32> {
        self.copied.binary_search(&service).ok().map(|place| self.services + place as u32)
    }

    /// The service that a node belongs to.
    fn service_of(&self, node: u32) -> u32 {
        match node.checked_sub(self.services) {
            None => node,
            Some(place) => self.copied[place as usize % self.copied.len()],
        }
    }

    /// The part above a service `k` that is certainly anomalous, in both slices: its services are `above`
    /// (ascending, `k` not among them), numbered by their places there. Also their own terms, P(off) and P(on).
    /// A call to `k` is a cause of the caller's own; on a cycle with `k`, where it may carry in one slice and
    /// not in the other, a link from a certain parent.
    pub(crate) fn above(&self, k: u32, above: &[u32], leak: &[f64]) -> (Self, Vec<[Wide; 2]>) {
        let place = |service: u32| above.binary_search(&service).ok().map(|place| place as u32);
        let copied: Vec<u32> = self.copied.iter().filter_map(|&service| place(service)).collect();
        let mut part = Self { services: above.len() as u32, copied, links: Vec::new() };
        let local = |part: &Self, node: u32| {
            let service = self.service_of(node);
            let there = place(service)?;
            if node == service {
                Some(there)
            } else if node == self.own_node(service) {
                Some(part.own_node(there))
            } else {
                part.copy_of(there)
            }
        };
        let mut own: Vec<(f64, f64)> = above.iter().map(|&s| (1.0 - leak[s as usize], leak[s as usize])).collect();
        for link in &self.links {
            let Some(child) = local(&part, link.child) else { continue };
            let certain = link.parent.is_none_or(|parent| self.service_of(parent) == k);
            let parent = link.parent.filter(|_| !certain).and_then(|parent| local(&part, parent));
            let service = part.service_of(child);
            if certain && child == part.own_node(service) {
                let (off, on) = own[service as usize];
                own[service as usize] = (off * (1.0 - link.strength), on + off * link.strength);
            } else if certain || parent.is_some() {
                part.links.push(Link { child, parent, strength: link.strength });
            }
        }
        (part, own.into_iter().map(|(off, on)| [Wide::new(off), Wide::new(on)]).collect())
    }
}

/// The services on acyclic calls from the callee to the caller of a deferred edge; `cycle` are the [`components`].
fn on_cycles(graph: &CallGraph, cycle: &[u32]) -> Vec<u32> {
    let mut below = vec![false; graph.services() as usize];
    let mut above = below.clone();
    for edge in graph.deferred_edges() {
        below[edge.server as usize] = true;
        above[edge.client as usize] = true;
    }
    let calls = |client: u32| {
        graph.callees(client).iter().filter(move |edge| cycle[edge.client as usize] == cycle[edge.server as usize])
    };
    if !graph.deferred_edges().is_empty() {
        for &service in graph.callees_first() {
            above[service as usize] |= calls(service).any(|edge| above[edge.server as usize]);
        }
        for &service in graph.callees_first().iter().rev() {
            if below[service as usize] {
                calls(service).for_each(|edge| below[edge.server as usize] = true);
            }
        }
    }
    (0..graph.services()).filter(|&service| below[service as usize] && above[service as usize]).collect()
}

/// Per service the number of its strongly connected component along all calls, acyclic and deferred.
///
/// Tarjan, "Depth-first search and linear graph algorithms", SIAM J. Computing 1(2), 1972, without recursion.
fn components(graph: &CallGraph) -> Vec<u32> {
    const NONE: u32 = u32::MAX;
    let services = graph.services() as usize;
    let mut callees: Vec<Vec<u32>> = vec![Vec::new(); services];
    for edge in graph.dag_edges().iter().chain(graph.deferred_edges()) {
        callees[edge.client as usize].push(edge.server);
    }
    let (mut index, mut low, mut component) = (vec![NONE; services], vec![NONE; services], vec![NONE; services]);
    let (mut count, mut components) = (0, 0);
    let (mut open, mut path): (Vec<u32>, Vec<(u32, usize)>) = (Vec::new(), Vec::new());
    for start in 0..services as u32 {
        if index[start as usize] != NONE {
            continue;
        }
        path.push((start, 0));
        while let Some((service, next)) = path.pop() {
            let at = service as usize;
            if next == 0 {
                (index[at], low[at]) = (count, count);
                count += 1;
                open.push(service);
            } else {
                low[at] = low[at].min(low[callees[at][next - 1] as usize]);
            }
            if let Some(&callee) = callees[at].get(next) {
                path.push((service, next + 1));
                if index[callee as usize] == NONE {
                    path.push((callee, 0));
                }
                continue;
            }
            if low[at] == index[at] {
                while let Some(member) = open.pop() {
                    component[member as usize] = components;
                    // Its callers on other cycles must not take it for one of their own.
                    low[member as usize] = NONE;
                    if member == service {
                        break;
                    }
                }
                components += 1;
            }
        }
    }
    component
}
