//! The call graph: who calls whom, how strongly an anomaly travels, and which edges wait a time step.
//!
//! # Canonical form
//! The graph that results depends only on the set of edges given, never on their order:
//! - an edge given more than once counts once, with its greatest strength;
//! - a service calling itself says nothing about where a fault came from; such edges are dropped;
//! - edges of strength zero carry nothing and are dropped.
//!
//! # Cycles
//! A Bayesian network needs an acyclic graph. Edges are taken in the order (strength descending, client,
//! server); one that would close a cycle with those already taken is **deferred**: its effect belongs to
//! the next time step (it comes from the previous slice of the dynamic network). Hence the weakest edge
//! of every cycle waits, an edge outside every cycle never does, and the result is independent of the
//! order of input. The topological order is kept by the algorithm of Pearce and Kelly, "A dynamic
//! topological sort algorithm for directed acyclic graphs", ACM JEA 11 (2006).

use alloc::vec;
use alloc::vec::Vec;

use crate::GraphError;

/// Largest number of services in one graph.
const SERVICES_LIMIT: u32 = 1 << 24;

/// One service calling another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallEdge {
    /// Id of the caller.
    pub client: u32,
    /// Id of the callee.
    pub server: u32,
    /// Probability in [0, 1] that the caller is anomalous because the callee is.
    pub strength: f64,
}

/// A call graph in canonical form; see the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct CallGraph {
    services: u32,
    dag: Vec<CallEdge>,
    deferred: Vec<CallEdge>,
    /// Every service after all its callees (along `dag`).
    order: Vec<u32>,
}

impl CallGraph {
    /// A graph of services `0..services`.
    ///
    /// # Errors
    /// An edge outside the graph, a strength that is no probability, or more than 2^24 services.
    pub fn new(services: u32, edges: &[CallEdge]) -> Result<Self, GraphError> {
        if services > SERVICES_LIMIT {
            return Err(GraphError::TooManyServices { services, limit: SERVICES_LIMIT });
        }
        for edge in edges {
            let CallEdge { client, server, strength } = *edge;
            if client >= services || server >= services {
                return Err(GraphError::UnknownService { client, server, services });
            }
            if !(0.0..=1.0).contains(&strength) {
                return Err(GraphError::StrengthOutOfRange { client, server, strength });
            }
        }
        let mut canonical: Vec<CallEdge> =
            edges.iter().copied().filter(|e| e.client != e.server && e.strength > 0.0).collect();
        canonical
            .sort_by(|a, b| (a.client, a.server).cmp(&(b.client, b.server)).then(b.strength.total_cmp(&a.strength)));
        canonical.dedup_by(|later, kept| (later.client, later.server) == (kept.client, kept.server));
        canonical
            .sort_by(|a, b| b.strength.total_cmp(&a.strength).then((a.client, a.server).cmp(&(b.client, b.server))));

        let mut topology = Topology::new(services as usize);
        let (mut dag, mut deferred) = (Vec::with_capacity(canonical.len()), Vec::new());
        for edge in canonical {
            if topology.insert(edge.server, edge.client) {
                dag.push(edge);
            } else {
                deferred.push(edge);
            }
        }
        let by_ids = |a: &CallEdge, b: &CallEdge| (a.client, a.server).cmp(&(b.client, b.server));
        dag.sort_by(by_ids);
        deferred.sort_by(by_ids);
        Ok(Self { services, dag, deferred, order: topology.order() })
    }

    /// Number of services; their ids run from 0 to one less.
    #[must_use]
    pub fn services(&self) -> u32 {
        self.services
    }

    /// The acyclic edges, sorted by (client, server).
    #[must_use]
    pub fn dag_edges(&self) -> &[CallEdge] {
        &self.dag
    }

    /// The edges that would close a cycle, sorted by (client, server).
    #[must_use]
    pub fn deferred_edges(&self) -> &[CallEdge] {
        &self.deferred
    }

    /// Whether `other` has the same services and calls, the same of them deferred, whatever their strengths.
    pub(crate) fn same_calls(&self, other: &Self) -> bool {
        let same = |ours: &[CallEdge], theirs: &[CallEdge]| {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(a, b)| (a.client, a.server) == (b.client, b.server))
        };
        self.services == other.services && same(&self.dag, &other.dag) && same(&self.deferred, &other.deferred)
    }

    /// Every service after all those it calls along acyclic edges.
    #[must_use]
    pub fn callees_first(&self) -> &[u32] {
        &self.order
    }

    /// The acyclic edges out of `client`: its callees. Empty for a service outside the graph.
    #[must_use]
    pub fn callees(&self, client: u32) -> &[CallEdge] {
        let start = self.dag.partition_point(|e| e.client < client);
        let end = self.dag.partition_point(|e| e.client <= client);
        self.dag.get(start..end).unwrap_or(&[])
    }
}

/// A topological order kept up to date while edges are added.
struct Topology {
    /// Position of each service in the order.
    position: Vec<u32>,
    /// Service at each position.
    at: Vec<u32>,
    after: Vec<Vec<u32>>,
    before: Vec<Vec<u32>>,
    seen: Vec<bool>,
}

