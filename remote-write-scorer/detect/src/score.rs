//! From expectations to one raw score.
//!
//! Four parts judge every feature, each by how far the newest steps lie from what it expects, counting
//! only the direction that is bad for that feature:
//!
//! * the **forecast** ([`crate::forecast`]) sees what cannot follow from two steps ago, however small;
//! * the **autoencoder** sees levels and relations that never occurred, for as long as they last;
//! * the **level** ([`crate::season`]) sees a value far from where it is at this hour, for as long as it lasts;
//! * the **relations** ([`crate::relation`]) see a feature that does not go with the others.
//!
//! Each part is divided by its held-out 99th percentile, bounded, and the weighted root mean square of the
//! parts is the feature's ratio. The root mean square of the worst share of the symptom features is the
//! instant score. Four exponential means of it, from one step to about thirty ([`Recipe::paces`]), each over its own
//! held-out 99th percentile, see short hard faults and long faint ones alike: the raw score is the largest.
//!
//! The part that contributes most to a feature's ratio is the one whose expectation is shown ([`Part`]).
//!
//! There are two of all this ([`Output`]). Alarms count the relations, too, and look at fewer features and at the
//! faster means only ([`Recipe::alarm_means`]), which end when the fault does: they are to find everything.
//! The ranking leaves the relations out, whose errors in normal operation are too alike to those of faint faults:
//! it is to put every step of a fault above every normal one.

use quoll_features::{Direction, FeatureSpec, Role};
use serde::{Deserialize, Serialize};

use crate::encoding::{MISSING, to_f32};
use crate::expected::Expected;
use crate::recipe::{MEANS, Recipe};
use crate::runtime::NEWEST;
use crate::window::{CHANNELS, Window};

/// Rows of errors per feature: the channels of the autoencoder, the forecast, the level, the relations.
pub const PARTS: usize = CHANNELS + 3;

/// The row of the forecast's errors.
const FORECAST: usize = CHANNELS;

/// The row of the level's errors.
const LEVEL: usize = CHANNELS + 1;

/// The row of the relations' errors.
pub const RELATIONS: usize = CHANNELS + 2;

/// What a score is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// To order steps and services by, and as evidence.
    Ranking,
    /// To raise alarms.
    Alarms,
}

/// Weight of the newest step and the two before it in the autoencoder's errors.
const STEP_WEIGHTS: [f64; NEWEST] = [0.5, 0.3, 0.2];

/// Weight of each channel's squared ratio: the finest sampling window leads, the wider ones confirm.
const CHANNEL_WEIGHTS: [f64; CHANNELS] = [1.0, 0.5, 0.5];

/// What is left of a ratio past the cap, per factor of e: enough to keep the order.
const BEYOND_CAP: f64 = 0.1;

/// Errors of all parts and features on the newest steps, [parts x features], NaN where the newest step is
/// missing. `reconstruction` is the newest columns of one image.
pub fn feature_errors(
    window: &Window,
    reconstruction: &[f32],
    expected: &Expected,
    features: &[FeatureSpec],
    errors: &mut [f64],
) {
    let count = features.len();
    let columns: [_; NEWEST] = std::array::from_fn(|back| window.column(back));
    for (feature, spec) in features.iter().enumerate() {
        let counted = |difference: f64| match spec.direction {
            Direction::Up => difference.max(0.0),
            Direction::Down => difference.min(0.0),
            Direction::Both => difference,
        };
        for channel in 0..CHANNELS {
            let row = channel * count + feature;
            let (mut sum, mut weights) = (0.0, 0.0);
            for (back, weight) in STEP_WEIGHTS.iter().enumerate() {
                let code = columns[back].code(row);
                if code == MISSING {
                    if back == 0 {
                        break;
                    }
                    continue;
                }
                let expected = reconstruction[row * NEWEST + NEWEST - 1 - back];
                let difference = counted(f64::from(to_f32(code)) - f64::from(expected));
                sum += weight * difference * difference;
                weights += weight;
            }
            errors[row] = if weights > 0.0 { (sum / weights).sqrt() } else { f64::NAN };
        }
        let newest = columns[0].code(feature);
        let value = if newest == MISSING { f64::NAN } else { f64::from(to_f32(newest)) };
        // `max` and `min` with NaN would give a number.
        let counted_or_nan = |difference: f64| if difference.is_nan() { f64::NAN } else { counted(difference).abs() };
        let off = |expected: f64| counted_or_nan(value - expected);
        errors[FORECAST * count + feature] = off(f64::from(expected.forecast[feature]));
        errors[LEVEL * count + feature] = off(f64::from(expected.usual[feature]));
        errors[RELATIONS * count + feature] = counted_or_nan(f64::from(expected.residual[feature]));
    }
}

