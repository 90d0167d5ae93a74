//! Past the width limit: one hypothesis at a time, each on its own part of the graph.
//!
//! # Method
//! If the fault is at `k`, only `k` and its **ancestors** (who calls it, and who calls those) can be anomalous,
//! apart from leaks. Everyone else is normal, and a factor of their evidence's ratio (0 in log units) is all
//! they contribute. So the partition function `Z_k` needs the ancestors of `k` alone; `k` itself is certain,
//! which turns each call to it into a cause of the caller's own and leaves `k` out of the elimination. Many
//! graphs too wide as a whole are narrow above each single fault. Ancestors are those along all calls, deferred
//! ones too, and the copies of ancestors belong to the part ([`crate::unrolled`]).
//!
//! # How exact
//! Leaks at ancestors of `k` are kept, those elsewhere are left out. **With every leak zero the result is exact.**
//! Otherwise let `G_i` be the product over `i` and its ancestors `j` of `max(1, LR_j)`, where `LR_j` is the
//! likelihood ratio of the evidence of `j`. Reading the noisy-OR as edges that carry or do not,
//! whatever else a leak at `i` makes anomalous lies among those, and multiplies the weight by `G_i` at most;
//! several leaks, by the product of theirs at most. Summed over which leaks happen, for every hypothesis
//!
//! ```text
//! Σ_i ln(1 - leak_i)  ≤  ln Z_exact - ln Z_restricted  ≤  Σ_i ln(1 - leak_i + leak_i G_i)
//! ```
//!
//! The distance of the two ends bounds the error of the log odds of any two hypotheses,
//! [`RestrictedSingleFaultPosterior::log_odds_error`], and with it that of each root-cause probability. The
//! bound is loose where many services with strong evidence are anomalous; it says what is guaranteed.

use alloc::vec;
use alloc::vec::Vec;

use crate::ancestors::Callers;
use crate::elimination::{Inputs, Plan};
use crate::single_fault::{Question, SingleFaultPosterior};
use crate::unrolled::Unrolled;
use crate::wide::{Number, Wide};
use crate::{CallGraph, InferenceError};

/// Multiplications of all hypotheses together: what two passes over the whole graph at its limit cost.
const OPERATIONS_LIMIT: u64 = 1 << 23;
/// Services of all hypotheses' parts together: bounds the memory for them and the elimination orders to find.
const ANCESTORS_LIMIT: usize = 1 << 18;

/// The posterior with the leaks left out that lie outside the hypothesis's own part of the graph; exact
/// where no service leaks. Whether anyone is anomalous by a leak alone is left out of `anomalous` likewise.
#[derive(Debug, Clone, PartialEq)]
pub struct RestrictedSingleFaultPosterior {
    /// The posterior.
    pub posterior: SingleFaultPosterior,
    /// The log odds of any two hypotheses differ from the exact ones by at most this; 0 without leaks.
    pub log_odds_error: f64,
}

impl RestrictedSingleFaultPosterior {
    /// Whether nothing was left out.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.log_odds_error == 0.0
    }

    /// The probability of each hypothesis differs from the exact one by at most this.
    ///
    /// If odds are off by a factor r at most, a probability p moves to r p / (r p + 1 - p) at most; the
    /// difference is largest at p = 1 / (1 + √r), and is then (√r - 1) / (√r + 1) = tanh(ln(r) / 4).
    #[must_use]
    pub fn probability_error(&self) -> f64 {
        libm::tanh(self.log_odds_error / 4.0)
    }
}

/// The posterior over {no fault, fault at k}, each hypothesis on its ancestors alone; see the module above.
///
/// # Errors
/// As [`crate::single_fault_posterior`]; [`InferenceError::TooWide`] where the part of one hypothesis is too wide
/// still, or all together are too much.
pub fn restricted_single_fault(
    graph: &CallGraph,
    leak: &[f64],
    no_fault_prior: f64,
    fault_prior: &[f64],
    log_likelihood_ratio: &[f64],
) -> Result<RestrictedSingleFaultPosterior, InferenceError> {
    let services = graph.services();
    // Checks all of it.
    Question::new(services, leak, no_fault_prior, fault_prior, log_likelihood_ratio)?;
    let evidence = Evidence::new(log_likelihood_ratio);
    let ancestors = Ancestors::of(graph)?;
    let network = Unrolled::of(graph);
    // The largest part first: if it cannot be done, nothing is spent on the others.
    let mut order: Vec<u32> = (0..services).filter(|&k| fault_prior[k as usize] > 0.0).collect();
    order.sort_by_key(|&k| (core::cmp::Reverse(ancestors.above(k).len()), k));
    let mut parts: Vec<Option<Part>> = vec![None; services as usize];
    let mut operations = 0;
    for k in order {
        let part = Part::new(&network, ancestors.above(k), leak, &evidence, k)?;
        operations += part.operations;
        if operations > OPERATIONS_LIMIT {
            let (width, width_limit) = Plan::limits(part.width);
            let operations_limit = OPERATIONS_LIMIT;
            return Err(InferenceError::TooWide { width, width_limit, operations, operations_limit });
        }
        parts[k as usize] = Some(part);
    }

    let none_weight = if evidence.certain == 0 { Wide::new(no_fault_prior) } else { Wide::ZERO };
    let weights: Vec<Wide> = (fault_prior.iter().zip(&parts))
        .map(|(&prior, part)| part.as_ref().map_or(Wide::ZERO, |part| Wide::new(prior).times(part.value)))
        .collect();
    let total = weights.iter().fold(none_weight, |sum, &weight| sum.plus(weight));
    if total.is_zero() {
        return Err(InferenceError::ContradictoryEvidence);
    }
    let root_cause: Vec<f64> = weights.iter().map(|weight| weight.share_of(total)).collect();
    let mut anomalous = vec![0.0; services as usize];
    for (k, part) in parts.iter().enumerate() {
        anomalous[k] += root_cause[k];
        for (&service, &share) in ancestors.above(k as u32).iter().zip(part.iter().flat_map(|part| &part.anomalous)) {
            anomalous[service as usize] += root_cause[k] * share;
        }
    }
    for probability in &mut anomalous {
        *probability = probability.min(1.0);
    }
    let posterior = SingleFaultPosterior { no_fault: none_weight.share_of(total), root_cause, anomalous };
    let log_odds_error = bound(&ancestors, leak, log_likelihood_ratio);
    Ok(RestrictedSingleFaultPosterior { posterior, log_odds_error })
}

