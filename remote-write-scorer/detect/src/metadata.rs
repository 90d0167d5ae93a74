//! What a network was made for, carried inside the ONNX file and checked on load.

use std::path::Path;

use quoll_features::FeatureSpec;

use crate::error::ModelError;
use crate::window::{CHANNEL_STEPS, STEPS};

/// Metadata key of the step in milliseconds.
pub const STEP_MS: &str = "quoll.step_ms";
/// Metadata key of the ordered features, `name[unit]` joined by commas.
pub const FEATURES: &str = "quoll.features";
/// Metadata key of the channels: steps under each trailing mean, and the columns.
pub const CHANNELS: &str = "quoll.channels";
/// Metadata key of the feature set's digest.
pub const PRESET_HASH: &str = "quoll.preset_hash";
/// Metadata key of the training run.
pub const TRAINING_ID: &str = "quoll.training_id";

/// The properties that must be equal for a network to be usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Step in milliseconds.
    pub step_ms: String,
    /// Ordered features with units.
    pub features: String,
    /// Sampling windows and columns.
    pub channels: String,
    /// Digest of the whole feature set.
    pub preset_hash: String,
    /// Names the training run; equal in the calibration.
    pub training_id: String,
}

impl Metadata {
    /// For a network over these features at this step.
    #[must_use]
    pub fn new(step_ms: i64, features: &[FeatureSpec], preset_hash: &str, training_id: &str) -> Self {
        let listed: Vec<String> = features.iter().map(|f| format!("{}[{}]", f.name, f.unit)).collect();
        Self {
            step_ms: step_ms.to_string(),
            features: listed.join(","),
            channels: format!("{CHANNEL_STEPS:?}x{STEPS}"),
            preset_hash: preset_hash.to_owned(),
            training_id: training_id.to_owned(),
        }
    }

    /// Key and value of each property, in the order they are checked.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, &str); 5] {
        [
            (STEP_MS, &self.step_ms),
            (FEATURES, &self.features),
            (CHANNELS, &self.channels),
            (PRESET_HASH, &self.preset_hash),
            (TRAINING_ID, &self.training_id),
        ]
    }

    /// Compares what a file carries with what is wanted.
    ///
    /// # Errors
    /// [`ModelError::MissingMetadata`] or [`ModelError::Mismatch`] with both values.
    pub fn check(&self, path: &Path, found: impl Fn(&str) -> Option<String>) -> Result<(), ModelError> {
        for (key, wanted) in self.entries() {
            let found = found(key).ok_or_else(|| ModelError::MissingMetadata { path: path.to_owned(), key })?;
            if found != wanted {
                return Err(ModelError::Mismatch {
                    path: path.to_owned(),
                    what: key,
                    found,
                    wanted: wanted.to_owned(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_names_both_values() {
        let model = Metadata::new(15_000, &[], "aa", "t");
        let wanted = Metadata::new(1_000, &[], "aa", "t");
        let carried = |key: &str| model.entries().iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned());
        let error = wanted.check(Path::new("m"), carried).unwrap_err().to_string();
        assert!(error.contains("15000") && error.contains("1000"), "{error}");
        let error = wanted.check(Path::new("m"), |_| None).unwrap_err().to_string();
        assert!(error.contains(STEP_MS), "{error}");
    }
}
