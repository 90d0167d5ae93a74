//! The receiver for many threads: requests in on some, closed steps out on another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quoll_shards::LeafStatus;

use crate::config::IngestConfig;
use crate::in_flight::InFlight;
use crate::log::LogError;
use crate::receiver::{Receipt, Receiver, WriteError};
use crate::scope::ClosedScopeStep;
use crate::snapshot::StoredReceiver;
use crate::stats::{IngestStats, Refusal};
use crate::wire::Format;

/// Buffers kept for reuse, and the most that each may hold on to.
const POOLED_BUFFERS: usize = 8;
const POOLED_BYTES: usize = 8 << 20;

/// A [`Receiver`] behind a lock. Decompression happens outside of it.
#[derive(Debug)]
pub struct SharedReceiver {
    receiver: Mutex<Receiver>,
    closed: Condvar,
    buffers: Mutex<Vec<Vec<u8>>>,
    refused: [AtomicU64; Refusal::COUNT],
    in_flight: Arc<InFlight>,
    config: IngestConfig,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedReceiver {
    /// Shares a receiver.
    #[must_use]
    pub fn new(receiver: Receiver) -> Self {
        let config = receiver.config().clone();
        Self {
            receiver: Mutex::new(receiver),
            closed: Condvar::new(),
            buffers: Mutex::default(),
            refused: Default::default(),
            in_flight: InFlight::new(config.limits.in_flight_bytes),
            config,
        }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &IngestConfig {
        &self.config
    }

    /// The memory of all requests under way.
    #[must_use]
    pub fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    /// Counts a request that was refused before it came here.
    pub fn refuse(&self, reason: Refusal) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a request as sent. When this returns `Ok`, its samples are in the log and in the windows.
    ///
    /// # Errors
    /// Each variant of [`WriteError`]; nothing was changed then.
    pub fn write(&self, tenant: &str, format: Format, compressed: &[u8]) -> Result<Receipt, WriteError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.write_at(tenant, format, compressed, i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }

    /// As [`SharedReceiver::write`], with the wall clock given.
    ///
    /// # Errors
    /// As [`SharedReceiver::write`].
    pub fn write_at(
        &self,
        tenant: &str,
        format: Format,
        compressed: &[u8],
        now_ms: i64,
    ) -> Result<Receipt, WriteError> {
        let mut buffer = lock(&self.buffers).pop().unwrap_or_default();
        let result = self.write_with(&mut buffer, tenant, format, compressed, now_ms);
        let mut buffers = lock(&self.buffers);
        if buffers.len() < POOLED_BUFFERS && buffer.capacity() <= POOLED_BYTES {
            buffers.push(buffer);
        }
        drop(buffers);
        result.inspect_err(|error| self.refuse(error.refusal()))
    }

    fn write_with(
        &self,
        buffer: &mut Vec<u8>,
        tenant: &str,
        format: Format,
        compressed: &[u8],
        now_ms: i64,
    ) -> Result<Receipt, WriteError> {
        let limits = &self.config.limits;
        if compressed.len() > limits.compressed_bytes {
            return Err(WriteError::CompressedTooLarge { bytes: compressed.len(), limit: limits.compressed_bytes });
        }
        // Held before memory is taken: what the body declares, where that is credible at all.
        let mut held = self.in_flight.hold();
        let declared = format.encoding.most_decoded(compressed, limits.decoded_bytes)?;
        if !held.grow(declared) {
            return Err(WriteError::InFlight { limit: limits.in_flight_bytes });
        }
        let body = format.encoding.decompress(compressed, buffer, limits.decoded_bytes)?;
        let mut receiver = lock(&self.receiver);
        let pending = receiver.pending();
        if pending >= self.config.max_pending_steps {
            return Err(WriteError::Busy { pending, limit: self.config.max_pending_steps });
        }
        let receipt = receiver.write(tenant, format.body(body), now_ms)?;
        receiver.count_bytes(compressed.len(), body.len());
        let closed = receiver.pending() > 0;
        drop(receiver);
        if closed {
            self.closed.notify_one();
        }
        Ok(receipt)
    }

    /// Waits until steps have closed, or for `timeout`, and takes them.
    #[must_use]
    pub fn wait_closed(&self, timeout: Duration) -> Vec<ClosedScopeStep> {
        let receiver = lock(&self.receiver);
        let waited = self.closed.wait_timeout_while(receiver, timeout, |receiver| receiver.pending() == 0);
        let (mut receiver, _) = waited.unwrap_or_else(PoisonError::into_inner);
        receiver.take_closed()
    }

    /// Stores the state together with all that is closed and not taken yet: `sink` gets the state while no request
    /// can change it. See [`Receiver::store`].
    ///
    /// # Errors
    /// Where a new segment of the log cannot be begun.
    pub fn store<T>(&self, sink: impl FnOnce(&StoredReceiver<'_>) -> T) -> Result<(Vec<ClosedScopeStep>, T), LogError> {
        let mut receiver = lock(&self.receiver);
        let closed = receiver.take_closed();
        let stored = receiver.store()?;
        let result = sink(&stored);
        drop(stored);
        Ok((closed, result))
    }

    /// The state up to this segment of the log is stored: what came before may go by its age.
    pub fn stored_up_to(&self, position: u64) {
        lock(&self.receiver).stored_up_to(position);
    }

    /// At a root: each leaf, over all scopes.
    #[must_use]
    pub fn leaves(&self) -> Vec<LeafStatus> {
        lock(&self.receiver).leaves()
    }

    /// Ends a wait early.
    pub fn wake(&self) {
        self.closed.notify_all();
    }

    /// Counters and sizes as of now.
    #[must_use]
    pub fn stats(&self) -> IngestStats {
        let mut stats = lock(&self.receiver).stats();
        for (total, count) in stats.refused_requests.iter_mut().zip(&self.refused) {
            *total = count.load(Ordering::Relaxed);
        }
        stats.in_flight_bytes = self.in_flight.used() as u64;
        stats
    }
}
