//! From measurements to evidence: natural logarithms of likelihood ratios, "anomalous" over "normal".
//!
//! Every function gives 0 where there is nothing to say and stays within its caps, so that no single
//! measurement, however extreme, outweighs the rest.

use quoll_detect::ServiceScore;
use quoll_features::EdgeStep;
use serde::{Deserialize, Serialize};

use crate::config::IncidentsConfig;

mod counts;
mod level;

use counts::Counts;
pub(crate) use counts::Trial;
use level::Level;

/// Steps of history an edge needs before it can speak.
const WARM_UP_STEPS: f64 = 10.0;
/// Odd steps that are kept until it is known whether they were an incident.
const PENDING_STEPS: usize = 12;
/// A tail without enough history is a guess at the tail: so much of its evidence counts.
const PROVISIONAL_SHARE: f64 = 0.75;

/// Evidence of a service's own score: that of its tail probability. While the score is provisional, the
/// tail is extrapolated from minutes of history and takes any hiccup of the machine for a rarity; below the
/// threshold it can then speak for "normal" only.
pub(crate) fn of_score(score: &ServiceScore, config: &IncidentsConfig) -> f64 {
    let evidence = of_tail_probability(score.tail_probability, config);
    match (score.provisional, score.score >= 1.0) {
        (false, _) => evidence,
        (true, true) => PROVISIONAL_SHARE * evidence,
        (true, false) => PROVISIONAL_SHARE * evidence.min(0.0),
    }
}

/// Evidence of a calibrated tail probability `p`.
///
/// Normal operation makes `p` uniform; an anomaly piles it up near zero, as Beta(ξ, 1) with density
/// `ξ p^(ξ-1)` (Sellke, Bayarri & Berger, "Calibration of p values for testing precise null hypotheses",
/// The American Statistician 55(1), 2001). Their bound takes the ξ most favourable to the anomaly at each
/// `p`, which cannot speak for "normal"; here ξ is fixed by what a perfectly ordinary score (`p = 1`)
/// says: `ln ξ = -healthy`. The ratio then averages to one under normal operation, as it must.
fn of_tail_probability(p: f64, config: &IncidentsConfig) -> f64 {
    if p.is_nan() {
        return 0.0;
    }
    let xi = libm::exp(-config.healthy_evidence);
    let ratio = -config.healthy_evidence + (xi - 1.0) * libm::log(p.clamp(1e-300, 1.0));
    ratio.clamp(-config.healthy_evidence, config.evidence_cap)
}

/// What an edge's client saw of its server up to now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EdgeHistory {
    answers: Counts,
    connects: Counts,
    latency: Level,
    /// Odd steps that are not history yet, as the bits of their numbers.
    pending: Vec<[u64; 5]>,
}

/// Evidence about an edge's server, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct EdgeEvidence {
    pub(crate) errors: f64,
    pub(crate) connects: f64,
    pub(crate) latency: f64,
    /// Behind the first two, so that those of several callers can be added up.
    answers: Trial,
    attempts: Trial,
}

impl EdgeEvidence {
    /// The strongest of the three: they are views of one thing, so they do not add up.
    pub(crate) fn strongest(self) -> f64 {
        self.errors.max(self.connects).max(self.latency)
    }

    /// Of the same server, by one caller more: whoever complains most, or all of them together.
    pub(crate) fn with(self, other: Self, config: &IncidentsConfig) -> Self {
        let (answers, attempts) = (self.answers.with(other.answers), self.attempts.with(other.attempts));
        Self {
            errors: loudest(self.errors, other.errors, answers.evidence(config)),
            connects: loudest(self.connects, other.connects, attempts.evidence(config)),
            latency: self.latency.max(other.latency),
            answers,
            attempts,
        }
    }
}

/// The strongest complaint; where nobody complains, what all of them say together.
fn loudest(a: f64, b: f64, together: f64) -> f64 {
    let most = a.max(b).max(together);
    if most > 0.0 { most } else { together }
}