impl Topology {
    fn new(services: usize) -> Self {
        let identity: Vec<u32> = (0..services as u32).collect();
        Self {
            position: identity.clone(),
            at: identity,
            after: vec![Vec::new(); services],
            before: vec![Vec::new(); services],
            seen: vec![false; services],
        }
    }

    /// Adds "`first` comes before `second`", unless that closes a cycle; says whether it was added.
    fn insert(&mut self, first: u32, second: u32) -> bool {
        let (lower, upper) = (self.position[second as usize], self.position[first as usize]);
        if lower < upper {
            // `second` stands before `first`: whatever follows `second` up to `first` must move behind it.
            let Some(mut forward) = self.reach_forward(second, upper, first) else { return false };
            let mut backward = self.reach_backward(first, lower);
            forward.sort_unstable_by_key(|&s| self.position[s as usize]);
            backward.sort_unstable_by_key(|&s| self.position[s as usize]);
            let moved: Vec<u32> = backward.into_iter().chain(forward).collect();
            let mut places: Vec<u32> = moved.iter().map(|&s| self.position[s as usize]).collect();
            places.sort_unstable();
            for (&service, &place) in moved.iter().zip(&places) {
                self.position[service as usize] = place;
                self.at[place as usize] = service;
            }
        }
        self.after[first as usize].push(second);
        self.before[second as usize].push(first);
        true
    }

    /// All that follow `from` at positions up to `limit`; `None` if `forbidden` is among them.
    fn reach_forward(&mut self, from: u32, limit: u32, forbidden: u32) -> Option<Vec<u32>> {
        let mut found = vec![from];
        self.seen[from as usize] = true;
        let mut next = 0;
        let mut cyclic = false;
        while next < found.len() && !cyclic {
            for &follower in &self.after[found[next] as usize] {
                cyclic |= follower == forbidden;
                if !self.seen[follower as usize] && self.position[follower as usize] <= limit {
                    self.seen[follower as usize] = true;
                    found.push(follower);
                }
            }
            next += 1;
        }
        for &service in &found {
            self.seen[service as usize] = false;
        }
        (!cyclic).then_some(found)
    }

    /// All that precede `from` at positions down to `limit`.
    fn reach_backward(&mut self, from: u32, limit: u32) -> Vec<u32> {
        let mut found = vec![from];
        self.seen[from as usize] = true;
        let mut next = 0;
        while next < found.len() {
            for &predecessor in &self.before[found[next] as usize] {
                if !self.seen[predecessor as usize] && self.position[predecessor as usize] >= limit {
                    self.seen[predecessor as usize] = true;
                    found.push(predecessor);
                }
            }
            next += 1;
        }
        for &service in &found {
            self.seen[service as usize] = false;
        }
        found
    }

    fn order(self) -> Vec<u32> {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(client: u32, server: u32, strength: f64) -> CallEdge {
        CallEdge { client, server, strength }
    }

    #[test]
    fn duplicates_merge_to_the_strongest_and_self_calls_and_dead_edges_go() {
        let graph = CallGraph::new(3, &[edge(0, 1, 0.2), edge(1, 1, 0.9), edge(0, 1, 0.7), edge(1, 2, 0.0)]).unwrap();
        assert_eq!(graph.dag_edges(), &[edge(0, 1, 0.7)]);
        assert!(graph.deferred_edges().is_empty());
    }

    #[test]
    fn the_weakest_edge_of_a_cycle_is_deferred() {
        let graph = CallGraph::new(3, &[edge(0, 1, 0.9), edge(1, 2, 0.4), edge(2, 0, 0.6)]).unwrap();
        assert_eq!(graph.deferred_edges(), &[edge(1, 2, 0.4)]);
        assert_eq!(graph.dag_edges(), &[edge(0, 1, 0.9), edge(2, 0, 0.6)]);
    }

    #[test]
    fn callees_come_first_whatever_the_order_of_input() {
        let edges = [
            edge(0, 1, 0.5),
            edge(1, 2, 0.5),
            edge(2, 3, 0.5),
            edge(3, 1, 0.5),
            edge(4, 0, 0.9),
            edge(2, 4, 0.1),
            edge(3, 5, 0.5),
        ];
        let reference = CallGraph::new(6, &edges).unwrap();
        let mut reversed = edges;
        reversed.reverse();
        let again = CallGraph::new(6, &reversed).unwrap();
        assert_eq!(reference, again);
        let mut rank = [0; 6];
        for (place, &service) in reference.callees_first().iter().enumerate() {
            rank[service as usize] = place;
        }
        for e in reference.dag_edges() {
            assert!(rank[e.server as usize] < rank[e.client as usize], "{e:?}");
        }
        assert_eq!(reference.dag_edges().len() + reference.deferred_edges().len(), edges.len());
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        assert_eq!(
            CallGraph::new(2, &[edge(0, 2, 0.5)]),
            Err(GraphError::UnknownService { client: 0, server: 2, services: 2 })
        );
        assert!(matches!(
            CallGraph::new(2, &[edge(0, 1, f64::NAN)]),
            Err(GraphError::StrengthOutOfRange { client: 0, server: 1, .. })
        ));
        assert!(CallGraph::new(0, &[]).unwrap().dag_edges().is_empty());
    }
}
