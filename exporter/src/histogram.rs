//! Counts per bucket, and their sum.

use crate::exposition::{Family, Labels};

/// Resolution of native buckets: four to a doubling.
pub const NATIVE_SCHEMA: i32 = 2;
/// Up to this value, in seconds, observations are in the zero bucket.
pub const ZERO_THRESHOLD: f64 = 1e-9;

/// Native buckets: bucket `i` holds what is above 2^((i-1)/4), up to 2^(i/4)
/// (<https://prometheus.io/docs/specs/native_histograms/>).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Native {
    /// In the zero bucket.
    pub zero: u64,
    /// Indexes and counts, ascending; those without a count are left out.
    pub buckets: Vec<(i16, u64)>,
}

impl Native {
    fn observe(&mut self, value: f64) {
        if value <= ZERO_THRESHOLD {
            self.zero += 1;
            return;
        }
        let index = (value.log2() * f64::from(1 << NATIVE_SCHEMA)).ceil() as i16;
        match self.buckets.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(place) => self.buckets[place].1 += 1,
            Err(place) => self.buckets.insert(place, (index, 1)),
        }
    }
}

/// A histogram over `bounds`, plus one unbounded bucket.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    /// `None` once observations were added that were counted elsewhere.
    native: Option<Box<Native>>,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0, native: Some(Box::default()) }
    }

    /// Counts one observation; bounds are inclusive.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[bucket] += 1;
        self.sum += value;
        if let Some(native) = &mut self.native {
            native.observe(value);
        }
    }

    /// Adds observations that were counted elsewhere; counts beyond the last bucket are ignored.
    pub fn add(&mut self, counts: impl Iterator<Item = u64>, sum: f64) {
        self.native = None;
        for (own, other) in self.counts.iter_mut().zip(counts) {
            *own += other;
        }
        self.sum += sum;
    }

    /// Whether nothing was observed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// Writes it, if anything was observed.
    pub fn write(&self, family: &mut Family<'_>, labels: &Labels) {
        if !self.is_empty() {
            family.histogram(labels, &self.counts, self.sum, self.native.as_deref());
        }
    }
}
