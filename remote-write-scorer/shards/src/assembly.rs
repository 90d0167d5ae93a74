//! All reports about one scope, and the event time by which the root's steps close.
//!
//! # When a step closes
//! The open step is the earliest that some leaf has reported whole. It closes as soon as
//! - every leaf that is waited for has reported it or a later one, or
//! - some leaf has reported a step that ends later than it by more than the grace.
//!
//! A leaf is waited for until a step has closed without it, and again as soon as it reports anything, however
//! late: one that is dead delays one step, one that comes back delays none but its own. A new scope waits for
//! all leaves once.
//!
//! # What is missing
//! - A leaf **had nothing to report** of a step where its next report says so: its services are gone, as they
//!   would be from one process.
//! - A leaf **has not reported** where the grace ran out or its report was lost: its services are then
//!   [`quoll_features::Presence::Unknown`], for an hour of event time.
//!
//! Two processes of one leaf (a highly available pair) are told apart; the first that has reported a step counts.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use quoll_features::{FeatureSet, Full, LabelHasher, Limits, SeriesRef, WindowStats};
use quoll_identity::Service;

use crate::config::LeavesConfig;
use crate::merge::{Assembled, Merge};
use crate::part::{Mark, Reporter, Taken, milliseconds};
use crate::statement::{Labels, Names, Statement, label};
use crate::stats::{AssemblyStats, LeafStatus};
use crate::wire::{LEAF, PREFIX, PROCESS, STEP, TICK};

/// Silence after which a series is forgotten.
const FORGET_MS: i64 = 300_000;
/// Silence after which the services of a leaf are forgotten.
const FORGET_SERVICES_MS: i64 = 3_600_000;
/// Processes known at a time; idle ones make room.
const MAX_REPORTERS: usize = 1024;
/// Refused leaves that are named in the log.
const MAX_WARNED: usize = 16;
/// Times beyond this (2^52 ms) are no times.
const MAX_TIMESTAMP_MS: i64 = 1 << 52;
/// The stale marker: a series ends here. Reports are whole without any.
const STALE_MARKER: u64 = 0x7ff0_0000_0000_0002;

#[derive(Debug)]
pub(crate) struct Slot {
    pub reporter: usize,
    pub statement: Statement,
    bound_ms: i64,
}

/// One leaf of this scope.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// Whether steps wait for it.
    pub expected: bool,
    /// Newest step it reported, and newest that closed with its report.
    pub newest_ms: Option<i64>,
    pub told_ms: Option<i64>,
    pub services: Vec<Arc<Service>>,
    pub reporting: bool,
    pub missed: u64,
    pub late: u64,
    pub lost: u64,
}

impl Leaf {
    pub fn new() -> Self {
        Self {
            expected: true,
            newest_ms: None,
            told_ms: None,
            services: Vec::new(),
            reporting: false,
            missed: 0,
            late: 0,
            lost: 0,
        }
    }
}

/// All reports about one scope.
#[derive(Debug)]
pub struct Assembly {
    pub(crate) set: Arc<FeatureSet>,
    pub(crate) step_ms: i64,
    pub(crate) config: LeavesConfig,
    limits: Limits,
    /// By index of the configuration's names.
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) reporters: Vec<Reporter>,
    pub(crate) slots: Vec<Option<Slot>>,
    pub(crate) newest_ms: Vec<i64>,
    free: Vec<u32>,
    index: HashMap<u128, u32, RandomState>,
    hasher: LabelHasher,
    names: Names,
    /// End of the last step that closed.
    pub(crate) closed_ms: i64,
    /// End of the newest step reported.
    pub(crate) clock_ms: i64,
    closed: Vec<Assembled>,
    stats: WindowStats,
    assembly_stats: AssemblyStats,
    warned: BTreeSet<String>,
}

