//! From a closed step to a scene: evidence per service and edge, and what is learned from calm steps.

use quoll_detect::ServiceScore;
use quoll_features::{ClosedStep, Presence};
use quoll_identity::Service;

use crate::engine::Incidents;
use crate::evidence::{self, EdgeEvidence};
use crate::names::Cursor;
use crate::scene::Scene;
use crate::shown::{Calls, shown};
use crate::topology::Matched;
use crate::{alias, resources};

/// Weight of this tick in a service's steady evidence.
const STEADY_WEIGHT: f64 = 0.4;
/// Edges learn one step in this many while in an incident: a new normal is accepted in the end.
const LEARN_IN_INCIDENT: u64 = 60;

/// What a step says of its edges.
pub(crate) struct Seen {
    pub(crate) matched: Matched,
    /// Evidence about the server of each of the step's edges, against the edge's own past.
    evidence: Vec<EdgeEvidence>,
}

impl Incidents {
    pub(crate) fn scene(&mut self, step: &ClosedStep, scores: &[ServiceScore]) -> (Scene, Seen) {
        let matched = self.topology.update(step.end_ms, self.step_ms, &step.edges, &self.in_incident, &self.config);
        let hosts = resources::of(step);
        let own = step.services.iter().map(|s| &s.service).chain(scores.iter().map(|s| &s.service));
        if let Some(before) = self.topology.number(own.chain(hosts.iter().map(|(host, _)| host))) {
            self.renumber(&before);
        }
        let seconds = self.step_ms as f64 / 1000.0;
        let evidence: Vec<EdgeEvidence> = (step.edges.iter().zip(&matched.known))
            .map(|(edge, known)| match known.and_then(|known| self.topology.edges.get(known)) {
                Some(known) => known.state.history.evidence(edge, seconds, &self.config),
                None => EdgeEvidence::default(),
            })
            .collect();
        let seen = Seen { matched, evidence };

        let services = self.topology.names.clone();
        let n = services.len();
        let mut scene = Scene {
            services,
            evidence: Vec::with_capacity(n),
            shown: vec![String::new(); n],
            steady: Vec::with_capacity(n),
            callees: vec![Vec::new(); n],
            callers: vec![Vec::new(); n],
            strengths: self.topology.strengths(),
            supposed: Vec::new(),
        };
        self.learned.strengthen(self.topology.edges.iter().map(|known| &known.edge), &mut scene.strengths);
        for (at, known) in self.topology.edges.iter().enumerate() {
            scene.link(known.client, known.server, scene.strengths[at]);
        }
        self.weigh(step, scores, &seen, &mut scene);
        self.watch_streams(step, &seen, &scene);
        alias::link(&mut scene, &self.watched, &self.learned, &self.config);
        alias::remember(&mut self.aliases, &scene);
        let tracks = &self.tracks;
        let watched = |host: &Service| tracks.iter().any(|track| track.root == *host);
        resources::link(&mut scene, &hosts, &watched, &self.learned, &self.config);
        (scene, seen)
    }

    /// Evidence of every service, from its score, its presence and its callers.
    fn weigh(&self, step: &ClosedStep, scores: &[ServiceScore], seen: &Seen, scene: &mut Scene) {
        let n = scene.services.len();
        let mut presence: Vec<Option<Presence>> = vec![None; n];
        let mut names = Cursor::new(&scene.services, |name| name);
        for service in &step.services {
            if let Some(number) = names.find(&service.service) {
                presence[number] = Some(service.presence);
            }
        }
        let mut own: Vec<Option<&ServiceScore>> = vec![None; n];
        let mut names = Cursor::new(&scene.services, |name| name);
        for score in scores {
            if let Some(number) = names.find(&score.service) {
                own[number] = Some(score);
            }
        }
        let mut by_callers: Vec<Option<EdgeEvidence>> = vec![None; n];
        let mut calls: Vec<Calls> = vec![Calls::default(); n];
        for (known, at) in self.topology.edges.iter().zip(&seen.matched.seen) {
            if let Some((evidence, call)) = at.and_then(|at| seen.evidence.get(at).zip(step.edges.get(at))) {
                let all = &mut by_callers[known.server];
                *all = Some(all.map_or(*evidence, |all| all.with(*evidence, &self.config)));
                calls[known.server].add(call);
            }
        }
        for (number, service) in scene.services.iter().enumerate() {
            let callers = by_callers[number].unwrap_or_default();
            let value = match presence[number] {
                Some(Presence::Vanished) => self.config.evidence_cap,
                Some(Presence::Idle | Presence::Unknown) => 0.0,
                _ => {
                    let own = own[number].map(|score| evidence::of_score(score, &self.config));
                    evidence::combined(own, callers, &self.config)
                }
            };
            if value > self.config.anomalous_above {
                let facts = (callers.errors, callers.connects);
                scene.shown[number] = shown(presence[number], calls[number], facts, own[number], &self.features);
            }
            let value = if value > 0.0 { value * self.learned.weight(service, step.end_ms) } else { value };
            let steady = match &self.services[number] {
                Some(state) => state.steady + STEADY_WEIGHT * (value - state.steady),
                None => value,
            };
            scene.evidence.push(value);
            scene.steady.push(steady);
        }
    }

    /// Lets the edges learn this step, later where something is odd about it.
    pub(crate) fn learn_edges(&mut self, step: &ClosedStep, seen: &Seen, scene: &Scene) {
        let seconds = self.step_ms as f64 / 1000.0;
        for ((edge, evidence), known) in step.edges.iter().zip(&seen.evidence).zip(&seen.matched.known) {
            let Some(known) = known.and_then(|known| self.topology.edges.get_mut(known)) else { continue };
            let odd_server = scene.steady[known.server] > self.config.anomalous_above;
            let odd_edge = evidence.strongest() > self.config.anomalous_above;
            let frozen = self.in_incident[known.server] || self.in_incident[known.client];
            let history = &mut known.state.history;
            if frozen {
                history.discard();
                if self.ticks.is_multiple_of(LEARN_IN_INCIDENT) {
                    history.learn(edge, seconds);
                }
            } else if odd_server || (odd_edge && history.warm()) {
                history.defer(edge, seconds);
            } else {
                history.learn(edge, seconds);
            }
        }
    }
}
