//! Non-negative numbers with 53 bits of precision and a practically unlimited exponent.
//!
//! A table entry of the elimination is a product of hundreds of likelihood ratios: far outside the range
//! of an `f64`, but its relative precision is all that is needed. A [`Wide`] is an `f64` kept in a window
//! [2^-256, 2^256), and how many windows of 2^512 it was moved by to get there. Numbers of one table mostly lie
//! in one window, so that a product or a sum is that of two `f64`s and a branch that is nearly always taken the
//! same way. Moving by a power of two never rounds: every result has the bits that an `f64` of unlimited
//! exponent would have. A logarithm per operation would be slower and less accurate.

const FRACTION_BITS: u64 = (1 << 52) - 1;
const EXPONENT_OF_ONE: u64 = 1023 << 52;
/// 2^256, 2^-256, 2^512 and 2^-512.
const HIGH: f64 = f64::from_bits((1023 + 256) << 52);
const LOW: f64 = f64::from_bits((1023 - 256) << 52);
const UP: f64 = f64::from_bits((1023 + 512) << 52);
const DOWN: f64 = f64::from_bits((1023 - 512) << 52);
/// Bits of exponent in one window.
const WINDOW: i64 = 512;
/// Largest exponent of one piece of evidence: the product of those of 2^24 services stays far inside i64.
const EXPONENT_LIMIT: f64 = 1e11;

/// What the elimination needs of a number: a commutative semiring.
pub(crate) trait Number: Copy {
    const ZERO: Self;
    const ONE: Self;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

/// `value * 2^(512 window)`, with `value` in [2^-256, 2^256), or zero with `window` zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wide {
    value: f64,
    window: i64,
}

impl Wide {
    /// A finite, non-negative `value`; anything else becomes zero (callers check first).
    pub(crate) fn new(value: f64) -> Self {
        if value > 0.0 && value < f64::INFINITY { Self { value, window: 0 }.moved() } else { Self::ZERO }
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
        Self::new(libm::exp(rest)).times(Self::power_of_two(whole as i64))
    }

    fn power_of_two(exponent: i64) -> Self {
        let (window, rest) = (exponent.div_euclid(WINDOW), exponent.rem_euclid(WINDOW));
        Self { value: libm::scalbn(1.0, rest as i32), window }.moved()
    }

    pub(crate) fn is_zero(self) -> bool {
        self.value == 0.0
    }

    /// Natural logarithm; minus infinity for zero.
    pub(crate) fn ln(self) -> f64 {
        if self.is_zero() {
            return f64::NEG_INFINITY;
        }
        let bits = self.value.to_bits();
        let mantissa = f64::from_bits((bits & FRACTION_BITS) | EXPONENT_OF_ONE);
        let exponent = (bits >> 52) as i64 - 1023 + WINDOW * self.window;
        // Around one the two terms would cancel.
        if exponent == -1 {
            return libm::log(mantissa * 0.5);
        }
        exponent as f64 * core::f64::consts::LN_2 + libm::log(mantissa)
    }

    /// `self / total` as a probability; zero where `total` is.
    pub(crate) fn share_of(self, total: Self) -> f64 {
        if self.is_zero() || total.is_zero() {
            return 0.0;
        }
        let difference = (self.window - total.window).clamp(-4, 4) as i32;
        libm::scalbn(self.value / total.value, difference * WINDOW as i32).min(1.0)
    }

    /// The same number with its value in the window, from one at most one window away (or subnormal).
    #[cold]
    fn moved(self) -> Self {
        let Self { value, window } = self;
        if value == 0.0 {
            Self::ZERO
        } else if value >= HIGH {
            Self { value: value * DOWN, window: window + 1 }
        } else if value < LOW {
            // What is subnormal takes two.
            Self { value: value * UP, window: window - 1 }.moved_again()
        } else {
            self
        }
    }

    fn moved_again(self) -> Self {
        if self.value < LOW { Self { value: self.value * UP, window: self.window - 1 } } else { self }
    }

    /// A sum of numbers of different windows.
    #[cold]
    fn plus_apart(self, other: Self) -> Self {
        if self.is_zero() {
            return other;
        }
        if other.is_zero() {
            return self;
        }
        let (large, small) = if self.window > other.window { (self, other) } else { (other, self) };
        if large.window - small.window > 1 {
            // Less than 2^-512 of it: far below half a unit of the sum.
            return large;
        }
        // The smaller one is far inside the normal range still, so the sum is rounded once.
        let sum = Self { value: large.value + small.value * DOWN, window: large.window };
        if sum.value >= HIGH { sum.moved() } else { sum }
    }
}

impl Number for Wide {
    const ZERO: Self = Self { value: 0.0, window: 0 };
    const ONE: Self = Self { value: 1.0, window: 0 };

    #[inline]
    fn plus(self, other: Self) -> Self {
        if self.window != other.window {
            return self.plus_apart(other);
        }
        let sum = Self { value: self.value + other.value, window: self.window };
        if sum.value >= HIGH { sum.moved() } else { sum }
    }

    #[inline]
    fn times(self, other: Self) -> Self {
        let value = self.value * other.value;
        // Zeros are many and anywhere: no branch for them.
        let zero = value == 0.0;
        let product = Self { value, window: if zero { 0 } else { self.window + other.window } };
        if (value >= LOW) | zero && value < HIGH { product } else { product.moved() }
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
