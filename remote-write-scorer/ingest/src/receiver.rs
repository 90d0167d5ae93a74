//! The receiver proper, single-threaded: decoded bodies in, closed steps out.

mod known;
mod receipt;
mod replay;
mod settle;
mod stage;
mod whole;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use quoll_features::{FeatureSet, SeriesRef};
use quoll_identity::Scope;
use quoll_shards::{LeafStatus, LeavesConfig};

pub use self::receipt::{Receipt, WriteError};
use self::stage::Symbols;
use crate::config::IngestConfig;
use crate::intake::{Closing, Plan};
use crate::log::{InboundLog, Staged};
use crate::scope::{ClosedScopeStep, ScopeState};
use crate::stats::IngestStats;
use crate::table::{BlockHasher, SeriesTable};
use crate::wire::Body;

/// Steps beyond the grace that a leaf may be behind the others before it is taken for silent.
const LATE_STEPS: i64 = 3;

#[derive(Debug)]
struct Tenant {
    name: Arc<str>,
    table: SeriesTable,
    /// Samples sent and not yet allowed for by its rate.
    owed: f64,
    counted_ms: i64,
}

/// All state of the receiving side.
#[derive(Debug)]
pub struct Receiver {
    config: IngestConfig,
    pub(crate) plan: Plan,
    hasher: BlockHasher,
    tenants: Vec<Tenant>,
    tenant_index: HashMap<Arc<str>, usize>,
    pub(crate) scopes: Vec<ScopeState>,
    pub(crate) scope_index: HashMap<Arc<Scope>, u32>,
    pub(crate) log: Option<InboundLog>,
    staged: Vec<Staged>,
    gathered: Vec<u8>,
    symbols: Symbols,
    rest: Vec<u8>,
    closing: Closing,
    touched: Vec<u32>,
    pub(crate) pending: VecDeque<ClosedScopeStep>,
    pub(crate) stats: IngestStats,
    full_until_seconds: u32,
    idle_swept_seconds: u32,
    pub(crate) swept_ms: i64,
    in_memory: bool,
    /// Number of the first segment of the log that is not in the windows already.
    pub(crate) position: u64,
    /// Wall clock of the last write that closed a step, or of the first of all.
    progressed_ms: Option<i64>,
}

impl Receiver {
    /// A receiver without a log: what it acknowledges is in memory only.
    #[must_use]
    pub fn in_memory(config: IngestConfig, set: Arc<FeatureSet>, step_ms: i64) -> Self {
        Self {
            config,
            plan: Plan { set, step_ms, leaves: None },
            hasher: BlockHasher::random(),
            tenants: Vec::new(),
            tenant_index: HashMap::new(),
            scopes: Vec::new(),
            scope_index: HashMap::new(),
            log: None,
            staged: Vec::new(),
            gathered: Vec::new(),
            symbols: Symbols::default(),
            rest: Vec::new(),
            closing: Closing::default(),
            touched: Vec::new(),
            pending: VecDeque::new(),
            stats: IngestStats::default(),
            full_until_seconds: 0,
            idle_swept_seconds: 0,
            swept_ms: i64::MIN,
            in_memory: true,
            position: 0,
            progressed_ms: None,
        }
    }

    /// Takes reports of these leaves instead of raw series. The tenant is then the label of that name, where
    /// there is one, and replicas are told apart by their reports.
    #[must_use]
    pub fn of_leaves(mut self, leaves: LeavesConfig) -> Self {
        self.plan.leaves = Some(leaves);
        self.config.ha_replica_labels.clear();
        self
    }

    /// At a root: each leaf, over all scopes. One that is behind the others does not report, also where no scope of
    /// its own waits for it.
    #[must_use]
    pub fn leaves(&self) -> Vec<LeafStatus> {
        let Some(leaves) = &self.plan.leaves else { return Vec::new() };
        let named = |name: &Arc<str>| LeafStatus { name: Arc::clone(name), ..LeafStatus::default() };
        let mut all: Vec<LeafStatus> = leaves.names().iter().map(named).collect();
        all.iter_mut().zip(&self.stats.leaves).for_each(|(all, gone)| all.add(gone));
        for assembly in self.scopes.iter().filter_map(|scope| scope.intake.assembly()) {
            all.iter_mut().zip(assembly.leaves()).for_each(|(all, one)| all.add(&one));
        }
        let newest_ms = all.iter().filter_map(|leaf| leaf.newest_ms).max();
        let patience_ms = leaves.grace_ms().saturating_add(LATE_STEPS.saturating_mul(self.plan.step_ms));
        for leaf in &mut all {
            let behind_ms = newest_ms.zip(leaf.newest_ms).map(|(newest_ms, own_ms)| newest_ms.saturating_sub(own_ms));
            leaf.reporting &= behind_ms.is_some_and(|behind_ms| behind_ms <= patience_ms);
        }
        all
    }

