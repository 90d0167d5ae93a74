//! What training measured about normal operation: `calibration.json` beside `model.onnx`.
//!
//! Written atomically (temporary file, then rename). The two files carry the same training id, so that a
//! reload which catches them half replaced is refused rather than mixing two models.

use std::path::Path;

use quoll_identity::Service;
use serde::{Deserialize, Serialize};

use crate::encoding::Scaling;
use crate::error::ModelError;
use crate::expected::Known;
use crate::forecast::{self, Forecast};
use crate::recipe::{MEANS, Recipe};
use crate::relation;
use crate::score::PARTS;
use crate::season::HOURS;
use crate::table::Table;
use crate::tail::Tail;

/// File name inside the model directory.
pub const CALIBRATION_FILE: &str = "calibration.json";

/// File name of the network inside the model directory.
pub const MODEL_FILE: &str = "model.onnx";

/// Everything about normal operation that is not in the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Equal to the network's, see [`crate::metadata::Metadata::training_id`].
    pub training_id: String,
    /// Crossings of score 1 per service and day that the scores are normalised to.
    pub score_budget_per_day: f64,
    /// Crossings per service and day of the threshold that is rare enough to notify of.
    pub alert_budget_per_day: f64,
    /// What the scores are made by.
    pub recipe: Recipe,
    /// The forecast that all services share.
    pub forecast: Forecast,
    /// For services that training did not see, and while a service's own history is short.
    pub pooled: Profile,
    /// One per service of the training data, sorted.
    pub services: Vec<ServiceProfile>,
}

/// The normal operation of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceProfile {
    /// Namespace, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Its normal operation.
    #[serde(flatten)]
    pub profile: Profile,
}

impl ServiceProfile {
    /// Whose profile this is; `None` for a nameless one, which training never writes.
    #[must_use]
    pub fn service(&self) -> Option<Service> {
        Service::new(self.namespace.as_deref(), &self.name)
    }
}

/// Centre and scale, error quantiles and the distribution of raw scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Per feature.
    pub scaling: Vec<Scaling>,
    /// Per feature: whether the service normally has it.
    pub normal: Vec<bool>,
    /// What the service adds to the shared forecast, where its history says enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Table>,
    /// Levels at each hour of the day, where the history has days enough, see [`crate::season`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<Table>,
    /// What the features say of each other, see [`crate::relation`]; those of other services say nothing about a
    /// service that training did not see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<Table>,
    /// Held-out 99th percentile of each part's error, floored; [parts x features].
    pub error_scale: Vec<f32>,
    /// Of the instant score for ranking.
    pub ranking: Instants,
    /// Of the instant score for alarms.
    pub alarms: Instants,
    /// Distribution of held-out raw scores of alarms.
    pub tail: Tail,
    /// Distribution of the largest held-out raw score in each [`Self::block_steps`].
    pub block_tail: Tail,
    /// The same of alarms.
    pub alarm_block_tail: Tail,
    /// Steps of a block: an hour, or one while the history is too short for hours.
    pub block_steps: u32,
}

/// An instant score in normal operation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Instants {
    /// Held-out median.
    pub usual: f64,
    /// Held-out 99th percentile of each mean.
    pub mean_scale: [f64; MEANS],
}

impl Instants {
    fn valid(&self) -> bool {
        self.usual.is_finite() && self.mean_scale.iter().all(|s| s.is_finite() && *s > 0.0)
    }
}

impl Profile {
    /// Whether all vectors fit `features` features.
    #[must_use]
    pub fn fits(&self, features: usize) -> bool {
        self.scaling.len() == features
            && self.normal.len() == features
            && self.error_scale.len() == features * PARTS
            && self.correction.as_ref().is_none_or(|c| c.fits(features, forecast::inputs(features)))
            && self.season.as_ref().is_none_or(|s| s.fits(features, HOURS))
            && self.relations.as_ref().is_none_or(|r| r.fits(features, relation::inputs(features)))
            && self.ranking.valid()
            && self.alarms.valid()
            && self.block_steps > 0
            && self.scaling.iter().all(|s| s.centre.is_finite() && s.scale.is_finite() && s.scale > 0.0)
            && self.error_scale.iter().all(|e| e.is_finite() && *e > 0.0)
    }
}

impl Calibration {
    /// What is expected of the service with `profile` is made from this.
    #[must_use]
    pub fn known<'a>(&'a self, profile: &'a Profile) -> Known<'a> {
        Known {
            forecast: &self.forecast,
            correction: profile.correction.as_ref(),
            season: profile.season.as_ref(),
            relations: profile.relations.as_ref(),
            channels: self.recipe.channels,
        }
    }

    /// Whether everything in it, with `profile`, is one for `features` features, and finite.
    #[must_use]
    pub fn fits(&self, profile: &Profile, features: usize) -> bool {
        profile.fits(features) && self.forecast.fits(features) && self.recipe.valid() && self.alert_budget_per_day > 0.0
    }

    /// Reads the calibration of a model directory.
    ///
    /// # Errors
    /// [`ModelError::Read`] and [`ModelError::Calibration`].
    pub fn load(model_dir: &Path) -> Result<Self, ModelError> {
        let path = model_dir.join(CALIBRATION_FILE);
        let text = std::fs::read(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|source| ModelError::Calibration { path, source })
    }
}
