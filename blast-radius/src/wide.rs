//! Non-negative numbers with 53 bits of precision and a practically unlimited exponent.
//!
//! A table entry of the elimination is a product of hundreds of likelihood ratios: far outside the range
//! of an `f64`, but its relative precision is all that is needed. A [`Wide`] keeps the mantissa in
//! [1, 2) (or 0) and the exponent apart. A logarithm per operation would be slower and less accurate.

use core::cmp::Ordering;

const FRACTION_BITS: u64 = (1 << 52) - 1;
const EXPONENT_OF_ONE: u64 = 1023 << 52;
/// Beyond this difference of exponents the smaller summand is below half a unit of the larger one.
const NEGLIGIBLE: i64 = 54;

/// What the elimination needs of a number: a commutative semiring.
pub(crate) trait Number: Copy {
    const ZERO: Self;
    const ONE: Self;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

/// `mantissa * 2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wide {
    mantissa: f64,
    exponent: i64,
}

impl Wide {
    /// A finite, non-negative `value`; anything else becomes zero (callers check first).
    pub(crate) fn new(value: f64) -> Self {
        if !(value > 0.0 && value < f64::INFINITY) {
            return Self::ZERO;
        }
        // Subnormal numbers are brought into the normal range first.
        let (value, shift) =
            if value < f64::MIN_POSITIVE { (value * 18_014_398_509_481_984.0, 54) } else { (value, 0) };
        let bits = value.to_bits();
        Self {
            mantissa: f64::from_bits((bits & FRACTION_BITS) | EXPONENT_OF_ONE),
            exponent: (bits >> 52) as i64 - 1023 - shift,
        }
    }

    /// e to the `power`, for any power but NaN and plus infinity.
    pub(crate) fn exp(power: f64) -> Self {
        if power.abs() <= 700.0 {
            return Self::new(libm::exp(power));
        }
        if power < 0.0 && power.is_infinite() {
            return Self::ZERO;
        }
        // Clamped where the exponent would leave i64: no sum of real evidence comes near.
        let whole = libm::floor(power / core::f64::consts::LN_2).clamp(-1e15, 1e15);
        let rest = (power - whole * core::f64::consts::LN_2).clamp(-700.0, 700.0);
        let mut result = Self::new(libm::exp(rest));
        result.exponent += whole as i64;
        result
    }

    pub(crate) fn is_zero(self) -> bool {
        self.mantissa == 0.0
    }

    /// Natural logarithm; minus infinity for zero.
    pub(crate) fn ln(self) -> f64 {
        if self.is_zero() {
            return f64::NEG_INFINITY;
        }
        // Around one the two terms would cancel.
        if self.exponent == -1 {
            return libm::log(self.mantissa * 0.5);
        }
        self.exponent as f64 * core::f64::consts::LN_2 + libm::log(self.mantissa)
    }

    /// `self / total` as a probability; zero where `total` is.
    pub(crate) fn share_of(self, total: Self) -> f64 {
        if self.is_zero() || total.is_zero() {
            return 0.0;
        }
        let difference = (self.exponent - total.exponent).clamp(-1100, 1100) as i32;
        libm::scalbn(self.mantissa / total.mantissa, difference).min(1.0)
    }
}

impl Number for Wide {
    const ZERO: Self = Self { mantissa: 0.0, exponent: 0 };
    const ONE: Self = Self { mantissa: 1.0, exponent: 0 };

    #[inline]
    fn plus(self, other: Self) -> Self {
        if other.mantissa == 0.0 {
            return self;
        }
        if self.mantissa == 0.0 {
            return other;
        }
        let (large, small) = match self.exponent.cmp(&other.exponent) {
            Ordering::Less => (other, self),
            Ordering::Equal | Ordering::Greater => (self, other),
        };
        let difference = large.exponent - small.exponent;
        if difference > NEGLIGIBLE {
            return large;
        }
        let scale = f64::from_bits(((1023 - difference) as u64) << 52);
        let sum = large.mantissa + small.mantissa * scale;
        if sum >= 2.0 {
            Self { mantissa: sum * 0.5, exponent: large.exponent + 1 }
        } else {
            Self { mantissa: sum, exponent: large.exponent }
        }
    }

    #[inline]
    fn times(self, other: Self) -> Self {
        let product = self.mantissa * other.mantissa;
        if product == 0.0 {
            return Self::ZERO;
        }
        let exponent = self.exponent + other.exponent;
        if product >= 2.0 {
            Self { mantissa: product * 0.5, exponent: exponent + 1 }
        } else {
            Self { mantissa: product, exponent }
        }
    }
}

/// `none + ε once` with ε² = 0: what happens if nothing, and if exactly one of the alternatives, happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AtMostOne {
    pub(crate) none: Wide,
    pub(crate) once: Wide,
}

impl Number for AtMostOne {
    const ZERO: Self = Self { none: Wide::ZERO, once: Wide::ZERO };
    const ONE: Self = Self { none: Wide::ONE, once: Wide::ZERO };

    #[inline]
    fn plus(self, other: Self) -> Self {
        Self { none: self.none.plus(other.none), once: self.once.plus(other.once) }
    }

    #[inline]
    fn times(self, other: Self) -> Self {
        Self { none: self.none.times(other.none), once: self.none.times(other.once).plus(self.once.times(other.none)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_f64_where_f64_reaches() {
        for (a, b) in [(0.3, 0.7), (1e-300, 5.0), (0.0, 2.0), (4e-320, 1e10), (1.5, 1.5)] {
            let (wa, wb) = (Wide::new(a), Wide::new(b));
            assert_eq!(wa.plus(wb), Wide::new(a + b), "{a} + {b}");
            if a > 1e-290 {
                assert_eq!(wa.times(wb), Wide::new(a * b), "{a} * {b}");
            }
        }
    }

    #[test]
    fn reaches_far_beyond_f64() {
        let mut product = Wide::ONE;
        for _ in 0..10_000 {
            product = product.times(Wide::exp(8.0));
        }
        assert!((product.ln() - 80_000.0).abs() < 1e-6, "{}", product.ln());
        assert!((Wide::exp(80_000.0).share_of(product) - 1.0).abs() < 1e-8);
        assert!(Wide::exp(f64::NEG_INFINITY).is_zero());
        assert_eq!(Wide::exp(-1e300).share_of(Wide::ONE), 0.0);
    }
}
