//! State of one scope on the receiving side.

use std::collections::HashMap;
use std::sync::Arc;

use quoll_features::ClosedStep;
use quoll_identity::Scope;
use quoll_shards::Told;

use crate::election::Election;
use crate::intake::Intake;
use crate::labels::LabelStore;

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
    /// What describes its series in the log.
    pub(crate) labels: LabelStore,
    /// Segment in which the scope itself is described, and to which `labels` told something.
    pub(crate) described_in: u64,
    /// Whether it got samples since steps were last closed.
    pub(crate) touched: bool,
    /// Newest event time of all scopes when it last got a sample.
    pub(crate) heard_ms: i64,
}

impl ScopeState {
    pub(crate) fn new(scope: Scope, intake: Intake) -> Self {
        Self {
            scope: Arc::new(scope),
            intake,
            election: Election::default(),
            replicas: HashMap::new(),
            labels: LabelStore::default(),
            described_in: 0,
            touched: false,
            heard_ms: i64::MIN,
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

    /// It has another number: whatever the log says of the old one is not about it.
    pub(crate) fn describe_anew(&mut self) {
        self.described_in = 0;
    }
}
