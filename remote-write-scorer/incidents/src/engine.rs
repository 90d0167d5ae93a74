//! The state of one scope, and its tick.

use std::collections::BTreeSet;

use quoll_blast_radius::{SingleFault, single_fault};
use quoll_detect::ServiceScore;
use quoll_features::{ClosedStep, FeatureSet};
use quoll_identity::{Edge, Service};
use serde::{Deserialize, Serialize};

use crate::account::Sign;
use crate::alias::quiet::{Pair, Stream};
use crate::component::{components, partition};
use crate::config::{ConfigError, IncidentsConfig};
use crate::diagnosis::{ClosedIncident, Diagnosis};
use crate::filter::{Dynamics, log_odds};
use crate::learning::{Learned, RATE_BOUNDS};
use crate::past::{Feedback, Past, PastIncident};
use crate::resources::is_host;
use crate::scene::Scene;
use crate::shown::FeatureNames;
use crate::stored::bits;
use crate::topology::{Renumbered, Topology};
use crate::track::{Track, long_hash};

/// A service holding this share of a running suspicion stays a suspect without evidence of its own.
const SUSPECT_SHARE: f64 = 0.05;
/// Evidence that asks for an explanation.
const STRONG_EVIDENCE: f64 = 3.0;
/// How much likelier a cause that a user names is than any other, natural logarithm.
const TOLD_ODDS: f64 = 8.0;
/// More missing steps than this are a gap.
const GAP_STEPS: i64 = 5;

/// Everything known about one scope's topology and incidents.
#[derive(Debug, Clone)]
pub struct Incidents {
    pub(crate) config: IncidentsConfig,
    pub(crate) config_hash: String,
    pub(crate) step_ms: i64,
    pub(crate) ticks: u64,
    /// End of the last step.
    pub(crate) last_end_ms: i64,
    pub(crate) topology: Topology,
    /// By the numbers of the topology: what is kept of each service, ...
    pub(crate) services: Vec<Option<ServiceState>>,
    /// ... whether it was within an open incident at the last tick, ...
    pub(crate) in_incident: Vec<bool>,
    /// ... and what its callers send to it.
    pub(crate) streams: Vec<Stream>,
    /// What is kept of services that are not in the topology at this tick, sorted.
    pub(crate) absent: Vec<(Service, ServiceState)>,
    pub(crate) tracks: Vec<Track>,
    pub(crate) learned: Learned,
    /// Possible other names, and of what: all that were ever odd together.
    pub(crate) aliases: BTreeSet<Edge>,
    /// Names that are compared with others in calm times, sorted.
    pub(crate) watched: Vec<Pair>,
    pub(crate) past: Past,
    pub(crate) features: FeatureNames,
}

/// What is kept of a service between ticks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    /// Evidence averaged over the last ticks.
    #[serde(with = "bits")]
    pub(crate) steady: f64,
    /// Log odds of a fault here against no fault, after the last tick's evidence; minus infinity: never suspected.
    #[serde(with = "bits")]
    log_odds: f64,
    /// Posterior of "the fault is here" at the last tick.
    #[serde(with = "bits")]
    share: f64,
    last_seen_ms: i64,
}

/// One component with its track and posterior.
pub(crate) struct Part {
    pub(crate) members: Vec<usize>,
    pub(crate) track: Track,
    pub(crate) no_fault_prior: f64,
    pub(crate) fault_prior: Vec<f64>,
    pub(crate) answer: SingleFault,
}

impl Incidents {
    /// An empty state; `step_ms` is the length of a step in milliseconds.
    ///
    /// # Errors
    /// A setting out of its range, or a step that is not positive.
    pub fn new(config: IncidentsConfig, step_ms: i64) -> Result<Self, ConfigError> {
        config.check()?;
        if step_ms <= 0 {
            return Err(ConfigError { setting: "step_ms", value: step_ms as f64, must: "above 0" });
        }
        let config_hash = format!("{:016x}", long_hash(&format!("{config:?} {step_ms}")));
        Ok(Self {
            config,
            config_hash,
            step_ms,
            ticks: 0,
            last_end_ms: 0,
            topology: Topology::default(),
            services: Vec::new(),
            in_incident: Vec::new(),
            streams: Vec::new(),
            absent: Vec::new(),
            tracks: Vec::new(),
            learned: Learned::default(),
            aliases: BTreeSet::new(),
            watched: Vec::new(),
            past: Past::default(),
            features: FeatureNames::default(),
        })
    }