    /// Whether what is staged would close a step without a leaf that may only be slow to catch up: none has been
    /// closed for less than the grace, by the wall clock. Nothing but the refusal depends on that clock.
    fn too_early(&mut self, now_ms: i64) -> bool {
        let Some(leaves) = &self.plan.leaves else { return false };
        let since_ms = *self.progressed_ms.get_or_insert(now_ms);
        now_ms.saturating_sub(since_ms) <= leaves.grace_ms()
            && self.staged.iter().any(|sample| {
                let assembly = self.scopes[sample.scope as usize].intake.assembly();
                assembly.is_some_and(|assembly| assembly.gives_up_with(SeriesRef(sample.series), sample.value))
            })
    }

    /// Takes a decompressed body of `tenant`. `now_ms` is the wall clock.
    ///
    /// # Errors
    /// Those of [`WriteError`] that concern content, tenant and log.
    pub fn write(&mut self, tenant: &str, body: Body<'_>, now_ms: i64) -> Result<Receipt, WriteError> {
        let tenants = self.tenants.len();
        let tenant = self.tenant(tenant, now_ms)?;
        let mut receipt = Receipt::default();
        self.staged.clear();
        let mut staged = self.stage(tenant, body, now_ms, &mut receipt);
        if staged.is_ok() && self.too_early(now_ms) {
            staged = Err(WriteError::WaitsForLeaf);
        }
        if let Err(error) = staged.and_then(|()| self.commit()) {
            self.take_back(tenants);
            return Err(error);
        }
        let closed_before = self.stats.closed_steps;
        self.apply();
        if self.stats.closed_steps > closed_before {
            self.progressed_ms = Some(now_ms);
        }
        self.tenants[tenant].owed += (receipt.samples + receipt.histograms) as f64;
        self.stats.requests_v2 += u64::from(matches!(body, Body::V2(_)));
        self.count(&receipt);
        self.forget_idle(u32::try_from(now_ms / 1000).unwrap_or(0));
        Ok(receipt)
    }

    /// After a request that was refused: nothing staged, nobody elected, no tenant made by it.
    #[cold]
    fn take_back(&mut self, tenants: usize) {
        self.staged.clear();
        for scope in &mut self.scopes {
            scope.election.take_back();
        }
        for tenant in self.tenants.drain(tenants..) {
            self.tenant_index.remove(&tenant.name);
        }
    }

    fn count(&mut self, receipt: &Receipt) {
        let stats = &mut self.stats;
        stats.requests += 1;
        stats.selected_samples += receipt.selected;
        stats.ignored_samples += receipt.ignored;
        stats.replica_samples += receipt.replica;
        stats.histogram_samples += receipt.histograms;
        stats.exemplars += receipt.exemplars;
        stats.metadata += receipt.metadata;
        for (total, new) in stats.rejected_samples.iter_mut().zip(receipt.rejected) {
            *total += new;
        }
    }

    /// Notes the size of a request that was taken.
    pub(crate) fn count_bytes(&mut self, compressed: usize, decoded: usize) {
        self.stats.compressed_bytes += compressed as u64;
        self.stats.decoded_bytes += decoded as u64;
    }

    /// Steps closed since the last call, in the order in which they closed.
    pub fn take_closed(&mut self) -> Vec<ClosedScopeStep> {
        self.pending.drain(..).collect()
    }

    /// Closed steps not taken yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &IngestConfig {
        &self.config
    }

    /// Counters and sizes as of now.
    #[must_use]
    pub fn stats(&self) -> IngestStats {
        let mut stats = self.stats.clone();
        stats.series = self.tenants.iter().map(|tenant| tenant.table.len() as u64).sum();
        stats.selected_series = self.scopes.iter().map(|scope| scope.labels.len() as u64).sum();
        stats.scopes = self.scopes.len() as u64;
        stats.tenants = self.tenants.len() as u64;
        for scope in &self.scopes {
            stats.add_counts(scope);
            let windows = scope.intake.stats();
            stats.window_services += windows.services as u64;
            stats.window_edges += windows.edges as u64;
            stats.window_bytes += windows.heap_bytes as u64;
        }
        stats.leaves = self.leaves();
        stats.pending_steps = self.pending.len() as u64;
        if let Some(log) = &self.log {
            stats.log_bytes = log.bytes();
            stats.log_segments = log.segments() as u64;
            stats.log_overflow_segments = log.overflowed();
        }
        stats
    }
}

#[cfg(test)]
mod tests;
