//! What normal reconstruction errors and raw scores are, on the held-out part.
//!
//! Errors go through the live code: the same window, the same error, the same smoothing. A service's own
//! quantile is shrunk toward the pooled one while its held-out part is short.

use quoll_detect::calibration::{Calibration, Instants, Profile, ServiceProfile};
use quoll_detect::encoding::Scaling;
use quoll_detect::expected::{Expected, Known};
use quoll_detect::recipe::{MEANS, Recipe};
use quoll_detect::runtime::{MAX_BATCH, NEWEST, Reconstruct};
use quoll_detect::score::{Means, Output, PARTS, Ratios, feature_errors, raw_score, worst_share};
use quoll_detect::stats::{quantile, sorted_finite};
use quoll_detect::table::Table;
use quoll_detect::tail::Tail;
use quoll_detect::window::{CHANNELS, SEEN, Window};
use quoll_features::FeatureSpec;

use crate::error::TrainError;
use crate::history::ServiceHistory;
use crate::options::{Progress, TrainOptions};
use crate::ridge::Forecaster;
use crate::{relation, season};

/// The quantile of held-out errors that a feature's error is compared with.
const QUANTILE: f64 = 0.99;

/// Held-out samples at which a service's own quantile weighs as much as the pooled one.
const OWN_SAMPLES: f64 = 200.0;

/// Smallest 99th percentile of a mean of the instant score.
const MEAN_FLOOR: f64 = 0.1;

/// Errors of one service over its held-out part, [steps, parts x features].
fn held_out_errors(
    history: &ServiceHistory,
    features: &[FeatureSpec],
    network: &mut dyn Reconstruct,
    recipe: &Recipe,
    known: Known<'_>,
) -> Result<Vec<f64>, TrainError> {
    let rows = PARTS * features.len();
    let image = CHANNELS * features.len() * SEEN;
    let newest = CHANNELS * features.len() * NEWEST;
    let mut expected = Expected::new(features.len());
    let mut window = Window::new(features.len());
    let mut errors = Vec::with_capacity((history.steps - history.held_out_from) * rows);
    let (mut pending, mut images, mut output) = (Vec::new(), Vec::new(), Vec::new());
    for (step, values) in history.values.chunks(features.len()).enumerate() {
        window.push(values, &history.scaling);
        if step >= history.held_out_from {
            images.resize((pending.len() + 1) * image, 0.0);
            window.write_image(&mut images[pending.len() * image..]);
            recipe.blank(&mut images[pending.len() * image..]);
            pending.push((step, window.clone()));
        }
        if pending.len() == MAX_BATCH || (step + 1 == history.steps && !pending.is_empty()) {
            network.reconstruct(&images, pending.len(), &mut output)?;
            for ((step, window), reconstruction) in pending.drain(..).zip(output.chunks(newest)) {
                let at = errors.len();
                errors.resize(at + rows, f64::NAN);
                expected.update(&window, history.ends_ms[step], known);
                feature_errors(&window, reconstruction, &expected, features, &mut errors[at..]);
            }
            images.clear();
        }
    }
    Ok(errors)
}

