//! Order statistics over finite numbers.

/// The quantile `p` in [0, 1] by linear interpolation between order statistics (type 7 of Hyndman & Fan,
/// "Sample quantiles in statistical packages", 1996). `sorted` is ascending; 0 where it is empty.
#[must_use]
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = p.clamp(0.0, 1.0) * last as f64;
    let low = (at.floor() as usize).min(last);
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// The finite ones of `values`, ascending.
#[must_use]
pub fn sorted_finite(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut finite: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
    finite.sort_unstable_by(f64::total_cmp);
    finite
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_and_survives_nothing() {
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[3.0], 0.9), 3.0);
        assert_eq!(quantile(&[0.0, 1.0, 2.0, 3.0], 0.5), 1.5);
        assert_eq!(sorted_finite([2.0, f64::NAN, 1.0, f64::INFINITY]), vec![1.0, 2.0]);
    }
}
