//! Latency: is it above what it was for long, and above what it was just before?
//!
//! A level that is high against the long past but was the same a few steps ago is a change of habits, not
//! this incident's; one that rose from a trough to where it usually is is no incident either. So both
//! comparisons must speak, and the weaker one counts.

use serde::{Deserialize, Serialize};

use super::{WARM_UP_STEPS, of_tail_probability};
use crate::config::IncidentsConfig;
use crate::stored::bits;

/// Forgetting of the long past per step, and of just-before.
const LONG_FORGETTING: f64 = 1.0 / 300.0;
const BEFORE_FORGETTING: f64 = 1.0 / 5.0;
/// Least relative spread that is assumed, natural logarithm (a factor of 1.28).
const SPREAD_FLOOR: f64 = 0.25;
/// A latency below this multiple of its references says nothing, however steady they were.
const FACTOR: f64 = 1.5;
/// Latency is one view of what the score sees too: half the cap.
const SHARE: f64 = 0.5;

/// Logarithm of a latency: its mean and variance over the long past, and its level just before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Level {
    #[serde(with = "bits")]
    steps: f64,
    #[serde(with = "bits")]
    mean: f64,
    #[serde(with = "bits")]
    variance: f64,
    /// Steps in `before` since the last gap, and variance of a step around it.
    #[serde(with = "bits")]
    before_steps: f64,
    #[serde(with = "bits")]
    before: f64,
    #[serde(with = "bits")]
    before_variance: f64,
}

impl Level {
    /// `requests` is how many the mean latency stands for; of less than one nothing can be said.
    pub(super) fn evidence(&self, latency: f64, requests: f64, config: &IncidentsConfig) -> f64 {
        if self.steps < WARM_UP_STEPS || !(latency > 0.0 && requests >= 1.0) {
            return 0.0;
        }
        let value = libm::log(latency);
        let against = |mean: f64, variance: f64| {
            let excess = value - mean;
            if excess < libm::log(FACTOR) {
                return 0.0;
            }
            let z = excess / libm::sqrt(variance).max(SPREAD_FLOOR);
            // Upper tail of the normal distribution.
            let p = 0.5 * libm::erfc(z / core::f64::consts::SQRT_2);
            (SHARE * of_tail_probability(p, config)).max(0.0)
        };
        let long = against(self.mean, self.variance);
        if !config.just_before {
            return long;
        }
        if self.before_steps < 1.0 {
            return 0.0;
        }
        long.min(against(self.before, self.before_variance))
    }

    pub(super) fn learn(&mut self, latency: f64) {
        if latency.is_nan() || latency <= 0.0 {
            return;
        }
        let value = libm::log(latency);
        if value.is_infinite() {
            return;
        }
        self.steps += 1.0;
        let weight = (1.0 / self.steps).max(LONG_FORGETTING);
        let difference = value - self.mean;
        self.mean += weight * difference;
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference);
        if self.before_steps >= 1.0 {
            let step = value - self.before;
            self.before_variance += weight * (step * step - self.before_variance);
        }
        self.before_steps += 1.0;
        self.before += (1.0 / self.before_steps).max(BEFORE_FORGETTING) * (value - self.before);
    }

    /// Nothing is known of just-before any more; the long past stays.
    pub(super) fn after_a_gap(&mut self) {
        self.before_steps = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_was_there_before_the_trouble_is_not_part_of_it() {
        let config = IncidentsConfig::default();
        let mut level = Level::default();
        for _ in 0..100 {
            level.learn(0.01);
        }
        assert_eq!(level.evidence(0.2, 20.0, &config), 4.0);
        level.after_a_gap();
        level.learn(0.2);
        assert_eq!(level.evidence(0.21, 20.0, &config), 0.0, "as just before");
        assert_eq!(level.evidence(4.0, 20.0, &config), 4.0);
        assert_eq!(level.evidence(0.014, 20.0, &config), 0.0, "a small change");
        assert_eq!(level.evidence(f64::NAN, 0.0, &config), 0.0);
    }
}
