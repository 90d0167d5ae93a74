//! The whole run: history in, model out.

use std::io::Write;
use std::path::Path;

use quoll_detect::calibration::{CALIBRATION_FILE, Calibration, MODEL_FILE};
use quoll_detect::detector::budget_probability;
use quoll_detect::metadata::Metadata;
use quoll_features::{ClosedStep, FeatureSet, FeatureSpec};

use crate::calibrate::calibrate;
use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::error::TrainError;
use crate::fit::{Fitted, fit};
use crate::history::{ServiceHistory, gather};
use crate::network::Network;
use crate::onnx;
use crate::options::{Progress, TrainOptions};
use crate::ridge::{self, Forecaster};

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
    train_resumable(history, features, preset_hash, options, None, progress)
}

/// As [`train_for`]; with a checkpoint, a run that was ended before it was done goes on from its last one, and
/// ends with the same bits.
///
/// # Errors
/// As [`train`], and [`TrainError::Write`] where a checkpoint cannot be written.
pub fn train_resumable(
    history: &[ClosedStep],
    features: &[FeatureSpec],
    preset_hash: &str,
    options: &TrainOptions,
    checkpoint: Option<&Checkpoint>,
    progress: &mut dyn FnMut(Progress),
) -> Result<TrainedModel, TrainError> {
    options.check()?;
    let histories = gather(history, features, options.held_out)?;
    let step_ms = history.first().map_or(1, |step| step.step_ms);
    let fitted = fit(&histories, features.len(), options, checkpoint, progress)?;
    let forecaster = ridge::fit(&histories, features.len(), options.recipe.channels)?;
    complete(fitted, &histories, features, forecaster, options, (preset_hash, step_ms), progress)
}

/// The model of a fitted network and forecast: what is left is to measure what normal errors are.
///
/// # Errors
/// [`TrainError::Score`].
pub fn complete(
    fitted: Fitted,
    histories: &[ServiceHistory],
    features: &[FeatureSpec],
    forecaster: Forecaster,
    options: &TrainOptions,
    (preset_hash, step_ms): (&str, i64),
    progress: &mut dyn FnMut(Progress),
) -> Result<TrainedModel, TrainError> {
    let Fitted { mut network, windows, updates, loss } = fitted;
    let training_id = identify(&network, preset_hash, step_ms);
    let calibration =
        calibrate(histories, features, &mut network, forecaster, options, (&training_id, step_ms), progress)?;
    let metadata = Metadata::new(step_ms, features, preset_hash, &training_id);
    let budget = budget_probability(step_ms, options.score_budget_per_day);
    let summary = Summary {
        services: histories.len(),
        windows,
        updates,
        loss,
        parameters: network.parameters(),
        provisional: budget * (calibration.pooled.tail.samples as f64) < 1.0,
    };
    Ok(TrainedModel { onnx: onnx::encode(&network, &metadata), calibration, summary })
}

/// A digest of the weights and of what they are for.
fn identify(network: &Network, preset_hash: &str, step_ms: i64) -> String {
    let mut digest = Digest::default();
    digest.eat(preset_hash.as_bytes());
    digest.eat(&step_ms.to_le_bytes());
    for layer in &network.layers {
        for value in layer.weight.iter().chain(&layer.bias) {
            digest.eat(&value.to_le_bytes());
        }
    }
    format!("{:016x}", digest.value())
}