/// A ratio as it counts, past `cap`.
fn bounded(ratio: f64, cap: f64) -> f64 {
    if ratio <= cap { ratio } else { cap + BEYOND_CAP * (ratio / cap).min(1e6).ln() }
}

/// One of the four parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// [`crate::forecast`].
    #[default]
    Forecast,
    /// The autoencoder.
    Autoencoder,
    /// [`crate::season`].
    Level,
    /// [`crate::relation`].
    Relations,
}

/// Ratios of all features at one step, and which part leads each; reused from service to service.
#[derive(Debug, Clone)]
pub struct Ratios {
    ranking: Vec<f64>,
    alarms: Vec<f64>,
    leading: Vec<Part>,
}

/// A weighted mean of squares that remembers its largest term.
struct Parts {
    cap: f64,
    sum: f64,
    weights: f64,
    most: f64,
    leading: Part,
}

impl Parts {
    fn add(&mut self, part: Part, ratio: f64, weight: f64) {
        if !ratio.is_finite() || weight <= 0.0 {
            return;
        }
        let term = weight * bounded(ratio, self.cap).powi(2);
        self.sum += term;
        self.weights += weight;
        if term > self.most {
            (self.most, self.leading) = (term, part);
        }
    }

    fn ratio(&self) -> f64 {
        if self.weights > 0.0 { (self.sum / self.weights).sqrt() } else { f64::NAN }
    }
}

impl Ratios {
    /// For `features` features, all missing.
    #[must_use]
    pub fn new(features: usize) -> Self {
        let none = vec![f64::NAN; features];
        Self { ranking: none.clone(), alarms: none, leading: vec![Part::default(); features] }
    }

    /// Of these errors over these scales, [parts x features] both; NaN where the newest step is missing.
    pub fn update(&mut self, recipe: &Recipe, errors: &[f64], error_scale: &[f32]) {
        let count = self.alarms.len();
        let ratio =
            |row: usize, feature: usize| errors[row * count + feature] / f64::from(error_scale[row * count + feature]);
        for (feature, missing) in errors[..count].iter().map(|error| !error.is_finite()).enumerate() {
            if missing {
                (self.ranking[feature], self.alarms[feature]) = (f64::NAN, f64::NAN);
                continue;
            }
            let (mut sum, mut channels) = (0.0, 0.0);
            for (channel, weight) in CHANNEL_WEIGHTS.iter().enumerate() {
                let ratio = ratio(channel, feature);
                if ratio.is_finite() && recipe.channels[channel] {
                    sum += weight * ratio * ratio;
                    channels += weight;
                }
            }
            let autoencoder = if channels > 0.0 { (sum / channels).sqrt() } else { f64::NAN };
            let mut parts =
                Parts { cap: recipe.ratio_cap, sum: 0.0, weights: 0.0, most: -1.0, leading: Part::default() };
            parts.add(Part::Forecast, ratio(FORECAST, feature), recipe.forecast_weight);
            parts.add(Part::Autoencoder, autoencoder, recipe.autoencoder_weight);
            parts.add(Part::Level, ratio(LEVEL, feature), recipe.level_weight);
            self.ranking[feature] = parts.ratio();
            parts.add(Part::Relations, ratio(RELATIONS, feature), recipe.relation_weight);
            self.alarms[feature] = parts.ratio();
            self.leading[feature] = parts.leading;
        }
    }

