//! The series of a report: their names and labels.
//!
//! All of them carry `leaf`, the leaf's name, and `process`, which tells two processes of one leaf apart; those
//! about a service or an edge carry its labels. Samples of one report have one timestamp. What is not there is
//! zero for a rate, "no" for a flag, and missing for everything else.

/// Prefix of all of them.
pub const PREFIX: &str = "quoll_leaf_";

/// Label of the leaf's name.
pub const LEAF: &str = "leaf";
/// Label that tells processes of one leaf apart.
pub const PROCESS: &str = "process";
/// Label of the length of a step, in milliseconds, on [`TICK`].
pub const STEP: &str = "step_ms";
/// Label of a host, on [`HOST`].
pub const HOST_LABEL: &str = "host";
/// Labels of a change, on [`CHANGE`]: its kind and what it is.
pub const CHANGE_LABELS: [&str; 2] = ["kind", "change"];
/// Label of a feature's name.
pub const FEATURE: &str = "feature";
/// Label of the tenant, where there is one.
pub const TENANT: &str = "tenant";

/// End of the step that the report is of.
pub const TICK: &str = "quoll_leaf_tick_timestamp_seconds";
/// End of the step reported before it.
pub const PREVIOUS: &str = "quoll_leaf_previous_tick_timestamp_seconds";
/// Samples of the report, this one included.
pub const SAMPLES: &str = "quoll_leaf_tick_samples";
/// State of the leaf's model: 0 none, 1 provisional, 2 calibrated.
pub const MODEL: &str = "quoll_leaf_model_state";
/// Presence of a service: 0 present, 1 vanished, 2 idle, 3 only named by an edge.
pub const PRESENCE: &str = "quoll_leaf_service_presence";
/// A host that the service runs on; always 1.
pub const HOST: &str = "quoll_leaf_service_host";
/// A change of the service in this step; always 1.
pub const CHANGE: &str = "quoll_leaf_service_change";
/// Score of a service.
pub const SCORE: &str = "quoll_leaf_anomaly_score";
/// Its tail probability.
pub const TAIL: &str = "quoll_leaf_tail_probability";
/// 1 where its tail rests on too little history.
pub const PROVISIONAL: &str = "quoll_leaf_score_provisional";
/// Observed, expected and score of a feature, and what the expectation rests on, for services that stand out.
pub const FEATURES: [&str; 4] = [
    "quoll_leaf_feature_value",
    "quoll_leaf_feature_expected",
    "quoll_leaf_feature_anomaly_score",
    "quoll_leaf_feature_basis",
];
/// Figures of an edge, per second but for the last, the mean latency.
pub const EDGES: [&str; 5] = [
    "quoll_leaf_edge_requests_per_second",
    "quoll_leaf_edge_errors_per_second",
    "quoll_leaf_edge_connects_per_second",
    "quoll_leaf_edge_connect_failures_per_second",
    "quoll_leaf_edge_latency_seconds",
];

/// Every name, with what it tells.
pub const METRICS: [(&str, &str); 19] = [
    (TICK, "End of the step that the report is of."),
    (PREVIOUS, "End of the step reported before it."),
    (SAMPLES, "Samples of the report."),
    (MODEL, "The leaf's model: 0 none, 1 provisional, 2 calibrated."),
    (PRESENCE, "A service: 0 present, 1 vanished, 2 idle, 3 only named by an edge."),
    (HOST, "A host that the service runs on."),
    (CHANGE, "A change of the service in this step."),
    (SCORE, "Score of a service."),
    (TAIL, "Tail probability of the score."),
    (PROVISIONAL, "1 where the tail rests on too little history."),
    (FEATURES[0], "Observed value of a feature, for services that stand out."),
    (FEATURES[1], "Expected value of a feature, for services that stand out."),
    (FEATURES[2], "Score of a feature, for services that stand out."),
    (FEATURES[3], "0 last steps, 1 normal pattern, 2 usual level, 3 hour of the day, 4 other features."),
    (EDGES[0], "Requests along an edge, those without a connection included."),
    (EDGES[1], "Requests of these that failed."),
    (EDGES[2], "Connections attempted."),
    (EDGES[3], "Connections that failed."),
    (EDGES[4], "Mean latency of requests."),
];
