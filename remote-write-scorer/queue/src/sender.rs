//! The thread that empties the log.
//!
//! One entry at a time, oldest first, so that each series' samples arrive in order. An entry is tried,
//! with the same bytes each time, until the peer takes it, refuses it for ever, or it is older than
//! `max_age`. (A peer that turns out not to speak remote write 2.0 gets the same samples as 1.0.) A refused entry is halved until the offending samples stand alone; those are counted and
//! logged, all others are delivered. Halves wait out failures like whole entries.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::body::{self, OutSeries, Version};
use crate::config::QueueConfig;
use crate::log::{Header, Log, Losses};
use crate::peer::{Answer, Peer};
use crate::stats::QueueStats;

/// What appenders and the sender share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub state: Mutex<State>,
    /// Something was appended, or the end was called.
    pub changed: Condvar,
    /// The sender is through.
    pub finished: Condvar,
}

#[derive(Debug)]
pub(crate) struct State {
    /// `None` once the queue is shut down.
    pub log: Option<Log>,
    pub stats: QueueStats,
    /// When to stop at the latest; set by the shutdown.
    pub stop_by: Option<Instant>,
    pub finished: bool,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // State is counters and a log that keeps itself whole at each step; a panic elsewhere while the
        // lock was held does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub fn count(&mut self, losses: &Losses) {
        self.stats.dropped_overflow_samples += losses.overflow_samples;
        self.stats.dropped_damaged_samples += losses.damaged_samples;
        self.stats.truncated_bytes += losses.truncated_bytes;
    }

    fn stopping(&self) -> bool {
        self.log.is_none() || self.stop_by.is_some_and(|by| Instant::now() >= by)
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How the delivery of a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// All that can be delivered is.
    Done,
    /// It became too old on the way.
    TooOld,
    /// The queue shuts down; the entry stays.
    Stopped,
}

/// The sending side.
pub(crate) struct Sender<'a> {
    pub shared: &'a Shared,
    pub peer: Peer,
    pub config: &'a QueueConfig,
}

