//! Blast radius: whom a fault reaches.

use alloc::vec;
use alloc::vec::Vec;

use crate::ancestors::Callers;
use crate::elimination::{Inputs, Plan, State};
use crate::network::check_probabilities;
use crate::unrolled::Unrolled;
use crate::wide::{Number, Wide};
use crate::{CallGraph, Inference, InferenceError};

/// A blast radius, exact or not.
#[derive(Debug, Clone, PartialEq)]
pub enum Reach {
    /// Exact.
    Exact(Vec<f64>),
    /// The graph was too wide as a whole, not above the root.
    Restricted(RestrictedReach),
    /// The graph was too wide above the root too: no hit is likelier than this.
    AtMost(Vec<f64>),
}

impl Reach {
    /// Per service, the probability of being anomalous, exact or not.
    #[must_use]
    pub fn hits(&self) -> &[f64] {
        match self {
            Self::Exact(hits) | Self::Restricted(RestrictedReach { hits, .. }) | Self::AtMost(hits) => hits,
        }
    }
}

/// A blast radius with the leaks left out of services that are neither the root nor its ancestors.
#[derive(Debug, Clone, PartialEq)]
pub struct RestrictedReach {
    /// Per service; too low by at most `error`.
    pub hits: Vec<f64>,
    /// The sum of the leaks left out: no more likely does any of them happen, and where none does, the hits are
    /// those of the whole graph.
    pub error: f64,
}

/// P(A_y | do(F_root = 1)) for every service y, no other service having a fault: only leaks add to it.
///
/// Past the width limit it is answered where [`reach`] is exact. For several questions about one graph,
/// [`Inference`] prepares it once.
///
/// # Errors
/// A `root` outside the graph, leaks that are no probabilities, or [`InferenceError::TooWide`].
pub fn blast_radius(graph: &CallGraph, leak: &[f64], root: u32) -> Result<Vec<f64>, InferenceError> {
    check_probabilities("leak", leak, graph.services())?;
    let too_wide = match Inference::new(graph) {
        Ok(inference) => return inference.blast_radius(leak, root),
        Err(error) => error,
    };
    match restricted_reach(graph, leak, root)? {
        RestrictedReach { hits, error: 0.0 } => Ok(hits),
        RestrictedReach { .. } => Err(too_wide),
    }
}

/// [`blast_radius`], and past the width limit that of the root's ancestors alone: nobody else can be hit but by
/// a leak. Where these are too wide still, an upper bound: each hit as if its callees were hit independently.
///
/// # Errors
/// A `root` outside the graph, or leaks that are no probabilities.
pub fn reach(graph: &CallGraph, leak: &[f64], root: u32) -> Result<Reach, InferenceError> {
    check_probabilities("leak", leak, graph.services())?;
    match Inference::new(graph) {
        Ok(inference) => inference.blast_radius(leak, root).map(Reach::Exact),
        Err(InferenceError::TooWide { .. }) => reach_past_width(graph, leak, root),
        Err(error) => Err(error),
    }
}

/// [`reach`] on a graph that is known to be too wide.
pub(crate) fn reach_past_width(graph: &CallGraph, leak: &[f64], root: u32) -> Result<Reach, InferenceError> {
    match restricted_reach(graph, leak, root) {
        Ok(RestrictedReach { hits, error: 0.0 }) => Ok(Reach::Exact(hits)),
        Ok(answer) => Ok(Reach::Restricted(answer)),
        Err(InferenceError::TooWide { .. }) => blast_radius_bound(graph, leak, root).map(Reach::AtMost),
        Err(error) => Err(error),
    }
}

/// An upper bound of each hit of [`blast_radius`], on graphs of any width, at the cost of reading the graph twice.
///
/// It is `1 - (1 - leak_i) Π (1 - strength_ij hit_j)`, callees first.
///
/// It is a bound because whether anyone is hit only grows with what leaks and with which calls carry, which are
/// independent: that one callee does not reach a service makes it no less likely that another does not, so the
/// product is never above the probability that none does (Harris, "A lower bound for the critical probability in a
/// certain percolation process", 1960). A deferred call takes its callee's bound without deferred calls.
///
/// # Errors
/// A `root` outside the graph, or leaks that are no probabilities.
pub fn blast_radius_bound(graph: &CallGraph, leak: &[f64], root: u32) -> Result<Vec<f64>, InferenceError> {
    let services = graph.services();
    check_probabilities("leak", leak, services)?;
    if root >= services {
        return Err(InferenceError::UnknownService { service: root, services });
    }
    let mut deferred = vec![Vec::new(); leak.len()];
    for edge in graph.deferred_edges() {
        deferred[edge.client as usize].push(*edge);
    }
    let pass = |before: Option<&[f64]>| {
        let mut hits: Vec<f64> = leak.to_vec();
        hits[root as usize] = 1.0;
        for &service in graph.callees_first().iter().filter(|&&service| service != root) {
            let now = graph.callees(service).iter().map(|edge| edge.strength * hits[edge.server as usize]);
            let earlier = before.into_iter().flat_map(|before| {
                deferred[service as usize].iter().map(|edge| edge.strength * before[edge.server as usize])
            });
            let missed = now.chain(earlier).fold(1.0 - leak[service as usize], |missed, hit| missed * (1.0 - hit));
            hits[service as usize] = 1.0 - missed;
        }
        hits
    };
    let first = pass(None);
    Ok(if graph.deferred_edges().is_empty() { first } else { pass(Some(&first)) })
}

fn restricted_reach(graph: &CallGraph, leak: &[f64], root: u32) -> Result<RestrictedReach, InferenceError> {
    let services = graph.services();
    if root >= services {
        return Err(InferenceError::UnknownService { service: root, services });
    }
    let above = Callers::of(graph).ancestors(root, &mut vec![false; services as usize]);
    let (part, own) = Unrolled::of(graph).above(root, &above, leak);
    let neutral = vec![[Wide::ONE; 2]; above.len()];
    let outcome = Plan::of(&part)?.run(&Inputs { own: &own, likelihood: &neutral });
    let mut hits = vec![0.0; services as usize];
    hits[root as usize] = 1.0;
    for (&service, rest) in above.iter().zip(&outcome.likelihood) {
        hits[service as usize] = rest[1].share_of(outcome.value);
    }
    let outside = (0..services).zip(leak).filter(|(s, _)| *s != root && above.binary_search(s).is_err());
    Ok(RestrictedReach { hits, error: outside.fold(0.0, |sum, (_, leak)| sum + leak) })
}

/// The same on a graph that is prepared; `state` is of earlier questions about it.
pub(crate) fn prepared(
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
