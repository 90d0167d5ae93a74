//! The network with any number of simultaneous faults.

use alloc::vec::Vec;

use crate::elimination::{Inputs, Plan};
use crate::wide::{Number, Wide};
use crate::{CallGraph, InferenceError};

/// A call graph with a fault prior and a leak per service.
#[derive(Debug, Clone)]
pub struct Network {
    plan: Plan,
    graph: CallGraph,
    prior: Vec<f64>,
    leak: Vec<f64>,
}

/// Exact posterior of a [`Network`].
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// Probability that each service has an intrinsic fault.
    pub fault: Vec<f64>,
    /// Probability that each service is anomalous.
    pub anomalous: Vec<f64>,
    /// Natural logarithm of the probability of the evidence.
    pub log_evidence: f64,
}

impl Network {
    /// A network over `graph` (its acyclic edges), with P(F_i = 1) in `prior` and `leak` per service.
    ///
    /// # Errors
    /// Lists of another length than the graph, entries that are no probabilities, or
    /// [`InferenceError::TooWide`] where exact elimination is out of reach.
    pub fn new(graph: CallGraph, prior: Vec<f64>, leak: Vec<f64>) -> Result<Self, InferenceError> {
        check_probabilities("prior", &prior, graph.services())?;
        check_probabilities("leak", &leak, graph.services())?;
        let plan = Plan::new(&graph)?;
        Ok(Self { plan, graph, prior, leak })
    }

    /// The graph.
    #[must_use]
    pub fn graph(&self) -> &CallGraph {
        &self.graph
    }

    /// The exact posterior given `[P(e_i | A_i = 0), P(e_i | A_i = 1)]` per service; `[1, 1]` says nothing.
    ///
    /// # Errors
    /// A list of another length, likelihoods that are negative or not finite, or evidence of probability zero.
    pub fn posterior(&self, likelihood: &[[f64; 2]]) -> Result<Posterior, InferenceError> {
        let services = self.graph.services() as usize;
        if likelihood.len() != services {
            return Err(InferenceError::LengthMismatch { what: "likelihood", length: likelihood.len(), services });
        }
        let mut weights = Vec::with_capacity(services);
        for (service, &[normal, anomalous]) in likelihood.iter().enumerate() {
            for value in [normal, anomalous] {
                if !(0.0..f64::INFINITY).contains(&value) {
                    return Err(InferenceError::InvalidEvidence { service: service as u32, value });
                }
            }
            weights.push([Wide::new(normal), Wide::new(anomalous)]);
        }
        let outcome = self.plan.run(&Inputs { own: &self.own(None), likelihood: &weights });
        let evidence = outcome.value;
        if evidence.is_zero() {
            return Err(InferenceError::ContradictoryEvidence);
        }
        let fault = (self.prior.iter().zip(&outcome.own))
            .map(|(&prior, own)| Wide::new(prior).times(own[1]).share_of(evidence))
            .collect();
        let anomalous = (weights.iter().zip(&outcome.likelihood))
            .map(|(weight, rest)| weight[1].times(rest[1]).share_of(evidence))
            .collect();
        Ok(Posterior { fault, anomalous, log_evidence: evidence.ln() })
    }

    /// P(A_y | do(F_root = 1)) for every service y: who is hit, and how surely, when `root` fails.
    /// All other services keep their priors and leaks.
    ///
    /// # Errors
    /// A `root` outside the graph.
    pub fn blast_radius(&self, root: u32) -> Result<Vec<f64>, InferenceError> {
        let services = self.graph.services();
        if root >= services {
            return Err(InferenceError::UnknownService { service: root, services });
        }
        let neutral = alloc::vec![[Wide::ONE; 2]; services as usize];
        let outcome = self.plan.run(&Inputs { own: &self.own(Some(root)), likelihood: &neutral });
        Ok(outcome.likelihood.iter().map(|rest| rest[1].share_of(outcome.value)).collect())
    }

    /// Per service, the probability that neither a fault nor a leak makes it anomalous, and that one does.
    fn own(&self, certain: Option<u32>) -> Vec<[Wide; 2]> {
        (self.prior.iter().zip(&self.leak).enumerate())
            .map(|(service, (&prior, &leak))| {
                if certain == Some(service as u32) {
                    return [Wide::ZERO, Wide::ONE];
                }
                [Wide::new((1.0 - leak) * (1.0 - prior)), Wide::new(leak + (1.0 - leak) * prior)]
            })
            .collect()
    }
}

/// Checks one probability per service.
pub(crate) fn check_probabilities(what: &'static str, values: &[f64], services: u32) -> Result<(), InferenceError> {
    let services = services as usize;
    if values.len() != services {
        return Err(InferenceError::LengthMismatch { what, length: values.len(), services });
    }
    match values.iter().position(|value| !(0.0..=1.0).contains(value)) {
        None => Ok(()),
        Some(service) => Err(InferenceError::NotAProbability {
            what,
            service: Some(service as u32),
            value: values.get(service).copied().unwrap_or(f64::NAN),
        }),
    }
}