impl EdgeHistory {
    /// The evidence of a step against the history, which is not changed.
    pub(crate) fn evidence(&self, step: &EdgeStep, seconds: f64, config: &IncidentsConfig) -> EdgeEvidence {
        let answers = self.answers.trial(step.requests_per_second * seconds, step.errors_per_second * seconds);
        let attempts =
            self.connects.trial(step.connects_per_second * seconds, step.connect_failures_per_second * seconds);
        EdgeEvidence {
            errors: answers.evidence(config),
            connects: attempts.evidence(config),
            latency: self.latency.evidence(step.latency_seconds, step.requests_per_second * seconds, config),
            answers,
            attempts,
        }
    }

    /// Takes in a step in which nothing is odd, and before it the odd steps that came to nothing: what was no
    /// incident is part of what is normal here, so whoever flaps loses weight.
    pub(crate) fn learn(&mut self, step: &EdgeStep, seconds: f64) {
        for odd in core::mem::take(&mut self.pending) {
            self.learn_numbers(odd.map(f64::from_bits), seconds);
        }
        self.learn_numbers(numbers(step), seconds);
    }

    /// Keeps an odd step until it is known what it was. Past the limit the oldest is learned: what has
    /// lasted so long without being an incident is normal.
    pub(crate) fn defer(&mut self, step: &EdgeStep, seconds: f64) {
        if self.pending.len() >= PENDING_STEPS {
            let oldest = self.pending.remove(0);
            self.learn_numbers(oldest.map(f64::from_bits), seconds);
        }
        self.pending.push(numbers(step).map(f64::to_bits));
    }

    /// The odd steps were an incident: a fault is not to become normal.
    pub(crate) fn discard(&mut self) {
        self.pending.clear();
    }

    fn learn_numbers(&mut self, [requests, errors, connects, failures, latency]: [f64; 5], seconds: f64) {
        self.answers.learn(requests * seconds, errors * seconds);
        self.connects.learn(connects * seconds, failures * seconds);
        self.latency.learn(latency);
    }

    /// What was just before is not known after a gap in the data.
    pub(crate) fn after_a_gap(&mut self) {
        self.answers.after_a_gap();
        self.connects.after_a_gap();
        self.latency.after_a_gap();
    }

    /// Steps of answers and connects seen so far, whichever is more.
    pub(crate) fn warm(&self) -> bool {
        self.answers.steps.max(self.connects.steps) >= WARM_UP_STEPS
    }
}

fn numbers(step: &EdgeStep) -> [f64; 5] {
    [
        step.requests_per_second,
        step.errors_per_second,
        step.connects_per_second,
        step.connect_failures_per_second,
        step.latency_seconds,
    ]
}