impl Assembly {
    /// Waits for the first reports.
    #[must_use]
    pub fn new(set: Arc<FeatureSet>, step_ms: i64, config: LeavesConfig, limits: Limits) -> Self {
        Self {
            set,
            step_ms,
            leaves: vec![Leaf::new(); config.names().len()],
            config,
            limits,
            reporters: Vec::new(),
            slots: Vec::new(),
            newest_ms: Vec::new(),
            free: Vec::new(),
            index: HashMap::default(),
            hasher: LabelHasher::default(),
            names: Names::default(),
            closed_ms: i64::MIN,
            clock_ms: i64::MIN,
            closed: Vec::new(),
            stats: WindowStats::default(),
            assembly_stats: AssemblyStats::default(),
            warned: BTreeSet::new(),
        }
    }

    /// The handle of the series with these labels (sorted by name); `None` where it is not part of a report of
    /// one of this root's leaves. The same labels give the same handle.
    ///
    /// # Errors
    /// Where the scope holds as many series, services or edges as it may.
    pub fn bind(&mut self, labels: &Labels<'_>) -> Result<Option<SeriesRef>, Full> {
        if !label(labels, "__name__").is_some_and(|name| name.starts_with(PREFIX)) {
            return Ok(None);
        }
        let key = self.hasher.hash(&labels.iter().copied());
        if let Some(&slot) = self.index.get(&key) {
            return Ok(Some(SeriesRef(slot)));
        }
        let Some(leaf) = self.leaf(labels) else { return Ok(None) };
        let (services, edges) = self.names.len();
        if self.index.len() >= self.limits.series || services >= self.limits.services || edges >= self.limits.edges {
            self.stats.refused += 1;
            return Err(Full);
        }
        Ok(self.names.statement(labels, &self.set).and_then(|statement| self.add(key, leaf, labels, statement)))
    }

    fn add(&mut self, key: u128, leaf: usize, labels: &Labels<'_>, statement: Statement) -> Option<SeriesRef> {
        let reporter = self.reporter(leaf, label(labels, PROCESS).unwrap_or_default())?;
        self.reporters[reporter].handles += 1;
        let slot = Some(Slot { reporter, statement, bound_ms: self.clock_ms });
        let handle = match self.free.pop() {
            Some(handle) => {
                self.slots[handle as usize] = slot;
                self.newest_ms[handle as usize] = i64::MIN;
                handle
            }
            None => {
                self.slots.push(slot);
                self.newest_ms.push(i64::MIN);
                u32::try_from(self.slots.len() - 1).ok()?
            }
        };
        self.index.insert(key, handle);
        Some(SeriesRef(handle))
    }

    /// The leaf that a series is of; `None` where its reports cannot be used.
    fn leaf(&mut self, labels: &Labels<'_>) -> Option<usize> {
        let name = label(labels, LEAF).unwrap_or_default();
        let found = self.config.names().iter().position(|known| **known == *name);
        let step = (label(labels, "__name__") == Some(TICK)).then(|| label(labels, STEP).unwrap_or_default());
        let step = step.filter(|step| step.parse() != Ok(self.step_ms));
        if found.is_some() && step.is_none() {
            return found;
        }
        self.assembly_stats.refused_series += 1;
        if self.warned.len() < MAX_WARNED && self.warned.insert(name.to_owned()) {
            match step {
                Some(step) if found.is_some() => {
                    tracing::warn!(
                        leaf = name,
                        step_ms = step,
                        own_step_ms = self.step_ms,
                        "reports of another step are refused"
                    );
                }
                _ => tracing::warn!(leaf = name, "reports of a leaf that is not in `sharding.leaves` are refused"),
            }
        }
        None
    }

    fn reporter(&mut self, leaf: usize, process: &str) -> Option<usize> {
        let known = self.reporters.iter().position(|known| known.leaf == leaf && *known.process == *process);
        if known.is_some() {
            return known;
        }
        let idle = self
            .reporters
            .iter()
            .position(|known| known.handles == 0 && known.open.is_empty() && known.whole.is_empty());
        let new = Reporter::new(leaf, process);
        match idle {
            Some(at) => {
                self.reporters[at] = new;
                Some(at)
            }
            None if self.reporters.len() < MAX_REPORTERS => {
                self.reporters.push(new);
                Some(self.reporters.len() - 1)
            }
            None => None,
        }
    }

