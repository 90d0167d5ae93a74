//! Records shared between the kernel-side programs and user space.
//!
//! Everything here is `#[repr(C)]`, has no padding and no pointers, and is valid for every bit
//! pattern, so that bytes read from a map, a ring buffer or an iterator can be viewed as a record
//! without checks beyond their length. Both sides are always built from the same source: there is
//! no versioning, and a change of a record needs no care beyond that.
//!
//! [`protocols`], [`requests`], [`stats`] and [`buckets`] are the pure part of the request detector; they live here so
//! that they can be tested on the host while they run in the kernel.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod buckets;
mod offsets;
pub mod protocols;
mod records;
pub mod requests;
pub mod stats;
pub mod tls;

pub use offsets::Offsets;
pub use records::{
    CLIENT_SLOTS, COUNTERS, Connection, ConnectionRecord, ConnectionRequestsRecord, DatagramFlow, DatagramQuery,
    DatagramQueryKey, DatagramsRecord, FLAG_BEGIN_UNSEEN, FLAG_END_UNSEEN, FLAG_LISTENED, FLAG_PREEXISTING, FLAG_TLS,
    LOST_CONNECTIONS, LOST_LISTENERS, LOST_RECORDS, LOST_REQUESTS, LOST_TLS_CALLS, Listener, ListenerRecord,
    RECORD_ENDED, RECORD_LIVE, RECORD_ROUND, ROLE_CLIENT, ROLE_SERVER, ROLE_UNKNOWN, SKIPPED_SLOTS, client_slot,
    shown_mark, skipped_slot, skipped_unparsed, skipped_untimed, tcp_state,
};
pub use requests::RequestStats;
