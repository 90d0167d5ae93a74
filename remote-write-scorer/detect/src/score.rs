//! From a reconstruction to one raw score.
//!
//! Per channel and feature, the error is the weighted root mean square difference between what was
//! observed and what was reconstructed on the newest steps, counting only the direction that is bad for
//! that feature. Over the held-out 99th percentile of itself it becomes comparable between features and
//! services; a feature's ratio is the weighted root mean square of its channels' ratios. What a feature has
//! been off by for hours already is discounted ([`Drift`]). The raw score is the root mean square of the
//! worst quarter of the symptom features, lightly smoothed in time.

use quoll_features::{Direction, FeatureSpec, Role};
use serde::{Deserialize, Serialize};

use crate::encoding::{MISSING, to_f32};
use crate::window::{CHANNELS, STEPS, Window};

/// Weight of the newest step and the two before it.
pub const STEP_WEIGHTS: [f64; 3] = [0.5, 0.3, 0.2];

/// Smallest error quantile, in signed-log units: reconstructing normal operation better than a third of
/// its own spread earns no finer alarm.
pub const ERROR_FLOOR: f64 = 0.3;

/// Share of the symptom features that the raw score averages over, the worst ones.
const WORST_SHARE: f64 = 0.25;

/// Weight of each channel's squared ratio: the finest sampling window leads, the wider ones confirm.
const CHANNEL_WEIGHTS: [f64; CHANNELS] = [1.0, 0.5, 0.5];

/// Steps over which a feature's habitual ratio is learned.
const DRIFT_STEPS: f64 = 400.0;

/// The ratio that a feature may always have; only what is habitually above it is discounted.
const HABITUAL: f64 = 0.3;

/// Most that one step can teach, as a multiple of what is habitual: a fault of an hour must not become
/// normal. The habit then doubles in no less than `1.4 DRIFT_STEPS`.
const DRIFT_CAP: f64 = 1.5;

/// Weight of the newest raw score in the smoothed one.
const SMOOTHING: f64 = 0.6;

/// A feature's ratio is capped here, so that one broken counter does not stand for ever.
const RATIO_CAP: f64 = 1e6;

/// Errors of all channels and features on the newest steps, [channels x features], NaN where the newest
/// step is missing. `reconstruction` is one image.
pub fn feature_errors(window: &Window, reconstruction: &[f32], features: &[FeatureSpec], errors: &mut [f64]) {
    let count = features.len();
    for channel in 0..CHANNELS {
        for (feature, spec) in features.iter().enumerate() {
            let row = channel * count + feature;
            let (mut sum, mut weights) = (0.0, 0.0);
            for (back, weight) in STEP_WEIGHTS.iter().enumerate() {
                let code = window.code(back, channel, feature);
                if code == MISSING {
                    if back == 0 {
                        break;
                    }
                    continue;
                }
                let expected = reconstruction[row * STEPS + STEPS - 1 - back];
                let difference = f64::from(to_f32(code)) - f64::from(expected);
                let counted = match spec.direction {
                    Direction::Up => difference.max(0.0),
                    Direction::Down => difference.min(0.0),
                    Direction::Both => difference,
                };
                sum += weight * counted * counted;
                weights += weight;
            }
            errors[row] = if weights > 0.0 { (sum / weights).sqrt() } else { f64::NAN };
        }
    }
}

/// Score of each feature from its errors; NaN where missing.
pub fn feature_ratios(errors: &[f64], error_scale: &[f64], ratios: &mut [f64]) {
    let count = ratios.len();
    for (feature, ratio) in ratios.iter_mut().enumerate() {
        let (mut sum, mut channels) = (0.0, 0.0);
        for (channel, weight) in CHANNEL_WEIGHTS.iter().enumerate() {
            let row = channel * count + feature;
            let part = errors[row] / error_scale[row];
            if part.is_finite() {
                sum += weight * part * part;
                channels += weight;
            }
        }
        let missing = !errors[feature].is_finite();
        *ratio = if missing || channels == 0.0 { f64::NAN } else { (sum / channels).sqrt().min(RATIO_CAP) };
    }
}

