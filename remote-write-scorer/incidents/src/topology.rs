//! Who calls whom, as seen in traffic: smoothed rates, strengths, and ageing.
//!
//! `strength = 0.35 + 0.6 * min(1, share of the client's requests that call the server)`: a callee that every
//! request needs nearly always drags its caller along; one that few need does so sometimes. Rates do not
//! move while either end is in an incident, since a fault changes traffic, not dependence.

use quoll_features::EdgeStep;
use quoll_identity::{Edge, Service};
use serde::{Deserialize, Serialize};

use crate::alias::quiet::Stream;
use crate::config::IncidentsConfig;
use crate::evidence::EdgeHistory;
use crate::names::Cursor;
use crate::stored::{bits, service};

/// Strength of an edge that no request needs, and what one that every request needs has on top.
const STRENGTH_BASE: f64 = 0.35;
const STRENGTH_RANGE: f64 = 0.6;

/// Calls per second above which a report is not believed.
const RATE_LIMIT: f64 = 1e12;

/// One edge's past.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EdgeState {
    /// Requests per second, smoothed.
    #[serde(with = "bits")]
    pub(crate) rate: f64,
    /// Steps in `rate`, up to the smoothing's length.
    #[serde(with = "bits")]
    pub(crate) steps: f64,
    /// Event time of the last call.
    pub(crate) last_call_ms: i64,
    pub(crate) history: EdgeHistory,
    /// What it carries, where its server has other callers too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<Box<Stream>>,
}

/// An edge with its past.
#[derive(Debug, Clone)]
pub(crate) struct KnownEdge {
    pub(crate) edge: Edge,
    /// Numbers of its ends in [`Topology::names`].
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) state: EdgeState,
}

/// All edges of a scope.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topology {
    /// Services that are numbered, sorted: those of the last tick, and at least the ends of all edges.
    pub(crate) names: Vec<Service>,
    /// Sorted by edge.
    pub(crate) edges: Vec<KnownEdge>,
}

/// A stored edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredEdge {
    #[serde(with = "service")]
    client: Service,
    #[serde(with = "service")]
    server: Service,
    state: EdgeState,
}

/// How a step's edges and the known ones belong together, by their places in the two lists.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matched {
    /// Per edge of the step the known one, if it is one.
    pub(crate) known: Vec<Option<usize>>,
    /// Per known edge the last of the step's that is it, if any.
    pub(crate) seen: Vec<Option<usize>>,
}

/// Services got other numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Renumbered {
    /// The number that each of [`Topology::names`] had before, if it had one.
    pub(crate) before: Vec<Option<usize>>,
    /// The names before.
    pub(crate) names: Vec<Service>,
}

impl Topology {
    /// Takes in the edges of a step; `frozen` says which services, by number, are in an incident.
    /// Edges that are new have no numbers before [`Topology::number`].
    pub(crate) fn update(
        &mut self,
        end_ms: i64,
        step_ms: i64,
        edges: &[EdgeStep],
        frozen: &[bool],
        config: &IncidentsConfig,
    ) -> Matched {
        let longest = (1000.0 * config.edge_smoothing_seconds / step_ms as f64).max(3.0);
        let lifetime_ms = (1000.0 * config.edge_lifetime_seconds) as i64;
        let is_frozen =
            |known: &KnownEdge| [known.client, known.server].iter().any(|&end| frozen.get(end) == Some(&true));
        self.add_new(edges);
        let mut known: Vec<Option<usize>> = Vec::with_capacity(edges.len());
        let mut cursor = Cursor::new(&self.edges, |known| &known.edge);
        known.extend(edges.iter().map(|step| cursor.find(&step.edge)));
        for (step, at) in edges.iter().zip(&known) {
            let Some(known) = at.and_then(|at| self.edges.get_mut(at)) else { continue };
            let calls = step.requests_per_second.max(step.connects_per_second);
            let frozen = is_frozen(known);
            let state = &mut known.state;
            if calls > 0.0 {
                state.last_call_ms = end_ms;
            }
            let first = state.steps < 1.0;
            if first || !frozen {
                state.steps = (state.steps + 1.0).min(longest);
                let rate = if (0.0..=RATE_LIMIT).contains(&calls) { calls } else { state.rate };
                state.rate += (rate - state.rate) / state.steps;
            }
        }
        // Places move where edges have aged out.
        let mut place = 0;
        let places: Vec<Option<usize>> = (self.edges.iter())
            .map(|known| {
                let stays = end_ms - known.state.last_call_ms <= lifetime_ms || is_frozen(known);
                place += usize::from(stays);
                stays.then(|| place - 1)
            })
            .collect();
        if place < self.edges.len() {
            let mut stays = places.iter().map(Option::is_some);
            self.edges.retain(|_| stays.next() == Some(true));
            known.iter_mut().for_each(|at| *at = at.and_then(|at| places[at]));
        }
        let mut seen = vec![None; self.edges.len()];
        for (step, at) in known.iter().enumerate() {
            if let Some(slot) = at.and_then(|at| seen.get_mut(at)) {
                *slot = Some(step);
            }
        }
        Matched { known, seen }
    }

