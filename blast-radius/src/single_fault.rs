//! One incident, one cause: the posterior over {no fault, fault at k}.
//!
//! # Method
//! With `Z_h` the probability of the evidence under hypothesis `h`, the posterior is `prior_h Z_h`,
//! normalised. All hypotheses are answered by one elimination: each service's own term is
//! `leak + ε prior_k [fault]` with ε² = 0, so that the result carries `Z_none` and, apart from it,
//! `Σ_k prior_k Z_k`; the derivative with respect to service k's own term is `Z_k` (Darwiche, "A
//! differential approach to inference in Bayesian networks", JACM 50(3), 2003).
//!
//! # Order
//! The bits of the result depend on the numbering of the services (sums have an order). Users that must
//! agree number the services of an incident in the order of (namespace, name).

use alloc::vec::Vec;

use crate::elimination::{Inputs, Outcome, Plan};
use crate::network::check_probabilities;
use crate::wide::{AtMostOne, Number, Wide};
use crate::{CallEdge, CallGraph, InferenceError, RestrictedSingleFaultPosterior, restricted_single_fault};

/// Largest deviation from one of the sum of the prior.
const SUM_TOLERANCE: f64 = 1e-6;

/// Exact posterior over {no fault, fault at k}.
#[derive(Debug, Clone, PartialEq)]
pub struct SingleFaultPosterior {
    /// Probability that there is no fault.
    pub no_fault: f64,
    /// Probability that the fault is at each service; sums with `no_fault` to one.
    pub root_cause: Vec<f64>,
    /// Probability that each service is anomalous.
    pub anomalous: Vec<f64>,
}

/// The posterior of a thinned graph: not exact for the graph that was asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct ApproximateSingleFaultPosterior {
    /// Exact for the thinned graph.
    pub posterior: SingleFaultPosterior,
    /// Each service kept at most this many of its callees, the strongest; `None`: all that close no cycle.
    pub callees_kept: Option<u32>,
    /// Number of edges left out, those that would close a cycle among them.
    pub edges_ignored: u32,
}

/// An answer, exact or not.
#[derive(Debug, Clone, PartialEq)]
pub enum SingleFault {
    /// Exact.
    Exact(SingleFaultPosterior),
    /// The graph was too wide as a whole, not above each single fault: exact but for leaks, with a bound.
    Restricted(RestrictedSingleFaultPosterior),
    /// The graph was too wide; see [`ApproximateSingleFaultPosterior`].
    Approximate(ApproximateSingleFaultPosterior),
}

impl SingleFault {
    /// The posterior, exact or not.
    #[must_use]
    pub fn posterior(&self) -> &SingleFaultPosterior {
        match self {
            Self::Exact(posterior)
            | Self::Restricted(RestrictedSingleFaultPosterior { posterior, .. })
            | Self::Approximate(ApproximateSingleFaultPosterior { posterior, .. }) => posterior,
        }
    }
}

/// The exact posterior over {no fault, fault at k} of one incident.
///
/// `no_fault_prior` and all of `fault_prior` sum to one (within 1e-6; the rest is divided out).
/// `log_likelihood_ratio` is ln P(e_i | A_i = 1) - ln P(e_i | A_i = 0); 0 says nothing, an infinite one
/// is certain.
///
/// # Errors
/// Lists of another length than the graph, numbers out of range, evidence that no hypothesis allows, or
/// [`InferenceError::TooWide`].
pub fn single_fault_posterior(
    graph: &CallGraph,
    leak: &[f64],
    no_fault_prior: f64,
    fault_prior: &[f64],
    log_likelihood_ratio: &[f64],
) -> Result<SingleFaultPosterior, InferenceError> {
    let question = Question::new(graph.services(), leak, no_fault_prior, fault_prior, log_likelihood_ratio)?;
    question.answer(&Plan::new(graph)?)
}