/// Σ ln((1 - leak + leak G) / (1 - leak)).
fn bound(ancestors: &Ancestors, leak: &[f64], log_likelihood_ratio: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (service, &leak) in (0u32..).zip(leak) {
        if leak > 0.0 {
            let own = log_likelihood_ratio[service as usize].max(0.0);
            let above = ancestors.above(service).iter().map(|&j| log_likelihood_ratio[j as usize].max(0.0));
            let gain = above.fold(own, |sum, term| sum + term);
            // ln(1 + leak G / (1 - leak)), without leaving the range of an f64.
            let power = libm::log(leak) - libm::log1p(-leak) + gain;
            sum += if power > 700.0 { power } else { libm::log1p(libm::exp(power)) };
        }
    }
    sum
}

/// Likelihoods under normal and anomalous, and what is impossible without the other.
struct Evidence {
    likelihood: Vec<[Wide; 2]>,
    /// Services that are certainly anomalous.
    certain: usize,
}

impl Evidence {
    fn new(log_likelihood_ratio: &[f64]) -> Self {
        let likelihood: Vec<[Wide; 2]> = (log_likelihood_ratio.iter())
            .map(|&value| if value == f64::INFINITY { [Wide::ZERO, Wide::ONE] } else { [Wide::ONE, Wide::exp(value)] })
            .collect();
        let certain = likelihood.iter().filter(|pair| pair[0].is_zero()).count();
        Self { likelihood, certain }
    }
}

/// Per service, who calls it directly or through others, ascending.
struct Ancestors {
    lists: Vec<Vec<u32>>,
}

impl Ancestors {
    fn of(graph: &CallGraph) -> Result<Self, InferenceError> {
        let services = graph.services();
        let callers = Callers::of(graph);
        let mut seen = vec![false; services as usize];
        let mut lists: Vec<Vec<u32>> = Vec::with_capacity(services as usize);
        let mut total = 0;
        for service in 0..services {
            let above = callers.ancestors(service, &mut seen);
            total += above.len();
            if total > ANCESTORS_LIMIT {
                let (width, width_limit) = Plan::limits(0);
                let (operations, operations_limit) = (total as u64, ANCESTORS_LIMIT as u64);
                return Err(InferenceError::TooWide { width, width_limit, operations, operations_limit });
            }
            lists.push(above);
        }
        Ok(Self { lists })
    }

    fn above(&self, service: u32) -> &[u32] {
        self.lists.get(service as usize).map_or(&[], |list| list)
    }
}

/// One hypothesis, answered.
#[derive(Clone)]
struct Part {
    /// P(evidence | fault at k), relative to everyone being normal.
    value: Wide,
    /// P(anomalous | evidence, fault at k) of each ancestor.
    anomalous: Vec<f64>,
    operations: u64,
    width: u32,
}

impl Part {
    fn new(
        network: &Unrolled,
        above: &[u32],
        leak: &[f64],
        evidence: &Evidence,
        k: u32,
    ) -> Result<Self, InferenceError> {
        let (part, own) = network.above(k, above, leak);
        let plan = Plan::of(&part)?;
        let likelihood: Vec<[Wide; 2]> = above.iter().map(|&j| evidence.likelihood[j as usize]).collect();
        let outcome = plan.run(&Inputs { own: &own, likelihood: &likelihood });
        let anomalous = (likelihood.iter().zip(&outcome.likelihood))
            .map(|(weight, rest)| weight[1].times(rest[1]).share_of(outcome.value))
            .collect();
        // Someone certainly anomalous whom the fault does not reach makes it impossible.
        let at_k = evidence.likelihood[k as usize];
        let explained = likelihood.iter().chain([&at_k]).filter(|pair| pair[0].is_zero()).count();
        let value = if explained == evidence.certain { at_k[1].times(outcome.value) } else { Wide::ZERO };
        Ok(Self { value, anomalous, operations: plan.multiplications(), width: plan.width() })
    }
}
