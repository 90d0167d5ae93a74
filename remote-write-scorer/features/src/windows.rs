//! All series of one scope, and the event time by which its steps close.
//!
//! # When a step closes
//! Steps end at multiples of the step length. The open step closes, with the value that every series
//! has at its end, as soon as
//! - every expected series has a sample at or after the end, or
//! - the scope's clock is past the end by more than the grace, min(step, 5 s).
//!
//! A series is expected until a stale marker ends it or it is forgotten: one that is merely silent may
//! come back with the others, and must find its step open after an outage of all. The scope's clock is the newest sample time that a majority of the latest samples bears out: times beyond
//! the **median** of (sample time + 1.5 intervals) are not believed. One series (or any minority) an hour
//! ahead moves nothing, its samples wait until their time has come; when a majority is ahead, the clock
//! is. The first step closes by the clock only, since it is not known yet which series to expect.
//!
//! Nothing but the sequence of samples decides: however the stream is cut into requests, and whenever
//! [`ScopeWindows::close`] is called, the same sequence gives the same steps to the bit. Sums add the
//! series in the order in which they first appeared.
//!
//! # What a sample can be
//! - **Of a later step**: waits until that step is open. What waits is bounded (`MAX_WAITING`);
//!   samples beyond are dropped and counted.
//! - **Late** (its step is closed): counted, and taken into the series' state, so that a counter loses
//!   nothing: its next rate spans the time. Closed steps do not change. Late by 5 minutes or more: only
//!   counted.
//! - **Not newer than the series' newest**: dropped and counted, as duplicate (same time) or out of order.
//!   After a sender's clock steps back, its series are silent until they pass their own newest time.
//!
//! # Forgetting
//! A series silent for 5 minutes of event time (or the time its value holds, if longer) leaves the sums
//! and no longer keeps its service, edge or entity in the output. Its memory is given back by
//! [`ScopeWindows::take_forgotten`], which tells the caller which handles to drop; until then a sample
//! with the old handle makes it a new series under the same handle.
//!
//! Many sources go on exporting the counters of an edge that nobody uses any more. An edge without
//! requests, connects or anything else that shows it in use (such as open connections) for 10 minutes of
//! event time is left out of the steps until it is used again.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::close::Sums;
use crate::label_hash::LabelHasher;
use crate::pending::{Pending, step_end};
use crate::preset::FeatureSet;
use crate::registry::Registry;
use crate::rules::{Kind, Profile};
use crate::series::{Applied, Series};
use crate::stats::WindowStats;
use crate::step::ClosedStep;
use crate::votes::{Verdict, Votes};

/// Longest grace after a step's end.
const MAX_GRACE_MS: i64 = 5_000;
/// Silence after which a series is forgotten.
pub(crate) const FORGET_MS: i64 = 300_000;
/// Samples may wait for their step up to this many, or up to `WAITING_PER_SERIES` times the series.
const MAX_WAITING: usize = 1 << 16;
const WAITING_PER_SERIES: usize = 16;
/// Times beyond these (2^52 ms, the year 144,000) are no times; keeps sums of times far from overflow.
const MAX_TIMESTAMP_MS: i64 = 1 << 52;
/// Longest step: 49 days less a little, so that an offset into a step fits 32 bits.
const MAX_STEP_MS: i64 = 1 << 31;

/// A series bound by [`ScopeWindows::bind`]; valid until [`ScopeWindows::take_forgotten`] returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u32);

/// How much one scope may hold; what is new beyond that is refused and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series that are bound.
    pub series: usize,
    /// Services known.
    pub services: usize,
    /// Edges known.
    pub edges: usize,
}

impl Default for Limits {
    /// A fleet of 50,000 services, and twice the series that a receiver takes by default.
    fn default() -> Self {
        Self { series: 4_000_000, services: 50_000, edges: 500_000 }
    }
}

