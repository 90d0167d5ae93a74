//! From the posterior of one tick to the prior of the next.
//!
//! Between ticks two things happen to the odds of "fault at k" against "no fault":
//! - **Forgetting.** The part of the odds above the hazard fades by a constant power per step: the
//!   evidence of neighbouring steps is not independent (Raftery, Kárný & Ettler, "Online prediction under
//!   model uncertainty via dynamic model averaging", Technometrics 52(1), 2010, eq. 15). A constant
//!   evidence `e` adds up to no more than `evidence_memory_steps * e`.
//! - **Time.** Faults begin (hazard) and end (recovery): [`quoll_blast_radius::dynamics::predict`].
//!
//! The odds are kept per service. Evidence about services that a hypothesis does not touch cancels in
//! them, so components may grow, merge and split from tick to tick without a conversion.

use quoll_blast_radius::dynamics::{PredictivePrior, predict};
use quoll_blast_radius::{InferenceError, SingleFaultPosterior};

/// Logarithm of odds that cannot be represented, and of "never suspected".
const LOG_ODDS_LIMIT: f64 = 690.0;

/// How odds move between ticks.
#[derive(Debug, Clone)]
pub(crate) struct Dynamics {
    /// Probability that each service fails within a step.
    pub(crate) hazard: Vec<f64>,
    /// Probability that a fault ends within a step.
    pub(crate) recovery: f64,
    /// Power that remains of the odds after a step, in [0, 1).
    pub(crate) memory: f64,
}

impl Dynamics {
    /// The prior of this tick from the log odds after the last one (`None`: never suspected).
    pub(crate) fn prior(&self, log_odds: &[Option<f64>]) -> Result<PredictivePrior, InferenceError> {
        let faded: Vec<f64> = (log_odds.iter().zip(&self.hazard))
            .map(|(odds, hazard)| (*odds, libm::log(*hazard)))
            .map(|(odds, floor)| match odds {
                None => f64::NEG_INFINITY,
                Some(odds) if odds > floor => self.memory * odds + (1.0 - self.memory) * floor,
                Some(odds) => odds,
            })
            .collect();
        let largest = faded.iter().fold(0.0, |a: f64, &b| a.max(b));
        let no_fault = libm::exp(-largest);
        let faults: Vec<f64> = faded.iter().map(|odds| libm::exp(odds - largest)).collect();
        let sum = faults.iter().fold(no_fault, |a, b| a + b);
        let posterior = SingleFaultPosterior {
            no_fault: no_fault / sum,
            root_cause: faults.iter().map(|fault| fault / sum).collect(),
            anomalous: Vec::new(),
        };
        predict(&posterior, &self.hazard, self.recovery)
    }
}

/// The log odds of every fault against no fault.
pub(crate) fn log_odds(posterior: &SingleFaultPosterior) -> Vec<f64> {
    let none = libm::log(posterior.no_fault.max(1e-300));
    (posterior.root_cause.iter())
        .map(|&fault| (libm::log(fault.max(1e-300)) - none).clamp(-LOG_ODDS_LIMIT, LOG_ODDS_LIMIT))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dynamics() -> Dynamics {
        Dynamics { hazard: vec![1e-6; 2], recovery: 1e-3, memory: 0.8 }
    }

    #[test]
    fn without_suspicion_the_prior_is_the_hazard() {
        let prior = dynamics().prior(&[None, None]).unwrap();
        assert_eq!(prior.fault, [1e-6, 1e-6]);
        assert!((prior.no_fault - (1.0 - 2e-6)).abs() < 1e-15);
    }

    #[test]
    fn odds_fade_towards_the_hazard_and_certainty_is_never_final() {
        let prior = dynamics().prior(&[Some(5.0), None]).unwrap();
        let odds = libm::log(prior.fault[0] / prior.no_fault);
        assert!((odds - (0.8 * 5.0 + 0.2 * libm::log(1e-6))).abs() < 0.01, "{odds}");
        let certain = dynamics().prior(&[Some(LOG_ODDS_LIMIT), None]).unwrap();
        assert!(certain.no_fault > 0.9e-3, "{}", certain.no_fault);
    }
}
