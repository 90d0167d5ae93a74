//! The whole run: history in, model out.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;

use quoll_detect::calibration::{CALIBRATION_FILE, Calibration, MODEL_FILE};
use quoll_detect::detector::budget_probability;
use quoll_detect::metadata::Metadata;
use quoll_detect::stats::quantile;
use quoll_detect::window::{CHANNELS, STEPS};
use quoll_features::{ClosedStep, FeatureSet, FeatureSpec};

use crate::calibrate::calibrate;
use crate::error::TrainError;
use crate::history::{ServiceHistory, Spoiling, gather};
use crate::loss::huber;
use crate::network::Network;
use crate::onnx;
use crate::options::{Progress, TrainOptions};
use crate::random::Random;
use crate::ridge;

/// Weight of the steps that are scored, against 1 for the others.
const NEWEST_WEIGHT: f32 = 4.0;

/// How many of the last columns that weight is for.
const NEWEST: usize = 3;

/// Losses remembered to know which windows reconstruct worst.
const REMEMBERED: usize = 4096;

/// First step of a service that can end a window.
const FIRST_END: usize = 4;

/// What came out, in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Services trained on.
    pub services: usize,
    /// Windows trained on.
    pub windows: usize,
    /// Updates of the weights.
    pub updates: usize,
    /// Loss at the end, averaged over the last few updates.
    pub loss: f64,
    /// Numbers in the network.
    pub parameters: usize,
    /// Whether the score budget lies beyond the held-out samples.
    pub provisional: bool,
}

/// A network in ONNX and its calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedModel {
    /// The network.
    pub onnx: Vec<u8>,
    /// What normal operation looks like.
    pub calibration: Calibration,
    /// In numbers.
    pub summary: Summary,
}

impl TrainedModel {
    /// Writes `model.onnx` and `calibration.json`, each atomically (temporary file, then rename). The
    /// directory is made if it is not there.
    ///
    /// # Errors
    /// [`TrainError::Write`] and [`TrainError::Calibration`].
    pub fn save(&self, dir: &Path) -> Result<(), TrainError> {
        let calibration = serde_json::to_vec_pretty(&self.calibration)?;
        std::fs::create_dir_all(dir).map_err(|source| TrainError::Write { path: dir.to_owned(), source })?;
        for (name, bytes) in [(CALIBRATION_FILE, &calibration), (MODEL_FILE, &self.onnx)] {
            let path = dir.join(name);
            let failed = |source| TrainError::Write { path: path.clone(), source };
            let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
            file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
            file.persist(&path).map_err(|e| failed(e.error))?;
        }
        Ok(())
    }
}