/// The scope holds as many series, services or edges as its [`Limits`] allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// All series state of one scope.
#[derive(Debug)]
pub struct ScopeWindows {
    pub(crate) set: Arc<FeatureSet>,
    pub(crate) limits: Limits,
    pub(crate) step_ms: i64,
    grace_ms: i64,
    pub(crate) series: Vec<Series>,
    /// Time of each series' newest sample, waiting ones included.
    pub(crate) newest_ms: Vec<i64>,
    /// The listed series in the order in which they appeared.
    pub(crate) order: Vec<u32>,
    /// Forgotten, and not yet taken.
    pub(crate) dormant: Vec<u32>,
    /// Bound since the last taking, and between the two before: those never used are taken too.
    pub(crate) bound_lately: Vec<u32>,
    pub(crate) bound_before: Vec<u32>,
    pub(crate) free: Vec<u32>,
    /// By slot: the number of the series' labels.
    pub(crate) keys: Vec<u128>,
    /// Slots, by that number.
    pub(crate) index: HashTable<u32>,
    pub(crate) hasher: LabelHasher,
    pub(crate) profiles: Vec<(Kind, Profile)>,
    pub(crate) registry: Registry,
    pub(crate) pending: Pending,
    /// End of the open step; `None` before the first sample.
    pub(crate) open_end_ms: Option<i64>,
    pub(crate) closed_any: bool,
    /// The scope's clock.
    pub(crate) clock_ms: i64,
    pub(crate) votes: Votes,
    /// What to take for the interval of a series with one sample.
    pub(crate) typical_interval_ms: i64,
    /// Series waited for, and how many of them have passed the open step's end.
    pub(crate) expected: usize,
    pub(crate) passed: usize,
    /// Series whose value still held at the last close.
    pub(crate) holding: usize,
    pub(crate) sums: Sums,
    pub(crate) closed: Vec<ClosedStep>,
    pub(crate) stats: WindowStats,
}

impl ScopeWindows {
    /// Empty windows that close steps of `step_ms` milliseconds (held between 1 ms and 2^31 ms).
    #[must_use]
    pub fn new(set: Arc<FeatureSet>, step_ms: i64) -> Self {
        Self::with_limits(set, step_ms, Limits::default())
    }

    /// As [`ScopeWindows::new`], with limits of one's own.
    #[must_use]
    pub fn with_limits(set: Arc<FeatureSet>, step_ms: i64, limits: Limits) -> Self {
        let step_ms = step_ms.clamp(1, MAX_STEP_MS);
        Self {
            limits,
            sums: Sums::default(),
            set,
            step_ms,
            grace_ms: step_ms.min(MAX_GRACE_MS),
            series: Vec::new(),
            newest_ms: Vec::new(),
            order: Vec::new(),
            dormant: Vec::new(),
            bound_lately: Vec::new(),
            bound_before: Vec::new(),
            free: Vec::new(),
            keys: Vec::new(),
            index: HashTable::new(),
            hasher: LabelHasher::default(),
            profiles: Vec::new(),
            registry: Registry::new(),
            pending: Pending::default(),
            open_end_ms: None,
            closed_any: false,
            clock_ms: i64::MIN,
            votes: Votes::new(),
            typical_interval_ms: step_ms,
            expected: 0,
            passed: 0,
            holding: 0,
            closed: Vec::new(),
            stats: WindowStats::default(),
        }
    }

    /// Other limits from now on. What is known beyond them stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The features that the steps' values follow.
    #[must_use]
    pub fn feature_set(&self) -> &Arc<FeatureSet> {
        &self.set
    }