    /// The features that scores are made of, so that accounts can name the one that stands out.
    #[must_use]
    pub fn with_features(mut self, set: &FeatureSet) -> Self {
        self.features = FeatureNames::of(set);
        self
    }

    /// Probability that a service fails within one step.
    pub(crate) fn hazard(&self) -> f64 {
        let days = self.step_ms as f64 / 86_400_000.0;
        // Below one half whatever the settings, so that a step is never longer than the life of a service.
        (self.config.fault_rate_per_service_per_day * days).min(0.5)
    }

    /// Probability that this service fails within one step, by what was learned about it and its changes.
    pub(crate) fn hazard_of(&self, service: &Service, now_ms: i64) -> f64 {
        self.hazard_times(self.learned.hazard_factor(service, now_ms, &self.config))
    }

    pub(crate) fn hazard_times(&self, factor: f64) -> f64 {
        (self.hazard() * factor).min(0.5)
    }

    /// `0.01 * prior * exp(-cap)` with the least prior that learning allows: even at the evidence cap an anomaly out of nothing stays a hundred times
    /// less likely than a fault.
    pub(crate) fn leak(&self) -> f64 {
        0.01 * RATE_BOUNDS.0 * self.hazard() * libm::exp(-self.config.evidence_cap)
    }

    fn dynamics(&self, scene: &Scene, members: &[usize], now_ms: i64) -> Dynamics {
        let mut hazard: Vec<f64> = members.iter().map(|&s| self.hazard_of(&scene.services[s], now_ms)).collect();
        // The hazards of one component sum to at most one half.
        let sum: f64 = hazard.iter().sum();
        if sum > 0.5 {
            hazard.iter_mut().for_each(|hazard| *hazard *= 0.5 / sum);
        }
        Dynamics {
            hazard,
            recovery: (self.step_ms as f64 / (1000.0 * self.config.mean_fault_seconds)).min(1.0),
            memory: 1.0 - 1.0 / self.config.evidence_memory_steps,
        }
    }

    /// Takes in one closed step and the scores of its services. `now_ms` is the wall clock (in a replay,
    /// the step's own end): a step older than the backlog limit opens no incident.
    pub fn tick(&mut self, step: &ClosedStep, scores: &[ServiceScore], now_ms: i64) -> Diagnosis {
        self.ticks += 1;
        if step.end_ms - self.last_end_ms > GAP_STEPS * self.step_ms {
            self.after_a_gap();
        }
        self.last_end_ms = step.end_ms;
        self.learned.watch(step.end_ms, &self.config);
        for service in &step.services {
            if let Some(change) = &service.change {
                self.learned.changed(&service.service, change, step.end_ms);
            }
        }
        let (scene, seen) = self.scene(step, scores);
        self.learn_edges(step, &seen, &scene);

        let mut closed = Vec::new();
        let suspects = self.suspects(&scene);
        let mut parts = Vec::new();
        for (members, track) in self.assign(&scene, &suspects, step.end_ms, &mut closed) {
            parts.extend(self.infer(&scene, members, track));
        }
        let may_open = now_ms.saturating_sub(step.end_ms) as f64 <= 1000.0 * self.config.max_backlog_seconds;
        let mut split = Vec::new();
        for part in &mut parts {
            split.extend(self.advance(part, &scene, may_open, step.end_ms));
        }
        self.remember(&scene, &parts, step.end_ms, &mut closed);
        let ended: Vec<Track> =
            parts.iter().map(|part| &part.track).filter(|track| self.ended(track)).cloned().collect();
        for track in &ended {
            self.conclude(track, step.end_ms);
        }
        let diagnosis = self.diagnose(step, &scene, &seen, &parts, closed);
        self.tracks = parts.into_iter().filter(|part| !self.ended(&part.track)).map(|part| part.track).collect();
        self.tracks.append(&mut split);
        diagnosis
    }