/// Error quantiles and score tails of all services. `forecaster` is the shared forecast and one correction
/// per history.
///
/// # Errors
/// [`TrainError::Score`].
pub fn calibrate(
    histories: &[ServiceHistory],
    features: &[FeatureSpec],
    network: &mut dyn Reconstruct,
    (forecast, corrections): Forecaster,
    options: &TrainOptions,
    (training_id, step_ms): (&str, i64),
    progress: &mut dyn FnMut(Progress),
) -> Result<Calibration, TrainError> {
    let recipe = &options.recipe;
    let rows = PARTS * features.len();
    let relations = relation::fit(histories, features.len());
    let seasons = histories.iter().map(|history| season::fit(history, step_ms).filter(|_| recipe.season));
    let seasons: Vec<Option<Table>> = seasons.collect();
    let mut errors = Vec::with_capacity(histories.len());
    for (at, history) in histories.iter().enumerate() {
        let known = Known {
            forecast: &forecast,
            correction: recipe.own_forecast.then_some(&corrections[at]),
            season: seasons[at].as_ref(),
            relations: Some(&relations[at]),
            channels: recipe.channels,
        };
        errors.push(held_out_errors(history, features, network, recipe, known)?);
        progress(Progress::Calibrated { done: at + 1, of: histories.len() });
    }
    let column =
        |errors: &Vec<f64>, row: usize| -> Vec<f64> { errors.iter().skip(row).step_by(rows).copied().collect() };
    let floor = |row: usize| recipe.floor(row / features.len());
    let pooled_scale: Vec<f32> = if recipe.error_per_feature {
        let all = |row| quantile(&sorted_finite(errors.iter().flat_map(|e| column(e, row))), QUANTILE);
        (0..rows).map(|row| all(row).max(floor(row)) as f32).collect()
    } else {
        let of_part = |part: usize| (0..features.len()).map(move |feature| part * features.len() + feature);
        let all = |part| errors.iter().flat_map(move |e| of_part(part).flat_map(move |row| column(e, row)));
        let scale = |part| quantile(&sorted_finite(all(part)), QUANTILE).max(recipe.floor(part)) as f32;
        (0..PARTS).flat_map(|part| std::iter::repeat_n(scale(part), features.len())).collect()
    };
    let own_scale = |errors: &Vec<f64>, row: usize| {
        if recipe.error_per_feature {
            shrunk(column(errors, row), f64::from(pooled_scale[row])).max(floor(row)) as f32
        } else {
            pooled_scale[row]
        }
    };
    let scales: Vec<Vec<f32>> =
        errors.iter().map(|errors| (0..rows).map(|row| own_scale(errors, row)).collect()).collect();
    let ranking = HeldOut::measure(recipe, Output::Ranking, MEANS, &errors, &scales, features);
    let alarms = HeldOut::measure(recipe, Output::Alarms, recipe.alarm_means, &errors, &scales, features);
    let block_steps = block_steps(step_ms, ranking.raw.iter().map(Vec::len).max().unwrap_or(0));
    let blocks = |scores: &[f64]| -> Vec<f64> {
        scores.chunks(block_steps as usize).map(|block| block.iter().copied().fold(0.0, f64::max)).collect()
    };
    let services = histories.iter().enumerate().zip(scales.into_iter().zip(relations).zip(seasons)).zip(corrections);
    let services = services.map(|(((at, history), ((error_scale, relations), season)), correction)| ServiceProfile {
        namespace: history.service.namespace.as_deref().map(str::to_owned),
        name: history.service.name.to_string(),
        profile: Profile {
            scaling: history.scaling.clone(),
            normal: history.normal.clone(),
            correction: recipe.own_forecast.then_some(correction),
            season,
            relations: Some(relations),
            error_scale,
            ranking: ranking.own[at],
            alarms: alarms.own[at],
            tail: Tail::fit(alarms.raw[at].iter().copied()),
            block_tail: Tail::fit(blocks(&ranking.raw[at])),
            alarm_block_tail: Tail::fit(blocks(&alarms.raw[at])),
            block_steps,
        },
    });
    let services = services.collect();
    let pooled = Profile {
        scaling: pooled_scaling(histories, features),
        normal: (0..features.len())
            .map(|f| 2 * histories.iter().filter(|h| h.normal[f]).count() >= histories.len())
            .collect(),
        correction: None,
        season: None,
        relations: None,
        error_scale: pooled_scale,
        ranking: ranking.pooled,
        alarms: alarms.pooled,
        tail: Tail::fit(alarms.raw.iter().flatten().copied()),
        block_tail: Tail::fit(ranking.raw.iter().flat_map(|raw| blocks(raw))),
        alarm_block_tail: Tail::fit(alarms.raw.iter().flat_map(|raw| blocks(raw))),
        block_steps,
    };
    Ok(Calibration {
        training_id: training_id.to_owned(),
        score_budget_per_day: options.score_budget_per_day,
        alert_budget_per_day: options.alert_budget_per_day,
        recipe: recipe.clone(),
        forecast,
        pooled,
        services,
    })
}

