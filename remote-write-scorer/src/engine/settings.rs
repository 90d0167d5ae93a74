//! What the engine is told: settings, its part among processes, and where results go.

use std::path::PathBuf;
use std::sync::Arc;

use quoll_features::FeatureSet;
use quoll_incidents::IncidentsConfig;
use quoll_queue::Queue;

use crate::outputs::Share;

/// What the engine needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The features.
    pub set: Arc<FeatureSet>,
    /// Length of a step in milliseconds.
    pub step_ms: i64,
    /// Evidence and incidents.
    pub incidents: IncidentsConfig,
    /// Where the model lies.
    pub model_dir: Option<PathBuf>,
    /// ONNX Runtime.
    pub onnxruntime: Option<PathBuf>,
    /// Event time without a step after which a scope is forgotten, in milliseconds.
    pub idle_scope_ms: i64,
    /// What to do with it all.
    pub part: Part,
}

/// The part that this process plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Scores and infers.
    All,
    /// Scores, and reports under these names of leaf and process.
    Leaf { leaf: String, process: String },
    /// Infers from reports.
    Root,
}

impl Part {
    pub(super) fn share(&self) -> Share {
        match self {
            Self::All => Share::All,
            Self::Leaf { .. } => Share::Details,
            Self::Root => Share::Rest,
        }
    }
}

/// Where results go.
#[derive(Default)]
pub struct Queues {
    /// Series for a Prometheus.
    pub results: Option<Arc<Queue>>,
    /// A leaf's reports.
    pub reports: Option<Arc<Queue>>,
}