/// Trains on a history of closed steps, oldest first, one step length throughout.
///
/// # Errors
/// Every case of [`TrainError`] but the writing ones.
pub fn train(
    history: &[ClosedStep],
    set: &FeatureSet,
    options: &TrainOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<TrainedModel, TrainError> {
    train_for(history, &set.features, &set.hash(), options, progress)
}

/// As [`train`], for features that come from elsewhere than a set of rules.
///
/// # Errors
/// As [`train`].
pub fn train_for(
    history: &[ClosedStep],
    features: &[FeatureSpec],
    preset_hash: &str,
    options: &TrainOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<TrainedModel, TrainError> {
    options.check()?;
    let histories = gather(history, features, options.held_out)?;
    let step_ms = history.first().map_or(1, |step| step.step_ms);
    let mut random = Random::new(options.seed);
    let mut network = Network::new(features.len(), &mut random);
    let fitted = fit(&mut network, &histories, features.len(), options, &mut random, progress)?;
    let forecaster = ridge::fit(&histories, features.len())?;
    let training_id = identify(&network, preset_hash, step_ms);
    let budget = options.score_budget_per_day;
    let calibration =
        calibrate(&histories, features, &mut network, forecaster, (&training_id, budget, step_ms), progress)?;
    let metadata = Metadata::new(step_ms, features, preset_hash, &training_id);
    let summary = Summary {
        services: histories.len(),
        windows: fitted.windows,
        updates: fitted.updates,
        loss: fitted.loss,
        parameters: network.parameters(),
        provisional: budget_probability(step_ms, budget) * (calibration.pooled.tail.samples as f64) < 1.0,
    };
    Ok(TrainedModel { onnx: onnx::encode(&network, &metadata), calibration, summary })
}

struct Fitted {
    windows: usize,
    updates: usize,
    loss: f64,
}

/// Minimises the loss over random windows of all services.
fn fit(
    network: &mut Network,
    histories: &[ServiceHistory],
    features: usize,
    options: &TrainOptions,
    random: &mut Random,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fitted, TrainError> {
    let ends: Vec<(u32, u32)> = histories
        .iter()
        .enumerate()
        .flat_map(|(s, h)| (FIRST_END..h.held_out_from).map(move |end| (s as u32, end as u32)))
        .collect();
    let wanted = (ends.len() as f64 * options.epochs / options.batch as f64).ceil() as usize;
    let updates = wanted.clamp(options.min_updates, options.max_updates).max(1);
    let batch = options.batch;
    let spoiling = Spoiling { noise: options.noise as f32, hide: options.hide as f32 };
    let size = CHANNELS * features * STEPS * batch;
    let (mut clean, mut observed, mut gradient) = (vec![0.0; size], vec![0.0; size], vec![0.0; size]);
    let mut input = Vec::with_capacity(size);
    let mut losses: VecDeque<f64> = VecDeque::with_capacity(REMEMBERED);
    let mut recent = 0.0;
    for update in 0..updates {
        for slot in 0..batch {
            let (service, end) = ends[random.below(ends.len())];
            histories[service as usize].write_window(end as usize, slot, batch, &mut clean, &mut observed);
        }
        spoiling.apply(&clean, &observed, batch, random, &mut input);
        let output = network.forward(&input, batch).map_err(|_| TrainError::Diverged { update })?;
        let window_losses = loss_per_window(output, &clean, &observed, batch, &mut gradient);
        let limit = worst_limit(&losses, update, updates, options.trim);
        let mut kept = 0.0;
        let mut total = 0.0;
        for (slot, loss) in window_losses.iter().enumerate() {
            if losses.len() == REMEMBERED {
                losses.pop_front();
            }
            losses.push_back(*loss);
            if *loss > limit {
                for row in gradient.chunks_exact_mut(batch * STEPS) {
                    row[slot * STEPS..(slot + 1) * STEPS].fill(0.0);
                }
            } else {
                kept += 1.0;
                total += loss;
            }
        }
        let share = 1.0 / f32::max(kept, 1.0);
        for g in &mut gradient {
            *g *= share;
        }
        let loss = total / f64::from(f32::max(kept, 1.0));
        if !loss.is_finite() {
            return Err(TrainError::Diverged { update });
        }
        recent = if update == 0 { loss } else { recent + 0.05 * (loss - recent) };
        network.backward(&gradient).map_err(|_| TrainError::Diverged { update })?;
        let phase = std::f64::consts::PI * update as f64 / updates as f64;
        network.update((0.5 * options.learning_rate * (1.0 + phase.cos())) as f32);
        progress(Progress::Update { done: update + 1, of: updates, loss: recent });
    }
    Ok(Fitted { windows: ends.len(), updates, loss: recent })
}

/// The weighted mean loss of each window over what was observed in it; `gradient` becomes that of the sum
/// of these means.
fn loss_per_window(output: &[f32], clean: &[f32], observed: &[f32], batch: usize, gradient: &mut [f32]) -> Vec<f64> {
    let column_weight = |at: usize| if at % STEPS + NEWEST >= STEPS { NEWEST_WEIGHT } else { 1.0 };
    let mut losses = vec![0.0_f64; batch];
    let mut weights = vec![0.0_f32; batch];
    for (at, seen) in observed.iter().enumerate() {
        weights[at / STEPS % batch] += seen * column_weight(at);
    }
    for (at, g) in gradient.iter_mut().enumerate() {
        let slot = at / STEPS % batch;
        let weight = observed[at] * column_weight(at) / weights[slot].max(1.0);
        let (loss, slope) = huber(output[at] - clean[at]);
        losses[slot] += f64::from(weight * loss);
        *g = weight * slope;
    }
    losses
}

/// The loss beyond which a window is not learned from: the worst ones, once half the training is done.
fn worst_limit(losses: &VecDeque<f64>, update: usize, updates: usize, trim: f64) -> f64 {
    if 2 * update < updates || losses.len() < 256 || trim <= 0.0 {
        return f64::INFINITY;
    }
    let mut sorted: Vec<f64> = losses.iter().copied().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile(&sorted, 1.0 - trim)
}

/// A digest of the weights and of what they are for: 64-bit FNV-1a (Fowler, Noll & Vo).
fn identify(network: &Network, preset_hash: &str, step_ms: i64) -> String {
    let mut digest = 0xCBF2_9CE4_8422_2325_u64;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    };
    eat(preset_hash.as_bytes());
    eat(&step_ms.to_le_bytes());
    for layer in &network.layers {
        for value in layer.weight.iter().chain(&layer.bias) {
            eat(&value.to_le_bytes());
        }
    }
    format!("{digest:016x}")
}
