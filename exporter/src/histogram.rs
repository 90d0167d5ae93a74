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
        let index = native_index(value);
        match self.buckets.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(place) => self.buckets[place].1 += 1,
            Err(place) => self.buckets.insert(place, (index, 1)),
        }
    }
}

/// 2^(1/4), 2^(2/4), 2^(3/4).
const QUARTERS: [f64; 3] = [1.189_207_115_002_721, std::f64::consts::SQRT_2, 1.681_792_830_507_429];

/// The bucket of a value above [`ZERO_THRESHOLD`], from its exponent and a comparison or two instead of a logarithm.
fn native_index(value: f64) -> i16 {
    const FRACTION: u64 = (1 << 52) - 1;
    const BIAS: i16 = 1023;
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i16 - BIAS;
    let mantissa = f64::from_bits(bits & FRACTION | (BIAS as u64) << 52);
    let beyond = QUARTERS.iter().filter(|quarter| mantissa > **quarter).count() as i16 + i16::from(mantissa > 1.0);
    (exponent << NATIVE_SCHEMA) + beyond
}

/// A histogram over `bounds`, plus one unbounded bucket.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    /// `None` once observations were added that were counted elsewhere.
    native: Option<Native>,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0, native: Some(Native::default()) }
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
            family.histogram(labels, &self.counts, self.sum, self.native.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_buckets_are_those_of_the_logarithm_and_bounds_are_inclusive() {
        for power in -29..20 {
            let base = f64::from(power).exp2();
            assert_eq!(native_index(base), 4 * power as i16);
            for step in 1..1000 {
                let value = base * (1.0 + f64::from(step) / 1000.0);
                assert_eq!(native_index(value), (value.log2() * 4.0).ceil() as i16, "{value}");
            }
            for (index, quarter) in QUARTERS.iter().enumerate() {
                assert_eq!(native_index(base * quarter), 4 * power as i16 + index as i16 + 1);
            }
        }
        assert_eq!(native_index(f64::MAX), 4096);
        assert_eq!(native_index(f64::INFINITY), 4096);
    }
}
