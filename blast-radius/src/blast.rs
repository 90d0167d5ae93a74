//! Blast radius: whom a fault reaches.

use alloc::vec;
use alloc::vec::Vec;

use crate::elimination::{Inputs, Plan, State};
use crate::network::check_probabilities;
use crate::wide::{Number, Wide};
use crate::{CallGraph, Inference, InferenceError};

/// P(A_y | do(F_root = 1)) for every service y, no other service having a fault: only leaks add to it.
///
/// For several questions about one graph, [`Inference`] prepares it once.
///
/// # Errors
/// A `root` outside the graph, leaks that are no probabilities, or [`InferenceError::TooWide`].
pub fn blast_radius(graph: &CallGraph, leak: &[f64], root: u32) -> Result<Vec<f64>, InferenceError> {
    check_probabilities("leak", leak, graph.services())?;
    Inference::new(graph)?.blast_radius(leak, root)
}

/// The same on a graph that is prepared; `state` is of earlier questions about it.
pub(crate) fn reach(
    plan: &Plan,
    state: &mut State<Wide>,
    services: u32,
    leak: &[f64],
    root: u32,
) -> Result<Vec<f64>, InferenceError> {
    check_probabilities("leak", leak, services)?;
    if root >= services {
        return Err(InferenceError::UnknownService { service: root, services });
    }
    let mut own: Vec<[Wide; 2]> = leak.iter().map(|&l| [Wide::new(1.0 - l), Wide::new(l)]).collect();
    if let Some(root) = own.get_mut(root as usize) {
        *root = [Wide::ZERO, Wide::ONE];
    }
    let neutral = vec![[Wide::ONE; 2]; services as usize];
    let outcome = state.run(plan, &Inputs { own: &own, likelihood: &neutral });
    Ok(outcome.likelihood.iter().map(|rest| rest[1].share_of(outcome.value)).collect())
}
