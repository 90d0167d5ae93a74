//! From measurements to evidence: natural logarithms of likelihood ratios, "anomalous" over "normal".
//!
//! Every function gives 0 where there is nothing to say and stays within its caps, so that no single
//! measurement, however extreme, outweighs the rest.

use quoll_detect::ServiceScore;
use quoll_features::EdgeStep;
use serde::{Deserialize, Serialize};

use crate::config::IncidentsConfig;
use crate::stored::bits;

/// Steps of history an edge needs before it can speak.
const WARM_UP_STEPS: f64 = 10.0;
/// Largest number of past attempts that count: more would make an honest small drift look impossible.
const HISTORY_ATTEMPTS: f64 = 300.0;
/// Forgetting of an edge's latency history per step.
const LATENCY_FORGETTING: f64 = 1.0 / 60.0;
/// Least relative spread of latency that is assumed, natural logarithm (a factor of 1.28).
const LATENCY_SPREAD_FLOOR: f64 = 0.25;
/// A latency below this multiple of just-before says nothing, however steady it was.
const LATENCY_FACTOR: f64 = 1.5;
/// Latency against just-before is one view of what the score sees too: half the cap.
const LATENCY_SHARE: f64 = 0.5;
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
}

/// Attempts and failures, of which the older fade.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Counts {
    #[serde(with = "bits")]
    steps: f64,
    #[serde(with = "bits")]
    attempts: f64,
    #[serde(with = "bits")]
    failures: f64,
}

/// Mean and variance of the logarithm of a latency, fading.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Level {
    #[serde(with = "bits")]
    steps: f64,
    #[serde(with = "bits")]
    mean: f64,
    #[serde(with = "bits")]
    variance: f64,
}

/// Evidence about an edge's server, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct EdgeEvidence {
    pub(crate) errors: f64,
    pub(crate) connects: f64,
    pub(crate) latency: f64,
}

impl EdgeEvidence {
    /// The strongest of the three: they are views of one thing, so they do not add up.
    pub(crate) fn strongest(self) -> f64 {
        self.errors.max(self.connects).max(self.latency)
    }
}

impl EdgeHistory {
    /// The evidence of a step against the history, which is not changed.
    pub(crate) fn evidence(&self, step: &EdgeStep, seconds: f64, config: &IncidentsConfig) -> EdgeEvidence {
        EdgeEvidence {
            errors: self.answers.evidence(step.requests_per_second, step.errors_per_second, seconds, config),
            connects: self.connects.evidence(
                step.connects_per_second,
                step.connect_failures_per_second,
                seconds,
                config,
            ),
            latency: self.latency.evidence(step.latency_seconds, step.requests_per_second * seconds, config),
        }
    }

    /// Takes the step in. Not called while the server is under suspicion: a fault is not to become normal.
    pub(crate) fn learn(&mut self, step: &EdgeStep, seconds: f64) {
        self.answers.learn(step.requests_per_second * seconds, step.errors_per_second * seconds);
        self.connects.learn(step.connects_per_second * seconds, step.connect_failures_per_second * seconds);
        self.latency.learn(step.latency_seconds);
    }

    /// Steps of answers and connects seen so far, whichever is more.
    pub(crate) fn warm(&self) -> bool {
        self.answers.steps.max(self.connects.steps) >= WARM_UP_STEPS
    }
}

impl Counts {
    /// Beta-binomial Bayes factor of "a failure ratio of its own, anything from 0 to 1 alike" over "the
    /// ratio of the past" (Beta with the past counts, Jeffreys' prior; Gelman et al., "Bayesian Data
    /// Analysis", 3rd ed., section 2.4). Speaks for "anomalous" only where the ratio went up.
    fn evidence(
        &self,
        attempts_per_second: f64,
        failures_per_second: f64,
        seconds: f64,
        config: &IncidentsConfig,
    ) -> f64 {
        let attempts = attempts_per_second * seconds;
        let failures = (failures_per_second * seconds).min(attempts);
        if self.steps < WARM_UP_STEPS || !(attempts > 0.0 && failures >= 0.0) {
            return 0.0;
        }
        let (a, b) = (self.failures + 0.5, self.attempts - self.failures + 0.5);
        let own = ln_beta(1.0 + failures, 1.0 + attempts - failures);
        let past = ln_beta(a + failures, b + attempts - failures) - ln_beta(a, b);
        let ratio = own - past;
        let rose = failures / attempts > a / (a + b);
        if rose { ratio.clamp(0.0, config.evidence_cap) } else { ratio.clamp(-config.healthy_evidence, 0.0) }
    }

    fn learn(&mut self, attempts: f64, failures: f64) {
        if !(attempts > 0.0 && failures >= 0.0) {
            return;
        }
        self.steps += 1.0;
        self.attempts += attempts;
        self.failures += failures.min(attempts);
        if self.attempts > HISTORY_ATTEMPTS {
            let keep = HISTORY_ATTEMPTS / self.attempts;
            self.attempts *= keep;
            self.failures *= keep;
        }
    }
}

impl Level {
    fn evidence(&self, latency: f64, requests: f64, config: &IncidentsConfig) -> f64 {
        if self.steps < WARM_UP_STEPS || !(latency > 0.0 && requests >= 1.0) {
            return 0.0;
        }
        let excess = libm::log(latency) - self.mean;
        if excess < libm::log(LATENCY_FACTOR) {
            return 0.0;
        }
        let z = excess / libm::sqrt(self.variance).max(LATENCY_SPREAD_FLOOR);
        // Upper tail of the normal distribution.
        let p = 0.5 * libm::erfc(z / core::f64::consts::SQRT_2);
        (LATENCY_SHARE * of_tail_probability(p, config)).max(0.0)
    }

    fn learn(&mut self, latency: f64) {
        if latency.is_nan() || latency <= 0.0 {
            return;
        }
        self.steps += 1.0;
        let weight = (1.0 / self.steps).max(LATENCY_FORGETTING);
        let difference = libm::log(latency) - self.mean;
        self.mean += weight * difference;
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference);
    }
}

fn ln_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
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
        assert!(history.evidence(&step(20.0, 1.0, 0.01), 1.0, &config).errors < 1.5);
        assert!(history.evidence(&step(20.0, 0.0, 0.01), 1.0, &config).errors < -1.0);
        assert_eq!(EdgeHistory::default().evidence(&step(20.0, 20.0, 9.0), 1.0, &config), EdgeEvidence::default());
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
