//! Which sample times are believed: a running majority of the samples themselves.
//!
//! Each vote is a sample's time plus 1.5 intervals of its series; the median of the latest votes bounds
//! the times that are believed. Votes are spread evenly over about as many samples as there are series
//! (one round of scrapes), so a series that fell silent stops voting within a round, and series that are
//! far ahead are outvoted as long as they send less than half of the samples.

/// Votes remembered.
const VOTES: usize = 64;

/// The latest votes.
#[derive(Debug)]
pub(crate) struct Votes {
    due_ms: [i64; VOTES],
    interval_ms: [i64; VOTES],
    cast: usize,
    /// Samples until the next vote.
    wait: usize,
    /// Samples until the median may be taken again, which keeps its cost per sample constant.
    rest: usize,
    believed_ms: i64,
}

impl Votes {
    pub fn new() -> Self {
        Self { due_ms: [0; VOTES], interval_ms: [0; VOTES], cast: 0, wait: 0, rest: 0, believed_ms: i64::MIN }
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
        self.due_ms[at] = timestamp_ms.saturating_add(interval_ms.saturating_mul(3) / 2);
        self.interval_ms[at] = interval_ms;
        self.cast += 1;
        self.wait = (series / VOTES).max(1);
    }

    /// Whether a sample of this time is believed, given how many series there are; may take the median
    /// anew, and then also gives the median interval.
    pub fn believe(&mut self, timestamp_ms: i64, series: usize) -> (bool, Option<i64>) {
        if timestamp_ms <= self.believed_ms {
            return (true, None);
        }
        if self.rest > 0 {
            return (false, None);
        }
        let count = self.cast.min(series.clamp(1, VOTES));
        if count == 0 {
            return (true, None);
        }
        self.rest = count;
        let latest = |votes: &[i64; VOTES]| {
            let mut sorted = [i64::MAX; VOTES];
            for (back, vote) in (1..=count).zip(&mut sorted) {
                *vote = votes[(self.cast - back) % VOTES];
            }
            sorted[..count].sort_unstable();
            // The lower one of two: half of the samples are no majority.
            sorted[(count - 1) / 2]
        };
        let (believed_ms, interval_ms) = (latest(&self.due_ms), latest(&self.interval_ms));
        self.believed_ms = believed_ms;
        (timestamp_ms <= believed_ms, Some(interval_ms))
    }
}