    /// Steps are missing: what was just before is unknown, and suspicions that were not incidents yet have
    /// nothing left to stand on.
    fn after_a_gap(&mut self) {
        for known in &mut self.topology.edges {
            known.state.history.after_a_gap();
        }
        self.interrupt_streams();
        let calm = !self.in_incident.contains(&true);
        let absent = self.absent.iter_mut().map(|(_, state)| state);
        for state in self.services.iter_mut().flatten().chain(absent).filter(|_| calm) {
            *state = ServiceState { steady: 0.0, log_odds: f64::NEG_INFINITY, share: 0.0, ..*state };
        }
        self.tracks.retain(|track| track.open.is_some());
    }

    /// The topology has numbered its services anew.
    pub(crate) fn renumber(&mut self, new: &Renumbered) {
        let mut services = core::mem::take(&mut self.services);
        let in_incident = core::mem::take(&mut self.in_incident);
        let mut streams = core::mem::take(&mut self.streams);
        for (name, before) in self.topology.names.iter().zip(&new.before) {
            let mut state = before.and_then(|at| services.get_mut(at)).and_then(Option::take);
            if state.is_none()
                && let Ok(at) = self.absent.binary_search_by(|(other, _)| other.cmp(name))
            {
                state = Some(self.absent.remove(at).1);
            }
            self.services.push(state);
            self.in_incident.push(before.and_then(|at| in_incident.get(at)) == Some(&true));
            self.streams.push(before.and_then(|at| streams.get_mut(at)).map(core::mem::take).unwrap_or_default());
        }
        let left = new.names.iter().zip(services).filter_map(|(name, state)| Some((name.clone(), state?)));
        self.absent.extend(left);
        self.absent.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// Whether a service is known, at this tick or lately.
    pub(crate) fn knows(&self, service: &Service) -> bool {
        self.topology.names.binary_search(service).is_ok()
            || self.absent.binary_search_by(|(other, _)| other.cmp(service)).is_ok()
    }

    pub(crate) fn ended(&self, track: &Track) -> bool {
        let refuted = track.feedback == Some(Feedback::NotAnIncident);
        track.open.is_some() && (refuted || track.likely_ticks >= self.config.close_ticks)
    }

    fn suspects(&self, scene: &Scene) -> Vec<bool> {
        let mut suspects: Vec<bool> = (self.services.iter().zip(&scene.evidence))
            .map(|(state, &evidence)| {
                evidence > self.config.anomalous_above
                    || state.as_ref().is_some_and(|state| state.share > SUSPECT_SHARE)
            })
            .collect();
        for track in self.tracks.iter().filter(|track| track.open.is_some() || track.apart) {
            if let Some(root) = scene.find(&track.root) {
                suspects[root] = true;
            }
        }
        suspects
    }

    /// Components, each with the track that watches it. Tracks that meet merge into the eldest, unless
    /// their causes have nothing to do with one another: then the component is cut between them.
    fn assign(
        &mut self,
        scene: &Scene,
        suspects: &[bool],
        end_ms: i64,
        closed: &mut Vec<ClosedIncident>,
    ) -> Vec<(Vec<usize>, Track)> {
        let mut tracks = core::mem::take(&mut self.tracks);
        tracks.sort_by_key(Track::seniority);
        let mut pending: Vec<Option<(usize, Track)>> = Vec::new();
        // Of causes that no longer exist anywhere: nothing is left to watch.
        let mut over: Vec<Track> = Vec::new();
        for track in tracks {
            match scene.find(&track.root) {
                Some(root) => pending.push(Some((root, track))),
                None => over.push(track),
            }
        }
        let mut assigned = Vec::new();
        for members in components(scene, suspects) {
            let mut kept: Vec<(usize, Track)> = Vec::new();
            for slot in &mut pending {
                let Some((root, track)) = slot.take_if(|(root, _)| members.binary_search(root).is_ok()) else {
                    continue;
                };
                let related = kept.iter().position(|(other, _)| {
                    scene.ancestors(*other, Some(&members)).binary_search(&root).is_ok()
                        || scene.ancestors(root, Some(&members)).binary_search(other).is_ok()
                });
                match related {
                    // One cause after all: what was taken for another is part of the elder, and no fault more.
                    Some(into) => {
                        let elder = &mut kept[into].1;
                        elder.absorb(&track);
                        let into = elder.open.as_ref().map(|open| open.id.clone());
                        self.past.extend(past_incident(&track, end_ms, into.clone()));
                        closed.extend(closed_incident(&track, end_ms, into));
                    }
                    None if kept.is_empty() || track.open.is_some() || track.apart => kept.push((root, track)),
                    // Two suspicions, none of them an incident yet, have met: the elder goes on.
                    None => {}
                }
            }
            if kept.len() > 1 {
                let roots: Vec<usize> = kept.iter().map(|(root, _)| *root).collect();
                let parts = partition(scene, &members, &roots);
                assigned.extend(parts.into_iter().zip(kept).map(|(part, (_, track))| (part, track)));
            } else if let Some((_, track)) = kept.pop() {
                assigned.push((members, track));
            } else {
                let first = (members.iter().copied())
                    .max_by(|&a, &b| scene.evidence[a].total_cmp(&scene.evidence[b]).then(b.cmp(&a)));
                if let Some(first) = first {
                    let track = Track::new(Sign::new(scene, first, end_ms));
                    assigned.push((members, track));
                }
            }
        }
        over.extend(pending.into_iter().flatten().map(|(_, track)| track));
        for track in &over {
            closed.extend(closed_incident(track, end_ms, None));
            self.conclude(track, end_ms);
        }
        assigned
    }

    /// The posterior of one component. `None` where inference fails, which its inputs rule out.
    fn infer(&self, scene: &Scene, members: Vec<usize>, track: Track) -> Option<Part> {
        let mut odds: Vec<Option<f64>> = (members.iter())
            .map(|&s| self.services[s].as_ref().map(|state| state.log_odds).filter(|o| o.is_finite()))
            .collect();
        // What a user says is the cause is the likeliest one.
        if let Some(Feedback::Cause { service }) = &track.feedback
            && let Some(at) = members.iter().position(|&s| scene.services[s] == *service)
        {
            odds[at] = None;
            let others = odds.iter().flatten().fold(f64::NEG_INFINITY, |a: f64, &b| a.max(b));
            odds[at] = Some(others + TOLD_ODDS).filter(|odds| odds.is_finite());
        }
        let prior = self.dynamics(scene, &members, self.last_end_ms).prior(&odds).ok()?;
        let graph = scene.graph(&members).ok()?;
        let evidence: Vec<f64> = members.iter().map(|&s| scene.evidence[s]).collect();
        let leak = vec![self.leak(); members.len()];
        let answer = single_fault(&graph, &leak, prior.no_fault, &prior.fault, &evidence).ok()?;
        Some(Part { members, track, no_fault_prior: prior.no_fault, fault_prior: prior.fault, answer })
    }

    /// Moves a part's track on. Returns a track for an anomaly that the part's cause cannot explain.
    fn advance(&self, part: &mut Part, scene: &Scene, may_open: bool, end_ms: i64) -> Option<Track> {
        let posterior = part.answer.posterior();
        let root = likeliest(&posterior.root_cause).map(|at| part.members[at])?;
        let same_root = part.track.root == scene.services[root];
        part.track.root = scene.services[root].clone();
        if posterior.no_fault < 0.5 {
            part.track.named = part.track.root.clone();
        }
        for (at, &s) in part.members.iter().enumerate() {
            let odd = scene.evidence[s] > self.config.anomalous_above;
            let sign = odd.then(|| Sign::new(scene, s, end_ms));
            part.track.note(&scene.services[s], sign, posterior.anomalous[at], end_ms);
        }
        // The evidence of this very tick must speak for a fault: what one bad step left behind opens nothing.
        let supported = posterior.no_fault < part.no_fault_prior
            && part.members.iter().any(|&s| scene.evidence[s] > self.config.anomalous_above);
        part.track.advance(posterior.no_fault, same_root, supported, may_open, end_ms, &self.config);

        let reached = scene.ancestors(root, Some(&part.members));
        let unexplained = (part.members.iter().copied())
            .filter(|&s| {
                scene.steady[s] > STRONG_EVIDENCE
                    && scene.evidence[s] > STRONG_EVIDENCE
                    && reached.binary_search(&s).is_err()
                    && scene.ancestors(s, Some(&part.members)).binary_search(&root).is_err()
            })
            .max_by(|&a, &b| scene.steady[a].total_cmp(&scene.steady[b]).then(b.cmp(&a)));
        let Some(unexplained) = unexplained.filter(|_| part.track.open.is_some()) else {
            part.track.unexplained_ticks = 0;
            return None;
        };
        part.track.unexplained_ticks += 1;
        if part.track.unexplained_ticks < self.config.split_ticks {
            return None;
        }
        part.track.unexplained_ticks = 0;
        let mut track = Track::new(Sign::new(scene, unexplained, end_ms));
        track.apart = true;
        Some(track)
    }

    /// An incident ended: it becomes part of the past, and what happened is learned.
    fn conclude(&mut self, track: &Track, end_ms: i64) {
        if track.open.is_none() {
            return;
        }
        let root = match &track.feedback {
            Some(Feedback::Cause { service }) => service,
            _ => &track.named,
        };
        if track.feedback != Some(Feedback::NotAnIncident) {
            let hosted = track.hits.keys().filter(|_| is_host(root));
            let hosted: Vec<Edge> =
                hosted.map(|client| Edge { client: client.clone(), server: root.clone() }).collect();
            let calls = self.topology.edges.iter().map(|known| &known.edge);
            let sure = self.watched.iter().filter(|pair| pair.sure);
            let sure: Vec<Edge> =
                sure.map(|pair| Edge { client: pair.name.clone(), server: pair.of.clone() }).collect();
            let named = self.aliases.iter().chain(sure.iter().filter(|pair| !self.aliases.contains(*pair)));
            self.learned.conclude(root, &track.hits, calls.chain(named).chain(&hosted), end_ms);
        }
        self.past.extend(past_incident(track, end_ms, None));
    }

    /// Keeps what the next tick needs, and lists the incidents that ended.
    fn remember(&mut self, scene: &Scene, parts: &[Part], end_ms: i64, closed: &mut Vec<ClosedIncident>) {
        self.services.clear();
        self.services.extend(scene.steady.iter().map(|&steady| {
            Some(ServiceState { steady, log_odds: f64::NEG_INFINITY, share: 0.0, last_seen_ms: end_ms })
        }));
        self.in_incident.fill(false);
        for part in parts {
            if self.ended(&part.track) {
                closed.extend(closed_incident(&part.track, end_ms, None));
                continue;
            }
            let posterior = part.answer.posterior();
            let odds = log_odds(posterior);
            for (at, &member) in part.members.iter().enumerate() {
                if let Some(state) = &mut self.services[member] {
                    state.log_odds = odds[at];
                    state.share = posterior.root_cause[at];
                }
                self.in_incident[member] |= part.track.open.is_some();
            }
        }
        let lifetime_ms = (1000.0 * self.config.edge_lifetime_seconds) as i64;
        self.absent.retain(|(_, state)| end_ms - state.last_seen_ms <= lifetime_ms);
    }
}

/// The place of the largest probability, the first of equals.
fn likeliest(probabilities: &[f64]) -> Option<usize> {
    (0..probabilities.len()).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]).then(b.cmp(&a)))
}

/// The record of a track's end, if it was an incident.
fn closed_incident(track: &Track, closed_ms: i64, merged_into: Option<String>) -> Option<ClosedIncident> {
    let open = track.open.as_ref()?;
    Some(ClosedIncident {
        id: open.id.clone(),
        opened_ms: open.opened_ms,
        closed_ms,
        root: track.named.clone(),
        merged_into,
    })
}

/// What is remembered of a track that ended, if it was an incident.
fn past_incident(track: &Track, closed_ms: i64, merged_into: Option<String>) -> Option<PastIncident> {
    let open = track.open.as_ref()?;
    Some(PastIncident {
        id: open.id.clone(),
        opened_ms: open.opened_ms,
        closed_ms,
        root: track.named.clone(),
        hit: track.hits.keys().cloned().collect(),
        feedback: track.feedback.clone(),
        merged_into,
    })
}
