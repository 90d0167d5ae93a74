//! What comes out: all services and edges of one scope at one step.

use quoll_identity::{Edge, Service};
use serde::{Deserialize, Serialize};

/// One step of one scope, closed: nothing that arrives later changes it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedStep {
    /// Event time of the step's end, in milliseconds since the epoch; a multiple of `step_ms`.
    pub end_ms: i64,
    /// Length of the step in milliseconds.
    pub step_ms: i64,
    /// Every service known at this step, sorted.
    pub services: Vec<ServiceStep>,
    /// Every edge known at this step, sorted.
    pub edges: Vec<EdgeStep>,
}

/// One service at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceStep {
    /// Whose values these are.
    pub service: Service,
    /// One value per feature of the set, in the feature's unit; NaN where missing.
    pub values: Vec<f64>,
    /// Whether the service is there at all.
    pub presence: Presence,
}

/// Whether a service is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It reports, answers, or nothing speaks against it.
    Present,
    /// It had traffic and is gone (its own series ended, or connects to it all fail) while callers still
    /// try: strong evidence of a fault.
    Vanished,
    /// It is gone and nobody calls it: planned, neutral.
    Idle,
}

/// Calls along one edge during one step, by the client's report, else the server's; never the sum.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeStep {
    /// From whom to whom.
    pub edge: Edge,
    /// Requests (connects where the edge carries no request metrics) per second.
    pub requests_per_second: f64,
    /// Requests answered with a server error (5xx), or not at all, per second.
    pub errors_per_second: f64,
    /// Connections attempted per second, failed ones included.
    pub connects_per_second: f64,
    /// Connections that failed per second.
    pub connect_failures_per_second: f64,
    /// Mean request latency; NaN where no request finished.
    pub latency_seconds: f64,
}