    /// Makes those edges known that carry a call for the first time: a pair that never exchanged one is no edge yet.
    fn add_new(&mut self, edges: &[EdgeStep]) {
        let mut cursor = Cursor::new(&self.edges, |known| &known.edge);
        let mut new: Vec<&Edge> = (edges.iter())
            .filter(|step| {
                let calls = step.requests_per_second.max(step.connects_per_second);
                cursor.find(&step.edge).is_none() && step.edge.client != step.edge.server && calls > 0.0
            })
            .map(|step| &step.edge)
            .collect();
        if new.is_empty() {
            return;
        }
        new.sort_unstable();
        new.dedup();
        self.edges.extend(new.into_iter().map(|edge| KnownEdge {
            edge: edge.clone(),
            client: usize::MAX,
            server: usize::MAX,
            state: EdgeState::default(),
        }));
        self.edges.sort_by(|a, b| a.edge.cmp(&b.edge));
    }

    /// Numbers the services of a tick, `more` and the ends of all edges. `None` where nothing has changed.
    pub(crate) fn number<'a>(&mut self, more: impl Iterator<Item = &'a Service>) -> Option<Renumbered> {
        let mut used = vec![false; self.names.len()];
        let mut cursor = Cursor::new(&self.names, |name| name);
        let mut new: Vec<&Service> = Vec::new();
        for service in more {
            match cursor.find(service) {
                Some(at) => used[at] = true,
                None => new.push(service),
            }
        }
        for known in &self.edges {
            for (number, service) in [(known.client, &known.edge.client), (known.server, &known.edge.server)] {
                match used.get_mut(number) {
                    Some(used) => *used = true,
                    None => new.push(service),
                }
            }
        }
        if new.is_empty() && used.iter().all(|used| *used) {
            return None;
        }
        let mut names: Vec<Service> = new.into_iter().cloned().collect();
        names.extend(self.names.iter().zip(&used).filter(|(_, used)| **used).map(|(name, _)| name.clone()));
        names.sort_unstable();
        names.dedup();
        let mut cursor = Cursor::new(&self.names, |name| name);
        let before: Vec<Option<usize>> = names.iter().map(|name| cursor.find(name)).collect();
        let names = core::mem::replace(&mut self.names, names);
        let mut cursor = Cursor::new(&self.names, |name| name);
        for known in &mut self.edges {
            // Both are among the names.
            known.client = cursor.find(&known.edge.client).unwrap_or(usize::MAX);
        }
        for known in &mut self.edges {
            known.server = self.names.binary_search(&known.edge.server).unwrap_or(usize::MAX);
        }
        Some(Renumbered { before, names })
    }

    /// The strength that every edge starts with, in the order of the edges.
    pub(crate) fn strengths(&self) -> Vec<f64> {
        let mut inbound = vec![0.0; self.names.len()];
        for known in &self.edges {
            inbound[known.server] += known.state.rate;
        }
        // What enters a service from outside is not seen on any edge: at least as much comes in as goes out
        // along its busiest edge.
        let mut requests = inbound;
        for known in &self.edges {
            let busiest = &mut requests[known.client];
            *busiest = busiest.max(known.state.rate);
        }
        (self.edges.iter())
            .map(|known| {
                let all = requests[known.client];
                let share = if all > 0.0 { (known.state.rate / all).min(1.0) } else { 0.0 };
                STRENGTH_BASE + STRENGTH_RANGE * share
            })
            .collect()
    }

    pub(crate) fn store(&self) -> Vec<StoredEdge> {
        (self.edges.iter())
            .map(|known| StoredEdge {
                client: known.edge.client.clone(),
                server: known.edge.server.clone(),
                state: known.state.clone(),
            })
            .collect()
    }

    pub(crate) fn restore(stored: Vec<StoredEdge>) -> Self {
        let mut edges: Vec<KnownEdge> = (stored.into_iter())
            .map(|s| KnownEdge {
                edge: Edge { client: s.client, server: s.server },
                client: usize::MAX,
                server: usize::MAX,
                state: s.state,
            })
            .collect();
        edges.sort_by(|a, b| a.edge.cmp(&b.edge));
        edges.dedup_by(|a, b| a.edge == b.edge);
        let mut topology = Self { names: Vec::new(), edges };
        topology.number(std::iter::empty());
        topology
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(client: &str, server: &str, rate: f64) -> EdgeStep {
        let service = |name| Service::new(None, name).unwrap();
        EdgeStep {
            edge: Edge { client: service(client), server: service(server) },
            requests_per_second: rate,
            errors_per_second: 0.0,
            connects_per_second: 0.0,
            connect_failures_per_second: 0.0,
            latency_seconds: f64::NAN,
        }
    }

    #[test]
    fn strength_follows_the_share_of_requests() {
        let mut topology = Topology::default();
        let edges =
            [step("web", "cart", 10.0), step("web", "ads", 1.0), step("cart", "db", 20.0), step("x", "cart", 0.0)];
        topology.update(1000, 1000, &edges, &[], &IncidentsConfig::default());
        topology.number(std::iter::empty());
        let strengths: Vec<(String, f64)> = (topology.edges.iter().zip(topology.strengths()))
            .map(|(known, w)| (format!("{}>{}", known.edge.client, known.edge.server), w))
            .collect();
        assert_eq!(strengths.len(), 3, "an edge without calls does not exist");
        assert_eq!(strengths[0], ("cart>db".to_owned(), 0.95));
        assert!((strengths[1].1 - 0.41).abs() < 1e-12, "{strengths:?}");
        assert_eq!(strengths[2].1, 0.95);
    }

    #[test]
    fn silent_edges_age_out_but_not_within_an_incident() {
        let mut topology = Topology::default();
        let config = IncidentsConfig::default();
        topology.update(0, 1000, &[step("a", "b", 1.0), step("c", "d", 1.0)], &[], &config);
        topology.number(std::iter::empty());
        let matched = topology.update(301_000, 1000, &[step("a", "b", 0.0)], &[true, false, false, false], &config);
        assert_eq!((topology.edges.len(), matched.known, matched.seen), (1, vec![Some(0)], vec![Some(0)]));
        assert_eq!(topology.edges[0].state.rate, 1.0, "frozen while in an incident");
    }

    #[test]
    fn numbers_follow_the_names_when_services_come_and_go() {
        let mut topology = Topology::default();
        let config = IncidentsConfig::default();
        let name = |name| Service::new(None, name).unwrap();
        let check = |topology: &Topology| {
            for known in &topology.edges {
                assert_eq!(topology.names[known.client], known.edge.client);
                assert_eq!(topology.names[known.server], known.edge.server);
            }
        };
        topology.update(0, 1000, &[step("m", "p", 1.0)], &[], &config);
        let number = |topology: &mut Topology, more: &[Service]| topology.number(more.iter()).map(|new| new.before);
        assert_eq!(number(&mut topology, &[name("z")]), Some(vec![None; 3]));
        check(&topology);
        // Unsorted, and one of them twice.
        topology.update(1000, 1000, &[step("p", "a", 1.0), step("m", "p", 1.0), step("p", "a", 2.0)], &[], &config);
        assert_eq!(number(&mut topology, &[name("n")]), Some(vec![None, Some(0), None, Some(1)]), "a m n p");
        check(&topology);
        assert_eq!(number(&mut topology, &[name("n")]), None, "as before");
        topology.update(302_000, 1000, &[step("m", "p", 1.0)], &[], &config);
        assert_eq!(number(&mut topology, &[]), Some(vec![Some(1), Some(3)]));
        check(&topology);
    }
}
