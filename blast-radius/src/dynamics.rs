//! Time: a hidden Markov chain over the hypotheses of one incident.
//!
//! Per time step, from "no fault" each service `k` fails with its own hazard, and from "fault at k" the
//! service recovers with a recovery probability, otherwise the fault stays where it is. A fault at one
//! service does not turn into a fault at another: that is "recovered, then failed".
//!
//! [`predict`] gives the prior of the next step before its evidence; conditioning it with
//! [`crate::single_fault_posterior`] gives the filtered posterior of that step (Rabiner, "A tutorial on
//! hidden Markov models", Proc. IEEE 77(2) 1989, eq. 19-20, normalised).

use alloc::vec::Vec;

use crate::InferenceError;
use crate::single_fault::SingleFaultPosterior;

/// The hypotheses' probabilities before the evidence of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictivePrior {
    /// Probability of no fault.
    pub no_fault: f64,
    /// Probability of a fault at each service. Sums with `no_fault` to one.
    pub fault: Vec<f64>,
}

/// The prior of the next step.
///
/// `hazard` is each service's probability of failing within a step, `recovery` the probability that a
/// fault ends within a step.
///
/// # Errors
/// A hazard per service whose sum is above one, a hazard or a recovery that is no probability, or a
/// number of hazards different from the number of services.
pub fn predict(
    posterior: &SingleFaultPosterior,
    hazard: &[f64],
    recovery: f64,
) -> Result<PredictivePrior, InferenceError> {
    let services = posterior.root_cause.len();
    if hazard.len() != services {
        return Err(InferenceError::LengthMismatch { what: "hazard", length: hazard.len(), services });
    }
    if !(0.0..=1.0).contains(&recovery) {
        return Err(InferenceError::NotAProbability { what: "recovery", service: None, value: recovery });
    }
    let mut total_hazard = 0.0;
    for (service, &value) in hazard.iter().enumerate() {
        if !(0.0..=1.0).contains(&value) {
            let service = Some(service as u32);
            return Err(InferenceError::NotAProbability { what: "hazard", service, value });
        }
        total_hazard += value;
    }
    if total_hazard > 1.0 {
        return Err(InferenceError::NotAProbability { what: "sum of hazards", service: None, value: total_hazard });
    }
    let mut fault = Vec::with_capacity(services);
    let mut faults = 0.0;
    let mut healthy = posterior.no_fault;
    for &probability in &posterior.root_cause {
        healthy += recovery * probability;
    }
    for (&probability, &rate) in posterior.root_cause.iter().zip(hazard) {
        // Recovery and the next failure may fall into one step.
        let next = (1.0 - recovery) * probability + rate * healthy;
        fault.push(next);
        faults += next;
    }
    let no_fault = healthy * (1.0 - total_hazard);
    // Rounding alone makes the sum differ from one; divide it out so that it does not build up.
    let sum = no_fault + faults;
    for probability in &mut fault {
        *probability /= sum;
    }
    Ok(PredictivePrior { no_fault: no_fault / sum, fault })
}
