//! Huber's loss over observed numbers, and its gradient.

/// Where the loss turns from square to straight, in signed-log units.
pub const DELTA: f32 = 1.0;

/// Loss and gradient of one difference (Huber, "Robust estimation of a location parameter", 1964).
#[must_use]
pub fn huber(difference: f32) -> (f32, f32) {
    if difference.abs() <= DELTA {
        (0.5 * difference * difference, difference)
    } else {
        (DELTA * (difference.abs() - 0.5 * DELTA), DELTA.copysign(difference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_agrees_with_finite_differences() {
        for i in -40_i16..40 {
            let x = f32::from(i) * 0.1 + 0.03;
            let numeric = (huber(x + 1e-2).0 - huber(x - 1e-2).0) / 2e-2;
            assert!((huber(x).1 - numeric).abs() < 6e-3, "{x}: {} {numeric}", huber(x).1);
        }
    }
}
