//! Where to send, where to keep what is not sent yet, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

/// Where to send, where to keep what is not sent yet, and how much of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueueConfig {
    /// The peer's remote-write address, such as `http://127.0.0.1:9090/api/v1/write`.
    pub url: String,
    /// Directory of the log; made if missing. One process at a time.
    pub dir: PathBuf,
    /// Entries older than this are dropped and counted (default 50 minutes: a Prometheus whose head
    /// block begins later refuses older samples of new series).
    pub max_age: Duration,
    /// Bound of the log on disk in bytes (default 1 GiB); beyond it the oldest entries are dropped and
    /// counted.
    pub max_bytes: u64,
    /// Most samples in one request to the peer (default 2,000, as Prometheus' own sender).
    pub max_samples_per_request: usize,
    /// Bound of one request to the peer (default 30 s).
    pub timeout: Duration,
    /// First and longest wait between two tries of one request (default 100 ms and 10 s). The wait
    /// doubles with each failure, less a random part of up to a half.
    pub backoff: (Duration, Duration),
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
            max_samples_per_request: 2_000,
            timeout: Duration::from_secs(30),
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            headers: Vec::new(),
        }
    }
}