/// One output over the held-out parts of all services.
struct HeldOut {
    pooled: Instants,
    own: Vec<Instants>,
    /// Raw scores of each service, in order of time.
    raw: Vec<Vec<f64>>,
}

impl HeldOut {
    /// From errors and their scales; the raw score is the largest of the first `count` means.
    fn measure(
        recipe: &Recipe,
        output: Output,
        count: usize,
        errors: &[Vec<f64>],
        scales: &[Vec<f32>],
        features: &[FeatureSpec],
    ) -> Self {
        let instants: Vec<Vec<f64>> = errors
            .iter()
            .zip(scales)
            .map(|(errors, scale)| instant_scores(recipe, output, errors, scale, features))
            .collect();
        let usual: Vec<f64> = instants.iter().map(|own| quantile(&sorted_finite(own.iter().copied()), 0.5)).collect();
        let means: Vec<Vec<[f64; MEANS]>> = instants
            .iter()
            .zip(&usual)
            .map(|(own, usual)| {
                let mut means = Means::default();
                own.iter().filter_map(|instant| means.push(Some(*instant), *usual, &recipe.paces)).collect()
            })
            .collect();
        let of_mean = |means: &[[f64; MEANS]], i: usize| -> Vec<f64> { means.iter().map(|m| m[i]).collect() };
        let pooled = Instants {
            usual: quantile(&sorted_finite(instants.iter().flatten().copied()), 0.5),
            mean_scale: std::array::from_fn(|i| {
                quantile(&sorted_finite(means.iter().flat_map(|own| of_mean(own, i))), QUANTILE).max(MEAN_FLOOR)
            }),
        };
        let own: Vec<Instants> = means
            .iter()
            .zip(usual)
            .map(|(means, usual)| {
                let scale = |i| shrunk(of_mean(means, i), pooled.mean_scale[i]).max(MEAN_FLOOR);
                Instants { usual, mean_scale: std::array::from_fn(scale) }
            })
            .collect();
        let raw = means
            .iter()
            .zip(&own)
            .map(|(means, own)| {
                let raw = |m: &[f64; MEANS]| raw_score(&m[..count], &own.mean_scale[..count], &recipe.paces[..count]);
                means.iter().map(raw).collect()
            })
            .collect();
        Self { pooled, own, raw }
    }
}

/// A service's own 99th percentile, drawn toward `pooled` while it has few samples.
fn shrunk(own: Vec<f64>, pooled: f64) -> f64 {
    let own = sorted_finite(own);
    let weight = own.len() as f64 / (own.len() as f64 + OWN_SAMPLES);
    weight * quantile(&own, QUANTILE) + (1.0 - weight) * pooled
}

/// Instant scores in order of time.
fn instant_scores(
    recipe: &Recipe,
    output: Output,
    errors: &[f64],
    error_scale: &[f32],
    features: &[FeatureSpec],
) -> Vec<f64> {
    let (mut ratios, mut counted) = (Ratios::new(features.len()), Vec::new());
    errors
        .chunks(error_scale.len())
        .filter_map(|errors| {
            ratios.update(recipe, errors, error_scale);
            worst_share(ratios.of(output), features, recipe.share(output), &mut counted)
        })
        .collect()
}

/// Steps in a block whose largest score is one crossing at most: an hour, or a single step where the
/// held-out part has less than a day.
fn block_steps(step_ms: i64, held_out: usize) -> u32 {
    let hour = (3_600_000 / step_ms.max(1)).clamp(1, 3600) as usize;
    if held_out >= 24 * hour { hour as u32 } else { 1 }
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
