//! Ranks with ties shared, and what they are worth.

/// The chance that `truth` is among the first `k` if equals are put in random order.
pub fn within(scores: &[f64], truth: usize, k: usize) -> f64 {
    let own = scores[truth];
    let better = scores.iter().filter(|score| **score > own).count();
    let equal = scores.iter().filter(|score| score.total_cmp(&own).is_eq()).count();
    ((k as f64 - better as f64) / equal as f64).clamp(0.0, 1.0)
}

/// Sum over "no fault" and all services of the squared distance to what is true (`None`: no fault).
pub fn brier(no_fault: f64, services: &[f64], truth: Option<usize>) -> f64 {
    let hit = |said: f64, is: bool| (said - f64::from(u8::from(is))).powi(2);
    hit(no_fault, truth.is_none())
        + services.iter().enumerate().map(|(at, &said)| hit(said, truth == Some(at))).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_share_their_places() {
        let scores = [0.5, 0.2, 0.2, 0.1];
        assert_eq!(within(&scores, 0, 1), 1.0);
        assert_eq!((within(&scores, 1, 1), within(&scores, 1, 2), within(&scores, 1, 3)), (0.0, 0.5, 1.0));
        assert_eq!(within(&[0.0; 4], 2, 1), 0.25);
        assert_eq!(brier(1.0, &[0.0], None), 0.0);
        assert_eq!(brier(1.0, &[0.0], Some(0)), 2.0);
    }
}