    /// Of each feature, for one output; NaN where missing.
    #[must_use]
    pub fn of(&self, output: Output) -> &[f64] {
        match output {
            Output::Ranking => &self.ranking,
            Output::Alarms => &self.alarms,
        }
    }

    /// The part that contributes most to a feature's ratio for alarms; the forecast, if there is one, where nothing is
    /// off.
    #[must_use]
    pub fn leading(&self, feature: usize) -> Part {
        self.leading[feature]
    }
}

/// Root mean square of the worst share (at least one) of the symptom features; `None` where none is observed.
/// `counted` is scratch.
#[must_use]
pub fn worst_share(ratios: &[f64], features: &[FeatureSpec], share: f64, counted: &mut Vec<f64>) -> Option<f64> {
    counted.clear();
    let symptoms = ratios.iter().zip(features).filter(|(_, spec)| spec.role == Role::Symptom);
    counted.extend(symptoms.map(|(ratio, _)| *ratio).filter(|ratio| ratio.is_finite()));
    if counted.is_empty() {
        return None;
    }
    counted.sort_unstable_by(|a, b| b.total_cmp(a));
    let worst = ((counted.len() as f64 * share).ceil() as usize).clamp(1, counted.len());
    Some((counted[..worst].iter().map(|r| r * r).sum::<f64>() / worst as f64).sqrt())
}

/// The exponential means of one service's instant score. They start at what is usual for the service, and
/// a step without a score starts them afresh.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Means {
    levels: Option<[f64; MEANS]>,
}

impl Means {
    /// The means after `instant`.
    pub fn push(&mut self, instant: Option<f64>, usual: f64, paces: &[f64; MEANS]) -> Option<[f64; MEANS]> {
        self.levels = instant.map(|instant| {
            let mut levels = self.levels.unwrap_or([usual; MEANS]);
            for (level, pace) in levels.iter_mut().zip(paces) {
                *level += pace * (instant - *level);
            }
            levels
        });
        self.levels
    }
}

