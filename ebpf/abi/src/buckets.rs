//! Buckets of durations: fine ones, of which both kinds of histogram are told exactly.
//!
//! Bounds are those of a native histogram of schema 1, 2^(n/2) seconds
//! (<https://prometheus.io/docs/specs/native_histograms/>), together with the classic ones. A native bucket or a classic
//! one is thus the sum of fine ones, and neither is made up from the other. A quantile by the native buckets is wrong by
//! a factor of 2^(1/2) at most, by the classic ones of 10/3.

use core::hint::black_box;

/// Upper bounds of the classic buckets but the last, which has none. Half-decades from 1 ms to 10 s: five
/// statuses with ten buckets, sum and count each stay within 60 series per edge.
pub const CLASSIC_NS: [u64; 9] = [
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
    3_000_000_000,
    10_000_000_000,
];

/// The least power of 2^(1/2) that is a bound: 7.6 us. What is below is all in one bucket.
pub const LEAST_POWER: i32 = -34;
/// The largest: 36 h.
pub const MOST_POWER: i32 = 34;

const POWERS: usize = (MOST_POWER - LEAST_POWER + 1) as usize;
/// One second is of both kinds.
const BOUNDS: usize = POWERS + CLASSIC_NS.len() - 1;
/// Fine buckets, the unbounded one included.
pub const BUCKETS: usize = BOUNDS + 1;

/// Upper bounds of the native buckets.
const POWERS_NS: [u64; POWERS] = powers();
/// Upper bounds of the fine buckets but the last; inclusive, as Prometheus has them.
const BOUNDS_NS: [u64; BOUNDS] = bounds();
/// A power of two that has room for them.
const PLACES: usize = BUCKETS.next_power_of_two();
const HIGHEST: u64 = i64::MAX as u64;
/// In memory, to be indexed; behind them is what no duration is above.
static IN_MEMORY: [u64; PLACES] = {
    let mut places = [HIGHEST; PLACES];
    let mut place = 0;
    while place < BOUNDS {
        places[place] = BOUNDS_NS[place];
        place += 1;
    }
    places
};

/// 2^(n/2) seconds in whole nanoseconds: a duration in these is above the one where it is above the other.
const fn powers() -> [u64; POWERS] {
    const SECOND_SQUARED: u128 = 1_000_000_000_000_000_000;
    let mut powers = [0; POWERS];
    let mut place = 0;
    while place < POWERS {
        let power = LEAST_POWER + place as i32;
        let squared = if power < 0 { SECOND_SQUARED >> -power } else { SECOND_SQUARED << power };
        powers[place] = squared.isqrt() as u64;
        place += 1;
    }
    powers
}

/// Both kinds in their order.
const fn bounds() -> [u64; BOUNDS] {
    let mut bounds = [0; BOUNDS];
    let (mut power, mut classic, mut place) = (0, 0, 0);
    while place < BOUNDS {
        let next_power = if power < POWERS { POWERS_NS[power] } else { u64::MAX };
        let next_classic = if classic < CLASSIC_NS.len() { CLASSIC_NS[classic] } else { u64::MAX };
        bounds[place] = if next_power < next_classic { next_power } else { next_classic };
        power += (next_power <= next_classic) as usize;
        classic += (next_classic <= next_power) as usize;
        place += 1;
    }
    bounds
}

/// Index of the fine bucket that a duration falls into.
///
/// Without a branch: the kernel's verifier would follow each way to each bucket.
#[inline(always)]
#[must_use]
pub fn bucket(duration_ns: u64) -> usize {
    let duration_ns = duration_ns & HIGHEST;
    // How many bounds are below it, bit by bit. Of a difference of numbers of 63 bits, the highest bit is the sign.
    let mut below = 0;
    let mut bit = PLACES / 2;
    while bit > 0 {
        let bound = IN_MEMORY[black_box(below + bit - 1) & (PLACES - 1)];
        below += (bound.wrapping_sub(duration_ns) >> 63) as usize * bit;
        bit /= 2;
    }
    below
}

/// How many of some bounds are below the upper one of a fine bucket.
const fn bounds_below(bounds: &[u64], bucket: usize) -> usize {
    let upper = if bucket < BOUNDS { BOUNDS_NS[bucket] } else { u64::MAX };
    let mut below = 0;
    while below < bounds.len() && bounds[below] < upper {
        below += 1;
    }
    below
}

/// Index of the classic bucket that a fine one is part of.
#[must_use]
pub const fn classic_of(bucket: usize) -> usize {
    bounds_below(&CLASSIC_NS, bucket)
}

/// The power of 2^(1/2) seconds that is the upper bound of the native bucket that a fine one is part of; one more than
/// [`MOST_POWER`] for the unbounded one.
#[must_use]
pub const fn power_of(bucket: usize) -> i32 {
    LEAST_POWER + bounds_below(&POWERS_NS, bucket) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_hold_both_kinds() {
        assert!(BOUNDS_NS.is_sorted_by(|before, after| before < after));
        assert!(CLASSIC_NS.iter().all(|bound| BOUNDS_NS.contains(bound)));
        assert!(POWERS_NS.iter().all(|bound| BOUNDS_NS.contains(bound)));
        let power_ns = |power: i32| POWERS_NS[(power - LEAST_POWER) as usize];
        assert_eq!([0, -20, 1].map(power_ns), [1_000_000_000, 976_562, 1_414_213_562]);
    }

    #[test]
    fn durations_on_a_bound_fall_below_it() {
        for (place, bound) in BOUNDS_NS.iter().enumerate() {
            assert_eq!((bucket(*bound), bucket(*bound + 1)), (place, place + 1));
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn a_fine_bucket_is_within_one_of_each_kind() {
        for bucket in 0..BUCKETS {
            let upper = BOUNDS_NS.get(bucket).copied().unwrap_or(u64::MAX);
            let lower = bucket.checked_sub(1).map_or(0, |below| BOUNDS_NS[below]);
            let classic = classic_of(bucket);
            assert!(CLASSIC_NS.get(classic).is_none_or(|bound| upper <= *bound));
            assert!(classic == 0 || CLASSIC_NS[classic - 1] <= lower);
            let power = (power_of(bucket) - LEAST_POWER) as usize;
            assert!(POWERS_NS.get(power).is_none_or(|bound| upper <= *bound));
            assert!(power == 0 || POWERS_NS[power - 1] <= lower);
        }
        assert_eq!((classic_of(BUCKETS - 1), power_of(BUCKETS - 1)), (9, MOST_POWER + 1));
    }
}
