//! Non-negative numbers with 53 bits of precision and a practically unlimited exponent.
//!
//! A table entry of the elimination is a product of hundreds of likelihood ratios: far outside the range
//! of an `f64`, but its relative precision is all that is needed. A [`Wide`] keeps the mantissa in
//! [1, 2) (or 0) and the exponent apart. A logarithm per operation would be slower and less accurate.

const FRACTION_BITS: u64 = (1 << 52) - 1;
const EXPONENT_OF_ONE: u64 = 1023 << 52;
/// Below the exponent of every other number, so that zero needs no case of its own in a sum; two of them
/// can be added without overflow.
const EXPONENT_OF_ZERO: i64 = i64::MIN / 2;
/// Largest exponent of one piece of evidence: the product of those of 2^24 services stays far inside i64.
const EXPONENT_LIMIT: f64 = 1e11;

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
        // No real evidence comes near the limit.
        let whole = libm::floor(power / core::f64::consts::LN_2).clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT);
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

/// 2 to the power `-distance`, or 0 where that is no normal number: far below half a unit of any sum.
#[inline]
fn scale(distance: i64) -> f64 {
    f64::from_bits(((1023 - distance.min(1023)) as u64) << 52)
}

/// No branches: which summand is larger, and whether a product reaches two, is as good as random, and a
/// mispredicted branch costs more than both sides.
impl Number for Wide {
    const ZERO: Self = Self { mantissa: 0.0, exponent: EXPONENT_OF_ZERO };
    const ONE: Self = Self { mantissa: 1.0, exponent: 0 };

    #[inline]
    fn plus(self, other: Self) -> Self {
        let exponent = self.exponent.max(other.exponent);
        // One of the two factors is one: the larger summand is taken as it is.
        let sum = self.mantissa * scale(exponent - self.exponent) + other.mantissa * scale(exponent - other.exponent);
        let carry = sum >= 2.0;
        Self { mantissa: sum * if carry { 0.5 } else { 1.0 }, exponent: exponent + i64::from(carry) }
    }

    #[inline]
    fn times(self, other: Self) -> Self {
        let product = self.mantissa * other.mantissa;
        let carry = product >= 2.0;
        let exponent = self.exponent + other.exponent + i64::from(carry);
        Self {
            mantissa: product * if carry { 0.5 } else { 1.0 },
            exponent: if product == 0.0 { EXPONENT_OF_ZERO } else { exponent },
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
