//! Attempts and failures: is the share of failures of this step one of the past's?

use serde::{Deserialize, Serialize};

use super::WARM_UP_STEPS;
use crate::config::IncidentsConfig;
use crate::stored::bits;

/// Forgetting of the past per step.
const FORGETTING: f64 = 1.0 / 300.0;
/// Concentrations that are believed: below, the past would say nothing; above, an honest small drift
/// would look impossible.
const CONCENTRATION: (f64, f64) = (2.0, 1000.0);
/// Forgetting of what was just before, per step.
const BEFORE_FORGETTING: f64 = 1.0 / 5.0;
/// The failure ratio of a service in trouble: Beta(0.3, 1), anything from 0 to 1, small ones more often.
const TROUBLE: (f64, f64) = (0.3, 1.0);
/// Jeffreys' prior for a ratio: Beta(1/2, 1/2).
const PRIOR: f64 = 0.5;

/// The failure ratios of the past: how high, and how much they vary from step to step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    #[serde(with = "bits")]
    pub(super) steps: f64,
    /// Attempts and failures, of which the older fade.
    #[serde(with = "bits")]
    attempts: f64,
    #[serde(with = "bits")]
    failures: f64,
    /// Sum over steps of the squared deviation of the ratio from the mean, and of what chance alone
    /// makes of it, `mean (1 - mean) / attempts`; both fade.
    #[serde(with = "bits")]
    deviation: f64,
    #[serde(with = "bits")]
    chance: f64,
    /// Steps in the two sums.
    #[serde(with = "bits")]
    weight: f64,
    /// Attempts and failures of the last few steps since a gap.
    #[serde(with = "bits")]
    before_attempts: f64,
    #[serde(with = "bits")]
    before_failures: f64,
}

/// Attempts and failures of one step with the past they are to be held against; those of several callers add up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Trial {
    attempts: f64,
    failures: f64,
    /// Parameters of the past's Beta distribution, weighted by the attempts of the past.
    past_attempts: f64,
    past_mean: f64,
    past_concentration: f64,
    before_attempts: f64,
    before_failures: f64,
}

impl Counts {
    pub(super) fn trial(&self, attempts: f64, failures: f64) -> Trial {
        if self.steps < WARM_UP_STEPS || !(attempts > 0.0 && failures >= 0.0) {
            return Trial::default();
        }
        Trial {
            attempts,
            failures: failures.min(attempts),
            past_attempts: self.attempts,
            past_mean: self.mean() * self.attempts,
            past_concentration: self.concentration() * self.attempts,
            before_attempts: self.before_attempts,
            before_failures: self.before_failures,
        }
    }

    fn mean(&self) -> f64 {
        if self.attempts > 0.0 { self.failures / self.attempts } else { 0.0 }
    }

    /// `a + b` of the Beta distribution of the ratio of a step, from the variance that chance does not
    /// explain: `variance = mean (1 - mean) / (a + b + 1)`.
    fn concentration(&self) -> f64 {
        let mean = self.mean();
        let excess = ((self.deviation - self.chance) / self.weight.max(1.0)).max(0.0);
        let by_variance = if excess > 0.0 { mean * (1.0 - mean) / excess - 1.0 } else { f64::INFINITY };
        by_variance.min(self.attempts).clamp(CONCENTRATION.0, CONCENTRATION.1)
    }

    pub(super) fn learn(&mut self, attempts: f64, failures: f64) {
        if !(attempts > 0.0 && failures >= 0.0 && attempts.is_finite()) {
            return;
        }
        let failures = failures.min(attempts);
        if self.steps >= WARM_UP_STEPS {
            let mean = self.mean();
            let ratio = failures / attempts;
            self.deviation += (ratio - mean) * (ratio - mean);
            self.chance += mean * (1.0 - mean) / attempts;
            self.weight += 1.0;
        }
        self.steps += 1.0;
        let keep = 1.0 - FORGETTING;
        self.attempts = keep * self.attempts + attempts;
        self.failures = keep * self.failures + failures;
        self.deviation *= keep;
        self.chance *= keep;
        self.weight *= keep;
        let keep = 1.0 - BEFORE_FORGETTING;
        self.before_attempts = keep * self.before_attempts + attempts;
        self.before_failures = keep * self.before_failures + failures;
    }

