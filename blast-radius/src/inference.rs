//! A graph prepared for many questions.

use alloc::vec::Vec;

use crate::elimination::{Plan, State};
use crate::single_fault::Question;
use crate::{CallGraph, InferenceError, SingleFaultPosterior, blast};

/// A graph whose elimination order and tables are worked out: the slower part of an answer, and the same
/// for every question about the graph. Answers are bit-equal to those of the free functions.
#[derive(Debug, Clone)]
pub struct Inference {
    services: u32,
    plan: Plan,
}

impl Inference {
    /// Prepares `graph` (its acyclic edges).
    ///
    /// # Errors
    /// [`InferenceError::TooWide`].
    pub fn new(graph: &CallGraph) -> Result<Self, InferenceError> {
        Ok(Self { services: graph.services(), plan: Plan::new(graph)? })
    }

    /// Variables in the largest table: the cost of an answer grows as two to this power.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.plan.width()
    }

    /// Multiplications of one pass over the tables, forwards.
    #[must_use]
    pub fn multiplications(&self) -> u64 {
        self.plan.multiplications()
    }

    /// See [`crate::single_fault_posterior`].
    ///
    /// # Errors
    /// Lists of another length than the graph, numbers out of range, or evidence that no hypothesis allows.
    pub fn single_fault_posterior(
        &self,
        leak: &[f64],
        no_fault_prior: f64,
        fault_prior: &[f64],
        log_likelihood_ratio: &[f64],
    ) -> Result<SingleFaultPosterior, InferenceError> {
        Question::new(self.services, leak, no_fault_prior, fault_prior, log_likelihood_ratio)?.answer(&self.plan)
    }

    /// See [`crate::blast_radius`].
    ///
    /// # Errors
    /// A `root` outside the graph, or leaks that are no probabilities.
    pub fn blast_radius(&self, leak: &[f64], root: u32) -> Result<Vec<f64>, InferenceError> {
        blast::prepared(&self.plan, &mut State::new(), self.services, leak, root)
    }

    /// [`Inference::blast_radius`] of each of `roots`, with the work shared that does not depend on the root.
    ///
    /// # Errors
    /// As [`Inference::blast_radius`].
    pub fn blast_radii(&self, leak: &[f64], roots: &[u32]) -> Result<Vec<Vec<f64>>, InferenceError> {
        let mut state = State::new();
        roots.iter().map(|&root| blast::prepared(&self.plan, &mut state, self.services, leak, root)).collect()
    }
}
