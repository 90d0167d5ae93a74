//! What the queue did and how deep it is.

/// Counters since the queue was opened, and its present depth.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Samples appended to the log.
    pub appended_samples: u64,
    /// Samples that the peer took with a 2xx.
    pub sent_samples: u64,
    /// Samples dropped because they were older than `max_age`.
    pub dropped_too_old_samples: u64,
    /// Samples dropped, oldest first, because the log reached `max_bytes`.
    pub dropped_overflow_samples: u64,
    /// Samples dropped because their record on disk was damaged.
    pub dropped_damaged_samples: u64,
    /// Samples that the peer refused for ever.
    pub refused_samples: u64,
    /// Requests answered with 2xx.
    pub requests_ok: u64,
    /// Requests that failed and were, or will be, tried again.
    pub requests_retried: u64,
    /// Requests that the peer refused for ever, those of a bisection included.
    pub requests_refused: u64,
    /// Times that the peer did not prove that it stored remote write 2.0, and was sent 1.0 instead.
    pub fallbacks: u64,
    /// Remote write spoken at the last success: 1 or 2; 0 before the first one.
    pub version: u8,
    /// Bytes cut from the log's files at opening because they were damaged.
    pub truncated_bytes: u64,
    /// Samples waiting.
    pub pending_samples: u64,
    /// Bytes on disk.
    pub pending_bytes: u64,
    /// Age of the oldest waiting sample in seconds, 0 where nothing waits.
    pub oldest_pending_seconds: f64,
    /// Milliseconds since the epoch of the last 2xx; 0 where there was none.
    pub last_success_ms: i64,
}
