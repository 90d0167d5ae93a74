//! Who calls whom, as seen in traffic: smoothed rates, strengths, and ageing.
//!
//! `strength = 0.35 + 0.6 * min(1, share of the client's requests that call the server)`: a callee that every
//! request needs nearly always drags its caller along; one that few need does so sometimes. Rates do not
//! move while either end is in an incident, since a fault changes traffic, not dependence.

use std::collections::BTreeMap;

use quoll_features::EdgeStep;
use quoll_identity::{Edge, Service};
use serde::{Deserialize, Serialize};

use crate::config::IncidentsConfig;
use crate::evidence::EdgeHistory;
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
}

/// All edges of a scope.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topology {
    pub(crate) edges: BTreeMap<Edge, EdgeState>,
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

impl Topology {
    /// Takes in the edges of a step; `frozen` says which services are in an incident.
    pub(crate) fn update(
        &mut self,
        end_ms: i64,
        step_ms: i64,
        edges: &[EdgeStep],
        frozen: &dyn Fn(&Service) -> bool,
        config: &IncidentsConfig,
    ) {
        let longest = (1000.0 * config.edge_smoothing_seconds / step_ms as f64).max(3.0);
        for step in edges {
            let calls = step.requests_per_second.max(step.connects_per_second);
            // A pair that never exchanged a call is no edge yet.
            if step.edge.client == step.edge.server
                || ((calls.is_nan() || calls <= 0.0) && !self.edges.contains_key(&step.edge))
            {
                continue;
            }
            let state = self.edges.entry(step.edge.clone()).or_default();
            if calls > 0.0 {
                state.last_call_ms = end_ms;
            }
            let first = state.steps < 1.0;
            if first || !(frozen(&step.edge.client) || frozen(&step.edge.server)) {
                state.steps = (state.steps + 1.0).min(longest);
                let rate = if (0.0..=RATE_LIMIT).contains(&calls) { calls } else { state.rate };
                state.rate += (rate - state.rate) / state.steps;
            }
        }
        let lifetime_ms = (1000.0 * config.edge_lifetime_seconds) as i64;
        self.edges.retain(|edge, state| {
            end_ms - state.last_call_ms <= lifetime_ms || frozen(&edge.client) || frozen(&edge.server)
        });
    }

    /// Every edge with the strength it starts with, sorted.
    pub(crate) fn strengths(&self) -> Vec<(&Edge, f64)> {
        let mut inbound: BTreeMap<&Service, f64> = BTreeMap::new();
        for (edge, state) in &self.edges {
            *inbound.entry(&edge.server).or_default() += state.rate;
        }
        // What enters a service from outside is not seen on any edge: at least as much comes in as goes out
        // along its busiest edge.
        let mut requests: BTreeMap<&Service, f64> = BTreeMap::new();
        for (edge, state) in &self.edges {
            let known = inbound.get(&edge.client).copied().unwrap_or(0.0);
            let busiest = requests.entry(&edge.client).or_insert(known);
            *busiest = busiest.max(state.rate);
        }
        (self.edges.iter())
            .map(|(edge, state)| {
                let all = requests.get(&edge.client).copied().unwrap_or(0.0);
                let share = if all > 0.0 { (state.rate / all).min(1.0) } else { 0.0 };
                (edge, STRENGTH_BASE + STRENGTH_RANGE * share)
            })
            .collect()
    }

    pub(crate) fn store(&self) -> Vec<StoredEdge> {
        (self.edges.iter())
            .map(|(edge, state)| StoredEdge {
                client: edge.client.clone(),
                server: edge.server.clone(),
                state: state.clone(),
            })
            .collect()
    }

    pub(crate) fn restore(stored: Vec<StoredEdge>) -> Self {
        let edges = stored.into_iter().map(|s| (Edge { client: s.client, server: s.server }, s.state)).collect();
        Self { edges }
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
        topology.update(1000, 1000, &edges, &|_| false, &IncidentsConfig::default());
        let strengths: Vec<(String, f64)> =
            topology.strengths().iter().map(|(e, w)| (format!("{}>{}", e.client, e.server), *w)).collect();
        assert_eq!(strengths.len(), 3, "an edge without calls does not exist");
        assert_eq!(strengths[0], ("cart>db".to_owned(), 0.95));
        assert!((strengths[1].1 - 0.41).abs() < 1e-12, "{strengths:?}");
        assert_eq!(strengths[2].1, 0.95);
    }

    #[test]
    fn silent_edges_age_out_but_not_within_an_incident() {
        let mut topology = Topology::default();
        let config = IncidentsConfig::default();
        topology.update(0, 1000, &[step("a", "b", 1.0), step("c", "d", 1.0)], &|_| false, &config);
        topology.update(301_000, 1000, &[step("a", "b", 0.0)], &|s| &*s.name == "a", &config);
        assert_eq!(topology.edges.len(), 1);
        assert_eq!(topology.edges.values().next().unwrap().rate, 1.0, "frozen while in an incident");
    }
}