/// The raw score: the largest of the means that have a pace, each over its held-out 99th percentile.
#[must_use]
pub fn raw_score(means: &[f64], scale: &[f64], paces: &[f64]) -> f64 {
    let counted = means.iter().zip(scale).zip(paces).filter(|(_, pace)| **pace > 0.0);
    counted.map(|((mean, scale), _)| mean / scale).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Scaling;
    use quoll_features::SeenBy;

    const PACES: [f64; MEANS] = [0.8, 0.3, 0.1, 0.04];

    fn spec(direction: Direction, role: Role) -> FeatureSpec {
        FeatureSpec { name: "f".into(), unit: "1".into(), direction, min_deviation: 0.0, seen_by: SeenBy::Itself, role }
    }

    fn errors(values: &[[f64; 2]], forecast: [f32; 2], residual: [f32; 2]) -> Vec<f64> {
        let features = [spec(Direction::Up, Role::Symptom), spec(Direction::Both, Role::Symptom)];
        let mut window = Window::new(2);
        for row in values {
            window.push(row, &[Scaling { centre: 0.0, scale: 1.0 }; 2]);
        }
        let mut errors = vec![0.0; PARTS * 2];
        let mut expected = Expected::new(2);
        expected.forecast.copy_from_slice(&forecast);
        expected.usual.fill(0.0);
        expected.residual.copy_from_slice(&residual);
        feature_errors(&window, &[0.0; 6 * NEWEST], &expected, &features, &mut errors);
        errors
    }

    fn ratios(errors: &[f64]) -> Ratios {
        let mut ratios = Ratios::new(2);
        ratios.update(&Recipe::default(), errors, &[1.0; 2 * PARTS]);
        ratios
    }

    #[test]
    fn an_up_only_feature_does_not_count_when_low() {
        let errors = errors(&[[-5.0, -5.0]], [1.0, 1.0], [-2.0, -2.0]);
        for part in 0..PARTS {
            assert_eq!(errors[2 * part], 0.0);
            assert!(errors[2 * part + 1] > 1.0);
        }
    }

    #[test]
    fn a_missing_value_has_no_error_and_a_missing_forecast_leaves_the_other_parts() {
        let errors = errors(&[[f64::NAN, 3.0]], [0.0, f32::NAN], [f32::NAN, 0.0]);
        let ratios = ratios(&errors);
        assert!(ratios.of(Output::Ranking)[0].is_nan());
        assert!((ratios.of(Output::Ranking)[1] - 4.0_f64.ln()).abs() < 1e-3, "{ratios:?}");
    }

    #[test]
    fn a_broken_relation_counts_for_alarms_only() {
        let errors = errors(&[[0.0, 0.0]], [0.0, 0.0], [2.0, 0.0]);
        let ratios = ratios(&errors);
        assert_eq!(ratios.of(Output::Ranking), [0.0; 2]);
        assert!(ratios.of(Output::Alarms)[0] > 0.5 && ratios.of(Output::Alarms)[1] == 0.0, "{ratios:?}");
        assert_eq!((ratios.leading(0), ratios.leading(1)), (Part::Relations, Part::Forecast));
    }

    #[test]
    fn the_part_that_is_furthest_off_leads_and_one_that_does_not_count_never_does() {
        let off = |forecast: f32, value: f64| errors(&[[value, value]], [forecast, f32::NAN], [0.0, 0.0]);
        // Just risen: the forecast did not see it coming. Risen for long: only the level and the network still say so.
        assert_eq!(ratios(&off(0.0, 5.0)).leading(0), Part::Forecast);
        assert_eq!(ratios(&off(6.0_f32.ln(), 5.0)).leading(0), Part::Level);
        let recipe = Recipe { level_weight: 0.0, ..Recipe::default() };
        let mut ratios = Ratios::new(2);
        ratios.update(&recipe, &off(6.0_f32.ln(), 5.0), &[1.0; 2 * PARTS]);
        assert_eq!((ratios.leading(0), ratios.leading(1)), (Part::Autoencoder, Part::Autoencoder));
    }

    #[test]
    fn beyond_the_cap_more_is_hardly_worse_but_not_less() {
        assert_eq!(bounded(3.0, 4.0), 3.0);
        assert!(bounded(50.0, 4.0) > bounded(10.0, 4.0) && bounded(f64::MAX, 4.0) < 6.0);
    }

    #[test]
    fn traffic_and_missing_features_do_not_count() {
        let features = [spec(Direction::Both, Role::Traffic), spec(Direction::Both, Role::Symptom)];
        let mut scratch = vec![7.0];
        assert_eq!(worst_share(&[100.0, f64::NAN], &features, 0.25, &mut scratch), None);
        assert_eq!(worst_share(&[100.0, 2.0], &features, 0.25, &mut scratch), Some(2.0));
    }

    #[test]
    fn a_short_hard_fault_and_a_long_faint_one_both_show() {
        let scale = [2.0, 1.5, 0.8, 0.6];
        let mut means = Means::default();
        let hard = raw_score(&means.push(Some(4.5), 0.5, &PACES).unwrap(), &scale, &PACES);
        assert!(hard > 1.5);
        let mut means = Means::default();
        let faint: Vec<f64> =
            (0..60).map(|_| raw_score(&means.push(Some(1.0), 0.5, &PACES).unwrap(), &scale, &PACES)).collect();
        assert!(faint[0] < 0.9 && faint[59] > 1.2, "{faint:?}");
    }

    #[test]
    fn the_means_restart_at_the_usual_after_a_gap() {
        let mut means = Means::default();
        assert!(means.push(Some(9.0), 0.5, &PACES).unwrap()[0] > 7.0);
        assert_eq!(means.push(None, 0.5, &PACES), None);
        assert_eq!(means.push(Some(0.5), 0.5, &PACES), Some([0.5; MEANS]));
    }
}
