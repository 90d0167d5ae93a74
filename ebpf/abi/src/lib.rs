//! Records shared between the kernel-side programs and user space.
//!
//! Everything here is `#[repr(C)]`, has no padding and no pointers, and is valid for every bit
//! pattern, so that bytes read from a map, a ring buffer or an iterator can be viewed as a record
//! without checks beyond their length. Both sides are always built from the same source: there is
//! no versioning, and a change of a record needs no care beyond that.
//!
//! [`http`] is the pure part of the request detector; it lives here so that it can be tested on the
//! host while it runs in the kernel.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod http;
mod offsets;
mod records;

pub use offsets::Offsets;
pub use records::{
    COUNTERS, Connection, ConnectionHttpRecord, ConnectionRecord, FLAG_PREEXISTING, FLAG_REQUEST_OUTGOING, HttpStats,
    LOST_CONNECTIONS, LOST_HTTP, LOST_LISTENERS, LOST_RECORDS, Listener, ListenerRecord, PeerIdentity, ROLE_CLIENT,
    ROLE_SERVER, ROLE_UNKNOWN, TcpTuple, tcp_state,
};
