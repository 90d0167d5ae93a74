//! What comes out: all services and edges of one scope at one step.

use std::sync::Arc;

use quoll_identity::{Edge, Service};
use serde::{Deserialize, Serialize};

/// One step of one scope, closed: nothing that arrives later changes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStep {
    /// Whose values these are.
    pub service: Service,
    /// One value per feature of the set, in the feature's unit; NaN where missing.
    pub values: Vec<f64>,
    /// Whether the service is there at all.
    pub presence: Presence,
    /// The hosts that its instances run on, sorted, each once; empty where no label tells. A service whose
    /// own series have ended keeps the hosts it was last seen on.
    pub hosts: Arc<[Arc<str>]>,
    /// What changed about the service during this step; told once, in the step that first shows it.
    pub change: Option<Change>,
}

impl ServiceStep {
    /// A step of a service of which no host is known and nothing changed.
    #[must_use]
    pub fn new(service: Service, values: Vec<f64>, presence: Presence) -> Self {
        Self { service, values, presence, hosts: Arc::default(), change: None }
    }
}

/// One change of a service: a deployment, a restart, a scaling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What kind it is. Where one step shows several kinds, the first of this order is told.
    pub kind: ChangeKind,
    /// A few words such as `image shop/cart:1.2 -> shop/cart:1.3`.
    pub text: String,
}

/// Kinds of changes, the most telling first: a new image brings a restart and new instances with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Another container image.
    Image,
    /// Another version.
    Version,
    /// Another executable.
    Executable,
    /// Another number of instances is asked for.
    Replicas,
    /// An instance was started anew.
    Restart,
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
    /// Whoever reports on it is silent: nothing is known, neither good nor bad.
    Unknown,
}

/// Calls along one edge during one step, by the client's report, else the server's; never the sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeStep {
    /// From whom to whom.
    pub edge: Edge,
    /// Requests per second, those included that got no connection; connects where the edge carries no
    /// request metrics.
    pub requests_per_second: f64,
    /// Of these: answered with a server error (5xx), not answered at all, or without a connection.
    pub errors_per_second: f64,
    /// Connections attempted per second, failed ones included.
    pub connects_per_second: f64,
    /// Connections that failed per second.
    pub connect_failures_per_second: f64,
    /// Mean request latency; NaN where no request finished.
    pub latency_seconds: f64,
}
