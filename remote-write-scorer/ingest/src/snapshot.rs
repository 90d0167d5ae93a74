//! The receiving side between two runs: windows, elections and the labels of every series, as of one position
//! of the inbound log.
//!
//! The position is the number of a segment: storing begins a new one, so everything before it is in the stored
//! state, and everything from it on is replayed. Segments describe what they name, so a replay may begin at any
//! of them. What no rule selects is not stored; it is looked at once more when it comes.

use std::sync::Arc;

use quoll_features::{FeatureSet, SeriesRef};
use quoll_identity::Scope;
use quoll_shards::LeavesConfig;
use serde::{Deserialize, Serialize};

use crate::config::IngestConfig;
use crate::election::Election;
use crate::intake::{RestoreError, StoredIntake};
use crate::labels::StoredLabels;
use crate::log::LogError;
use crate::receiver::Receiver;
use crate::scope::ScopeState;

/// The receiving side, as stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredReceiver<'a> {
    position: u64,
    newest_ms: i64,
    swept_ms: i64,
    scopes: Vec<StoredScope<'a>>,
}

impl StoredReceiver<'_> {
    /// Number of the first segment of the log that is not in it.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredScope<'a> {
    scope: Scope,
    heard_ms: i64,
    election: Election,
    replicas: Vec<(String, u32)>,
    labels: StoredLabels<'a>,
    intake: StoredIntake<'a>,
}

impl<'a> StoredScope<'a> {
    fn of(state: &'a ScopeState) -> Self {
        let mut replicas: Vec<(String, u32)> = state.replicas.clone().into_iter().collect();
        replicas.sort_unstable();
        Self {
            scope: Scope::clone(&state.scope),
            heard_ms: state.heard_ms,
            election: state.election.clone(),
            replicas,
            labels: state.labels.store(),
            intake: state.intake.store(),
        }
    }
}

impl Receiver {
    /// The state as of now, and a new segment of the log for what comes next. Take what is closed before: it is
    /// not in it.
    ///
    /// # Errors
    /// Where the segment cannot be begun.
    pub fn store(&mut self) -> Result<StoredReceiver<'_>, LogError> {
        if let Some(log) = &mut self.log {
            self.position = log.cut()?;
        }
        Ok(StoredReceiver {
            position: self.position,
            newest_ms: self.stats.newest_ms,
            swept_ms: self.swept_ms,
            scopes: self.scopes.iter().map(StoredScope::of).collect(),
        })
    }

    /// What was stored lies safely: segments before it may go by their age, the others are needed.
    pub fn stored_up_to(&mut self, position: u64) {
        if let Some(log) = &mut self.log {
            log.keep_from(position);
        }
    }

    /// A receiver that goes on from a stored one; give it its log with [`Receiver::with_log`].
    ///
    /// # Errors
    /// Where the state is of other features, of another step, or of another role.
    pub fn restore(
        config: IngestConfig,
        set: &Arc<FeatureSet>,
        step_ms: i64,
        leaves: Option<&LeavesConfig>,
        stored: StoredReceiver<'_>,
    ) -> Result<Self, RestoreError> {
        let mut receiver = Self::in_memory(config, Arc::clone(set), step_ms);
        if let Some(leaves) = leaves {
            receiver = receiver.of_leaves(leaves.clone());
        }
        receiver.position = stored.position;
        receiver.stats.newest_ms = stored.newest_ms;
        receiver.swept_ms = stored.swept_ms;
        for one in stored.scopes {
            let limits = receiver.config().limits.of_scope();
            let labels = one.labels.restore();
            let (intake, handles) = receiver.plan.restore(one.intake, limits, |SeriesRef(series)| labels.of(series))?;
            let mut state = ScopeState::new(one.scope, intake);
            for (SeriesRef(old), SeriesRef(new)) in handles {
                if let Some(labels) = labels.of(old) {
                    state.labels.set(new, &labels);
                }
            }
            state.heard_ms = one.heard_ms;
            state.election = one.election;
            state.election.settle();
            state.replicas = one.replicas.into_iter().collect();
            let index = u32::try_from(receiver.scopes.len()).unwrap_or(u32::MAX);
            receiver.scope_index.insert(Arc::clone(&state.scope), index);
            receiver.scopes.push(state);
        }
        Ok(receiver)
    }
}