/// Root mean square of the worst quarter (at least one) of the symptom features; `None` where none is observed.
#[must_use]
pub fn worst_quarter(ratios: &[f64], features: &[FeatureSpec]) -> Option<f64> {
    let mut counted: Vec<f64> = ratios
        .iter()
        .zip(features)
        .filter(|(ratio, spec)| spec.role == Role::Symptom && ratio.is_finite())
        .map(|(ratio, _)| *ratio)
        .collect();
    if counted.is_empty() {
        return None;
    }
    counted.sort_unstable_by(|a, b| b.total_cmp(a));
    let worst = ((counted.len() as f64 * WORST_SHARE).ceil() as usize).clamp(1, counted.len());
    Some((counted[..worst].iter().map(|r| r * r).sum::<f64>() / worst as f64).sqrt())
}

/// What each feature of one service is habitually off by: slow drift since training shows as ratios that
/// stay, and is no anomaly. Takes four bytes per feature.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drift {
    habitual: Box<[f32]>,
}

impl Drift {
    /// No drift yet.
    #[must_use]
    pub fn new(features: usize) -> Self {
        Self { habitual: vec![HABITUAL as f32; features].into_boxed_slice() }
    }

    /// Discounts the ratios by what was habitual before this step, and learns from them. Missing ones
    /// neither change nor teach.
    pub fn discount(&mut self, ratios: &mut [f64]) {
        for (ratio, habitual) in ratios.iter_mut().zip(&mut self.habitual).filter(|(r, _)| r.is_finite()) {
            let before = f64::from(*habitual).max(HABITUAL);
            let taught = ratio.min(DRIFT_CAP * before);
            *habitual = (f64::from(*habitual) + (taught - f64::from(*habitual)) / DRIFT_STEPS) as f32;
            *ratio *= HABITUAL / before;
        }
    }
}

/// Exponential smoothing of one service's raw score.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Smoother {
    level: Option<f64>,
}

impl Smoother {
    /// The smoothed score after `raw`; a step without a score starts afresh.
    pub fn push(&mut self, raw: Option<f64>) -> Option<f64> {
        self.level = match (self.level, raw) {
            (Some(level), Some(raw)) => Some(level + SMOOTHING * (raw - level)),
            (_, raw) => raw,
        };
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Scaling;
    use quoll_features::SeenBy;

    fn spec(direction: Direction, role: Role) -> FeatureSpec {
        FeatureSpec { name: "f".into(), unit: "1".into(), direction, min_deviation: 0.0, seen_by: SeenBy::Itself, role }
    }

    #[test]
    fn an_up_only_feature_does_not_count_when_low() {
        let features = [spec(Direction::Up, Role::Symptom), spec(Direction::Both, Role::Symptom)];
        let mut window = Window::new(2);
        window.push(&[-5.0, -5.0], &[Scaling { centre: 0.0, scale: 1.0 }; 2]);
        let mut errors = [0.0; 6];
        feature_errors(&window, &[0.0; 6 * STEPS], &features, &mut errors);
        assert_eq!(errors[0], 0.0);
        assert!(errors[1] > 1.0);
    }

    #[test]
    fn traffic_and_missing_features_do_not_count() {
        let features = [spec(Direction::Both, Role::Traffic), spec(Direction::Both, Role::Symptom)];
        assert_eq!(worst_quarter(&[100.0, f64::NAN], &features), None);
        assert_eq!(worst_quarter(&[100.0, 2.0], &features), Some(2.0));
    }

    #[test]
    fn drift_is_forgiven_slowly_and_a_fault_of_minutes_is_not() {
        let mut drift = Drift::new(1);
        let mut after = |ratio: f64, steps: usize| {
            let mut ratios = [ratio];
            for _ in 0..steps {
                ratios = [ratio];
                drift.discount(&mut ratios);
            }
            ratios[0]
        };
        assert_eq!(after(0.2, 1000), 0.2);
        assert!(after(10.0, 100) > 7.0);
        assert!(after(10.0, 5000) < 0.5);
    }

    #[test]
    fn smoothing_restarts_after_a_gap() {
        let mut smoother = Smoother::default();
        assert_eq!(smoother.push(Some(1.0)), Some(1.0));
        assert!(smoother.push(Some(2.0)).unwrap() < 2.0);
        assert_eq!(smoother.push(None), None);
        assert_eq!(smoother.push(Some(3.0)), Some(3.0));
    }
}
