//! From a closed step to a scene: evidence per service and edge, and what is learned from calm steps.

use std::collections::{BTreeMap, BTreeSet};

use quoll_detect::ServiceScore;
use quoll_features::{ClosedStep, Presence};
use quoll_identity::{Edge, Service};

use crate::engine::Incidents;
use crate::evidence::{self, EdgeEvidence};
use crate::scene::Scene;
use crate::{alias, resources};

/// Weight of this tick in a service's steady evidence.
const STEADY_WEIGHT: f64 = 0.4;
/// Edges learn one step in this many while in an incident: a new normal is accepted in the end.
const LEARN_IN_INCIDENT: u64 = 60;

impl Incidents {
    /// Evidence per edge against its own past.
    pub(crate) fn observe_edges(&self, step: &ClosedStep) -> BTreeMap<Edge, EdgeEvidence> {
        let seconds = self.step_ms as f64 / 1000.0;
        (step.edges.iter())
            .filter_map(|edge| {
                let state = self.topology.edges.get(&edge.edge)?;
                Some((edge.edge.clone(), state.history.evidence(edge, seconds, &self.config)))
            })
            .collect()
    }

    pub(crate) fn scene(
        &mut self,
        step: &ClosedStep,
        scores: &[ServiceScore],
        edge_evidence: &BTreeMap<Edge, EdgeEvidence>,
    ) -> Scene {
        let in_incident = &self.in_incident;
        self.topology.update(
            step.end_ms,
            self.step_ms,
            &step.edges,
            &|service| in_incident.contains(service),
            &self.config,
        );
        let mut known: BTreeSet<&Service> = step.services.iter().map(|s| &s.service).collect();
        known.extend(scores.iter().map(|s| &s.service));
        let hosts = resources::of(step);
        known.extend(hosts.keys());
        known.extend(self.topology.edges.keys().flat_map(|edge| [&edge.client, &edge.server]));
        let services: Vec<Service> = known.into_iter().cloned().collect();
        let n = services.len();
        let mut scene = Scene {
            services,
            evidence: Vec::with_capacity(n),
            steady: Vec::with_capacity(n),
            callees: vec![Vec::new(); n],
            callers: vec![Vec::new(); n],
            strengths: Vec::new(),
            supposed: Vec::new(),
        };
        for (edge, start) in self.topology.strengths() {
            let strength = self.learned.strength(edge, start);
            scene.strengths.push(strength);
            if let (Some(client), Some(server)) = (scene.find(&edge.client), scene.find(&edge.server)) {
                scene.link(client, server, strength);
            }
        }

        let presence: BTreeMap<&Service, Presence> = step.services.iter().map(|s| (&s.service, s.presence)).collect();
        let score: BTreeMap<&Service, &ServiceScore> = scores.iter().map(|s| (&s.service, s)).collect();
        let mut seen_by_callers: BTreeMap<&Service, EdgeEvidence> = BTreeMap::new();
        for (edge, evidence) in edge_evidence {
            (seen_by_callers.entry(&edge.server))
                .and_modify(|all| *all = all.with(*evidence, &self.config))
                .or_insert(*evidence);
        }
        for service in &scene.services {
            let own = score.get(service).map(|score| evidence::of_score(score, &self.config));
            let callers = seen_by_callers.get(service).copied().unwrap_or_default();
            let value = match presence.get(service) {
                Some(Presence::Vanished) => self.config.evidence_cap,
                Some(Presence::Idle) => 0.0,
                _ => evidence::combined(own, callers, &self.config),
            };
            let value = if value > 0.0 { value * self.learned.weight(service, step.end_ms) } else { value };
            let steady = match self.services.get(service) {
                Some(state) => state.steady + STEADY_WEIGHT * (value - state.steady),
                None => value,
            };
            scene.evidence.push(value);
            scene.steady.push(steady);
        }
        alias::link(&mut scene, &self.learned, &self.config);
        alias::remember(&mut self.aliases, &scene);
        let tracks = &self.tracks;
        let watched = |host: &Service| tracks.iter().any(|track| track.root == *host);
        resources::link(&mut scene, &hosts, &watched, &self.learned, &self.config);
        scene
    }

    /// Lets the edges learn this step, later where something is odd about it.
    pub(crate) fn learn_edges(&mut self, step: &ClosedStep, evidence: &BTreeMap<Edge, EdgeEvidence>, scene: &Scene) {
        let seconds = self.step_ms as f64 / 1000.0;
        for edge in &step.edges {
            let Some(state) = self.topology.edges.get_mut(&edge.edge) else { continue };
            let odd_server =
                scene.find(&edge.edge.server).is_some_and(|s| scene.steady[s] > self.config.anomalous_above);
            let odd_edge = evidence.get(&edge.edge).is_some_and(|e| e.strongest() > self.config.anomalous_above);
            let frozen = self.in_incident.contains(&edge.edge.server) || self.in_incident.contains(&edge.edge.client);
            if frozen {
                state.history.discard();
                if self.ticks.is_multiple_of(LEARN_IN_INCIDENT) {
                    state.history.learn(edge, seconds);
                }
            } else if odd_server || (odd_edge && state.history.warm()) {
                state.history.defer(edge, seconds);
            } else {
                state.history.learn(edge, seconds);
            }
        }
    }
}