impl Sender<'_> {
    /// Empties the log until the queue shuts down.
    pub fn run(&self) {
        let mut body = Vec::new();
        while let Some(header) = self.next(&mut body) {
            let delivery = if self.too_old(header.newest_ms) {
                Delivery::TooOld
            } else {
                self.deliver(&body, u64::from(header.samples), header.newest_ms)
            };
            if delivery == Delivery::Stopped {
                break;
            }
            self.leave(&header, delivery);
        }
        let mut state = self.shared.lock();
        state.finished = true;
        drop(state);
        self.shared.finished.notify_all();
    }

    /// The oldest entry, waited for; `None` at the end.
    fn next(&self, body: &mut Vec<u8>) -> Option<Header> {
        let mut state = self.shared.lock();
        loop {
            if state.stopping() {
                return None;
            }
            let mut losses = Losses::default();
            let read = state.log.as_mut()?.read(body, &mut losses);
            state.count(&losses);
            match read {
                Ok(Some(header)) => return Some(header),
                Ok(None) if state.stop_by.is_some() => return None,
                Ok(None) => {
                    state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Err(error) => {
                    tracing::error!(%error, "outbound queue cannot be read");
                    drop(state);
                    if !self.pause(self.config.backoff.1) {
                        return None;
                    }
                    state = self.shared.lock();
                }
            }
        }
    }

    fn leave(&self, header: &Header, delivery: Delivery) {
        let mut state = self.shared.lock();
        let left = match state.log.as_mut().map(|log| log.leave(header)) {
            Some(Ok(left)) => left,
            Some(Err(error)) => {
                // The entry is sent again after a restart, which the peer takes as the same samples.
                tracing::error!(%error, "cannot note that an entry has left the outbound queue");
                true
            }
            None => false,
        };
        // Dropped to make room while it was on its way: counted there.
        if left && delivery == Delivery::TooOld {
            state.stats.dropped_too_old_samples += u64::from(header.samples);
            tracing::warn!(samples = header.samples, "dropped what is too old for the remote-write peer");
        }
    }

    fn too_old(&self, newest_ms: i64) -> bool {
        let max_age_ms = i64::try_from(self.config.max_age.as_millis()).unwrap_or(i64::MAX);
        now_ms().saturating_sub(newest_ms) > max_age_ms
    }

    /// Tries one body until it is settled.
    fn deliver(&self, body: &[u8], samples: u64, newest_ms: i64) -> Delivery {
        let mut failures = 0_u32;
        loop {
            let version = self.peer.version();
            // What is no body of ours goes out as it is; the peer will say what it thinks of it.
            let bytes = body::as_version(body, version).unwrap_or(body.into());
            match self.peer.send(&bytes, version, samples) {
                Answer::Unproven { reason } => {
                    let mut state = self.shared.lock();
                    state.stats.fallbacks += 1;
                    state.stats.version = 1;
                    tracing::info!(reason, "remote-write peer is sent 1.0 from here on");
                }
                Answer::Taken => {
                    let mut state = self.shared.lock();
                    state.stats.requests_ok += 1;
                    state.stats.sent_samples += samples;
                    state.stats.last_success_ms = now_ms();
                    state.stats.version = if version == Version::V2 { 2 } else { 1 };
                    return Delivery::Done;
                }
                Answer::Refused { status, message } => {
                    self.shared.lock().stats.requests_refused += 1;
                    return self.refused(body, samples, status, &message);
                }
                Answer::Later { reason, retry_after } => {
                    self.shared.lock().stats.requests_retried += 1;
                    if self.too_old(newest_ms) {
                        return Delivery::TooOld;
                    }
                    let wait = self.backoff(failures).max(retry_after.unwrap_or_default());
                    // One line per doubling, not per try.
                    if failures.is_power_of_two() || failures == 0 {
                        tracing::warn!(reason, failures = failures + 1, ?wait, "remote-write peer does not take it");
                    }
                    failures = failures.saturating_add(1);
                    if !self.pause(wait) {
                        return Delivery::Stopped;
                    }
                }
            }
        }
    }

    /// Halves a refused body until what offends stands alone.
    fn refused(&self, body: &[u8], samples: u64, status: u16, message: &str) -> Delivery {
        let Some(all) = body::decode(body).filter(|all| all.len() > 1) else {
            self.shared.lock().stats.refused_samples += samples;
            let series = body::decode(body).and_then(|all| all.first().map(|one| body::display(&one.labels)));
            tracing::warn!(status, message, series, samples, "remote-write peer refuses for ever");
            return Delivery::Done;
        };
        let (first, second) = all.split_at(all.len() / 2);
        for half in [first, second] {
            match self.deliver_half(half) {
                Delivery::Done => {}
                Delivery::TooOld => {
                    self.shared.lock().stats.dropped_too_old_samples += half.len() as u64;
                }
                Delivery::Stopped => return Delivery::Stopped,
            }
        }
        Delivery::Done
    }

    fn deliver_half(&self, half: &[OutSeries]) -> Delivery {
        match body::encode_part(half, self.peer.version()) {
            Ok(body) => self.deliver(&body.bytes, u64::from(body.samples), body.newest_ms),
            Err(error) => {
                self.shared.lock().stats.refused_samples += half.len() as u64;
                tracing::error!(%error, "cannot take a refused request apart");
                Delivery::Done
            }
        }
    }

    /// Doubles with each failure up to the longest wait, less a random part of up to a half, so that
    /// many senders do not come back at the same moment.
    fn backoff(&self, failures: u32) -> Duration {
        let (first, longest) = self.config.backoff;
        let wait = first.saturating_mul(2_u32.saturating_pow(failures)).min(longest);
        // The standard library's hasher seeds are random enough to spread senders.
        let random = RandomState::new().build_hasher().finish();
        let share = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        wait.mul_f64(1.0 - share / 2.0)
    }

    /// Waits; whether to go on.
    fn pause(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut state = self.shared.lock();
        loop {
            if state.stopping() {
                return false;
            }
            let until = state.stop_by.map_or(until, |by| by.min(until));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return !state.stopping();
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