    /// Takes one sample. O(1) but for the steps it closes; no allocation but for those.
    #[inline]
    pub fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64) {
        let slot = series.0 as usize;
        let Some(&before_ms) = self.newest_ms.get(slot) else {
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
        let open_end_ms = match self.open_end_ms {
            Some(open_end_ms) if self.closed_any && !self.order.is_empty() => open_end_ms,
            _ => self.begin(timestamp_ms),
        };
        if timestamp_ms > open_end_ms {
            if self.pending.len() >= MAX_WAITING && self.pending.len() >= WAITING_PER_SERIES * self.order.len() {
                self.stats.too_far_ahead += 1;
                return;
            }
            self.newest_ms[slot] = timestamp_ms;
            if before_ms < open_end_ms && self.series[slot].expected() {
                self.passed += 1;
            }
            self.pending.keep(open_end_ms, self.step_ms, series.0, timestamp_ms, value);
        } else {
            if timestamp_ms <= open_end_ms - self.step_ms && self.closed_any {
                self.stats.late += 1;
                if timestamp_ms <= open_end_ms - FORGET_MS {
                    return;
                }
            }
            self.newest_ms[slot] = timestamp_ms;
            if timestamp_ms == open_end_ms && self.series[slot].expected() {
                self.passed += 1;
            }
            self.apply(series.0, open_end_ms, timestamp_ms, value);
        }
        self.stats.samples += 1;
        if self.votes.is_due() {
            let interval_ms = self.series[slot].interval_ms().unwrap_or(self.typical_interval_ms);
            self.votes.cast(timestamp_ms, interval_ms, self.voters());
        }
        if (self.closed_any && self.passed >= self.expected && self.passed > 0)
            || timestamp_ms > open_end_ms + self.grace_ms
        {
            self.advance(timestamp_ms);
        }
    }

    /// Hands over, in order, the steps that closed since the last call.
    pub fn close(&mut self, out: &mut Vec<ClosedStep>) {
        out.append(&mut self.closed);
    }

    /// Counters and sizes.
    #[must_use]
    pub fn stats(&self) -> WindowStats {
        let (services, edges) = self.registry.known();
        WindowStats {
            series: self.order.len(),
            services,
            edges,
            waiting: self.pending.len(),
            heap_bytes: self.series.capacity() * (size_of::<Series>() + size_of::<i64>() + size_of::<u128>())
                + (self.order.capacity() + self.dormant.capacity() + self.free.capacity()) * size_of::<u32>()
                + self.index.allocation_size()
                + self.registry.heap_bytes()
                + self.sums.heap_bytes(),
            ..self.stats
        }
    }

    /// Things whose series share all labels but the metric's name and break-downs.
    #[must_use]
    pub fn entities(&self) -> usize {
        self.registry.entities()
    }

    /// The open step's end for a sample while the windows are empty or no step is closed yet.
    #[cold]
    fn begin(&mut self, timestamp_ms: i64) -> i64 {
        let wanted = step_end(timestamp_ms, self.step_ms);
        let open_end_ms = match self.open_end_ms {
            None => wanted,
            // Before anything is closed, an earlier sample moves the beginning back.
            Some(open) if !self.closed_any && wanted < open => {
                self.pending.reopen(open, wanted, self.step_ms);
                let passed = |slot: &&u32| {
                    let slot = **slot as usize;
                    self.series[slot].expected() && self.newest_ms[slot] >= wanted
                };
                self.passed = self.order.iter().filter(passed).count();
                wanted
            }
            // Nothing takes part: skip the silence.
            Some(open) if self.closed_any && self.pending.len() == 0 && wanted > open => wanted,
            Some(open) => open,
        };
        self.open_end_ms = Some(open_end_ms);
        open_end_ms
    }

    /// Takes a sample of the open step, or a late one, into its series.
    fn apply(&mut self, slot: u32, open_end_ms: i64, timestamp_ms: i64, value: f64) {
        let Some(series) = self.series.get_mut(slot as usize) else { return };
        let applied = series.apply(timestamp_ms, value);
        match applied {
            Applied::Next => {}
            Applied::First => self.born(slot, timestamp_ms),
            Applied::Reset => self.stats.resets += 1,
            Applied::NotANumber => self.stats.not_numbers += 1,
            Applied::Stale => {}
        }
        let series = &mut self.series[slot as usize];
        let expected = series.listed() && !series.ended();
        if expected != series.expected() {
            series.set_expected(expected);
            let passed = usize::from(self.newest_ms[slot as usize] >= open_end_ms);
            if expected {
                self.expected += 1;
                self.passed += passed;
            } else {
                self.expected -= 1;
                self.passed -= passed;
            }
        }
    }

    /// How many series a round of votes spans: those that still report. After an outage of all, nobody
    /// does; then a quarter of them must come back before their time is believed.
    fn voters(&self) -> usize {
        if self.closed_any { self.holding.max(self.order.len() / 4) } else { self.order.len() }
    }

    /// Closes every step that is complete now that a sample of this time came.
    #[cold]
    fn advance(&mut self, timestamp_ms: i64) {
        if timestamp_ms > self.clock_ms {
            match self.votes.believe(timestamp_ms, self.voters()) {
                Verdict::Believed => self.clock_ms = timestamp_ms,
                Verdict::Reached(reached_ms) => self.clock_ms = self.clock_ms.max(reached_ms),
                Verdict::Doubted => {}
            }
        }
        while let Some(open_end_ms) = self.open_end_ms {
            let all = self.closed_any && self.passed > 0 && self.passed >= self.expected;
            if !all && self.clock_ms <= open_end_ms + self.grace_ms {
                return;
            }
            let mut next_end_ms = open_end_ms + self.step_ms;
            if let Some(earliest_ms) = self.close_step(open_end_ms) {
                // Nothing stands, and nothing comes before that: skip the silence.
                let wanted_ms = step_end(earliest_ms, self.step_ms).max(next_end_ms);
                self.pending.reopen(next_end_ms - self.step_ms, wanted_ms - self.step_ms, self.step_ms);
                next_end_ms = wanted_ms;
            }
            let open_end_ms = next_end_ms;
            self.open_end_ms = Some(open_end_ms);
            self.closed_any = true;
            if let Some(interval_ms) = self.votes.typical_interval_ms(self.voters()) {
                self.typical_interval_ms = interval_ms;
            }
            let due = self.pending.open(open_end_ms, self.step_ms);
            for sample in &due {
                self.apply(sample.series, open_end_ms, sample.timestamp_ms(open_end_ms), sample.value);
            }
            self.pending.recycle(due);
        }
    }
}
