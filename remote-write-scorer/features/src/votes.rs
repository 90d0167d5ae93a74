//! How far the scope's clock goes: a running majority of the samples themselves.
//!
//! Each vote is a sample's time and its series' interval. A sample time is believed up to the median of
//! (time + 1.5 intervals) over the latest votes; the clock goes to believed times, and at a time that is
//! not believed to the median time itself, which a majority has reached. Votes are spread evenly over
//! about as many samples as there are series (one round of scrapes), so a series that fell silent stops
//! voting within a round, and series that are far ahead are outvoted as long as they send less than
//! half of the samples.

use serde::{Deserialize, Serialize};

/// Votes remembered.
const VOTES: usize = 64;

/// The latest votes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Votes {
    #[serde(with = "crate::snapshot::array")]
    time_ms: [i64; VOTES],
    #[serde(with = "crate::snapshot::array")]
    interval_ms: [i64; VOTES],
    cast: usize,
    /// Samples until the next vote.
    wait: usize,
    /// Samples until the medians may be taken again, which keeps their cost per sample constant.
    rest: usize,
    believed_ms: i64,
}

/// What the votes amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The time is believed.
    Believed,
    /// It is not, and nothing is known beyond what the last verdict said.
    Doubted,
    /// It is not, but this time has been reached by a majority.
    Reached(i64),
}

impl Votes {
    pub fn new() -> Self {
        Self { time_ms: [0; VOTES], interval_ms: [0; VOTES], cast: 0, wait: 0, rest: 0, believed_ms: i64::MIN }
    }

    /// Counts a sample; whether it has a vote.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        self.rest = self.rest.saturating_sub(1);
        self.wait = self.wait.saturating_sub(1);
        self.wait == 0
    }

    /// Casts the vote of a sample that is due.
    pub fn cast(&mut self, timestamp_ms: i64, interval_ms: i64, series: usize) {
        let at = self.cast % VOTES;
        self.time_ms[at] = timestamp_ms;
        self.interval_ms[at] = interval_ms;
        self.cast += 1;
        self.wait = (series / VOTES).max(1);
    }

    /// Whether a sample of this time is believed, given how many series there are.
    pub fn believe(&mut self, timestamp_ms: i64, series: usize) -> Verdict {
        if timestamp_ms <= self.believed_ms {
            return Verdict::Believed;
        }
        let count = self.cast.min(series.clamp(1, VOTES));
        if self.rest > 0 || count == 0 {
            return Verdict::Doubted;
        }
        self.rest = count;
        self.believed_ms = self.median(count, |time_ms, interval_ms| time_ms.saturating_add(interval_ms * 3 / 2));
        if timestamp_ms <= self.believed_ms {
            Verdict::Believed
        } else {
            Verdict::Reached(self.median(count, |time_ms, _| time_ms))
        }
    }

    /// Median interval of the latest votes; `None` before the first.
    pub fn typical_interval_ms(&self, series: usize) -> Option<i64> {
        let count = self.cast.min(series.clamp(1, VOTES));
        (count > 0).then(|| self.median(count, |_, interval_ms| interval_ms))
    }

    fn median(&self, count: usize, figure: impl Fn(i64, i64) -> i64) -> i64 {
        let mut sorted = [i64::MAX; VOTES];
        for (back, place) in (1..=count).zip(&mut sorted) {
            let at = (self.cast - back) % VOTES;
            *place = figure(self.time_ms[at], self.interval_ms[at]);
        }
        sorted[..count].sort_unstable();
        // The lower one of two: half of the samples are no majority.
        sorted[(count - 1) / 2]
    }
}
