//! What happened to samples and series, and how large the state is.

use serde::{Deserialize, Serialize};

/// Counters since the windows were made, and present sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WindowStats {
    /// Samples taken (late ones and stale markers included).
    pub samples: u64,
    /// Samples whose step was already closed.
    pub late: u64,
    /// Samples dropped: the series had one of the same time.
    pub duplicates: u64,
    /// Samples dropped: the series had a newer one.
    pub out_of_order: u64,
    /// Samples that were NaN or infinite.
    pub not_numbers: u64,
    /// Counter resets.
    pub resets: u64,
    /// Samples dropped: too many were waiting for later steps already.
    pub too_far_ahead: u64,
    /// Samples dropped: their time or their handle does not exist.
    pub invalid: u64,
    /// Steps closed.
    pub steps: u64,
    /// Series forgotten.
    pub forgotten: u64,
    /// Series refused: the scope holds as many series, services or edges as it may.
    pub refused: u64,
    /// Series that take part in steps at present.
    pub series: usize,
    /// Services known at present.
    pub services: usize,
    /// Edges known at present.
    pub edges: usize,
    /// Samples waiting for later steps at present.
    pub waiting: usize,
    /// Bytes of heap memory held at present, names not counted.
    pub heap_bytes: usize,
}
