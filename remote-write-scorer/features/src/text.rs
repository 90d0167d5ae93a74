//! The YAML a user writes, as it stands in the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::{Direction, Role, SeenBy};

/// A whole set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetText {
    /// Which labels name a service; `itself` marks the series that a service reports about itself.
    pub service_labels: BTreeMap<String, ServiceLabelsText>,
    /// Names that stand for "nobody known": they get no features and no edges.
    #[serde(default)]
    pub not_services: Vec<String>,
    /// Labels that split one thing's counters into parts, such as a status class.
    #[serde(default)]
    pub breakdown_labels: Vec<String>,
    /// Which series tell who calls whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<EdgesText>,
    /// Which series tell of changes: deployments, restarts, scalings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeText>,
    /// The features, in the order of the value vector.
    pub features: Vec<FeatureText>,
}

/// The pair of labels that names a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceLabelsText {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels that name the host of an instance, the best first; a port is cut off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<String>,
}

/// One gauge that tells of changes; exactly one of `restart`, `info` and `replicas`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeText {
    /// When an instance started, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// A constant gauge whose labels describe an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<String>,
    /// How many instances are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<String>,
    /// Key into `service_labels`.
    pub service: String,
    #[serde(default, rename = "match", skip_serializing_if = "BTreeMap::is_empty")]
    pub matchers: BTreeMap<String, OneOrMany>,
    /// For `info`: the labels that tell image, version and executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
}

/// One feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeatureText {
    pub name: String,
    pub unit: String,
    pub direction: Direction,
    pub min_deviation: f64,
    pub seen_by: SeenBy,
    #[serde(default = "symptom")]
    pub role: Role,
    /// Key into `service_labels`.
    pub service: String,
    /// Summed.
    pub value: Vec<TermText>,
    /// Summed; the value is divided by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per: Vec<TermText>,
    /// A divisor below this counts as this much, so that one error of one request is not "all fail".
    #[serde(default)]
    pub per_at_least: f64,
}

const fn symptom() -> Role {
    Role::Symptom
}

/// What a term is where no series gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Absent {
    /// Unknown: the feature is missing.
    #[default]
    Missing,
    /// Nothing happened yet: counters of failures appear with the first failure.
    Zero,
}

/// One metric, selected by labels, summed over its series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TermText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gauge: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    #[serde(default, rename = "match", skip_serializing_if = "BTreeMap::is_empty")]
    pub matchers: BTreeMap<String, OneOrMany>,
    #[serde(default = "one")]
    pub scale: f64,
    #[serde(default)]
    pub absent: Absent,
}

const fn one() -> f64 {
    1.0
}

/// `5xx` or `[4xx, 5xx]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn values(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// Which series tell who calls whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EdgesText {
    pub client: ServiceLabelsText,
    pub server: ServiceLabelsText,
    /// Label whose value says which end reports; without it all series are one end's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<ReporterText>,
    #[serde(default)]
    pub requests: Vec<TermText>,
    #[serde(default)]
    pub errors: Vec<TermText>,
    /// Seconds spent on requests, per second.
    #[serde(default)]
    pub latency: Vec<TermText>,
    /// Attempts that succeeded, or all attempts: see `connects_include_failures`.
    #[serde(default)]
    pub connects: Vec<TermText>,
    #[serde(default)]
    pub connect_failures: Vec<TermText>,
    /// Whether `connects` counts failed attempts too.
    #[serde(default)]
    pub connects_include_failures: bool,
}

/// The label that says which end of an edge reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReporterText {
    pub label: String,
    pub client: String,
    pub server: String,
}
