//! What one feature is: name, unit, which way is bad, how small a deviation is nobody's business.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Which deviations from the expected value count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Only a value above the expected one.
    Up,
    /// Only a value below the expected one.
    Down,
    /// Either.
    Both,
}

/// Who reports the feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeenBy {
    /// The service's own side: its resources, the requests as it answers them.
    Itself,
    /// The callers' side of the edges into the service.
    Callers,
}

/// What a deviation of the feature says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Counts toward the anomaly score.
    Symptom,
    /// In the image as context; a change of traffic alone (callers calling less or more) is no symptom.
    Traffic,
}

/// One feature of the vector that every service has at every step.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSpec {
    /// Unique within its set; becomes the value of the label `feature`.
    pub name: Arc<str>,
    /// Base unit of the values, such as `seconds`, `bytes`, `ratio`, `cores`.
    pub unit: Arc<str>,
    /// Which deviations count.
    pub direction: Direction,
    /// Deviations smaller than this, in `unit`, are nobody's business. Never negative, always finite.
    pub min_deviation: f64,
    /// Who reports it.
    pub seen_by: SeenBy,
    /// What a deviation says.
    pub role: Role,
}
