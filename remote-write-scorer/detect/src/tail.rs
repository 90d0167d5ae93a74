//! How rare a raw score is in normal operation, beyond what was seen.
//!
//! Below a high threshold `u` the held-out scores speak for themselves (a grid of quantiles). Above it,
//! exceedances follow a generalised Pareto distribution (Pickands 1975; Balkema & de Haan 1974):
//! `P(S > s) = p_u (1 + shape (s - u) / scale)^(-1 / shape)`, the exponential `p_u e^{-(s-u)/scale}` where
//! `shape` is 0. Shape and scale come from probability-weighted moments (Hosking & Wallis, "Parameter and
//! quantile estimation for the generalized Pareto distribution", Technometrics 29, 1987, eq. 5):
//! with mean excess `b0` and `b1 = E[X (1 - F(X))]`, `shape = 2 - b0 / (b0 - 2 b1)` and
//! `scale = 2 b0 b1 / (b0 - 2 b1)`. A few dozen exceedances do not determine a shape, so it is shrunk
//! toward [`PRIOR_SHAPE`] with the weight of [`PRIOR_EXCEEDANCES`] and bounded.
//!
//! Extrapolation is honest about its reach: a probability is never below `1 / (1000 n)` for `n` held-out
//! samples.

use serde::{Deserialize, Serialize};

use crate::stats::{quantile, sorted_finite};

/// Shape that is assumed before the data speak: a little heavier than exponential.
pub const PRIOR_SHAPE: f64 = 0.1;

/// How many exceedances the assumed shape is worth.
pub const PRIOR_EXCEEDANCES: f64 = 100.0;

/// Largest shape that is believed: the variance must exist.
const MAX_SHAPE: f64 = 0.5;

/// Share of the samples above the threshold.
const EXCEED_SHARE: f64 = 0.05;

/// Points of the quantile grid below the threshold.
const BODY_POINTS: usize = 33;

/// How far past the data a probability may reach.
const REACH: f64 = 1000.0;

/// The distribution of raw scores in normal operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    /// Held-out samples it was fitted on.
    pub samples: u64,
    /// Quantiles at probabilities 0, 1/32 .. 1 of the samples at or below the threshold, ascending.
    pub body: Vec<f64>,
    /// Where the fitted tail begins.
    pub threshold: f64,
    /// Share of the samples above the threshold, in (0, 1].
    pub exceed_share: f64,
    /// Scale of the generalised Pareto tail, positive.
    pub scale: f64,
    /// Shape of the generalised Pareto tail, in [0, 0.5].
    pub shape: f64,
}

impl Tail {
    /// From held-out raw scores. Empty or constant input gives a usable, very cautious tail.
    #[must_use]
    pub fn fit(scores: impl IntoIterator<Item = f64>) -> Self {
        let sorted = sorted_finite(scores);
        let samples = sorted.len();
        if samples == 0 {
            return Self {
                samples: 0,
                body: vec![0.0],
                threshold: 1.0,
                exceed_share: 1.0,
                scale: 1.0,
                shape: PRIOR_SHAPE,
            };
        }
        let above = ((samples as f64 * EXCEED_SHARE).ceil() as usize).clamp(10.min(samples), samples);
        let at = samples - above;
        let threshold = if at == 0 { sorted[0] } else { sorted[at - 1] };
        let excess: Vec<f64> = sorted[at..].iter().map(|s| s - threshold).collect();
        let count = excess.len() as f64;
        let mean = excess.iter().sum::<f64>() / count;
        // Plotting positions (i - 0.35) / n as in Hosking & Wallis, section 4.
        let weighted =
            excess.iter().enumerate().map(|(i, x)| x * (1.0 - (i as f64 + 0.65) / count)).sum::<f64>() / count;
        let spread = mean - 2.0 * weighted;
        let fitted = if spread > 1e-12 * mean.max(1e-300) { 2.0 - mean / spread } else { PRIOR_SHAPE };
        let shape = (fitted.clamp(-0.5, 1.0) * count + PRIOR_SHAPE * PRIOR_EXCEEDANCES) / (count + PRIOR_EXCEEDANCES);
        let shape = shape.clamp(0.0, MAX_SHAPE);
        // The mean excess of the distribution is scale / (1 - shape): keep it where the data put it. A
        // constant history has none; a tenth of the level then stands for it.
        let scale = (mean * (1.0 - shape)).max(0.02 * threshold.abs()).max(1e-3);
        let body_part = &sorted[..at.max(1)];
        let body = (0..BODY_POINTS).map(|i| quantile(body_part, i as f64 / (BODY_POINTS - 1) as f64)).collect();
        Self { samples: samples as u64, body, threshold, exceed_share: above as f64 / samples as f64, scale, shape }
    }

