//! Why training fails.

use std::path::PathBuf;

/// Why no model came out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The feature set is empty.
    #[error("the feature set has no features")]
    NoFeatures,
    /// Too little history.
    #[error("{found} steps of history; at least {wanted} are needed")]
    TooShort {
        /// Steps there are.
        found: usize,
        /// Steps needed.
        wanted: usize,
    },
    /// No service has enough observed values.
    #[error("none of {services} services has {wanted} steps with enough observed features")]
    NoUsableService {
        /// Services in the history.
        services: usize,
        /// Steps needed.
        wanted: usize,
    },
    /// Steps of unequal length, or not in order of time.
    #[error("step ending at {end_ms} ms: {what}")]
    BadHistory {
        /// Which step.
        end_ms: i64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An option out of its range.
    #[error("{option} = {value}: must be {wanted}")]
    Option {
        /// Which option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The loss stopped being a number.
    #[error("training diverged at update {update}")]
    Diverged {
        /// At which update.
        update: usize,
    },
    /// The linear forecast has no solution.
    #[error("linear forecast: pivot {pivot} in row {row} is not positive")]
    Forecast {
        /// The pivot of Cholesky's decomposition.
        pivot: f64,
        /// Its row.
        row: usize,
    },
    /// The model directory cannot be written.
    #[error("{path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The calibration cannot be written as JSON.
    #[error("calibration: {0}")]
    Calibration(#[from] serde_json::Error),
    /// Scoring the held-out part failed.
    #[error("held-out part: {0}")]
    Score(#[from] quoll_detect::ScoreError),
}
