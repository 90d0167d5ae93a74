//! What if: a graph with its evidence, changed bit by bit and asked again.
//!
//! # Guarantees
//! - An answer has the bits that [`crate::single_fault_posterior`] and [`crate::blast_radius`] give from
//!   scratch for the present graph and evidence, whatever was changed and asked before.
//! - What did not change is not computed again: the elimination order stays while the acyclic calls are the
//!   same, and of its tables those are run again that read a number that changed ([`Work`] says how many).
//! - The tables of the last posterior and the last blast radius are kept: at most half as much memory again as
//!   one answer needs (see the crate's documentation).
//! - A change that is refused changes nothing. An answer that is refused ([`InferenceError::TooWide`], say)
//!   leaves everything as it was set; the next change may make it answerable.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use crate::elimination::{Plan, State};
use crate::single_fault::{Question, single_fault};
use crate::wide::{AtMostOne, Wide};
use crate::{CallEdge, CallGraph, GraphError, InferenceError, Reach, SingleFault, SingleFaultPosterior, blast};

/// Why a change or an answer was refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WhatIfError {
    /// The graph.
    Graph(GraphError),
    /// The question.
    Inference(InferenceError),
}

impl fmt::Display for WhatIfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Graph(error) => error.fmt(f),
            Self::Inference(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for WhatIfError {}

impl From<GraphError> for WhatIfError {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}

impl From<InferenceError> for WhatIfError {
    fn from(error: InferenceError) -> Self {
        Self::Inference(error)
    }
}

/// What the last answer cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Whether the elimination order was worked out anew.
    pub planned: bool,
    /// Table operations done; an answer from scratch does [`Work::operations`].
    pub repeated: u32,
    /// Table operations there are, forwards and backwards.
    pub operations: u32,
}

#[derive(Debug, Clone)]
struct Prepared {
    graph: CallGraph,
    plan: Plan,
    posterior: State<AtMostOne>,
    reach: State<Wide>,
}

/// A graph and its evidence, to be changed and asked; see the module.
#[derive(Debug, Clone)]
pub struct WhatIf {
    services: u32,
    edges: BTreeMap<(u32, u32), f64>,
    leak: Vec<f64>,
    no_fault_prior: f64,
    fault_prior: Vec<f64>,
    log_likelihood_ratio: Vec<f64>,
    /// Where the fault is assumed to be.
    failed: Option<u32>,
    /// Services assumed to have no fault of their own.
    healthy: BTreeSet<u32>,
    /// Whether `edges` are not those of `prepared`.
    stale: bool,
    prepared: Option<Prepared>,
    work: Work,
}

impl WhatIf {
    /// Starts from a graph and the inputs of [`crate::single_fault_posterior`].
    ///
    /// # Errors
    /// What [`CallGraph::new`] or [`crate::single_fault_posterior`] refuse as input.
    pub fn new(
        services: u32,
        edges: &[CallEdge],
        leak: Vec<f64>,
        no_fault_prior: f64,
        fault_prior: Vec<f64>,
        log_likelihood_ratio: Vec<f64>,
    ) -> Result<Self, WhatIfError> {
        CallGraph::new(services, edges)?;
        Question::new(services, &leak, no_fault_prior, &fault_prior, &log_likelihood_ratio)?;
        let mut strongest = BTreeMap::new();
        for edge in edges {
            let strength: &mut f64 = strongest.entry((edge.client, edge.server)).or_default();
            *strength = strength.max(edge.strength);
        }
        Ok(Self {
            services,
            edges: strongest,
            leak,
            no_fault_prior,
            fault_prior,
            log_likelihood_ratio,
            failed: None,
            healthy: BTreeSet::new(),
            stale: true,
            prepared: None,
            work: Work::default(),
        })
    }

