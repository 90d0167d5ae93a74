//! One value as the network sees it: a signed-log robust z-score in fixed point.
//!
//! `encode(v) = sign(z) ln(1 + |z|)` with `z = (v - centre) / scale`. Centre and scale are frozen per
//! service, feature and model version. The logarithm keeps a thousandfold deviation finite and ordered
//! without letting it drown everything else. Encoded values are held as 16-bit fixed point in units of
//! 1/1024: 0.1 % of a scale, half the memory of single precision, with one code for "missing"; they
//! saturate at 32, a deviation of 8e13 scales.

use serde::{Deserialize, Serialize};

use crate::stats::{quantile, sorted_finite};

/// The code of a missing value.
pub const MISSING: i16 = i16::MIN;

/// Fixed-point units per unit of encoded value.
const UNITS: f64 = 1024.0;

/// Ratio of the interquartile range to the standard deviation of a normal distribution.
const IQR_PER_SIGMA: f64 = 1.349;

/// Ratio of the 2nd-to-98th percentile range to the standard deviation of a normal distribution.
const WIDE_PER_SIGMA: f64 = 4.107;

/// Smallest scale relative to the size of the centre: about the resolution of a 32-bit float with room
/// for a few operations.
const RELATIVE_FLOOR: f64 = 1e-3;

/// Smallest scale at all.
const ABSOLUTE_FLOOR: f64 = 1e-6;

/// Centre and scale of one feature of one service, in the feature's unit. The scale is finite and
/// positive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// The median of normal operation.
    pub centre: f64,
    /// Robust spread, never below the feature's smallest deviation of interest.
    pub scale: f64,
}

impl Scaling {
    /// From the values of normal operation; those that are not finite are skipped. A constant or empty
    /// history gives a scale of the floor, never zero.
    #[must_use]
    pub fn fit(values: impl IntoIterator<Item = f64>, min_deviation: f64) -> Self {
        let sorted = sorted_finite(values);
        let centre = quantile(&sorted, 0.5);
        let narrow = (quantile(&sorted, 0.75) - quantile(&sorted, 0.25)) / IQR_PER_SIGMA;
        // A feature that is mostly constant with bursts has no interquartile range; the wide one sees them.
        let wide = (quantile(&sorted, 0.98) - quantile(&sorted, 0.02)) / WIDE_PER_SIGMA;
        Self::new(centre, narrow.max(wide), min_deviation)
    }

    /// With the floors applied.
    #[must_use]
    pub fn new(centre: f64, spread: f64, min_deviation: f64) -> Self {
        let centre = if centre.is_finite() { centre.clamp(-1e300, 1e300) } else { 0.0 };
        let floor = ABSOLUTE_FLOOR.max(RELATIVE_FLOOR * centre.abs());
        let floor = if min_deviation.is_finite() { floor.max(min_deviation) } else { floor };
        let scale = if spread.is_finite() { spread.max(floor) } else { floor };
        Self { centre, scale: scale.min(1e300) }
    }

    /// The code of `value`; [`MISSING`] where it is not finite.
    #[must_use]
    pub fn encode(&self, value: f64) -> i16 {
        if !value.is_finite() {
            return MISSING;
        }
        let z = (value - self.centre) / self.scale;
        let units = (z.abs().ln_1p().copysign(z) * UNITS).round();
        units.clamp(-f64::from(i16::MAX), f64::from(i16::MAX)) as i16
    }

    /// The value that a network output stands for, in the feature's unit; always finite.
    #[must_use]
    pub fn decode(&self, encoded: f32) -> f64 {
        let encoded = f64::from(encoded).clamp(-32.0, 32.0);
        let encoded = if encoded.is_nan() { 0.0 } else { encoded };
        (self.centre + self.scale * encoded.abs().exp_m1().copysign(encoded)).clamp(f64::MIN, f64::MAX)
    }
}

/// The number that a code stands for; 0 for a missing one, which is what the network gets there.
#[must_use]
pub fn to_f32(code: i16) -> f32 {
    if code == MISSING { 0.0 } else { f32::from(code) / UNITS as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_history_has_a_finite_scale_and_orders_deviations() {
        let scaling = Scaling::fit(vec![5.0; 100], 0.0);
        assert_eq!(scaling.encode(5.0), 0);
        let (small, large) = (scaling.encode(6.0), scaling.encode(1e9));
        assert!(0 < small && small < large && large < i16::MAX);
        assert!(scaling.decode(f32::INFINITY).is_finite());
        assert!(scaling.decode(f32::NAN).is_finite());
    }

    #[test]
    fn an_empty_history_and_odd_values_stay_finite() {
        let scaling = Scaling::fit([f64::NAN, f64::INFINITY], f64::NAN);
        assert!(scaling.scale > 0.0 && scaling.scale.is_finite());
        assert_eq!(scaling.encode(f64::NAN), MISSING);
        assert_eq!(scaling.encode(f64::NEG_INFINITY), MISSING);
        assert_ne!(scaling.encode(f64::MIN), MISSING);
        assert!(Scaling::fit([f64::MIN, f64::MAX, 0.0, 1.0], 0.0).scale.is_finite());
    }

    #[test]
    fn a_deviation_below_the_smallest_of_interest_stays_small() {
        let scaling = Scaling::fit((0..100).map(|i| 0.001 + 1e-6 * f64::from(i % 3)), 0.01);
        assert!(to_f32(scaling.encode(0.002)) < 0.1);
    }

    #[test]
    fn decode_inverts_encode_to_the_resolution() {
        let scaling = Scaling::fit((0..1000).map(|i| f64::from(i % 17)), 0.0);
        for value in [-40.0, 0.0, 3.5, 8.0, 900.0] {
            let back = scaling.decode(to_f32(scaling.encode(value)));
            assert!((back - value).abs() <= 2e-3 * (value - scaling.centre).abs() + 1e-2, "{value} {back}");
        }
    }
}