/// One service's evidence from its own score and from what its callers see.
///
/// Errors and failed connects are facts, so the stronger of them and the score counts. A latency that rose
/// against just-before is also seen by the score: next to a score that says nothing against the service, it
/// can take from the evidence for "normal" but not turn it round.
/// Without a score, callers that are content count as slightly healthy.
pub(crate) fn combined(own: Option<f64>, callers: EdgeEvidence, config: &IncidentsConfig) -> f64 {
    let facts = callers.errors.max(callers.connects);
    let value = match own {
        Some(own) if own <= 0.0 => (own + callers.latency).min(0.0).max(if facts > 0.0 { facts } else { own }),
        Some(own) => own.max(callers.latency).max(facts),
        None => callers.latency.max(if facts > 0.0 { facts } else { facts.max(-1.0) }),
    };
    value.clamp(-config.healthy_evidence, config.evidence_cap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoll_identity::{Edge, Service};

    fn step(requests: f64, errors: f64, latency: f64) -> EdgeStep {
        let service = |name| Service::new(None, name).unwrap();
        EdgeStep {
            edge: Edge { client: service("a"), server: service("b") },
            requests_per_second: requests,
            errors_per_second: errors,
            connects_per_second: requests,
            connect_failures_per_second: 0.0,
            latency_seconds: latency,
        }
    }

    fn learned() -> EdgeHistory {
        let mut history = EdgeHistory::default();
        for _ in 0..50 {
            history.learn(&step(20.0, 0.0, 0.01), 1.0);
        }
        history
    }

    #[test]
    fn an_ordinary_score_speaks_for_normal_and_an_extreme_one_up_to_the_cap() {
        let config = IncidentsConfig::default();
        let at = |p| of_tail_probability(p, &config);
        assert_eq!(at(1.0), -3.0);
        assert!(at(0.5) < -2.0 && at(0.05).abs() < 0.3);
        assert!(at(1e-3) > 3.0 && at(1e-12) == 8.0 && at(0.0) == 8.0 && at(f64::NAN) == 0.0);
    }

    fn score(score: f64, tail_probability: f64, provisional: bool) -> ServiceScore {
        ServiceScore {
            service: Service::new(None, "a").unwrap(),
            score,
            tail_probability,
            anomaly_probability: 0.0,
            provisional,
            coverage: 1.0,
            calibration_samples: 100,
            features: Vec::new(),
        }
    }

    #[test]
    fn a_provisional_score_speaks_less_and_below_its_threshold_only_for_normal() {
        let config = IncidentsConfig::default();
        let of = |value, p, provisional| of_score(&score(value, p, provisional), &config);
        assert_eq!(of(2.0, 1e-12, false), 8.0);
        assert_eq!(of(2.0, 1e-12, true), 6.0);
        assert_eq!(of(0.8, 1e-4, true), 0.0);
        assert!(of(0.8, 1e-4, false) > 5.0);
        assert_eq!(of(0.1, 1.0, true), -2.25);
    }

    #[test]
    fn latency_of_just_now_does_not_overrule_a_score_that_sees_nothing() {
        let config = IncidentsConfig::default();
        let slow = EdgeEvidence { latency: 4.0, ..EdgeEvidence::default() };
        assert_eq!(combined(Some(-3.0), EdgeEvidence::default(), &config), -3.0);
        assert_eq!(combined(Some(-1.0), slow, &config), 0.0);
        assert_eq!(combined(Some(0.0), slow, &config), 0.0);
        assert_eq!(combined(Some(1.0), slow, &config), 4.0);
        assert_eq!(combined(None, slow, &config), 4.0);
        let erring = EdgeEvidence { errors: 7.0, ..slow };
        assert_eq!(combined(Some(-3.0), erring, &config), 7.0);
    }

    /// The mean of the likelihood ratio under normal operation is one: no evidence for nothing.
    #[test]
    fn uniform_tail_probabilities_are_worth_nothing_on_average() {
        let config = IncidentsConfig { evidence_cap: 20.0, ..IncidentsConfig::default() };
        let n = 1_000_000;
        let mean: f64 =
            (0..n).map(|i| libm::exp(of_tail_probability((f64::from(i) + 0.5) / f64::from(n), &config))).sum::<f64>()
                / f64::from(n);
        // Half of the mass of this heavy tail lies below 1e-6, hence the wide lower bound.
        assert!(mean <= 1.0 && mean > 0.4, "{mean}");
    }

    #[test]
    fn errors_speak_against_the_edges_own_history() {
        let config = IncidentsConfig::default();
        let history = learned();
        assert!(history.warm());
        assert!(history.evidence(&step(20.0, 10.0, 0.01), 1.0, &config).errors > 7.0);
        assert!(history.evidence(&step(20.0, 1.0, 0.01), 1.0, &config).errors < 2.5);
        assert!(history.evidence(&step(20.0, 0.0, 0.01), 1.0, &config).errors < -1.0);
        let unknown = EdgeHistory::default().evidence(&step(20.0, 20.0, 9.0), 1.0, &config);
        assert_eq!(unknown.strongest(), 0.0);
    }

    #[test]
    fn latency_speaks_against_just_before_and_small_changes_say_nothing() {
        let config = IncidentsConfig::default();
        let history = learned();
        assert_eq!(history.evidence(&step(20.0, 0.0, 0.014), 1.0, &config).latency, 0.0);
        let slow = history.evidence(&step(20.0, 0.0, 0.2), 1.0, &config).latency;
        assert_eq!(slow, 4.0);
        assert_eq!(history.evidence(&step(0.0, 0.0, f64::NAN), 1.0, &config).latency, 0.0);
    }
}
