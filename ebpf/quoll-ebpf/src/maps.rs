//! The maps, and the counting of what did not fit into them.
//!
//! Sizes are defaults; user space sets them before loading. Maps are preallocated: before 6.1 the
//! kernel may deadlock when a tracing program allocates.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use quoll_ebpf_abi::protocols::{Exchange, HEADER, Memory};

use quoll_ebpf_abi::{
    CLIENT_SLOTS, COUNTERS, Connection, DatagramFlow, DatagramQuery, DatagramQueryKey, Listener, RequestStats,
    SKIPPED_SLOTS,
};

use crate::syscalls::Data;
use crate::tls::{TlsCall, TlsKey, TlsSocket};

/// Connecting and connected sockets by the address of their `struct sock`, and for a moment those that are over.
#[map]
pub static CONNECTIONS: HashMap<u64, Connection> = HashMap::with_max_entries(65_536, 0);

/// Requests per socket; only sockets on which a message was recognised have an entry.
#[map]
pub static EXCHANGES: HashMap<u64, Exchange> = HashMap::with_max_entries(32_768, 0);

/// Answered datagrams per pair of peers.
#[map]
pub static DATAGRAM_FLOWS: HashMap<DatagramFlow, RequestStats> = HashMap::with_max_entries(4_096, 0);

/// Datagrams that wait for their answer; user space takes out those that wait in vain.
#[map]
pub static DATAGRAM_QUERIES: HashMap<DatagramQueryKey, DatagramQuery> = HashMap::with_max_entries(8_192, 0);

/// By process: whether it has connections whose messages are followed from call to call.
#[map]
pub static FOLLOWED: Array<u32> = Array::with_max_entries(FOLLOWED_SLOTS, 0);
pub const FOLLOWED_SLOTS: u32 = 1 << 14;

/// Ports that are listened at, by network namespace.
#[map]
pub static LISTENED: LruHashMap<[u32; 2], u8> = LruHashMap::with_max_entries(4_096, 0);

/// What the next look at open connections is for: 0 for those that moved since the last one, else for all.
#[map]
pub static LOOK_AT_ALL: Array<u32> = Array::with_max_entries(1, 0);

/// Where a connection is put together before it is remembered: the stack has no room for several.
#[map]
pub static BEGINNING: PerCpuArray<Connection> = PerCpuArray::with_max_entries(1, 0);

/// Working memory: a program's stack may not be indexed.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
pub struct Scratch {
    /// First bytes of a call.
    pub head: [u8; 2 * HEADER],
    /// Of what follows messages.
    pub memory: Memory,
    /// The call at hand.
    pub data: Data,
}

/// Calls of OpenSSL's, by thread. Those of threads that are gone make way for others.
#[map]
pub static TLS_CALLS: LruHashMap<u64, TlsCall> = LruHashMap::with_max_entries(8_192, 0);

/// The connection of each `SSL`. One that had to make way is found again at its next record.
#[map]
pub static TLS_SOCKETS: LruHashMap<TlsKey, TlsSocket> = LruHashMap::with_max_entries(32_768, 0);

/// Listening sockets by the address of their `struct sock`.
#[map]
pub static LISTENERS: HashMap<u64, Listener> = HashMap::with_max_entries(4_096, 0);

/// Clients whose server's socket may appear on this node within the next moments: addresses of their `struct sock`,
/// at [`quoll_ebpf_abi::client_slot`]. What is there is a hint, to be checked.
#[map]
pub static CLIENTS: Array<u64> = Array::with_max_entries(CLIENT_SLOTS, 0);

/// One record per connection at its end; user space polls on a timer.
#[map]
pub static ENDED: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Header blocks of HTTP/2, for user space to decode; it polls on a timer.
#[map]
pub static BLOCKS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// What was lost, by the `LOST_` constants.
#[map]
pub static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// What was seen and not timed; see [`quoll_ebpf_abi::skipped_slot`].
#[map]
pub static SKIPPED: PerCpuArray<u64> = PerCpuArray::with_max_entries(SKIPPED_SLOTS, 0);

/// Counts what was not timed.
#[inline(always)]
pub fn count_skipped(slot: u32, count: u32) {
    if let Some(slot) = SKIPPED.get_ptr_mut(slot) {
        // SAFETY: as in `count_loss`.
        unsafe { *slot += count as u64 }
    }
}

/// Counts one loss.
#[inline(always)]
pub fn count_loss(what: u32) {
    if let Some(slot) = LOST.get_ptr_mut(what) {
        // SAFETY: the slot is this CPU's own. Programs at system calls are not preempted; those in TLS libraries may be,
        // and one count in a million with them.
        unsafe { *slot += 1 }
    }
}