    /// Takes one sample. O(log reports under way), but for the steps it closes.
    pub fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64) {
        let at = series.0 as usize;
        let (Some(&before_ms), Some(Some(slot))) = (self.newest_ms.get(at), self.slots.get(at)) else {
            self.stats.invalid += 1;
            return;
        };
        if timestamp_ms <= before_ms {
            let duplicate = u64::from(timestamp_ms == before_ms);
            self.stats.duplicates += duplicate;
            self.stats.out_of_order += 1 - duplicate;
            return;
        }
        if timestamp_ms.unsigned_abs() > MAX_TIMESTAMP_MS.unsigned_abs() {
            self.stats.invalid += 1;
            return;
        }
        self.newest_ms[at] = timestamp_ms;
        self.stats.samples += 1;
        if value.to_bits() == STALE_MARKER {
            return;
        }
        let what = match slot.statement {
            Statement::Tick => Err(Mark::Tick),
            Statement::Previous => Err(Mark::Previous),
            Statement::Samples => Err(Mark::Samples),
            Statement::Model => Err(Mark::Model),
            _ => Ok(series.0),
        };
        let reporter = slot.reporter;
        match self.reporters[reporter].take(timestamp_ms, what, value) {
            Taken::Open => {}
            Taken::TooMany => self.stats.too_far_ahead += 1,
            Taken::Whole(end_ms) => self.whole(reporter, end_ms),
        }
    }

    /// A report is whole.
    fn whole(&mut self, reporter: usize, end_ms: i64) {
        let leaf = &mut self.leaves[self.reporters[reporter].leaf];
        leaf.expected = true;
        leaf.newest_ms = leaf.newest_ms.max(Some(end_ms));
        if end_ms <= self.closed_ms {
            // Another process of the same leaf may have been in time.
            leaf.late += u64::from(leaf.told_ms.is_none_or(|told_ms| told_ms < end_ms));
            self.reporters[reporter].whole.remove(&end_ms);
            return;
        }
        self.clock_ms = self.clock_ms.max(end_ms);
        while let Some(end_ms) = self.open_end_ms() {
            let waits = |leaf: &Leaf| leaf.expected && leaf.newest_ms.is_none_or(|newest_ms| newest_ms < end_ms);
            let patient = self.clock_ms.saturating_sub(end_ms) <= self.config.grace_ms();
            if patient && self.leaves.iter().any(waits) {
                return;
            }
            self.close_step(end_ms);
        }
    }

    /// Whether this sample, taken now, would close a step without a leaf that it waits for.
    #[must_use]
    pub fn gives_up_with(&self, series: SeriesRef, value: f64) -> bool {
        let slot = self.slots.get(series.0 as usize).and_then(Option::as_ref);
        if !slot.is_some_and(|slot| matches!(slot.statement, Statement::Tick)) {
            return false;
        }
        let Some(end_ms) = milliseconds(value).filter(|&end_ms| end_ms > self.closed_ms) else { return false };
        let open_ms = self.open_end_ms().map_or(end_ms, |open_ms| open_ms.min(end_ms));
        let waits = |leaf: &Leaf| leaf.expected && leaf.newest_ms.is_none_or(|newest_ms| newest_ms < open_ms);
        self.clock_ms.max(end_ms).saturating_sub(open_ms) > self.config.grace_ms() && self.leaves.iter().any(waits)
    }

    fn open_end_ms(&self) -> Option<i64> {
        self.reporters.iter().filter_map(|reporter| reporter.whole.keys().next().copied()).min()
    }

    fn close_step(&mut self, end_ms: i64) {
        let mut merge = Merge::default();
        let mut silent = Vec::new();
        for (index, leaf) in self.leaves.iter_mut().enumerate() {
            let own = || self.reporters.iter().filter(|reporter| reporter.leaf == index);
            let parts = own().filter_map(|reporter| Some((&reporter.process, reporter.whole.get(&end_ms)?)));
            let part = parts.min_by(|a, b| a.0.cmp(b.0)).map(|(_, part)| part);
            let passed = leaf.newest_ms.is_some_and(|newest_ms| newest_ms >= end_ms);
            leaf.reporting = true;
            if let Some(part) = part {
                let statement = |handle: u32| Some(&self.slots.get(handle as usize)?.as_ref()?.statement);
                leaf.services = merge.add(part, statement);
                leaf.told_ms = Some(end_ms);
            } else if passed && own().any(|reporter| reporter.skipped(end_ms)) {
                leaf.services.clear();
            } else if leaf.newest_ms.is_some() {
                leaf.reporting = false;
                leaf.lost += u64::from(passed);
                leaf.missed += 1;
                leaf.expected = passed;
                if leaf.told_ms.is_some_and(|told_ms| end_ms - told_ms > FORGET_SERVICES_MS) {
                    leaf.services.clear();
                }
                merge.miss(&leaf.services);
                silent.push(Arc::clone(&self.config.names()[index]));
            } else {
                // It may have no series of this scope at all.
                leaf.reporting = false;
                leaf.expected = false;
            }
        }
        self.assembly_stats.conflicts += merge.conflicts;
        self.closed.push(merge.finish(end_ms, self.step_ms, silent));
        self.stats.steps += 1;
        self.closed_ms = end_ms;
        for reporter in &mut self.reporters {
            reporter.whole = reporter.whole.split_off(&(end_ms + 1));
        }
    }

    /// Hands over, in order, the steps that closed since the last call.
    pub fn close(&mut self, out: &mut Vec<Assembled>) {
        out.append(&mut self.closed);
    }

    /// Gives back the memory of series that are silent for five minutes and appends their handles, which are
    /// invalid from here on.
    pub fn take_forgotten(&mut self, out: &mut Vec<SeriesRef>) {
        let since_ms = self.clock_ms.saturating_sub(FORGET_MS);
        let before = out.len();
        for (handle, slot) in (0..).zip(&mut self.slots) {
            let Some(known) = slot else { continue };
            let newest_ms = &mut self.newest_ms[handle as usize];
            if known.bound_ms.max(*newest_ms) >= since_ms {
                continue;
            }
            self.reporters[known.reporter].handles -= 1;
            *slot = None;
            *newest_ms = i64::MAX;
            self.free.push(handle);
            out.push(SeriesRef(handle));
        }
        if out.len() > before {
            let slots = &self.slots;
            self.index.retain(|_, handle| slots.get(*handle as usize).is_some_and(Option::is_some));
            self.names.prune();
        }
    }

    /// Counters and sizes.
    #[must_use]
    pub fn stats(&self) -> WindowStats {
        let waiting = |reporter: &Reporter| {
            reporter.open.values().chain(reporter.whole.values()).map(|part| part.samples.len()).sum::<usize>()
        };
        let mut stats = self.stats;
        stats.late = self.leaves.iter().map(|leaf| leaf.late).sum();
        stats.series = self.index.len();
        (stats.services, stats.edges) = self.names.len();
        stats.waiting = self.reporters.iter().map(waiting).sum();
        stats.heap_bytes = self.slots.capacity() * (size_of::<Option<Slot>>() + size_of::<i64>())
            + self.index.allocation_size()
            + stats.waiting * size_of::<(u32, f64)>();
        stats
    }

    /// What is wrong with reports as a whole.
    #[must_use]
    pub fn assembly_stats(&self) -> AssemblyStats {
        self.assembly_stats
    }

    /// The leaves, by name.
    pub fn leaves(&self) -> impl Iterator<Item = LeafStatus> {
        self.config.names().iter().zip(&self.leaves).map(|(name, leaf)| LeafStatus {
            name: Arc::clone(name),
            reporting: leaf.reporting,
            newest_ms: leaf.newest_ms,
            services: leaf.services.len() as u64,
            missed_steps: leaf.missed,
            late_steps: leaf.late,
            lost_steps: leaf.lost,
        })
    }
}
