//! The state of one series: what its value at a step's end is.
//!
//! A **gauge's** value at a step's end is its newest sample at or before that end. A **counter's** is its
//! rate: the increase between the newest sample at or before this step's end and the newest one at or
//! before the last step's end, over the time between those two samples. So a step in which jitter put
//! no sample repeats the last rate (neither zero, nor doubled in the next step), a step with several
//! samples gives the mean over them, and steps shorter than the series' interval repeat the rate until
//! the next sample.
//!
//! Either value **holds** for 2.5 of the series' own intervals after its newest sample, then it is
//! missing until the next sample. The interval is the median of the last three distances between
//! samples, so that one gap does not change it. A stale marker ends the value at once. After a gap, a
//! counter's first rate is its mean over the gap.
//!
//! A decrease of a counter is a reset: the new value counts from zero. Decreases of less than a
//! millionth of the value are rounding in a sum of floats (seen with CPU seconds summed over
//! processors), not resets, and count as no change.

use serde::{Deserialize, Serialize};

use crate::rules::Kind;

/// Bits of the stale marker: a series ends here
/// (<https://prometheus.io/docs/specs/prw/remote_write_spec/>, "Stale Markers").
pub(crate) const STALE_MARKER: u64 = 0x7ff0_0000_0000_0002;

/// No entity, no sibling, no service.
pub(crate) const NONE: u32 = u32::MAX;

/// Values hold for 2.5 intervals of at most this, whatever distance two samples had. (Prometheus itself
/// forgets a sample after 5 minutes.)
const MAX_INTERVAL_MS: i64 = 3_600_000;

/// See the module's documentation on resets.
const ROUNDING: f64 = 1e-6;

const COUNTER: u8 = 1;
const STARTED: u8 = 2;
const ENDED: u8 = 4;
const EXPECTED: u8 = 8;
const LISTED: u8 = 16;

/// One series. Exactly one cache line, since `push` touches one at random per sample.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[repr(align(64))]
pub(crate) struct Series {
    /// Time of the newest sample taken into this state.
    last_ms: i64,
    /// Its value.
    value: f64,
    /// Counters: time up to which `increase` is already accounted for in `rate`.
    anchor_ms: i64,
    /// Counters: increase since `anchor_ms`.
    increase: f64,
    /// Counters: per second, as of the last step with a new sample; NaN before the second sample.
    rate: f64,
    /// The last three distances between samples in milliseconds; zero where there was none yet.
    distances_ms: [u32; 3],
    /// Whose series this is; shared with its siblings.
    pub entity: u32,
    /// Next series of the same entity.
    pub sibling: u32,
    /// What it counts for.
    pub profile: u16,
    flags: u8,
    oldest_distance: u8,
}

/// What a sample did to its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The first sample of this series.
    First,
    /// One more.
    Next,
    /// One more, after a counter's reset.
    Reset,
    /// A value that says nothing (NaN or infinite).
    NotANumber,
    /// The end of the series.
    Stale,
}

impl Series {
    pub fn new(kind: Kind, entity: u32, sibling: u32, profile: u16) -> Self {
        Self {
            last_ms: i64::MIN,
            value: f64::NAN,
            anchor_ms: i64::MIN,
            increase: 0.0,
            rate: f64::NAN,
            distances_ms: [0; 3],
            entity,
            sibling,
            profile,
            flags: if kind == Kind::Counter { COUNTER } else { 0 },
            oldest_distance: 0,
        }
    }

    /// Takes over what is remembered of the samples, and stays whose series it is.
    pub fn resume(&mut self, stored: &Self) {
        *self = Self { entity: self.entity, sibling: self.sibling, profile: self.profile, ..stored.clone() };
    }

    /// Back to before the first sample.
    pub fn restart(&mut self) {
        let kind = if self.is(COUNTER) { Kind::Counter } else { Kind::Gauge };
        *self = Self::new(kind, self.entity, self.sibling, self.profile);
    }

    /// Takes a sample newer than all before it.
    #[inline]
    pub fn apply(&mut self, timestamp_ms: i64, value: f64) -> Applied {
        if value.to_bits() == STALE_MARKER {
            self.set(ENDED, true);
            return Applied::Stale;
        }
        let counter = self.is(COUNTER);
        if !value.is_finite() {
            if !counter && self.is(STARTED) {
                self.value = f64::NAN;
                self.step_to(timestamp_ms);
                self.flags &= !ENDED;
            }
            return Applied::NotANumber;
        }
        let mut applied = Applied::Next;
        if !counter {
            self.value = value;
            if !self.is(STARTED) {
                applied = Applied::First;
            }
        } else if !self.is(STARTED) {
            self.value = value;
            self.anchor_ms = timestamp_ms;
            applied = Applied::First;
        } else if value >= self.value {
            self.increase += value - self.value;
            self.value = value;
        } else if value < self.value * (1.0 - ROUNDING) {
            self.increase += value;
            self.value = value;
            applied = Applied::Reset;
        }
        self.step_to(timestamp_ms);
        self.flags = self.flags & !ENDED | STARTED;
        applied
    }

