//! The staleness marker: one NaN bit pattern that ends a series.
//!
//! Source: Prometheus `model/value/value.go`, `StaleNaN = 0x7ff0000000000002`. It must be compared by
//! bits, since it is a NaN, and must be copied by bits, since arithmetic may quieten it.

/// Bits of the value that says "this series has ended".
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether this value is the staleness marker rather than an ordinary NaN.
#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The staleness marker as a value.
#[must_use]
pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marker_is_stale() {
        assert!(is_stale(stale_marker()));
        assert!(!is_stale(f64::NAN));
        assert!(!is_stale(0.0));
    }
}
