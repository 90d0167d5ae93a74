//! The maps, and the counting of what did not fit into them.
//!
//! Sizes are defaults; user space sets them before loading. Maps are preallocated: before 6.1 the
//! kernel may deadlock when a tracing program allocates.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap, PerCpuArray, RingBuf};
use quoll_ebpf_abi::{COUNTERS, Connection, HttpStats, Listener, PeerIdentity, TcpTuple};

/// Connecting and connected sockets by the address of their `struct sock`.
#[map]
pub static CONNECTIONS: HashMap<u64, Connection> = HashMap::with_max_entries(65_536, 0);

/// Requests per socket; only sockets that carried a request have an entry.
#[map]
pub static HTTP: HashMap<u64, HttpStats> = HashMap::with_max_entries(32_768, 0);

/// Listening sockets by the address of their `struct sock`.
#[map]
pub static LISTENERS: HashMap<u64, Listener> = HashMap::with_max_entries(4_096, 0);

/// Clients whose server's socket may appear on this node within the next moments.
#[map]
pub static CLIENTS: LruHashMap<TcpTuple, PeerIdentity> = LruHashMap::with_max_entries(8_192, 0);

/// One record per connection at its end; user space polls on a timer.
#[map]
pub static ENDED: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// What was lost, by the `LOST_` constants.
#[map]
pub static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// Counts one loss.
#[inline(always)]
pub fn count_loss(what: u32) {
    if let Some(slot) = LOST.get_ptr_mut(what) {
        // SAFETY: the slot is this CPU's own, and programs are not preempted by themselves.
        unsafe { *slot += 1 }
    }
}
