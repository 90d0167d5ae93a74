//! Why a model cannot be used, or a step not scored.

use std::path::PathBuf;

/// Why a model directory cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file of the model directory cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The ONNX Runtime library is missing or cannot be used.
    #[error(
        "ONNX Runtime cannot be loaded from {path} ({reason}); --onnxruntime FILE or ORT_DYLIB_PATH names a \
         libonnxruntime.so of version 1.24 or later, such as scripts/setup unpacks into target/toolchains/onnxruntime"
    )]
    Runtime {
        /// Where it was looked for.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// ONNX Runtime refuses the model.
    #[error("{path}: not a model ONNX Runtime accepts: {reason}")]
    Refused {
        /// Which file.
        path: PathBuf,
        /// What the runtime said.
        reason: String,
    },
    /// The calibration file is not what training writes.
    #[error("{path}: {source}")]
    Calibration {
        /// Which file.
        path: PathBuf,
        /// Where it fails.
        source: serde_json::Error,
    },
    /// The model was made for something else.
    #[error("{path}: made for {what} `{found}`, but this scorer runs `{wanted}`; train again")]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// Which property differs.
        what: &'static str,
        /// The model's value.
        found: String,
        /// The scorer's value.
        wanted: String,
    },
    /// A property that every model carries is absent.
    #[error("{path}: carries no `{key}`; not a model written by quoll-scorer train")]
    MissingMetadata {
        /// Which file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
}

/// Why a step cannot be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// The inference failed.
    #[error("inference over {windows} windows failed: {reason}")]
    Inference {
        /// Size of the batch.
        windows: usize,
        /// What the runtime said.
        reason: String,
    },
    /// The network's output has another size than its input.
    #[error("the network returned {found} numbers where {wanted} were expected")]
    OutputShape {
        /// What came.
        found: usize,
        /// What was expected.
        wanted: usize,
    },
    /// A step has another number of features than the model.
    #[error("service {service} came with {found} features; the model has {wanted}")]
    Features {
        /// The first such service.
        service: String,
        /// What came.
        found: usize,
        /// What the model has.
        wanted: usize,
    },
    /// A step of another length than the model's.
    #[error("a step of {found} ms; the model is for {wanted} ms")]
    Step {
        /// What came.
        found: i64,
        /// What the model has.
        wanted: i64,
    },
}