/// The exact posterior where it is within reach; else each hypothesis on its ancestors
/// ([`restricted_single_fault`], which is exact and called so where no service leaks); else that of the graph
/// with weak edges left out.
///
/// # Errors
/// As [`single_fault_posterior`], but never [`InferenceError::TooWide`] for graphs of less than a million services.
pub fn single_fault(
    graph: &CallGraph,
    leak: &[f64],
    no_fault_prior: f64,
    fault_prior: &[f64],
    log_likelihood_ratio: &[f64],
) -> Result<SingleFault, InferenceError> {
    let question = Question::new(graph.services(), leak, no_fault_prior, fault_prior, log_likelihood_ratio)?;
    let mut failure = match Plan::new(graph) {
        Ok(plan) => return question.answer(&plan).map(SingleFault::Exact),
        Err(error) => error,
    };
    match restricted_single_fault(graph, leak, no_fault_prior, fault_prior, log_likelihood_ratio) {
        Ok(answer) if answer.is_exact() => return Ok(SingleFault::Exact(answer.posterior)),
        Ok(answer) => return Ok(SingleFault::Restricted(answer)),
        Err(InferenceError::TooWide { .. }) => {}
        Err(error) => return Err(error),
    }
    let edges = graph.dag_edges().len() + graph.deferred_edges().len();
    // What came from the step before goes first, where there is any.
    let kept = core::iter::once(None).filter(|_| !graph.deferred_edges().is_empty()).chain((1..=4).rev().map(Some));
    for callees_kept in kept {
        let thinned = thin(graph, callees_kept)?;
        match Plan::new(&thinned) {
            Ok(plan) => {
                let posterior = question.answer(&plan)?;
                let edges_ignored = (edges - thinned.dag_edges().len()) as u32;
                return Ok(SingleFault::Approximate(ApproximateSingleFaultPosterior {
                    posterior,
                    callees_kept,
                    edges_ignored,
                }));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The graph without what closes a cycle, with only the strongest `callees_kept` callees of each service.
fn thin(graph: &CallGraph, callees_kept: Option<u32>) -> Result<CallGraph, InferenceError> {
    let mut kept: Vec<CallEdge> = Vec::with_capacity(graph.dag_edges().len());
    for client in 0..graph.services() {
        let mut callees: Vec<CallEdge> = graph.callees(client).to_vec();
        callees.sort_by(|a, b| b.strength.total_cmp(&a.strength).then(a.server.cmp(&b.server)));
        callees.truncate(callees_kept.map_or(usize::MAX, |limit| limit as usize));
        kept.append(&mut callees);
    }
    // A part of a valid graph is valid.
    CallGraph::new(graph.services(), &kept)
        .map_err(|_| InferenceError::UnknownService { service: graph.services(), services: graph.services() })
}

/// Checked inputs.
pub(crate) struct Question {
    no_fault_prior: Wide,
    fault_prior: Vec<Wide>,
    own: Vec<[AtMostOne; 2]>,
    likelihood: Vec<[AtMostOne; 2]>,
}

impl Question {
    pub(crate) fn new(
        services: u32,
        leak: &[f64],
        no_fault_prior: f64,
        fault_prior: &[f64],
        log_likelihood_ratio: &[f64],
    ) -> Result<Self, InferenceError> {
        check_probabilities("leak", leak, services)?;
        check_probabilities("fault prior", fault_prior, services)?;
        if !(0.0..=1.0).contains(&no_fault_prior) {
            let (what, service, value) = ("no-fault prior", None, no_fault_prior);
            return Err(InferenceError::NotAProbability { what, service, value });
        }
        let services = services as usize;
        if log_likelihood_ratio.len() != services {
            let (what, length) = ("log likelihood ratio", log_likelihood_ratio.len());
            return Err(InferenceError::LengthMismatch { what, length, services });
        }
        let sum = fault_prior.iter().fold(no_fault_prior, |sum, p| sum + p);
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(InferenceError::PriorNotNormalised { sum });
        }
        let fault_prior: Vec<Wide> = fault_prior.iter().map(|&p| Wide::new(p)).collect();
        let own = (leak.iter().zip(&fault_prior))
            .map(|(&leak, &prior)| {
                [
                    AtMostOne { none: Wide::new(1.0 - leak), once: Wide::ZERO },
                    AtMostOne { none: Wide::new(leak), once: prior },
                ]
            })
            .collect();
        let mut likelihood = Vec::with_capacity(services);
        for (service, &value) in log_likelihood_ratio.iter().enumerate() {
            if value.is_nan() {
                return Err(InferenceError::InvalidEvidence { service: service as u32, value });
            }
            let certain = |wide| AtMostOne { none: wide, once: Wide::ZERO };
            likelihood.push(if value == f64::INFINITY {
                [AtMostOne::ZERO, AtMostOne::ONE]
            } else {
                [AtMostOne::ONE, certain(Wide::exp(value))]
            });
        }
        Ok(Self { no_fault_prior: Wide::new(no_fault_prior), fault_prior, own, likelihood })
    }

    pub(crate) fn answer(&self, plan: &Plan) -> Result<SingleFaultPosterior, InferenceError> {
        self.conclude(&plan.run(&self.inputs()))
    }

    pub(crate) fn inputs(&self) -> Inputs<'_, AtMostOne> {
        Inputs { own: &self.own, likelihood: &self.likelihood }
    }

    pub(crate) fn conclude(&self, outcome: &Outcome<AtMostOne>) -> Result<SingleFaultPosterior, InferenceError> {
        let mixture = |number: AtMostOne| self.no_fault_prior.times(number.none).plus(number.once);
        let no_fault = self.no_fault_prior.times(outcome.value.none);
        let root_cause: Vec<Wide> =
            (self.fault_prior.iter().zip(&outcome.own)).map(|(prior, own)| prior.times(own[1].none)).collect();
        // Summed from the parts that are reported, so that these sum to one.
        let total = root_cause.iter().fold(no_fault, |sum, &part| sum.plus(part));
        if total.is_zero() {
            return Err(InferenceError::ContradictoryEvidence);
        }
        let anomalous = (self.likelihood.iter().zip(&outcome.likelihood))
            .map(|(weight, rest)| mixture(weight[1].times(rest[1])).share_of(total))
            .collect();
        Ok(SingleFaultPosterior {
            no_fault: no_fault.share_of(total),
            root_cause: root_cause.iter().map(|part| part.share_of(total)).collect(),
            anomalous,
        })
    }
}
