//! What the last tick says, as JSON shows it.
//!
//! The engine builds a whole [`Published`] per tick and swaps it in; readers never see half of one.
//! Numbers that are not finite become `null`.

use std::collections::BTreeMap;
use std::sync::Arc;

pub use quoll_incidents::{Account, Feedback};
use serde::{Deserialize, Serialize, Serializer};

/// Everything there is to read, by scope.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// State of the model.
    pub model: ModelView,
    /// The newest tick of each scope.
    pub scopes: BTreeMap<ScopeKey, Arc<ScopeView>>,
}

/// A scope as named in queries.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ScopeKey {
    /// Value of `X-Scope-OrgID`.
    pub tenant: String,
    /// Partition labels.
    pub partition: BTreeMap<String, String>,
}

/// State of the model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelView {
    /// `none`, `provisional` or `calibrated`.
    pub state: &'static str,
    /// The same in a sentence, with the reason.
    pub message: String,
}

impl Default for ModelView {
    fn default() -> Self {
        Self { state: "none", message: "no model: topology only".to_owned() }
    }
}

/// A service by its labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceName {
    /// Namespace, if any.
    pub namespace: Option<Arc<str>>,
    /// Name.
    pub name: Arc<str>,
}

/// One scope at its newest tick.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ScopeView {
    /// Which scope.
    pub scope: ScopeKey,
    /// End of the step, in milliseconds since the epoch; `null` before the first.
    pub tick_ms: Option<i64>,
    /// Length of a step in milliseconds.
    pub step_ms: i64,
    /// Version of the inference engine.
    pub engine_version: String,
    /// Digest of the settings behind the inference.
    pub config_hash: String,
    /// Probability that a service looks anomalous for no reason in the network.
    pub leak: f64,
    /// Services, sorted.
    pub services: Vec<ServiceView>,
    /// Edges, sorted.
    pub edges: Vec<EdgeView>,
    /// Open incidents, oldest first.
    pub incidents: Vec<IncidentView>,
    /// Incidents that closed lately, newest first.
    pub closed_incidents: Vec<ClosedIncidentView>,
    /// At a root: leaves that should have reported this step, and have not.
    pub silent_leaves: Vec<Arc<str>>,
}

/// One service.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceView {
    /// Namespace, if any.
    pub namespace: Option<Arc<str>>,
    /// Name.
    pub name: Arc<str>,
    /// `present`, `vanished`, `idle`, or `unknown` where its leaf is silent.
    pub presence: &'static str,
    /// Above 1 = anomalous at the score budget; `null` without a score.
    pub score: Option<f64>,
    /// Whether the score's tail rests on too little history.
    pub provisional: Option<bool>,
    /// Posterior probability of being anomalous.
    pub anomaly_probability: f64,
    /// Evidence of this tick, natural logarithm.
    pub log_likelihood_ratio: f64,
    /// Predictive prior of "the fault is here".
    pub fault_prior: f64,
    /// Posterior of "the fault is here", within an incident.
    pub root_cause_probability: Option<f64>,
    /// The incident it belongs to.
    pub incident: Option<String>,
    /// Features behind the score; without a model, what was observed.
    pub features: FeaturesView,
}

/// Name and unit of a feature.
#[derive(Debug, Clone)]
pub struct FeatureName {
    /// Name.
    pub name: Arc<str>,
    /// Unit of value and expectation.
    pub unit: Arc<str>,
}

/// What is told of one feature; NaN, which JSON has as `null`, where nothing is.
#[derive(Debug, Clone, Copy)]
pub struct FeatureValue {
    /// Its place among the names.
    pub feature: u32,
    /// Observed.
    pub value: f64,
    /// Expected by the part of the score that contributes most to `score`.
    pub expected: f64,
    /// What the expectation rests on; none where there is no expectation.
    pub basis: Option<&'static str>,
    /// Error over what is normal.
    pub score: f64,
}

