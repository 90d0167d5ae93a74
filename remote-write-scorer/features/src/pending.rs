//! Samples that belong to steps after the open one, kept until those steps are open.
//!
//! Buffers are reused, so that a steady stream allocates nothing. The total is bounded by the caller.

use std::collections::BTreeMap;

/// One sample that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub value: f64,
    pub series: u32,
    /// How long before its step's end, in milliseconds. Steps are shorter than 2^32 ms (49 days).
    before_end_ms: u32,
}

impl Waiting {
    pub fn timestamp_ms(&self, step_end_ms: i64) -> i64 {
        step_end_ms - i64::from(self.before_end_ms)
    }
}

/// Waiting samples by the end of their step.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Those of the step after the open one: nearly all.
    next: Vec<Waiting>,
    /// Those of later steps.
    later: BTreeMap<i64, Vec<Waiting>>,
    spare: Vec<Vec<Waiting>>,
    len: usize,
}

/// Empty buffers kept for reuse.
const SPARE: usize = 8;

impl Pending {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Keeps a sample of a step after the one that ends at `open_end_ms`.
    #[inline]
    pub fn keep(&mut self, open_end_ms: i64, step_ms: i64, series: u32, timestamp_ms: i64, value: f64) {
        let next_end_ms = open_end_ms + step_ms;
        let (end_ms, buffer) = if timestamp_ms <= next_end_ms {
            (next_end_ms, &mut self.next)
        } else {
            let end_ms = step_end(timestamp_ms, step_ms);
            let spare = &mut self.spare;
            (end_ms, self.later.entry(end_ms).or_insert_with(|| spare.pop().unwrap_or_default()))
        };
        let before_end_ms = u32::try_from(end_ms - timestamp_ms).unwrap_or(u32::MAX);
        buffer.push(Waiting { value, series, before_end_ms });
        self.len += 1;
    }

    /// The samples of the step that just opened, `step_ms` after the last; hand the buffer back to
    /// [`Pending::recycle`].
    pub fn open(&mut self, open_end_ms: i64, step_ms: i64) -> Vec<Waiting> {
        let following = self.later.remove(&(open_end_ms + step_ms)).or_else(|| self.spare.pop()).unwrap_or_default();
        let due = std::mem::replace(&mut self.next, following);
        self.len -= due.len();
        due
    }

    /// All that waits, as (series, time, value), in an order in which [`Pending::keep`] takes it back.
    pub fn waiting(&self, open_end_ms: i64, step_ms: i64) -> impl Iterator<Item = (u32, i64, f64)> {
        let next = std::iter::once((open_end_ms + step_ms, &self.next));
        let all = next.chain(self.later.iter().map(|(&end_ms, buffer)| (end_ms, buffer)));
        all.flat_map(|(end_ms, buffer)| buffer.iter().map(move |one| (one.series, one.timestamp_ms(end_ms), one.value)))
    }

    pub fn recycle(&mut self, mut buffer: Vec<Waiting>) {
        if self.spare.len() < SPARE {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// End of the earliest step that something waits for, given the open step's end.
    pub fn earliest_end_ms(&self, open_end_ms: i64, step_ms: i64) -> Option<i64> {
        if self.next.is_empty() { self.later.keys().next().copied() } else { Some(open_end_ms + step_ms) }
    }

    /// The open step moved to an arbitrary other one: sorts what waits anew.
    pub fn reopen(&mut self, old_end_ms: i64, new_end_ms: i64, step_ms: i64) {
        let next = std::mem::take(&mut self.next);
        if !next.is_empty() {
            self.later.insert(old_end_ms + step_ms, next);
        }
        if let Some(next) = self.later.remove(&(new_end_ms + step_ms)) {
            self.next = next;
        }
    }
}

/// The end of the step that a sample of this time belongs to: the first multiple of `step_ms` at or
/// after it.
pub(crate) fn step_end(timestamp_ms: i64, step_ms: i64) -> i64 {
    let into = timestamp_ms.rem_euclid(step_ms);
    if into == 0 { timestamp_ms } else { timestamp_ms - into + step_ms }
}
