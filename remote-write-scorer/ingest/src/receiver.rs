//! The receiver proper, single-threaded: decoded bodies in, closed steps out.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use quoll_features::{ClosedStep, FeatureSet, SeriesRef};
use quoll_identity::Scope;
use quoll_prometheus_protocol::decode::{self, DecodeError, Series};
use quoll_prometheus_protocol::snappy::SnappyError;
use thiserror::Error;

use crate::config::IngestConfig;
use crate::first_sight;
use crate::log::{self, Entry, InboundLog, LogError, Staged};
use crate::scope::{ClosedScopeStep, Description, ScopeState};
use crate::stats::{IngestStats, Rejection};
use crate::table::{Binding, BlockHasher, BlockKey, SeriesTable};

/// What became of a request that was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Samples that entered the windows.
    pub selected: u64,
    /// Samples of series that no rule selects.
    pub ignored: u64,
    /// Samples of replicas that are not elected.
    pub replica: u64,
    /// Samples rejected, by reason, in the order of [`Rejection::ALL`].
    pub rejected: [u64; Rejection::COUNT],
    /// Native histogram samples, which are not read yet.
    pub histograms: u64,
    /// Series in the request.
    pub series: u64,
    /// Metadata entries in the request.
    pub metadata: u64,
}

impl Receipt {
    /// Reasons for which samples were rejected, with their number.
    pub fn rejections(&self) -> impl Iterator<Item = (Rejection, u64)> + '_ {
        Rejection::ALL.into_iter().zip(self.rejected).filter(|&(_, count)| count > 0)
    }
}