    /// Nothing is known of just-before any more; the long past stays.
    pub(super) fn after_a_gap(&mut self) {
        (self.before_attempts, self.before_failures) = (0.0, 0.0);
    }
}

impl Trial {
    /// Both together: the same server as two of its callers see it.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            attempts: self.attempts + other.attempts,
            failures: self.failures + other.failures,
            past_attempts: self.past_attempts + other.past_attempts,
            past_mean: self.past_mean + other.past_mean,
            past_concentration: self.past_concentration + other.past_concentration,
            before_attempts: self.before_attempts + other.before_attempts,
            before_failures: self.before_failures + other.before_failures,
        }
    }

    /// Whether the failures speak against the server. What was as bad just before, before any suspicion, is a
    /// change of habits rather than this trouble: then just-before is the measure. While that is unknown, after
    /// a gap, nothing is said against it.
    pub(crate) fn evidence(self, config: &IncidentsConfig) -> f64 {
        if self.past_attempts <= 0.0 || self.attempts <= 0.0 {
            return 0.0;
        }
        let (mean, size) = (self.past_mean / self.past_attempts, self.past_concentration / self.past_attempts);
        // Jeffreys' prior: what never failed may fail for once.
        let past = (mean * size + PRIOR, (1.0 - mean) * size + PRIOR);
        let long = bayes_factor(self.attempts, self.failures, past, config);
        if long <= 0.0 || !config.just_before {
            return long;
        }
        if self.before_attempts <= 0.0 {
            return 0.0;
        }
        if bayes_factor(self.before_attempts, self.before_failures, past, config) <= config.anomalous_above {
            return long;
        }
        let before = (self.before_failures + PRIOR, self.before_attempts - self.before_failures + PRIOR);
        long.min(bayes_factor(self.attempts, self.failures, before, config))
    }
}

/// Beta-binomial Bayes factor, natural logarithm, of "a failure ratio such as trouble makes" over "a ratio
/// such as the reference's, Beta(a, b)" (Gelman et al., "Bayesian Data Analysis", 3rd ed., section 2.4).
/// Speaks for "anomalous" only where the ratio went up.
fn bayes_factor(attempts: f64, failures: f64, (a, b): (f64, f64), config: &IncidentsConfig) -> f64 {
    let marginal = |(a, b): (f64, f64)| ln_beta(a + failures, b + attempts - failures) - ln_beta(a, b);
    let ratio = marginal(TROUBLE) - marginal((a, b));
    if ratio.is_nan() {
        return 0.0;
    }
    let rose = failures / attempts > (a - PRIOR).max(0.0) / (a + b - 2.0 * PRIOR).max(PRIOR);
    if rose { ratio.clamp(0.0, config.evidence_cap) } else { ratio.clamp(-config.healthy_evidence, 0.0) }
}

fn ln_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(ratios: &[f64], attempts: f64) -> Counts {
        let mut counts = Counts::default();
        for _ in 0..60 {
            for ratio in ratios {
                counts.learn(attempts, (ratio * attempts).round());
            }
        }
        counts
    }

    #[test]
    fn what_always_varied_says_less_than_what_was_always_steady() {
        let config = IncidentsConfig::default();
        let (steady, wild) = (learned(&[0.0], 20.0), learned(&[0.0, 0.9, 0.2, 0.6, 0.1], 20.0));
        assert!(steady.trial(20.0, 14.0).evidence(&config) > 7.0);
        assert!(wild.trial(20.0, 14.0).evidence(&config) < 1.0);
    }

    #[test]
    fn callers_that_each_see_little_see_much_together() {
        let config = IncidentsConfig::default();
        let past = learned(&[0.0, 0.05], 20.0);
        let (one, both) = (past.trial(20.0, 4.0), past.trial(20.0, 4.0).with(past.trial(20.0, 4.0)));
        assert!(both.evidence(&config) > one.evidence(&config) + 1.0);
        assert_eq!(Trial::default().evidence(&config), 0.0);
    }
}