    /// The calls as they are now, sorted by (client, server).
    pub fn edges(&self) -> impl Iterator<Item = CallEdge> + '_ {
        self.edges.iter().map(|(&(client, server), &strength)| CallEdge { client, server, strength })
    }

    /// The evidence as it is now: ln P(e | anomalous) - ln P(e | normal) per service.
    #[must_use]
    pub fn log_likelihood_ratio(&self) -> &[f64] {
        &self.log_likelihood_ratio
    }

    /// What the last answer cost.
    #[must_use]
    pub fn work(&self) -> Work {
        self.work
    }

    /// Sets a service's evidence, ln P(e | anomalous) - ln P(e | normal).
    ///
    /// # Errors
    /// A service outside the graph, or a ratio that is not a number.
    pub fn set_evidence(&mut self, service: u32, value: f64) -> Result<(), WhatIfError> {
        if value.is_nan() {
            return Err(InferenceError::InvalidEvidence { service, value }.into());
        }
        let services = self.services;
        let slot = self.log_likelihood_ratio.get_mut(service as usize);
        *slot.ok_or(InferenceError::UnknownService { service, services })? = value;
        Ok(())
    }

    /// Forgets a service's evidence: it then says nothing either way.
    ///
    /// # Errors
    /// A service outside the graph.
    pub fn clear_evidence(&mut self, service: u32) -> Result<(), WhatIfError> {
        self.set_evidence(service, 0.0)
    }

    /// Adds a call, or gives one there is another strength.
    ///
    /// # Errors
    /// A service outside the graph, or a strength that is no probability.
    pub fn set_edge(&mut self, edge: CallEdge) -> Result<(), WhatIfError> {
        let CallEdge { client, server, strength } = edge;
        let services = self.services;
        if client >= services || server >= services {
            return Err(GraphError::UnknownService { client, server, services }.into());
        }
        if !(0.0..=1.0).contains(&strength) {
            return Err(GraphError::StrengthOutOfRange { client, server, strength }.into());
        }
        self.edges.insert((client, server), strength);
        self.stale = true;
        Ok(())
    }

    /// Removes a call; says whether there was one.
    pub fn cut_edge(&mut self, client: u32, server: u32) -> bool {
        let found = self.edges.remove(&(client, server)).is_some();
        self.stale |= found;
        found
    }

    /// Drains a service: no one calls it any more, so that its anomalies reach nobody. Its own calls, its
    /// evidence and its prior stay. Says how many calls went.
    ///
    /// # Errors
    /// A service outside the graph.
    pub fn drain(&mut self, service: u32) -> Result<usize, WhatIfError> {
        let services = self.services;
        if service >= services {
            return Err(InferenceError::UnknownService { service, services }.into());
        }
        let before = self.edges.len();
        self.edges.retain(|&(_, server), _| server != service);
        let gone = before - self.edges.len();
        self.stale |= gone > 0;
        Ok(gone)
    }

    /// Assumes that the fault is at this service: the other hypotheses, no fault among them, are ruled out.
    /// It takes the place of such an assumption made before, since there is one fault at most.
    ///
    /// # Errors
    /// A service outside the graph.
    pub fn assume_failed(&mut self, service: u32) -> Result<(), WhatIfError> {
        self.clear_assumption(service)?;
        self.failed = Some(service);
        Ok(())
    }

    /// Assumes that this service has no fault of its own; a callee's may still make it anomalous.
    ///
    /// # Errors
    /// A service outside the graph.
    pub fn assume_healthy(&mut self, service: u32) -> Result<(), WhatIfError> {
        self.clear_assumption(service)?;
        self.healthy.insert(service);
        Ok(())
    }

    /// Takes back what was assumed of a service.
    ///
    /// # Errors
    /// A service outside the graph.
    pub fn clear_assumption(&mut self, service: u32) -> Result<(), WhatIfError> {
        let services = self.services;
        if service >= services {
            return Err(InferenceError::UnknownService { service, services }.into());
        }
        self.failed = self.failed.filter(|&failed| failed != service);
        self.healthy.remove(&service);
        Ok(())
    }

    /// The priors under the assumptions: conditioned on them, and the ones given where there are none.
    fn priors(&self) -> Result<(f64, Cow<'_, [f64]>), InferenceError> {
        if self.failed.is_none() && self.healthy.is_empty() {
            return Ok((self.no_fault_prior, Cow::Borrowed(&self.fault_prior)));
        }
        let services = (0u32..).zip(&self.fault_prior);
        if let Some(failed) = self.failed {
            return Ok((0.0, services.map(|(service, _)| if service == failed { 1.0 } else { 0.0 }).collect()));
        }
        let mut prior: Vec<f64> =
            services.map(|(service, &p)| if self.healthy.contains(&service) { 0.0 } else { p }).collect();
        let sum = prior.iter().fold(self.no_fault_prior, |sum, p| sum + p);
        if sum == 0.0 {
            return Err(InferenceError::ContradictoryEvidence);
        }
        prior.iter_mut().for_each(|p| *p /= sum);
        Ok((self.no_fault_prior / sum, Cow::Owned(prior)))
    }

    /// The posterior as things are now; see [`crate::single_fault_posterior`].
    ///
    /// # Errors
    /// [`InferenceError::TooWide`] or [`InferenceError::ContradictoryEvidence`].
    pub fn posterior(&mut self) -> Result<SingleFaultPosterior, WhatIfError> {
        let (none, prior) = self.priors()?;
        let question = Question::new(self.services, &self.leak, none, &prior, &self.log_likelihood_ratio)?;
        let (prepared, planned) = self.prepare()?;
        let outcome = prepared.posterior.run(&prepared.plan, &question.inputs());
        let (repeated, operations) = (prepared.posterior.repeated(), prepared.plan.operations());
        self.work = Work { planned, repeated, operations };
        Ok(question.conclude(&outcome)?)
    }

    /// [`WhatIf::posterior`], and where that is too wide, what [`crate::single_fault`] gives instead, from scratch.
    ///
    /// # Errors
    /// [`InferenceError::ContradictoryEvidence`]; [`InferenceError::TooWide`] as rarely as [`crate::single_fault`].
    pub fn single_fault(&mut self) -> Result<SingleFault, WhatIfError> {
        match self.posterior() {
            Err(WhatIfError::Inference(InferenceError::TooWide { .. })) => {}
            answer => return answer.map(SingleFault::Exact),
        }
        let edges: Vec<CallEdge> = self.edges().collect();
        let graph = CallGraph::new(self.services, &edges)?;
        let (none, prior) = self.priors()?;
        Ok(single_fault(&graph, &self.leak, none, &prior, &self.log_likelihood_ratio)?)
    }

    /// P(A_y | do(F_root = 1)) for every service as things are now; see [`crate::blast_radius`].
    ///
    /// # Errors
    /// A `root` outside the graph, or [`InferenceError::TooWide`].
    pub fn blast_radius(&mut self, root: u32) -> Result<Vec<f64>, WhatIfError> {
        let (services, leak) = (self.services, self.leak.clone());
        let (prepared, planned) = self.prepare()?;
        let hits = blast::prepared(&prepared.plan, &mut prepared.reach, services, &leak, root)?;
        let (repeated, operations) = (prepared.reach.repeated(), prepared.plan.operations());
        self.work = Work { planned, repeated, operations };
        Ok(hits)
    }

    /// [`WhatIf::blast_radius`], and where the graph is too wide for it, what [`crate::reach`] gives instead.
    ///
    /// # Errors
    /// A `root` outside the graph.
    pub fn reach(&mut self, root: u32) -> Result<Reach, WhatIfError> {
        match self.blast_radius(root) {
            Err(WhatIfError::Inference(InferenceError::TooWide { .. })) => {}
            answer => return answer.map(Reach::Exact),
        }
        let edges: Vec<CallEdge> = self.edges().collect();
        Ok(blast::reach_past_width(&CallGraph::new(self.services, &edges)?, &self.leak, root)?)
    }

    /// The plan of the present graph, and whether it had to be worked out.
    fn prepare(&mut self) -> Result<(&mut Prepared, bool), WhatIfError> {
        if self.stale {
            let edges: Vec<CallEdge> = self.edges().collect();
            let graph = CallGraph::new(self.services, &edges)?;
            match &mut self.prepared {
                Some(prepared) if prepared.graph.same_calls(&graph) => {
                    prepared.plan.set_strengths(&graph);
                    prepared.graph = graph;
                }
                other => *other = None,
            }
            self.stale = false;
        }
        let planned = self.prepared.is_none();
        if let Some(ref mut prepared) = self.prepared {
            return Ok((prepared, planned));
        }
        let edges: Vec<CallEdge> = self.edges().collect();
        let graph = CallGraph::new(self.services, &edges)?;
        let plan = Plan::new(&graph)?;
        let fresh = Prepared { graph, plan, posterior: State::new(), reach: State::new() };
        Ok((self.prepared.insert(fresh), planned))
    }
}