    #[inline]
    fn step_to(&mut self, timestamp_ms: i64) {
        if self.is(STARTED) {
            let distance = u32::try_from(timestamp_ms.saturating_sub(self.last_ms)).unwrap_or(u32::MAX);
            if let Some(oldest) = self.distances_ms.get_mut(usize::from(self.oldest_distance)) {
                *oldest = distance;
            }
            self.oldest_distance = if self.oldest_distance >= 2 { 0 } else { self.oldest_distance + 1 };
        }
        self.last_ms = timestamp_ms;
    }

    /// A counter whose first sample was just taken counts from zero at `since_ms`.
    pub fn count_from_zero(&mut self, since_ms: i64) {
        self.anchor_ms = since_ms;
        self.increase = self.value;
    }

    /// The series' own interval in milliseconds; `None` before the second sample.
    #[inline]
    pub fn interval_ms(&self) -> Option<i64> {
        let [a, b, c] = self.distances_ms.map(i64::from);
        match (a, b, c) {
            (0, _, _) => None,
            (_, 0, _) => Some(a),
            (_, _, 0) => Some(a.min(b)),
            _ => Some(a.max(b).min(c).max(a.min(b))),
        }
    }

    /// For how long after its newest sample the value stands, given what to assume of a series whose
    /// interval is not known yet.
    #[inline]
    pub fn hold_ms(&self, assumed_interval_ms: i64) -> i64 {
        self.interval_ms().unwrap_or(assumed_interval_ms).min(MAX_INTERVAL_MS) * 5 / 2
    }

    /// The value at a step's end; NaN where missing. To be called once per step, in order.
    #[inline]
    pub fn at_step_end(&mut self, end_ms: i64, hold_ms: i64) -> f64 {
        if !self.is(STARTED) || self.last_ms > end_ms {
            return f64::NAN;
        }
        if self.is(COUNTER) && self.last_ms > self.anchor_ms {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds between samples fit 53 bits")]
            let seconds = (self.last_ms - self.anchor_ms) as f64 / 1000.0;
            self.rate = self.increase / seconds;
            self.anchor_ms = self.last_ms;
            self.increase = 0.0;
        }
        if self.is(ENDED) || end_ms - self.last_ms > hold_ms {
            return f64::NAN;
        }
        if self.is(COUNTER) { self.rate } else { self.value }
    }

    /// When the thing behind this series last reported before `before_ms`, if it still does and has reported
    /// twice by then: what was missing from one report may have been lost on its way.
    pub fn reported_before(&self, before_ms: i64, assumed_interval_ms: i64) -> Option<i64> {
        if !self.is(STARTED) || self.is(ENDED) {
            return None;
        }
        let distances = self.distances_ms.iter().filter(|distance| **distance > 0).count();
        let reported_ms = if self.last_ms < before_ms {
            (distances > 0).then_some(self.last_ms)?
        } else {
            if distances < 2 {
                return None;
            }
            let newest = if self.oldest_distance == 0 { 2 } else { usize::from(self.oldest_distance) - 1 };
            match self.distances_ms.get(newest) {
                Some(&distance) if distance > 0 => self.last_ms - i64::from(distance),
                _ => return None,
            }
        };
        (reported_ms < before_ms && before_ms - reported_ms <= self.hold_ms(assumed_interval_ms)).then_some(reported_ms)
    }

    /// Whether a next sample is waited for before a step closes.
    pub fn expected(&self) -> bool {
        self.is(EXPECTED)
    }

    pub fn set_expected(&mut self, expected: bool) {
        self.set(EXPECTED, expected);
    }

    /// Whether the series had a sample lately, and so takes part in steps.
    pub fn listed(&self) -> bool {
        self.is(LISTED)
    }

    pub fn set_listed(&mut self, listed: bool) {
        self.set(LISTED, listed);
    }

    /// Time since the newest sample of this state.
    pub fn silent_ms(&self, end_ms: i64) -> i64 {
        end_ms.saturating_sub(self.last_ms)
    }

