//! Durable outbound queue and remote-write sender.
//!
//! # Guarantees
//! - What [`Queue::commit`] took is on disk (`write(2)`: it survives the end of the process, not the
//!   machine's loss of power) and leaves only after the peer's 2xx, or counted: refused for ever by the
//!   peer, older than `max_age`, or the oldest when the log reached `max_bytes`.
//! - Remote write 2.0 is spoken to peers that prove that they stored it, 1.0 to others (see `peer`).
//! - Entries go out in the order in which they came, one request at a time, so each series' samples
//!   arrive in order; labels are sorted. A retry sends the same bytes, also after a restart (but for the one
//!   change from 2.0 to 1.0, with the same samples).
//! - A permanent refusal is bisected to the offending samples; all others go through.
//!
//! # Failure behaviour
//! - The peer is away or overloaded: exponential backoff with jitter, `Retry-After` respected (up to
//!   5 minutes), the log grows within its bound.
//! - The peer's set-up is wrong (path, credentials): kept and tried again like an absence, since somebody
//!   may repair it.
//! - A crash: the log is recovered at the next opening, see `log`; at most the entry that was on its way
//!   is sent twice, with the same samples.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod body;
mod config;
mod credentials;
mod error;
mod log;
mod peer;
mod sender;
mod stats;
mod tls;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use body::{Batch, OutSeries};
pub use config::{Credentials, Protocol, QueueConfig, Secret, Tls};
pub use error::QueueError;
pub use stats::QueueStats;

use body::Version;
use log::{Entry, Log, Losses, MAX_BODY};
use sender::{Sender, Shared, State, now_ms};

/// The queue with its sending thread.
#[derive(Debug)]
pub struct Queue {
    shared: Arc<Shared>,
    max_samples_per_request: usize,
    external_labels: Vec<(String, String)>,
    always_v1: bool,
}

impl Queue {
    /// Opens the log in `config.dir`, recovers what a crash left, and starts to send.
    ///
    /// # Errors
    /// - [`QueueError::Url`], [`QueueError::Header`]: the peer cannot be addressed so.
    /// - [`QueueError::Certificate`]: a certificate or key cannot be used.
    /// - [`QueueError::Locked`]: another process has the directory.
    /// - [`QueueError::Io`]: the directory or its files cannot be used.
    pub fn open(config: QueueConfig) -> Result<Self, QueueError> {
        let peer = peer::Peer::new(&config)?;
        let (log, losses) = Log::open(&config.dir, config.max_bytes)?;
        let mut state = State { log: Some(log), stats: QueueStats::default(), stop_by: None, finished: false };
        state.count(&losses);
        if losses.truncated_bytes > 0 {
            tracing::warn!(bytes = losses.truncated_bytes, "cut damaged records off the outbound queue");
        }
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), finished: Condvar::new() });
        let max_samples_per_request = config.max_samples_per_request.max(1);
        let external_labels = config.external_labels.clone();
        let always_v1 = config.protocol == Protocol::V1;
        let of_sender = Arc::clone(&shared);
        let failed = QueueError::io(&config.dir);
        std::thread::Builder::new()
            .name("remote-write".to_owned())
            .spawn(move || Sender { shared: &of_sender, peer, config: &config }.run())
            .map_err(failed)?;
        Ok(Self { shared, max_samples_per_request, external_labels, always_v1 })
    }

    /// An empty batch for this queue.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        // What the peer was last seen to take, so that the bytes need not be made anew on their way out.
        let version = if self.always_v1 || self.shared.lock().stats.version == 1 { Version::V1 } else { Version::V2 };
        Batch::new(&self.external_labels, self.max_samples_per_request, version)
    }

    /// [`Self::commit`] of a batch of these series.
    ///
    /// # Errors
    /// As there.
    pub fn append(&self, series: Vec<OutSeries>) -> Result<(), QueueError> {
        let mut batch = self.batch();
        series.into_iter().for_each(|series| batch.push(series));
        self.commit(batch)
    }

    /// Writes the batch to the log, all of it or nothing; what returns `Ok` survives the end of the
    /// process.
    ///
    /// # Errors
    /// - [`QueueError::Labels`]: a series that cannot be.
    /// - [`QueueError::TooLarge`]: the batch alone exceeds the queue's bound.
    /// - [`QueueError::Io`]: the log cannot be written, such as on a full disk.
    /// - [`QueueError::Closed`]: the queue is shut down.
    pub fn commit(&self, batch: Batch<'_>) -> Result<(), QueueError> {
        let samples = batch.samples();
        let bodies = batch.finish()?;
        if bodies.is_empty() {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(bodies.len());
        for body in &bodies {
            if body.bytes.len() > MAX_BODY {
                return Err(QueueError::TooLarge { bytes: body.bytes.len() as u64, limit: MAX_BODY as u64 });
            }
            entries.push(Entry { newest_ms: body.newest_ms, samples: body.samples, body: &body.bytes });
        }
        let mut state = self.shared.lock();
        let Some(log) = state.log.as_mut() else { return Err(QueueError::Closed) };
        let losses: Losses = log.append(&entries)?;
        state.count(&losses);
        state.stats.appended_samples += samples;
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// What happened so far, and the present depth.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        let state = self.shared.lock();
        let mut stats = state.stats;
        if let Some(log) = &state.log {
            stats.pending_samples = log.samples();
            stats.pending_bytes = log.bytes();
            if let Some(oldest) = log.peek() {
                stats.oldest_pending_seconds =
                    Duration::from_millis(u64::try_from(now_ms().saturating_sub(oldest.newest_ms)).unwrap_or(0))
                        .as_secs_f64();
            }
        }
        stats
    }

    /// Sends what it can until the queue is empty or `deadline` has passed, then stops; the rest stays on
    /// disk and is sent after the next opening.
    pub fn shutdown(self, deadline: Duration) {
        self.stop(deadline);
    }

    fn stop(&self, deadline: Duration) {
        let by = Instant::now() + deadline;
        let mut state = self.shared.lock();
        if state.log.is_none() {
            return;
        }
        state.stop_by = Some(by);
        self.shared.changed.notify_all();
        while !state.finished {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.finished.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        // Gives the directory free, also while a request is still on its way: its entry stays.
        state.log = None;
    }
}

impl Drop for Queue {
    /// As [`Queue::shutdown`] without waiting.
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}
