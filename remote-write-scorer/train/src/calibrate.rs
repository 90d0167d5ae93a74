//! What normal reconstruction errors and raw scores are, on the held-out part.
//!
//! Errors go through the live code: the same window, the same error, the same smoothing. A service's own
//! quantile is shrunk toward the pooled one while its held-out part is short.

use quoll_detect::calibration::{Calibration, Profile, ServiceProfile};
use quoll_detect::encoding::Scaling;
use quoll_detect::runtime::{MAX_BATCH, Reconstruct};
use quoll_detect::score::{Drift, ERROR_FLOOR, Smoother, feature_errors, feature_ratios, worst_quarter};
use quoll_detect::stats::{quantile, sorted_finite};
use quoll_detect::tail::Tail;
use quoll_detect::window::{CHANNELS, STEPS, Window};
use quoll_features::FeatureSpec;

use crate::error::TrainError;
use crate::history::ServiceHistory;
use crate::options::Progress;

/// The quantile of held-out errors that a feature's error is compared with.
const QUANTILE: f64 = 0.99;

/// Held-out samples at which a service's own quantile weighs as much as the pooled one.
const OWN_SAMPLES: f64 = 200.0;

/// Errors of one service over its held-out part, [steps, channels x features].
fn held_out_errors(
    history: &ServiceHistory,
    features: &[FeatureSpec],
    network: &mut dyn Reconstruct,
) -> Result<Vec<f64>, TrainError> {
    let rows = CHANNELS * features.len();
    let image = rows * STEPS;
    let mut window = Window::new(features.len());
    let mut errors = Vec::with_capacity((history.steps - history.held_out_from) * rows);
    let (mut pending, mut images, mut output) = (Vec::new(), Vec::new(), Vec::new());
    for (step, values) in history.values.chunks(features.len()).enumerate() {
        window.push(values, &history.scaling);
        if step >= history.held_out_from {
            images.resize((pending.len() + 1) * image, 0.0);
            window.write_image(&mut images[pending.len() * image..]);
            pending.push(window.clone());
        }
        if pending.len() == MAX_BATCH || (step + 1 == history.steps && !pending.is_empty()) {
            network.reconstruct(&images, pending.len(), &mut output)?;
            for (window, reconstruction) in pending.drain(..).zip(output.chunks(image)) {
                let at = errors.len();
                errors.resize(at + rows, f64::NAN);
                feature_errors(&window, reconstruction, features, &mut errors[at..]);
            }
            images.clear();
        }
    }
    Ok(errors)
}

/// Error quantiles and score tails of all services.
///
/// # Errors
/// [`TrainError::Score`].
pub fn calibrate(
    histories: &[ServiceHistory],
    features: &[FeatureSpec],
    network: &mut dyn Reconstruct,
    training_id: &str,
    score_budget_per_day: f64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Calibration, TrainError> {
    let rows = CHANNELS * features.len();
    let mut errors = Vec::with_capacity(histories.len());
    for (done, history) in histories.iter().enumerate() {
        errors.push(held_out_errors(history, features, network)?);
        progress(Progress::Calibrated { done: done + 1, of: histories.len() });
    }
    let column =
        |errors: &Vec<f64>, row: usize| -> Vec<f64> { errors.iter().skip(row).step_by(rows).copied().collect() };
    let pooled_scale: Vec<f64> = (0..rows)
        .map(|row| quantile(&sorted_finite(errors.iter().flat_map(|e| column(e, row))), QUANTILE).max(ERROR_FLOOR))
        .collect();
    let mut services = Vec::with_capacity(histories.len());
    let mut pooled_scores = Vec::new();
    for (history, errors) in histories.iter().zip(&errors) {
        let error_scale: Vec<f64> = (0..rows)
            .map(|row| {
                let own = sorted_finite(column(errors, row));
                let weight = own.len() as f64 / (own.len() as f64 + OWN_SAMPLES);
                (weight * quantile(&own, QUANTILE) + (1.0 - weight) * pooled_scale[row]).max(ERROR_FLOOR)
            })
            .collect();
        let scores = raw_scores(errors, &error_scale, features);
        pooled_scores.extend_from_slice(&scores);
        services.push(ServiceProfile {
            namespace: history.service.namespace.as_deref().map(str::to_owned),
            name: history.service.name.to_string(),
            profile: Profile {
                scaling: history.scaling.clone(),
                normal: history.normal.clone(),
                error_scale,
                tail: Tail::fit(scores),
            },
        });
    }
    let pooled = Profile {
        scaling: pooled_scaling(histories, features),
        normal: (0..features.len())
            .map(|f| 2 * histories.iter().filter(|h| h.normal[f]).count() >= histories.len())
            .collect(),
        error_scale: pooled_scale,
        tail: Tail::fit(pooled_scores),
    };
    Ok(Calibration { training_id: training_id.to_owned(), score_budget_per_day, pooled, services })
}

/// Smoothed raw scores in order of time.
fn raw_scores(errors: &[f64], error_scale: &[f64], features: &[FeatureSpec]) -> Vec<f64> {
    let mut smoother = Smoother::default();
    let mut drift = Drift::new(features.len());
    let mut ratios = vec![f64::NAN; features.len()];
    errors
        .chunks(error_scale.len())
        .filter_map(|errors| {
            feature_ratios(errors, error_scale, &mut ratios);
            drift.discount(&mut ratios);
            smoother.push(worst_quarter(&ratios, features))
        })
        .collect()
}

/// The median service: centre and scale for services that training did not see.
fn pooled_scaling(histories: &[ServiceHistory], features: &[FeatureSpec]) -> Vec<Scaling> {
    features
        .iter()
        .enumerate()
        .map(|(f, spec)| {
            let having = || histories.iter().filter(|h| h.normal[f]).map(|h| h.scaling[f]);
            let centre = quantile(&sorted_finite(having().map(|s| s.centre)), 0.5);
            let scale = quantile(&sorted_finite(having().map(|s| s.scale)), 0.5);
            Scaling::new(centre, scale, spec.min_deviation)
        })
        .collect()
}
