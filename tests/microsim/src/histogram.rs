//! Latencies in logarithmic buckets.
//!
//! Bucket i covers [10 us * 1.05^i, 10 us * 1.05^(i+1)): a quantile is off by at most 2.5 %.
//! Values outside 10 us to 120 s land in the first or last bucket. Histograms merge by addition,
//! so the counts of a service that died and came back add up.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const LOWEST_SECONDS: f64 = 1e-5;
const GROWTH: f64 = 1.05;
/// ln(120 s / 10 us) / ln(1.05), rounded up.
const BUCKETS: u16 = 335;

/// Counts per bucket, sparse.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    buckets: BTreeMap<u16, u64>,
    sum_seconds: f64,
    max_seconds: f64,
}

/// What a histogram says, in seconds; all zero when nothing was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Number of values.
    pub count: u64,
    /// Exact mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Exact maximum.
    pub max: f64,
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let seconds = latency.as_secs_f64();
        let position = (seconds / LOWEST_SECONDS).max(1.0).ln() / GROWTH.ln();
        *self.buckets.entry((position as u16).min(BUCKETS - 1)).or_default() += 1;
        self.sum_seconds += seconds;
        self.max_seconds = self.max_seconds.max(seconds);
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Self) {
        for (&bucket, &count) in &other.buckets {
            *self.buckets.entry(bucket).or_default() += count;
        }
        self.sum_seconds += other.sum_seconds;
        self.max_seconds = self.max_seconds.max(other.max_seconds);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// The value below which `share` (in [0, 1]) of the values lie, in seconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let count = self.count();
        let wanted = ((share * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (&bucket, &in_bucket) in &self.buckets {
            seen += in_bucket;
            if seen >= wanted {
                return (LOWEST_SECONDS * GROWTH.powf(f64::from(bucket) + 0.5)).min(self.max_seconds);
            }
        }
        0.0
    }

    /// Mean, quantiles and maximum.
    pub fn quantiles(&self) -> Quantiles {
        let count = self.count();
        Quantiles {
            count,
            mean: if count == 0 { 0.0 } else { self.sum_seconds / count as f64 },
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            max: self.max_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_stated_error() {
        let mut histogram = Histogram::default();
        for millis in 1..=1000 {
            histogram.record(Duration::from_millis(millis));
        }
        let said = histogram.quantiles();
        for (value, truth) in [(said.p50, 0.5), (said.p90, 0.9), (said.p99, 0.99)] {
            assert!((value / truth - 1.0).abs() < 0.026, "{value} for {truth}");
        }
        assert_eq!(said.count, 1000);
        assert!((said.mean - 0.5005).abs() < 1e-9);
        assert!((said.max - 1.0).abs() < 1e-12);
    }

    #[test]
    fn merging_adds_and_extremes_are_kept_in_range() {
        let mut left = Histogram::default();
        left.record(Duration::ZERO);
        let mut right = Histogram::default();
        right.record(Duration::from_secs(4000));
        left.merge(&right);
        assert_eq!(left.count(), 2);
        assert!(left.quantile(0.0) <= 1.1e-5);
        assert!(left.quantile(1.0) >= 100.0);
        assert_eq!(Histogram::default().quantiles(), Quantiles::default());
    }
}