    /// The smallest probability this tail ever gives.
    #[must_use]
    pub fn floor(&self) -> f64 {
        1.0 / (REACH * (self.samples.max(1) as f64))
    }

    /// P(S >= score) in normal operation, in [floor, 1]; never increasing in the score.
    #[must_use]
    pub fn probability(&self, score: f64) -> f64 {
        if score.is_nan() {
            return 1.0;
        }
        let raw = if score > self.threshold {
            let x = (score - self.threshold) / self.scale;
            let survival = if self.shape < 1e-9 { (-x).exp() } else { (1.0 + self.shape * x).powf(-1.0 / self.shape) };
            self.exceed_share * survival
        } else {
            // Share of the body at or above the score, by the grid.
            let points = self.body.len();
            let next = self.body.partition_point(|b| *b < score);
            let below = if next == 0 || points < 2 {
                0.0
            } else if next >= points {
                1.0
            } else {
                let (low, high) = (self.body[next - 1], self.body[next]);
                let part = if high > low { (score - low) / (high - low) } else { 1.0 };
                (next as f64 - 1.0 + part) / (points - 1) as f64
            };
            self.exceed_share + (1.0 - self.exceed_share) * (1.0 - below)
        };
        raw.clamp(self.floor(), 1.0)
    }

    /// The score that normal operation exceeds with `probability`; finite and positive.
    #[must_use]
    pub fn level(&self, probability: f64) -> f64 {
        if probability > self.exceed_share && self.exceed_share < 1.0 {
            let below = (1.0 - probability).max(0.0) / (1.0 - self.exceed_share);
            return quantile(&self.body, below).clamp(1e-6, 1e12);
        }
        let ratio = (self.exceed_share / probability.max(1e-300)).max(1.0);
        let x = if self.shape < 1e-9 { ratio.ln() } else { (ratio.powf(self.shape) - 1.0) / self.shape };
        (self.threshold + self.scale * x).clamp(1e-6, 1e12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deterministic uniform numbers in (0, 1).
    fn uniform(n: usize) -> Vec<f64> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        (0..n)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
            })
            .collect()
    }

    #[test]
    fn finds_the_far_quantiles_of_an_exponential_and_of_a_pareto() {
        let exponential = Tail::fit(uniform(20_000).into_iter().map(|u| -u.ln()));
        let level = exponential.level(1e-5);
        assert!((level - 11.5).abs() < 2.0, "{level}");
        let pareto = Tail::fit(uniform(20_000).into_iter().map(|u| u.powf(-0.25)));
        let level = pareto.level(1e-5);
        assert!((13.0..26.0).contains(&level), "{level}; exact 17.8");
    }

    #[test]
    fn probability_falls_with_the_score_and_inverts_level() {
        let tail = Tail::fit(uniform(2000).into_iter().map(|u| -u.ln()));
        let mut last = 1.0;
        for i in 0..4000 {
            let p = tail.probability(f64::from(i) * 0.01);
            assert!(p <= last + 1e-12 && p >= tail.floor());
            last = p;
        }
        for p in [0.5, 0.2, 0.01, 1e-3, 1e-4] {
            assert!((tail.probability(tail.level(p)) / p - 1.0).abs() < 1e-9);
        }
        assert!((tail.probability(0.7) - 0.5).abs() < 0.05);
    }

    #[test]
    fn degenerate_histories_stay_finite() {
        for scores in [vec![], vec![0.0; 50], vec![1.0; 3], vec![f64::NAN, f64::INFINITY], vec![1e300; 20]] {
            let tail = Tail::fit(scores);
            assert!(tail.level(1e-5).is_finite() && tail.level(1e-5) > 0.0);
            for score in [0.0, 1.0, 1e300, f64::INFINITY, f64::NAN] {
                let p = tail.probability(score);
                assert!((0.0..=1.0).contains(&p) && p > 0.0, "{p}");
            }
        }
    }
}
