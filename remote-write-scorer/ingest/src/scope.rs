//! State of one scope on the receiving side.

use std::collections::HashMap;
use std::sync::Arc;

use quoll_features::ClosedStep;
use quoll_identity::Scope;
use quoll_prometheus_protocol::encode::encode_labels;
use quoll_shards::Told;

use crate::election::Election;
use crate::intake::Intake;

/// A step that is complete, with the scope it belongs to.
#[derive(Debug, Clone)]
pub struct ClosedScopeStep {
    /// The scope.
    pub scope: Arc<Scope>,
    /// The step.
    pub step: ClosedStep,
    /// What leaves tell beside it, at a root.
    pub told: Option<Told>,
}

/// One scope: its windows or reports, its election, and what the log needs to describe its series.
#[derive(Debug)]
pub(crate) struct ScopeState {
    pub(crate) scope: Arc<Scope>,
    pub(crate) intake: Intake,
    pub(crate) election: Election,
    /// Replicas seen, numbered from 1.
    pub(crate) replicas: HashMap<String, u32>,
    /// By series handle: the labels to describe it in the log, and the segment that has them.
    pub(crate) described: Vec<Description>,
    /// Segment in which the scope itself is described.
    pub(crate) described_in: u64,
    /// Whether it got samples since steps were last closed.
    pub(crate) touched: bool,
}

/// How a series is described in the log. An empty block stands for a handle not bound through here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Description {
    pub(crate) block: Box<[u8]>,
    pub(crate) segment: u64,
}

impl ScopeState {
    pub(crate) fn new(scope: Scope, intake: Intake) -> Self {
        Self {
            scope: Arc::new(scope),
            intake,
            election: Election::default(),
            replicas: HashMap::new(),
            described: Vec::new(),
            described_in: 0,
            touched: false,
        }
    }

    /// The number of a replica; 0 for the empty one.
    pub(crate) fn replica(&mut self, replica: &str) -> u32 {
        if replica.is_empty() {
            return 0;
        }
        if let Some(&number) = self.replicas.get(replica) {
            return number;
        }
        let number = self.replicas.values().max().map_or(1, |last| last.saturating_add(1));
        self.replicas.insert(replica.to_owned(), number);
        number
    }

    /// Keeps the labels of a series so that the log can describe it.
    pub(crate) fn describe(&mut self, series: u32, labels: &[(&str, &str)]) {
        let index = series as usize;
        if self.described.len() <= index {
            self.described.resize(index + 1, Description::default());
        }
        if self.described[index].block.is_empty() {
            self.described[index].block = encode_labels(labels).into_boxed_slice();
        }
    }

    /// Series that feed the windows.
    pub(crate) fn series(&self) -> u64 {
        self.described.iter().filter(|description| !description.block.is_empty()).count() as u64
    }
}
