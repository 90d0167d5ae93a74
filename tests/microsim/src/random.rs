//! Seeded randomness.
//!
//! Every draw in the simulation comes from a stream derived from the run's seed and a label, so
//! that two runs with one seed draw the same values in the same order, and so that adding a
//! service does not shift the draws of the others. What a run cannot repeat is the interleaving
//! that the kernel's scheduler chooses.

use std::f64::consts::TAU;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One independent stream of random numbers.
#[derive(Debug)]
pub struct Stream(StdRng);

impl Stream {
    /// The stream of `label` under `seed`.
    pub fn new(seed: u64, label: &str) -> Self {
        Self(StdRng::seed_from_u64(derive(seed, label)))
    }

    /// Uniform in [0, 1): the 53 high bits of a 64-bit draw.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with `probability` (in [0, 1]).
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Standard normal (Box and Muller, Annals of Mathematical Statistics 29, 1958).
    pub fn normal(&mut self) -> f64 {
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// Log-normal with the given median and standard deviation of the logarithm.
    pub fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }

    /// A geometric number of trials with the given mean, at least 1.
    pub fn geometric(&mut self, mean: f64) -> u32 {
        if mean <= 1.0 {
            return 1;
        }
        let failure = (1.0 - 1.0 / mean).ln();
        (1.0 + ((1.0 - self.uniform()).ln() / failure).floor()).min(f64::from(u32::MAX)) as u32
    }

    /// An index drawn in proportion to `weights`; 0 when they sum to nothing.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.len().saturating_sub(1)
    }
}

/// A seed for `label`, derived from `seed`: FNV-1a over both, then the SplitMix64 finaliser
/// (Steele, Lea and Flood, OOPSLA 2014), since FNV alone leaves neighbouring seeds correlated.
pub fn derive(seed: u64, label: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in seed.to_le_bytes().into_iter().chain(label.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_and_label_give_one_stream_and_others_differ() {
        let draw = |seed, label: &str| {
            let mut stream = Stream::new(seed, label);
            (0..32).map(|_| stream.uniform().to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "cart"), draw(1, "cart"));
        assert_ne!(draw(1, "cart"), draw(2, "cart"));
        assert_ne!(draw(1, "cart"), draw(1, "catalog"));
    }

    #[test]
    fn log_normal_has_the_stated_median_and_spread() {
        let mut stream = Stream::new(7, "log-normal");
        let mut draws: Vec<f64> = (0..20_000).map(|_| stream.log_normal(5.0, 0.5)).collect();
        draws.sort_by(f64::total_cmp);
        assert!((draws[10_000] - 5.0).abs() < 0.15, "median {}", draws[10_000]);
        // The 84.13th percentile of a log-normal is median * exp(sigma).
        let upper = draws[16_827];
        assert!((upper - 5.0 * 0.5_f64.exp()).abs() < 0.3, "84th percentile {upper}");
    }

    #[test]
    fn geometric_is_at_least_one_and_has_the_stated_mean() {
        let mut stream = Stream::new(7, "geometric");
        let draws: Vec<u32> = (0..20_000).map(|_| stream.geometric(10.0)).collect();
        let mean = f64::from(draws.iter().sum::<u32>()) / 20_000.0;
        assert!((mean - 10.0).abs() < 0.3, "mean {mean}");
        assert!(draws.iter().all(|&n| n >= 1));
        assert_eq!(stream.geometric(0.0), 1);
    }

    #[test]
    fn weighted_follows_the_weights() {
        let mut stream = Stream::new(7, "weighted");
        let mut hits = [0_u32; 3];
        for _ in 0..30_000 {
            hits[stream.weighted(&[1.0, 0.0, 2.0])] += 1;
        }
        assert_eq!(hits[1], 0);
        assert!((f64::from(hits[2]) / 30_000.0 - 2.0 / 3.0).abs() < 0.02, "{hits:?}");
    }
}
