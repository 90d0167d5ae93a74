//! Counts per bucket, and their sum.

use crate::exposition::{Family, Labels};

/// A histogram over `bounds`, plus one unbounded bucket.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts one observation; bounds are inclusive.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Adds observations that were counted elsewhere; counts beyond the last bucket are ignored.
    pub fn add(&mut self, counts: impl Iterator<Item = u64>, sum: f64) {
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
            family.histogram(labels, &self.counts, self.sum);
        }
    }
}