/// Why a request was not taken. It then changed nothing.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Larger than allowed as sent.
    #[error("request of {bytes} bytes exceeds the limit of {limit}")]
    CompressedTooLarge {
        /// Bytes of the request.
        bytes: usize,
        /// Limit.
        limit: usize,
    },
    /// The body is not a snappy block within the limits.
    #[error(transparent)]
    Snappy(#[from] SnappyError),
    /// The body is not a write request.
    #[error("malformed write request: {0}")]
    Decode(#[from] DecodeError),
    /// More series in one request than allowed.
    #[error("request holds more than the allowed {limit} series")]
    TooManySeries {
        /// Limit.
        limit: usize,
    },
    /// Scoring lags behind; the sender should come back later.
    #[error("{pending} closed steps wait for scoring, the limit is {limit}")]
    Busy {
        /// Steps waiting.
        pending: usize,
        /// Limit.
        limit: usize,
    },
    /// The samples could not be made durable; the sender should come back later.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Event time between two looks for series that the windows have forgotten.
const SWEEP_EVERY_MS: i64 = 60_000;

#[derive(Debug)]
struct Tenant {
    name: Arc<str>,
    table: SeriesTable,
}

/// All state of the receiving side.
#[derive(Debug)]
pub struct Receiver {
    config: IngestConfig,
    set: Arc<FeatureSet>,
    step_ms: i64,
    hasher: BlockHasher,
    tenants: Vec<Tenant>,
    tenant_index: HashMap<Arc<str>, usize>,
    scopes: Vec<ScopeState>,
    scope_index: HashMap<Arc<Scope>, u32>,
    log: Option<InboundLog>,
    staged: Vec<Staged>,
    gathered: Vec<u8>,
    closing: Vec<ClosedStep>,
    touched: Vec<u32>,
    pending: VecDeque<ClosedScopeStep>,
    stats: IngestStats,
    full_until_seconds: u32,
    swept_ms: i64,
    in_memory: bool,
}

impl Receiver {
    /// A receiver without a log: what it acknowledges is in memory only.
    #[must_use]
    pub fn in_memory(config: IngestConfig, set: Arc<FeatureSet>, step_ms: i64) -> Self {
        Self {
            config,
            set,
            step_ms,
            hasher: BlockHasher::random(),
            tenants: Vec::new(),
            tenant_index: HashMap::new(),
            scopes: Vec::new(),
            scope_index: HashMap::new(),
            log: None,
            staged: Vec::new(),
            gathered: Vec::new(),
            closing: Vec::new(),
            touched: Vec::new(),
            pending: VecDeque::new(),
            stats: IngestStats::default(),
            full_until_seconds: 0,
            swept_ms: i64::MIN,
            in_memory: true,
        }
    }

    /// A receiver that replays the log in `directory`, then goes on with it. Steps that the replay closes are
    /// handed to `replayed`, in order, and do not count as pending.
    ///
    /// # Errors
    /// Where the log cannot be read or begun.
    pub fn open(
        config: IngestConfig,
        set: Arc<FeatureSet>,
        step_ms: i64,
        directory: &Path,
        mut replayed: impl FnMut(ClosedScopeStep),
    ) -> Result<Self, LogError> {
        let mut receiver = Self::in_memory(config.clone(), set, step_ms);
        receiver.in_memory = false;
        let mut log = InboundLog::open(directory, config.log)?;
        let segments = log::list(directory)?;
        let last_written = segments.iter().rev().map(|segment| segment.sequence).nth(1);
        let own = log.sequence();
        for segment in segments.iter().filter(|segment| segment.sequence < own) {
            let mut replay = Replay::default();
            let repair = Some(segment.sequence) == last_written;
            let damaged = log::read(segment, repair, |entry| {
                receiver.replay_entry(&mut replay, entry);
                while let Some(step) = receiver.pending.pop_front() {
                    replayed(step);
                }
            })?;
            if damaged > 0 {
                tracing::warn!(path = %segment.path.display(), bytes = damaged, "inbound segment is damaged, read up to there");
            }
            receiver.stats.log_damaged_bytes += damaged;
            log.note_newest(segment.sequence, replay.newest_ms);
        }
        receiver.log = Some(log);
        Ok(receiver)
    }

    /// Takes a decompressed remote write 1.0 body of `tenant`. `now_ms` is the wall clock.
    ///
    /// # Errors
    /// [`WriteError::Decode`], [`WriteError::TooManySeries`] and [`WriteError::Log`].
    pub fn write(&mut self, tenant: &str, body: &[u8], now_ms: i64) -> Result<Receipt, WriteError> {
        let tenant = self.tenant(tenant);
        let now_seconds = u32::try_from(now_ms / 1000).unwrap_or(0);
        let mut receipt = Receipt::default();
        self.staged.clear();
        let staged = self.stage(tenant, body, now_ms, now_seconds, &mut receipt);
        if let Err(error) = staged.and_then(|()| self.commit()) {
            self.staged.clear();
            return Err(error);
        }
        self.apply();
        self.count(&receipt);
        Ok(receipt)
    }

    fn stage(
        &mut self,
        tenant: usize,
        body: &[u8],
        now_ms: i64,
        now_seconds: u32,
        receipt: &mut Receipt,
    ) -> Result<(), WriteError> {
        let latest_ms = now_ms.saturating_add(self.config.future_limit_ms);
        let earliest_ms = now_ms.saturating_sub(self.config.past_limit_ms);
        let mut all = decode::series(body);
        for series in all.by_ref() {
            let series = series?;
            receipt.series += 1;
            if receipt.series > self.config.limits.series_per_request as u64 {
                return Err(WriteError::TooManySeries { limit: self.config.limits.series_per_request });
            }
            receipt.histograms += series.histogram_count() as u64;
            self.stats.exemplars += series.exemplar_count() as u64;
            match self.binding(tenant, &series, now_seconds)? {
                Binding::Ignored => receipt.ignored += series.sample_count() as u64,
                Binding::Rejected(reason) => receipt.rejected[reason as usize] += series.sample_count().max(1) as u64,
                Binding::Selected { scope, series: handle, replica } => {
                    let election = &mut self.scopes[scope as usize].election;
                    for sample in series.samples() {
                        let sample = sample?;
                        let timestamp_ms = sample.timestamp_ms;
                        if timestamp_ms > latest_ms {
                            receipt.rejected[Rejection::TooFarInFuture as usize] += 1;
                        } else if timestamp_ms < earliest_ms {
                            receipt.rejected[Rejection::TooOld as usize] += 1;
                        } else if !election.admit(replica, timestamp_ms, self.config.ha_failover_ms) {
                            receipt.replica += 1;
                        } else {
                            self.staged.push(Staged { scope, series: handle, timestamp_ms, value: sample.value });
                        }
                    }
                }
            }
        }
        receipt.metadata = all.metadata() as u64;
        receipt.selected = self.staged.len() as u64;
        Ok(())
    }

    /// What is known of a series, found out now if it is new.
    #[inline]
    fn binding(&mut self, tenant: usize, series: &Series<'_>, now_seconds: u32) -> Result<Binding, WriteError> {
        if let Some(block) = series.label_block() {
            let key = self.hasher.key(block);
            match self.tenants[tenant].table.find(key, now_seconds) {
                Some(binding) => Ok(binding),
                None => Ok(self.first_sight(tenant, key, block, now_seconds)),
            }
        } else {
            self.stats.scattered_series += 1;
            let mut gathered = std::mem::take(&mut self.gathered);
            series.gather_labels(&mut gathered)?;
            let key = self.hasher.key(&gathered);
            let known = self.tenants[tenant].table.find(key, now_seconds);
            let binding = known.unwrap_or_else(|| self.first_sight(tenant, key, &gathered, now_seconds));
            self.gathered = gathered;
            Ok(binding)
        }
    }

    #[cold]
    fn first_sight(&mut self, tenant: usize, key: BlockKey, block: &[u8], now_seconds: u32) -> Binding {
        if !self.has_room(now_seconds) {
            return Binding::Rejected(Rejection::SeriesLimit);
        }
        self.stats.first_sights += 1;
        let binding = match first_sight::split(block, &self.config) {
            Err(reason) => Binding::Rejected(reason),
            Ok(split) => {
                let scope = split.scope(&self.tenants[tenant].name);
                match self.scope(scope) {
                    None => Binding::Rejected(Rejection::ScopeLimit),
                    Some(scope) => self.bind(scope, &split.labels, &split.replica),
                }
            }
        };
        if binding != Binding::Rejected(Rejection::ScopeLimit) {
            self.tenants[tenant].table.insert(key, binding, now_seconds);
        }
        binding
    }

    fn bind(&mut self, scope: u32, labels: &[(&str, &str)], replica: &str) -> Binding {
        let state = &mut self.scopes[scope as usize];
        let Some(SeriesRef(series)) = state.windows.bind(labels) else { return Binding::Ignored };
        state.describe(series, labels);
        let replica = state.replica(replica);
        Binding::Selected { scope, series, replica }
    }

    /// Whether one more series may be known; forgets idle ones, at most once a minute, where not.
    fn has_room(&mut self, now_seconds: u32) -> bool {
        let limit = self.config.limits.total_series;
        let known = |tenants: &[Tenant]| tenants.iter().map(|tenant| tenant.table.len()).sum::<usize>();
        if known(&self.tenants) < limit {
            return true;
        }
        if now_seconds < self.full_until_seconds {
            return false;
        }
        self.full_until_seconds = now_seconds.saturating_add(60);
        let since = now_seconds.saturating_sub(self.config.limits.idle_series_seconds);
        for tenant in &mut self.tenants {
            self.stats.forgotten_series += tenant.table.forget_before(since) as u64;
        }
        known(&self.tenants) < limit
    }

    fn tenant(&mut self, name: &str) -> usize {
        if let Some(&index) = self.tenant_index.get(name) {
            return index;
        }
        let name: Arc<str> = Arc::from(name);
        self.tenants.push(Tenant { name: Arc::clone(&name), table: SeriesTable::default() });
        self.tenant_index.insert(name, self.tenants.len() - 1);
        self.tenants.len() - 1
    }

    /// The index of a scope; `None` where there are too many.
    fn scope(&mut self, scope: Scope) -> Option<u32> {
        if let Some(&index) = self.scope_index.get(&scope) {
            return Some(index);
        }
        if self.scopes.len() >= self.config.limits.scopes {
            return None;
        }
        let index = u32::try_from(self.scopes.len()).ok()?;
        let state = ScopeState::new(scope, &self.set, self.step_ms);
        self.scope_index.insert(Arc::clone(&state.scope), index);
        self.scopes.push(state);
        Some(index)
    }

    /// Writes the staged samples to the log, after the descriptions they need.
    fn commit(&mut self) -> Result<(), WriteError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        if self.staged.is_empty() {
            return Ok(());
        }
        log.rotate_if_full()?;
        let segment = log.sequence();
        for sample in &self.staged {
            let state = &mut self.scopes[sample.scope as usize];
            if state.described_in != segment {
                state.described_in = segment;
                log.scope(sample.scope, &state.scope);
            }
            if let Some(description) = state.described.get_mut(sample.series as usize)
                && description.segment != segment
            {
                description.segment = segment;
                log.series(sample.scope, sample.series, &description.block);
            }
        }
        log.samples(&self.staged, true);
        log.commit()?;
        Ok(())
    }

    /// Moves the staged samples into the windows and closes what they complete.
    fn apply(&mut self) {
        for sample in &self.staged {
            let state = &mut self.scopes[sample.scope as usize];
            state.windows.push(SeriesRef(sample.series), sample.timestamp_ms, sample.value);
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
            state.windows.close(&mut self.closing);
            self.stats.closed_steps += self.closing.len() as u64;
            let steps = self.closing.drain(..).map(|step| ClosedScopeStep { scope: Arc::clone(&state.scope), step });
            self.pending.extend(steps);
        }
        if self.log.is_some() || self.in_memory {
            self.drop_forgotten();
        }
    }

    /// Drops what is known of series that the windows have forgotten, once a minute of event time. Not during a
    /// replay: live, a handle stayed valid until this very point, and the log names series by it.
    fn drop_forgotten(&mut self) {
        if self.stats.newest_ms.saturating_sub(self.swept_ms) < SWEEP_EVERY_MS {
            return;
        }
        self.swept_ms = self.stats.newest_ms;
        let mut forgotten = Vec::new();
        for (scope, state) in self.scopes.iter_mut().enumerate() {
            state.windows.take_forgotten(&mut forgotten);
            if forgotten.is_empty() {
                continue;
            }
            let mut gone = vec![false; state.described.len()];
            for SeriesRef(series) in forgotten.drain(..) {
                if let Some(description) = state.described.get_mut(series as usize) {
                    *description = Description::default();
                    gone[series as usize] = true;
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

    fn count(&mut self, receipt: &Receipt) {
        let stats = &mut self.stats;
        stats.requests += 1;
        stats.selected_samples += receipt.selected;
        stats.ignored_samples += receipt.ignored;
        stats.replica_samples += receipt.replica;
        stats.histogram_samples += receipt.histograms;
        for (total, new) in stats.rejected_samples.iter_mut().zip(receipt.rejected) {
            *total += new;
        }
    }

    fn replay_entry(&mut self, replay: &mut Replay, entry: Entry<'_>) {
        match entry {
            Entry::Scope { id, scope } => {
                if let Some(scope) = self.scope(scope) {
                    replay.scopes.insert(id, scope);
                }
            }
            Entry::Series { scope, series, block } => {
                let Some(&own) = replay.scopes.get(&scope) else { return };
                // The labels were split when they were written: nothing of scope or replica is left.
                let labels: Result<Vec<_>, _> = decode::labels(block).collect();
                let Ok(labels) = labels else { return };
                if let Binding::Selected { series: handle, .. } = self.bind(own, &labels, "") {
                    replay.series.insert((scope, series), (own, handle));
                }
            }
            Entry::Samples { samples, complete } => {
                for sample in samples {
                    replay.newest_ms = replay.newest_ms.max(sample.timestamp_ms);
                    if let Some(&(scope, series)) = replay.series.get(&(sample.scope, sample.series)) {
                        self.staged.push(Staged { scope, series, ..sample });
                    }
                }
                if complete {
                    self.stats.replayed_samples += self.staged.len() as u64;
                    self.apply();
                }
            }
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
        stats.selected_series = self.scopes.iter().map(ScopeState::series).sum();
        stats.scopes = self.scopes.len() as u64;
        stats.failovers = self.scopes.iter().map(|scope| scope.election.failovers()).sum();
        for scope in &self.scopes {
            let windows = scope.windows.stats();
            stats.late_samples += windows.late;
            stats.duplicate_samples += windows.duplicates;
            stats.out_of_order_samples += windows.out_of_order;
            stats.unusable_samples += windows.too_far_ahead + windows.invalid;
            stats.window_bytes += windows.heap_bytes as u64;
        }
        stats.pending_steps = self.pending.len() as u64;
        if let Some(log) = &self.log {
            stats.log_bytes = log.bytes();
            stats.log_segments = log.segments() as u64;
            stats.log_overflow_segments = log.overflowed();
        }
        stats
    }
}

/// What the numbers of one segment stand for now.
#[derive(Debug)]
struct Replay {
    scopes: HashMap<u32, u32>,
    series: HashMap<(u32, u32), (u32, u32)>,
    newest_ms: i64,
}

impl Default for Replay {
    fn default() -> Self {
        Self { scopes: HashMap::new(), series: HashMap::new(), newest_ms: i64::MIN }
    }
}

#[cfg(test)]
mod tests;
