//! Counts per bucket, classic and native, and their sum.

use crate::exposition::{Family, Labels};

/// The kind of a native histogram's buckets (<https://prometheus.io/docs/specs/native_histograms/>).
#[derive(Debug, PartialEq)]
pub struct Scale {
    /// Resolution: bucket `i` holds what is above 2^((i-1) / 2^schema), up to 2^(i / 2^schema).
    pub schema: i32,
    /// Up to this value, in seconds, observations are in the zero bucket.
    pub zero_threshold: f64,
}

/// Of what is observed here: four buckets to a doubling.
pub const OBSERVED: Scale = Scale { schema: 2, zero_threshold: 1e-9 };

/// Native buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct Native {
    /// Which they are.
    pub scale: &'static Scale,
    /// In the zero bucket.
    pub zero: u64,
    /// Indexes and counts, ascending; those without a count are left out.
    pub buckets: Vec<(i16, u64)>,
}

impl Native {
    /// Empty ones.
    #[must_use]
    pub fn new(scale: &'static Scale) -> Self {
        Self { scale, zero: 0, buckets: Vec::new() }
    }

    /// Adds observations to a bucket, or for `None` to the zero bucket.
    fn add(&mut self, index: Option<i16>, count: u64) {
        let Some(index) = index else {
            self.zero += count;
            return;
        };
        match self.buckets.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(place) => self.buckets[place].1 += count,
            Err(place) => self.buckets.insert(place, (index, count)),
        }
    }
}

/// 2^(1/4), 2^(2/4), 2^(3/4).
const QUARTERS: [f64; 3] = [1.189_207_115_002_721, std::f64::consts::SQRT_2, 1.681_792_830_507_429];

/// The bucket of [`OBSERVED`] for a value above its threshold, from its exponent and a comparison or two instead of a
/// logarithm.
fn native_index(value: f64) -> i16 {
    const FRACTION: u64 = (1 << 52) - 1;
    const BIAS: i16 = 1023;
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i16 - BIAS;
    let mantissa = f64::from_bits(bits & FRACTION | (BIAS as u64) << 52);
    let beyond = QUARTERS.iter().filter(|quarter| mantissa > **quarter).count() as i16 + i16::from(mantissa > 1.0);
    (exponent << OBSERVED.schema) + beyond
}

/// A histogram over `bounds`, plus one unbounded bucket.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    native: Native,
}

impl Histogram {
    /// An empty one of what is observed here.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self::with_scale(bounds, &OBSERVED)
    }

    /// An empty one of what is counted elsewhere.
    #[must_use]
    pub fn with_scale(bounds: &'static [f64], scale: &'static Scale) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0, native: Native::new(scale) }
    }

    /// Counts one observation; bounds are inclusive.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[bucket] += 1;
        self.sum += value;
        self.native.add((value > OBSERVED.zero_threshold).then(|| native_index(value)), 1);
    }

    /// Adds observations that were counted elsewhere: to a classic bucket, and to a native one or for `None` to the zero
    /// bucket.
    pub fn add(&mut self, bucket: usize, native: Option<i16>, count: u64) {
        if let Some(own) = self.counts.get_mut(bucket) {
            *own += count;
            self.native.add(native, count);
        }
    }

    /// Adds to the sum.
    pub fn add_sum(&mut self, sum: f64) {
        self.sum += sum;
    }

    /// How many were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Whether nothing was observed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// Writes it, if anything was observed.
    pub fn write(&self, family: &mut Family<'_>, labels: &Labels) {
        if !self.is_empty() {
            family.histogram(labels, &self.counts, self.sum, Some(&self.native));
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
