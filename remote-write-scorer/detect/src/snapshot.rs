//! What a detector remembers of its services, between two runs.
//!
//! The model itself is not stored: it lies in its directory. What was remembered under another model, for
//! another step or for other features, says nothing under this one and is refused; so is what a version remembered that
//! kept other windows.

use std::collections::BTreeMap;

use quoll_identity::Service;
use serde::{Deserialize, Serialize};

use crate::detector::{Detector, Scorer, State};

/// What is stored, as it lies in the detector.
#[derive(Debug, Serialize)]
pub struct DetectorState<'a> {
    training_id: &'a str,
    step_ms: i64,
    features: Vec<&'a str>,
    states: &'a BTreeMap<Service, State>,
}

/// What was stored, read back.
#[derive(Debug, Deserialize)]
pub struct StoredDetector {
    training_id: String,
    step_ms: i64,
    features: Vec<String>,
    states: BTreeMap<Service, State>,
}

impl Scorer {
    /// What is remembered of all services, to be stored.
    #[must_use]
    pub fn state(&self) -> DetectorState<'_> {
        DetectorState {
            training_id: &self.calibration.training_id,
            step_ms: self.step_ms,
            features: self.features.iter().map(|feature| &*feature.name).collect(),
            states: &self.states,
        }
    }

    /// Goes on from what was stored. Whether it was: not where it belongs to another model or version; nothing changes then.
    pub fn resume(&mut self, stored: StoredDetector) -> bool {
        let same_features = self.features.iter().map(|feature| &*feature.name).eq(stored.features.iter());
        if stored.training_id != self.calibration.training_id || stored.step_ms != self.step_ms || !same_features {
            return false;
        }
        if !stored.states.values().all(|state| state.window.fits(self.features.len())) {
            return false;
        }
        self.states = stored.states;
        for (service, state) in &mut self.states {
            state.profile = self.index.get(service).copied();
        }
        true
    }
}

impl Detector {
    /// What is remembered of all services, to be stored.
    #[must_use]
    pub fn state(&self) -> DetectorState<'_> {
        self.scorer.state()
    }

    /// As [`Scorer::resume`].
    pub fn resume(&mut self, stored: StoredDetector) -> bool {
        self.scorer.resume(stored)
    }
}
