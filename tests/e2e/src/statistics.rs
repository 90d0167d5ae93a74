//! The little statistics that reports need.

/// The `q` quantile of `values` with linear interpolation between order statistics (Hyndman and Fan's
/// type 7); `None` of nothing.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[allow(clippy::cast_precision_loss, reason = "counts of faults")]
    let position = q.clamp(0.0, 1.0) * last as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= position <= last")]
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (position - position.floor()))
}

/// One-sided 95 % upper confidence bound of a Poisson mean of which `events` were seen: the mean under
/// which so few have a probability of 5 % (Garwood 1936). Three for none seen.
pub fn poisson_upper95(events: u32) -> f64 {
    let probability_of_at_most = |mean: f64| {
        let mut term = (-mean).exp();
        let mut sum = term;
        for k in 1..=events {
            term *= mean / f64::from(k);
            sum += term;
        }
        sum
    };
    let (mut low, mut high) = (0.0, f64::from(events) + 10.0 * f64::from(events + 1).sqrt());
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if probability_of_at_most(middle) > 0.05 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0], 0.9), Some(3.0));
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
        assert!((quantile(&[0.0, 10.0], 0.9).unwrap() - 9.0).abs() < 1e-12);
    }

    #[test]
    fn the_upper_bound_agrees_with_the_tables() {
        // Half the 95 % quantile of chi-squared with 2 (n + 1) degrees of freedom.
        for (events, bound) in [(0, 2.995_732), (1, 4.743_865), (2, 6.295_794), (5, 10.513_035), (10, 16.962_219)] {
            assert!((poisson_upper95(events) - bound).abs() < 1e-5, "{events}: {}", poisson_upper95(events));
        }
    }
}
