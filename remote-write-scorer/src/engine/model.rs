//! The model in use: loaded at the start, and anew while steps go on.

use std::path::Path;
use std::time::SystemTime;

use quoll_api::view::ModelView;
use quoll_detect::Detector;

use super::{Engine, Part};

impl Engine {
    pub(super) fn load(&self) -> Result<Detector, String> {
        let settings = &self.settings;
        let directory = settings.model_dir.as_deref().ok_or("no model directory is configured (--model-dir)")?;
        if !directory.join(quoll_detect::calibration::CALIBRATION_FILE).exists() {
            let out = directory.display();
            return Err(format!("no model in {out} yet; quoll-scorer train --out {out} makes one"));
        }
        Detector::load(directory, &settings.set, settings.step_ms, settings.onnxruntime.as_deref())
            .map_err(|error| error.to_string())
    }

    /// Loads the model anew, for every scope, with the history in the windows. Where it cannot be used, the
    /// one in use stays.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn reload(&mut self) -> Result<String, String> {
        if self.settings.part == Part::Root {
            return Err("a root has no model of its own: ask its leaves".to_owned());
        }
        let outcome = self.try_reload();
        match &outcome {
            Ok(_) => self.count(|stats| {
                stats.models_loaded += 1;
                stats.has_model = true;
            }),
            Err(reason) => {
                self.count(|stats| stats.models_refused += 1);
                if !self.loaded {
                    self.model = ModelView { state: "none", message: format!("without scores: {reason}") };
                }
            }
        }
        self.publish(|_| {});
        outcome
    }

    fn try_reload(&mut self) -> Result<String, String> {
        let probe = self.load()?;
        let mut detectors = Vec::with_capacity(self.scopes.len());
        for scope in self.scopes.values() {
            let mut detector = self.load()?;
            scope.history.show(&mut detector);
            detectors.push(detector);
        }
        for (scope, detector) in self.scopes.values_mut().zip(detectors) {
            scope.detector = Some(detector);
        }
        self.loaded = true;
        let state = if probe.provisional() { "provisional" } else { "calibrated" };
        let message = match state {
            "provisional" => "provisional model: little history behind its alarms",
            _ => "calibrated model",
        };
        self.model = ModelView { state, message: message.to_owned() };
        Ok(format!("model {} is in use, {state}", probe.training_id()))
    }
}

/// Identifies what lies in a model directory; changes when either file does.
pub fn model_stamp(directory: &Path) -> Vec<(u64, Option<SystemTime>)> {
    let files = [quoll_detect::calibration::MODEL_FILE, quoll_detect::calibration::CALIBRATION_FILE];
    let stamps = files.iter().filter_map(|file| std::fs::metadata(directory.join(file)).ok());
    stamps.map(|metadata| (metadata.len(), metadata.modified().ok())).collect()
}
