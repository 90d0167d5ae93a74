//! Reproducible random numbers.
//!
//! SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): a
//! seed gives the same numbers on every machine and in every version of this crate.

use serde::{Deserialize, Serialize};

/// A stream of random numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1).
    pub fn uniform(&mut self) -> f32 {
        ((self.bits() >> 41) as f32 + 0.5) / (1_u32 << 23) as f32
    }

    /// Uniform in `0..n`; 0 where `n` is 0. The bias is below `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// About standard normal: the sum of eight uniforms, which has no tail beyond 4.9. Noise needs none.
    pub fn noise(&mut self) -> f32 {
        let (mut bits, mut sum) = (self.bits(), 0_u64);
        for _ in 0..4 {
            sum += bits & 0xFFFF;
            bits >>= 16;
        }
        let mut bits = self.bits();
        for _ in 0..4 {
            sum += bits & 0xFFFF;
            bits >>= 16;
        }
        // Variance of a sum of eight uniforms on (0, 1) is 8/12.
        (sum as f32 / 65_536.0 - 4.0) / (8.0_f32 / 12.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        // Reference values of SplitMix64 with seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn noise_has_unit_variance() {
        let mut random = Random::new(7);
        let values: Vec<f32> = (0..20_000).map(|_| random.noise()).collect();
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
