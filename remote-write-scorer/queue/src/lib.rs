//! Durable outbound queue and remote-write sender.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

use std::path::PathBuf;
use std::time::Duration;

/// One sample of one series to be written to the peer.
#[derive(Debug, Clone, PartialEq)]
pub struct OutSeries {
    /// Labels sorted by name, `__name__` included, no name twice, no empty value.
    pub labels: Vec<(String, String)>,
    /// Event time in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The value; any `f64`, stale markers included.
    pub value: f64,
}

/// Where to send, where to keep what is not sent yet, and how much of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueueConfig {
    /// The peer's remote-write address, such as `http://127.0.0.1:9090/api/v1/write`.
    pub url: String,
    /// Directory of the log; made if missing. One process at a time.
    pub dir: PathBuf,
    /// Entries older than this are dropped and counted (default 50 minutes).
    pub max_age: Duration,
    /// Bound of the log on disk in bytes (default 1 GiB); beyond it the oldest entries are dropped and counted.
    pub max_bytes: u64,
    /// Bound of one request to the peer (default 30 s).
    pub timeout: Duration,
    /// Headers for every request, such as `Authorization` or `X-Scope-OrgID`.
    pub headers: Vec<(String, String)>,
}

impl QueueConfig {
    /// Defaults for this peer and directory.
    #[must_use]
    pub fn new(url: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            url: url.into(),
            dir: dir.into(),
            max_age: Duration::from_secs(50 * 60),
            max_bytes: 1 << 30,
            timeout: Duration::from_secs(30),
            headers: Vec::new(),
        }
    }
}

/// Why the queue cannot be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The log cannot be read or written.
    #[error("outbound queue in {}: {source}", dir.display())]
    Io {
        /// The queue's directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

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
    /// Samples that the peer refused for ever.
    pub refused_samples: u64,
    /// Requests answered with 2xx.
    pub requests_ok: u64,
    /// Requests that failed and were, or will be, tried again.
    pub requests_retried: u64,
    /// Bytes cut from the log's end because they were damaged.
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

/// The queue with its sending thread.
#[derive(Debug)]
pub struct Queue {}

impl Queue {
    /// Opens the log in `config.dir`, recovers what a crash left, and starts to send.
    ///
    /// # Errors
    /// [`QueueError::Io`] where the directory or its files cannot be used.
    pub fn open(config: QueueConfig) -> Result<Self, QueueError> {
        let _ = &config;
        Ok(Self {})
    }

    /// Writes the batch to the log; what returns `Ok` survives the end of the process.
    ///
    /// # Errors
    /// [`QueueError::Io`] where the log cannot be written.
    pub fn append(&self, batch: Vec<OutSeries>) -> Result<(), QueueError> {
        let _ = &batch;
        Ok(())
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        QueueStats::default()
    }

    /// Sends what it can until `deadline` has passed, then stops; the rest stays on disk.
    pub fn shutdown(self, deadline: Duration) {
        let _ = deadline;
    }
}
