//! The windows of a scope between two runs: stored as a whole, restored exactly.
//!
//! # Guarantees
//! - Restored windows give, for the same samples, the same steps to the bit as those that were stored.
//! - Handles are given anew: hashes of labels are keyed by seeds of the process, so series are bound again by
//!   their labels, which the caller keeps, in the order in which they were first bound.
//! - Windows of other features or of another step are refused.
//!
//! Steps that are closed and not taken yet are not stored: take them first.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::preset::FeatureSet;
use crate::registry::{Known, Link};
use crate::sequence::Sequence;
use crate::series::{NONE, Series};
use crate::stats::WindowStats;
use crate::votes::Votes;
use crate::windows::{ScopeWindows, SeriesRef};

/// Why stored windows cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// They were made by other rules: of features, edges or changes.
    #[error("stored windows are of features {found}, these are {wanted}")]
    Features {
        /// Hash of the stored set.
        found: String,
        /// Hash of the set in use.
        wanted: String,
    },
    /// They were made for another step.
    #[error("stored windows are of a step of {found} ms, this is {wanted} ms")]
    Step {
        /// Stored step.
        found: i64,
        /// Step in use.
        wanted: i64,
    },
}

/// One scope's windows, as stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredWindows<'a> {
    set: String,
    step_ms: i64,
    /// In the order in which they were bound, entity by entity.
    series: Sequence<'a, StoredSeries>,
    order: Cow<'a, [u32]>,
    dormant: Cow<'a, [u32]>,
    bound_lately: Cow<'a, [u32]>,
    bound_before: Cow<'a, [u32]>,
    waiting: Sequence<'a, (u32, i64, f64)>,
    services: Sequence<'a, Known>,
    edges: Sequence<'a, Link>,
    open_end_ms: Option<i64>,
    closed_any: bool,
    clock_ms: i64,
    votes: Votes,
    typical_interval_ms: i64,
    expected: usize,
    passed: usize,
    holding: usize,
    stats: WindowStats,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredSeries {
    handle: u32,
    newest_ms: i64,
    series: Series,
}

/// Arrays longer than serde knows by itself.
pub(crate) mod array {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer, const N: usize>(array: &[i64; N], serializer: S) -> Result<S::Ok, S::Error> {
        array.as_slice().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[i64; N], D::Error> {
        let found = Vec::deserialize(deserializer)?;
        found.try_into().map_err(|found: Vec<i64>| D::Error::invalid_length(found.len(), &"another length"))
    }
}

impl ScopeWindows {
    /// The windows as they are, to be stored.
    #[must_use]
    pub fn store(&self) -> StoredWindows<'_> {
        let stored = |slot: u32| StoredSeries {
            handle: slot,
            newest_ms: self.newest_ms[slot as usize],
            series: self.series[slot as usize].clone(),
        };
        let open_end_ms = self.open_end_ms;
        let waiting = move || {
            let waiting = open_end_ms.map(|open_end_ms| self.pending.waiting(open_end_ms, self.step_ms));
            waiting.into_iter().flatten()
        };
        let bound = self.bound_order();
        let (services, edges) = self.registry.known();
        StoredWindows {
            set: self.set.rules_hash(),
            step_ms: self.step_ms,
            series: Sequence::made(bound.len(), move || bound.clone().into_iter().map(stored)),
            order: Cow::Borrowed(&self.order),
            dormant: Cow::Borrowed(&self.dormant),
            bound_lately: Cow::Borrowed(&self.bound_lately),
            bound_before: Cow::Borrowed(&self.bound_before),
            waiting: Sequence::made(if open_end_ms.is_some() { self.pending.len() } else { 0 }, waiting),
            services: Sequence::made(services, || self.registry.services().cloned()),
            edges: Sequence::made(edges, || self.registry.edges().cloned()),
            open_end_ms,
            closed_any: self.closed_any,
            clock_ms: self.clock_ms,
            votes: self.votes.clone(),
            typical_interval_ms: self.typical_interval_ms,
            expected: self.expected,
            passed: self.passed,
            holding: self.holding,
            stats: self.stats,
        }
    }

    /// Handles, each entity's in the order in which they were bound: its chain begins with the last one.
    fn bound_order(&self) -> Vec<u32> {
        let mut all = Vec::with_capacity(self.index.len());
        for head in self.registry.heads() {
            let (start, mut at) = (all.len(), head);
            while let Some(series) = self.series.get(at as usize) {
                all.push(at);
                at = series.sibling;
            }
            all[start..].reverse();
        }
        all
    }

    /// Windows that go on from stored ones. `labels` gives the labels of a stored handle, as they were bound; a
    /// series without them is left out. Returns the new handle of each stored one too.
    ///
    /// # Errors
    /// Each case of [`RestoreError`].
    pub fn restore<'a>(
        set: Arc<FeatureSet>,
        step_ms: i64,
        stored: StoredWindows<'_>,
        mut labels: impl FnMut(SeriesRef) -> Option<Vec<(&'a str, &'a str)>>,
    ) -> Result<(Self, Vec<(SeriesRef, SeriesRef)>), RestoreError> {
        if stored.set != set.rules_hash() {
            return Err(RestoreError::Features { found: stored.set, wanted: set.rules_hash() });
        }
        let mut windows = Self::new(set, step_ms);
        if stored.step_ms != windows.step_ms {
            return Err(RestoreError::Step { found: stored.step_ms, wanted: windows.step_ms });
        }
        let mut handles = Vec::new();
        for StoredSeries { handle, newest_ms, series } in stored.series.into_vec() {
            let Some(bound) = labels(SeriesRef(handle)).and_then(|labels| windows.bind(&labels)) else { continue };
            let slot = bound.0 as usize;
            windows.newest_ms[slot] = newest_ms;
            windows.series[slot].resume(&series);
            if windows.series[slot].listed() {
                windows.registry.list(windows.series[slot].entity, true);
            }
            handles.push((SeriesRef(handle), bound));
        }
        let most = handles.iter().map(|(old, _)| old.0 as usize + 1).max().unwrap_or(0);
        let mut anew = vec![NONE; most];
        for (old, new) in &handles {
            anew[old.0 as usize] = new.0;
        }
        let new = |old: u32| anew.get(old as usize).copied().filter(|&new| new != NONE);
        let all_new = |old: &[u32]| old.iter().copied().filter_map(new).collect();
        windows.order = all_new(&stored.order);
        windows.dormant = all_new(&stored.dormant);
        windows.bound_lately = all_new(&stored.bound_lately);
        windows.bound_before = all_new(&stored.bound_before);
        if let Some(open_end_ms) = stored.open_end_ms {
            for (series, timestamp_ms, value) in stored.waiting.into_vec() {
                if let Some(series) = new(series) {
                    windows.pending.keep(open_end_ms, windows.step_ms, series, timestamp_ms, value);
                }
            }
        }
        windows.registry.resume(stored.services.into_vec(), stored.edges.into_vec());
        windows.open_end_ms = stored.open_end_ms;
        windows.closed_any = stored.closed_any;
        windows.clock_ms = stored.clock_ms;
        windows.votes = stored.votes;
        windows.typical_interval_ms = stored.typical_interval_ms;
        windows.expected = stored.expected;
        windows.passed = stored.passed;
        windows.holding = stored.holding;
        windows.stats = stored.stats;
        Ok((windows, handles))
    }
}
