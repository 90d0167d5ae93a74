//! One tick as a numbered graph: services in order, their evidence, who calls whom.

use quoll_blast_radius::{CallEdge, CallGraph, GraphError};
use quoll_identity::Service;

/// The scope at one tick. Services are numbered in their order, (namespace, name).
#[derive(Debug, Clone, Default)]
pub(crate) struct Scene {
    pub(crate) services: Vec<Service>,
    /// Evidence of this tick per service.
    pub(crate) evidence: Vec<f64>,
    /// What is out of the ordinary about each service, where something is.
    pub(crate) shown: Vec<String>,
    /// Evidence averaged over the last few ticks per service: steadier, for deciding who belongs together.
    pub(crate) steady: Vec<f64>,
    /// Per service the services it calls, with strengths.
    pub(crate) callees: Vec<Vec<(usize, f64)>>,
    /// Per service the services that call it, with strengths.
    pub(crate) callers: Vec<Vec<(usize, f64)>>,
    /// Strength of each edge of the topology, in its order.
    pub(crate) strengths: Vec<f64>,
    /// Links without calls: from a possible alias to what it may be a name of, from a service to its host.
    pub(crate) supposed: Vec<(usize, usize, f64)>,
}

impl Scene {
    /// The number of a service.
    pub(crate) fn find(&self, service: &Service) -> Option<usize> {
        self.services.binary_search(service).ok()
    }

    pub(crate) fn link(&mut self, client: usize, server: usize, strength: f64) {
        self.callees[client].push((server, strength));
        self.callers[server].push((client, strength));
    }

    /// Links without a call.
    pub(crate) fn suppose(&mut self, client: usize, server: usize, strength: f64) {
        self.link(client, server, strength);
        self.supposed.push((client, server, strength));
    }

    /// `from` and everything that calls it, directly or not, among `within` (all services if `None`); sorted.
    pub(crate) fn ancestors(&self, from: usize, within: Option<&[usize]>) -> Vec<usize> {
        let mut found = vec![from];
        let mut seen = vec![false; self.services.len()];
        seen[from] = true;
        let mut next = 0;
        while let Some(&service) = found.get(next) {
            next += 1;
            for &(caller, _) in &self.callers[service] {
                if !seen[caller] && within.is_none_or(|members| members.binary_search(&caller).is_ok()) {
                    seen[caller] = true;
                    found.push(caller);
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// The call graph between `members` (sorted), renumbered in their order.
    pub(crate) fn graph(&self, members: &[usize]) -> Result<CallGraph, GraphError> {
        let mut edges = Vec::new();
        for (client, &member) in (0..).zip(members) {
            for &(callee, strength) in &self.callees[member] {
                if let Ok(server) = members.binary_search(&callee) {
                    edges.push(CallEdge { client, server: server as u32, strength });
                }
            }
        }
        CallGraph::new(members.len() as u32, &edges)
    }
}