    /// Time of the newest sample of this state if it lies after `end_ms`.
    pub fn newest_after(&self, end_ms: i64) -> Option<i64> {
        (self.last_ms > end_ms).then_some(self.last_ms)
    }

    pub fn ended(&self) -> bool {
        self.is(ENDED)
    }

    pub fn is_counter(&self) -> bool {
        self.is(COUNTER)
    }

    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(samples: &[(i64, f64)]) -> Series {
        let mut series = Series::new(Kind::Counter, 0, NONE, 0);
        for &(t, v) in samples {
            series.apply(t, v);
        }
        series
    }

    #[test]
    fn a_series_is_one_cache_line() {
        assert_eq!(size_of::<Series>(), 64);
    }

    #[test]
    fn a_rate_is_the_increase_over_the_time_between_the_samples_not_over_the_step() {
        let mut series = counter(&[(900, 10.0)]);
        assert!(series.at_step_end(1000, 5000).is_nan());
        series.apply(1950, 31.0);
        assert_eq!(series.at_step_end(2000, 5000), 20.0);
    }

    #[test]
    fn a_step_without_a_sample_repeats_the_rate_and_the_next_does_not_double_it() {
        let mut series = counter(&[(990, 0.0), (1990, 10.0)]);
        assert_eq!(series.at_step_end(2000, 2500), 10.0);
        assert_eq!(series.at_step_end(3000, 2500), 10.0);
        series.apply(3010, 20.2);
        series.apply(3990, 30.0);
        assert_eq!(series.at_step_end(4000, 2500), 10.0);
    }

    #[test]
    fn a_reset_counts_the_new_value_from_zero() {
        let mut series = counter(&[(1000, 500.0)]);
        assert!(series.at_step_end(1000, 2500).is_nan());
        assert_eq!(series.apply(2000, 7.0), Applied::Reset);
        assert_eq!(series.at_step_end(2000, 2500), 7.0);
        series.apply(3000, 9.0);
        assert_eq!(series.at_step_end(3000, 2500), 2.0);
    }

    #[test]
    fn rounding_downward_is_no_reset() {
        let mut series = counter(&[(1000, 123_456.789)]);
        assert_eq!(series.apply(2000, 123_456.788), Applied::Next);
        assert_eq!(series.at_step_end(2000, 2500), 0.0);
        series.apply(3000, 123_457.789);
        assert!((series.at_step_end(3000, 2500) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_interval_is_the_median_of_three_so_that_a_gap_does_not_change_it() {
        let mut series = counter(&[(0, 0.0)]);
        assert_eq!(series.interval_ms(), None);
        for (t, expected) in [(15_000, 15_000), (30_000, 15_000), (600_000, 15_000), (615_000, 15_000)] {
            series.apply(t, 0.0);
            assert_eq!(series.interval_ms(), Some(expected), "after {t}");
        }
    }

    #[test]
    fn a_value_holds_for_two_and_a_half_intervals() {
        let mut series = Series::new(Kind::Gauge, 0, NONE, 0);
        for t in 0..4 {
            series.apply(t * 1000, 5.0);
        }
        let hold = series.hold_ms(99);
        assert_eq!(hold, 2500);
        assert_eq!(series.at_step_end(5500, hold), 5.0);
        assert!(series.at_step_end(5501, hold).is_nan());
    }

    #[test]
    fn a_stale_marker_ends_the_value_and_a_sample_revives_it() {
        let mut series = counter(&[(1000, 1.0), (2000, 2.0)]);
        assert_eq!(series.apply(3000, f64::from_bits(STALE_MARKER)), Applied::Stale);
        assert!(series.at_step_end(3000, 2500).is_nan());
        series.apply(4000, 6.0);
        assert_eq!(series.at_step_end(4000, 2500), 2.0);
    }

    #[test]
    fn a_value_that_is_no_number_leaves_a_counter_alone_and_makes_a_gauge_missing() {
        let mut series = counter(&[(1000, 1.0), (2000, 2.0)]);
        assert_eq!(series.apply(3000, f64::NAN), Applied::NotANumber);
        assert_eq!(series.at_step_end(3000, 2500), 1.0);
        let mut gauge = Series::new(Kind::Gauge, 0, NONE, 0);
        gauge.apply(1000, 1.0);
        gauge.apply(2000, f64::INFINITY);
        assert!(gauge.at_step_end(2000, 2500).is_nan());
        gauge.apply(3000, 2.0);
        assert_eq!(gauge.at_step_end(3000, 2500), 2.0);
    }
}