/// The features of one service. Names are held once for all services: with ten thousand of them this is most of a
/// view.
#[derive(Debug, Clone, Default)]
pub struct FeaturesView {
    /// All names.
    pub names: Arc<[FeatureName]>,
    /// What is told.
    pub values: Box<[FeatureValue]>,
}

impl Serialize for FeaturesView {
    /// As a list of objects with name, unit, value, expected, basis and score.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct FeatureView<'a> {
            name: &'a str,
            unit: &'a str,
            value: f64,
            expected: f64,
            basis: Option<&'static str>,
            score: f64,
        }
        serializer.collect_seq(self.values.iter().filter_map(
            |&FeatureValue { feature, value, expected, basis, score }| {
                let FeatureName { name, unit } = self.names.get(feature as usize)?;
                Some(FeatureView { name, unit, value, expected, basis, score })
            },
        ))
    }
}

/// Calls from one service to another.
#[derive(Debug, Clone, Serialize)]
pub struct EdgeView {
    /// Caller.
    pub client: Arc<str>,
    /// Its namespace.
    pub client_namespace: Option<Arc<str>>,
    /// Callee.
    pub server: Arc<str>,
    /// Its namespace.
    pub server_namespace: Option<Arc<str>>,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Share of failed attempts.
    pub error_ratio: f64,
    /// Probability that the caller is anomalous because the callee is.
    pub strength: f64,
}

/// A service with a probability.
#[derive(Debug, Clone, Serialize)]
pub struct Likely {
    /// Namespace, if any.
    pub namespace: Option<Arc<str>>,
    /// Name.
    pub name: Arc<str>,
    /// Probability.
    pub probability: f64,
}

/// Whom a fault of one service reaches.
#[derive(Debug, Clone, Serialize)]
pub struct BlastView {
    /// The cause.
    pub root: ServiceName,
    /// Services hit.
    pub hits: Vec<Likely>,
}

/// An open incident.
#[derive(Debug, Clone, Serialize)]
pub struct IncidentView {
    /// Identifier.
    pub id: String,
    /// When it opened, in milliseconds since the epoch.
    pub opened_ms: i64,
    /// Predictive prior of "no fault".
    pub no_fault_prior: f64,
    /// Posterior of "no fault".
    pub no_fault_probability: f64,
    /// Causes, likeliest first.
    pub roots: Vec<Likely>,
    /// Services anomalous because of the likeliest cause.
    pub symptoms: Vec<ServiceName>,
    /// Whom the likeliest causes reach.
    pub blast_radius: Vec<BlastView>,
    /// What was seen first, why this cause, what else, who is next.
    pub account: Account,
    /// The account in plain sentences.
    pub explanation: Vec<String>,
}

/// An incident that ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClosedIncidentView {
    /// Identifier.
    pub id: String,
    /// When it opened, in milliseconds since the epoch.
    pub opened_ms: i64,
    /// When it ended, in milliseconds since the epoch.
    pub closed_ms: i64,
    /// Its cause.
    pub root: ServiceName,
    /// The incident it was merged into.
    pub merged_into: Option<String>,
    /// The account as of its last tick.
    #[serde(default)]
    pub account: Account,
    /// The same in plain sentences.
    pub explanation: Vec<String>,
    /// What a user said.
    #[serde(default)]
    pub feedback: Option<Feedback>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_told_by_name_and_what_is_not_known_is_null() {
        let names = [("cpu_cores", "cores"), ("memory_bytes", "bytes")];
        let names = names.map(|(name, unit)| FeatureName { name: name.into(), unit: unit.into() });
        let values = [FeatureValue { feature: 1, value: 2.5, expected: f64::NAN, basis: None, score: 0.5 }];
        let view = FeaturesView { names: names.into(), values: values.into() };
        let expected =
            r#"[{"name":"memory_bytes","unit":"bytes","value":2.5,"expected":null,"basis":null,"score":0.5}]"#;
        assert_eq!(serde_json::to_string(&view).unwrap(), expected);
    }
}
