//! The YAML a user writes, as it stands in the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::Form;
use crate::spec::{Direction, Role, SeenBy};

/// A whole set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetText {
    /// Presets that this file adds to; what they say comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<String>,
    /// Which labels name a service; `itself` marks the series that a service reports about itself.
    #[serde(default)]
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
    #[serde(default)]
    pub features: Vec<FeatureText>,
}

/// The labels that name a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceLabelsText {
    /// The first of these labels that names somebody.
    pub name: OneOrMany,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<OneOrMany>,
    /// The namespace where no label tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// How the value holds the name.
    #[serde(default)]
    pub form: Form,
    /// Labels that name the host of an instance, the best first; a port is cut off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<String>,
}

/// One gauge that tells of changes; exactly one of `restart`, `info`, `replicas` and `instance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeText {
    /// When an instance started, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// A gauge whose labels describe an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<String>,
    /// How many instances are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<String>,
    /// A gauge per instance that tells its host, and no change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Taken from what callers report of the edges into the service, instead of from terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_callers: Option<OfCallers>,
    /// Summed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub value: Vec<TermText>,
    /// Summed; the value is divided by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per: Vec<TermText>,
    /// A divisor below this counts as this much, so that one error of one request is not "all fail".
    #[serde(default)]
    pub per_at_least: f64,
}

/// What callers report of a service, over all edges into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OfCallers {
    RequestsPerSecond,
    RequestLatencySeconds,
    ErrorRatio,
    ConnectFailureRatio,
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
    /// Not of this service: it adds nothing, and the sum is missing only if nothing else is there.
    Skip,
}

/// An end of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    Client,
    Server,
}

/// One metric, selected by labels, summed over its series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TermText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gauge: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Label values that pass; `*` stands for any text, a leading `!` refuses.
    #[serde(default, rename = "match", skip_serializing_if = "BTreeMap::is_empty")]
    pub matchers: BTreeMap<String, OneOrMany>,
    #[serde(default = "one")]
    pub scale: f64,
    #[serde(default)]
    pub absent: Absent,
    /// For edges: which end this metric is the report of, where no label says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<End>,
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
    /// Who listens where, for sources that name the server by its address only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<AddressesText>,
    /// Label whose value says which end reports, or several of which the first that is there does; without
    /// one all series are the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<Reporters>,
    #[serde(default)]
    pub requests: Vec<TermText>,
    #[serde(default)]
    pub errors: Vec<TermText>,
    /// What the errors are counted out of, where it is not the requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors_of: Vec<TermText>,
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
    /// What shows, while above zero, that the edge is in use though nothing is asked or connected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alive: Vec<TermText>,
}

/// A gauge with one series for each address that a service listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressesText {
    pub gauge: String,
    /// The label with the address and port.
    pub label: String,
    /// Key into `service_labels`.
    pub service: String,
}

/// One label or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reporters {
    One(ReporterText),
    Many(Vec<ReporterText>),
}

impl Reporters {
    pub fn values(&self) -> &[ReporterText] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// The label that says which end of an edge reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReporterText {
    pub label: String,
    pub client: String,
    pub server: String,
}
