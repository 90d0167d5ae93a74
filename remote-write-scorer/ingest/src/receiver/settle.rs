//! From staged samples to the log, the windows, and closed steps.

use std::collections::HashSet;
use std::sync::Arc;

use quoll_features::SeriesRef;
use quoll_shards::LeafStatus;

use super::{Receiver, WriteError};
use crate::log::Staged;
use crate::scope::{ClosedScopeStep, ScopeState};
use crate::table::Binding;

/// Event time between two looks for series that the windows have forgotten, and for scopes.
const SWEEP_EVERY_MS: i64 = 60_000;

/// By the number that a scope had, the one it has.
pub(super) type Renumbered = Vec<Option<u32>>;

/// Replicas of a scope that are kept without a look at whether they still send.
const MANY_REPLICAS: usize = 16;

impl Receiver {
    /// Writes the staged samples to the log, after the descriptions they need.
    pub(super) fn commit(&mut self) -> Result<(), WriteError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        if self.staged.is_empty() {
            return Ok(());
        }
        log.rotate_if_full()?;
        let segment = log.sequence();
        for run in self.staged.chunk_by(|a, b| a.scope == b.scope) {
            let Some(&Staged { scope, .. }) = run.first() else { continue };
            let state = &mut self.scopes[scope as usize];
            if state.described_in != segment {
                state.described_in = segment;
                state.labels.begin_segment();
                log.scope(scope, &state.scope);
            }
            if run.iter().any(|sample| !state.labels.told(sample.series)) {
                log.labels(scope, |put| {
                    for &Staged { series, .. } in run {
                        if !state.labels.told(series) {
                            state.labels.tell(series, &mut *put);
                        }
                    }
                });
            }
        }
        log.samples(&self.staged, true);
        log.commit()?;
        Ok(())
    }

    /// Moves the staged samples into the windows and closes what they complete. Where scopes were forgotten, returns the
    /// number that each has now, by the one it had.
    pub(super) fn apply(&mut self) -> Option<Renumbered> {
        for sample in &self.staged {
            let state = &mut self.scopes[sample.scope as usize];
            state.intake.push(SeriesRef(sample.series), sample.timestamp_ms, sample.value);
            if !state.touched {
                state.touched = true;
                self.touched.push(sample.scope);
            }
            self.stats.newest_ms = self.stats.newest_ms.max(sample.timestamp_ms);
        }
        self.staged.clear();
        for scope in self.touched.drain(..) {
            let state = &mut self.scopes[scope as usize];
            state.touched = false;
            state.election.settle();
            state.heard_ms = self.stats.newest_ms;
            let before = self.pending.len();
            state.intake.close(&mut self.closing, |step, told| {
                self.pending.push_back(ClosedScopeStep { scope: Arc::clone(&state.scope), step, told });
            });
            self.stats.closed_steps += (self.pending.len() - before) as u64;
        }
        if self.stats.newest_ms.saturating_sub(self.swept_ms) < SWEEP_EVERY_MS {
            return None;
        }
        self.swept_ms = self.stats.newest_ms;
        if self.log.is_some() || self.in_memory {
            self.drop_forgotten();
        }
        self.forget_scopes()
    }

    /// Forgets series that sent nothing for long, selected or not, and tenants without any. Looked for by the wall
    /// clock, as what is forgotten here is only looked at once more when it comes.
    pub(super) fn forget_idle(&mut self, now_seconds: u32) {
        let idle = self.config.limits.idle_series_seconds;
        if now_seconds < self.idle_swept_seconds.saturating_add(idle / 3).max(1) {
            return;
        }
        self.idle_swept_seconds = now_seconds;
        let since = now_seconds.saturating_sub(idle);
        for tenant in &mut self.tenants {
            self.stats.forgotten_series += tenant.table.forget_before(since) as u64;
        }
        if self.tenants.iter().any(|tenant| tenant.table.is_empty()) {
            self.tenants.retain(|tenant| !tenant.table.is_empty());
            self.tenant_index = (0..).zip(&self.tenants).map(|(at, tenant)| (Arc::clone(&tenant.name), at)).collect();
        }
        self.forget_replicas();
    }

    /// Forgets replicas of which no series is known, where a scope has many: those of pods that come and go.
    fn forget_replicas(&mut self) {
        for (index, state) in (0_u32..).zip(&mut self.scopes) {
            if state.replicas.len() < MANY_REPLICAS {
                continue;
            }
            let known = self.tenants.iter().flat_map(|tenant| tenant.table.bindings());
            let used: HashSet<u32> = known
                .filter_map(|binding| match binding {
                    Binding::Selected { scope, replica, .. } if scope == index => Some(replica),
                    _ => None,
                })
                .collect();
            let elected = state.election.elected();
            state.replicas.retain(|_, number| *number == elected || used.contains(number));
        }
    }

    /// Drops what is known of series that the windows have forgotten. Not during a replay: live, a handle stayed valid
    /// until this very point, and the log names series by it.
    fn drop_forgotten(&mut self) {
        let mut forgotten = Vec::new();
        for (scope, state) in self.scopes.iter_mut().enumerate() {
            state.intake.take_forgotten(&mut forgotten);
            if forgotten.is_empty() {
                continue;
            }
            let mut gone = vec![false; state.labels.handles()];
            for SeriesRef(series) in forgotten.drain(..) {
                state.labels.forget(series);
                if let Some(gone) = gone.get_mut(series as usize) {
                    *gone = true;
                }
            }
            for tenant in &mut self.tenants {
                let dropped = tenant.table.forget(|binding| {
                    matches!(binding, Binding::Selected { scope: of, series, .. }
                        if of as usize == scope && gone.get(series as usize).copied().unwrap_or(false))
                });
                self.stats.forgotten_series += dropped as u64;
            }
        }
    }

    /// What leaves did in a scope that is gone.
    fn keep_leaves(&mut self, gone: &ScopeState) {
        let Some(assembly) = gone.intake.assembly() else { return };
        let leaves = &mut self.stats.leaves;
        leaves.resize(assembly.leaves().count(), LeafStatus::default());
        leaves.iter_mut().zip(assembly.leaves()).for_each(|(all, one)| all.add(&one.counts()));
    }

    /// Forgets scopes of which nothing was heard for long while others went on, with their series. What they counted
    /// stays counted.
    fn forget_scopes(&mut self) -> Option<Renumbered> {
        let (newest_ms, idle_ms) = (self.stats.newest_ms, self.config.idle_scope_ms());
        let mut number = 0;
        let numbers: Renumbered = (self.scopes.iter())
            .map(|state| {
                let stays = newest_ms.saturating_sub(state.heard_ms) <= idle_ms;
                number += u32::from(stays);
                stays.then(|| number - 1)
            })
            .collect();
        if numbers.iter().all(Option::is_some) {
            return None;
        }
        let mut index = 0..;
        let gone: Vec<ScopeState> =
            self.scopes.extract_if(.., |_| index.next().is_some_and(|at: usize| numbers[at].is_none())).collect();
        for state in gone {
            tracing::info!(tenant = %state.scope.tenant, partition = ?state.scope.partition, "an idle scope is forgotten");
            self.stats.add_counts(&state);
            self.keep_leaves(&state);
        }
        self.scope_index = (0..).zip(&self.scopes).map(|(at, state)| (Arc::clone(&state.scope), at)).collect();
        self.scopes.iter_mut().for_each(ScopeState::describe_anew);
        for tenant in &mut self.tenants {
            tenant.table.renumber(|scope| numbers.get(scope as usize).copied().flatten());
        }
        Some(numbers)
    }
}
