//! From remote-write bodies to windows, with every selected sample on disk before it is acknowledged.
//!
//! One request goes through these steps, of which a known series pays only for the first four:
//! 1. snappy or zstd, with the declared length checked before any allocation;
//! 2. the borrowed decoder: labels as one slice (1.0) or as references to strings each hashed once (2.0), samples in place;
//! 3. one look-up by a 128-bit hash of the labels ([`table`]): ignored series end here, uncopied;
//! 4. checks per sample: too far ahead of the wall clock, too old, from a replica that is not elected
//!    ([`election`]); what passes is staged;
//! 5. one `write(2)` of the staged samples to the inbound log ([`log`]);
//! 6. the samples enter the windows, and every step they complete is closed.
//!
//! A native histogram `x` offers its count and sum as the series `x_count` and `x_sum`, as a classic one does.
//!
//! # Guarantees
//! - What was acknowledged is in the log and survives the end of the process (not of the machine's power).
//!   A restart replays it in the same order with the same closing points, and so gets the same windows.
//! - A malformed body changes nothing. A body with some bad series is taken without them, and the answer
//!   says how many and why; taking it again is harmless.
//! - At the root of a sharded scorer ([`Receiver::of_leaves`]) the same path takes the reports of leaves
//!   instead of raw series.
//! - Nothing is shared between scopes; replicas of a highly available pair are never summed.
//! - A sample of a known series costs no allocation.
//! - Every limit has a counter and an answer that names it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

pub mod config;
pub mod election;
mod first_sight;
pub mod in_flight;
mod intake;
mod labels;
pub mod log;
pub mod receiver;
mod scope;
pub mod shared;
mod snapshot;
pub mod stats;
pub mod table;
pub mod wire;

pub use config::{IngestConfig, Limits, LogConfig};
pub use intake::RestoreError;
pub use receiver::{Receipt, Receiver, WriteError};
pub use scope::ClosedScopeStep;
pub use shared::SharedReceiver;
pub use snapshot::StoredReceiver;
pub use stats::{IngestStats, Refusal, Rejection};
pub use wire::{Body, Encoding, Format, Version};
