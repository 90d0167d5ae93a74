//! The records themselves.

use crate::protocols::PROTOCOLS;
use crate::requests::{RequestStats, Unparsed, Untimed};

/// The other end decides: sockets that were there before us do not say who called whom.
pub const ROLE_UNKNOWN: u8 = 0;
/// This end called `connect`.
pub const ROLE_CLIENT: u8 = 1;
/// This end was accepted from a listener.
pub const ROLE_SERVER: u8 = 2;

/// The connection was established before the programs were attached.
pub const FLAG_PREEXISTING: u8 = 1;
/// Somebody listened at the local port when the connection was found.
pub const FLAG_LISTENED: u8 = 2;
/// A TLS handshake was seen on it.
pub const FLAG_TLS: u8 = 4;
/// The kernel left the program out when the connection was made: nothing is known of how long that took, nor of
/// when it was.
pub const FLAG_BEGIN_UNSEEN: u8 = 8;
/// The same when it ended: what was counted last is gone, and when that was.
pub const FLAG_END_UNSEEN: u8 = 16;

/// Slots of the per-CPU array of losses.
pub const COUNTERS: u32 = 5;
/// A connection ended and the ring buffer was full.
pub const LOST_RECORDS: u32 = 0;
/// A connection began and the connection map was full.
pub const LOST_CONNECTIONS: u32 = 1;
/// A request was seen and the map of exchanges was full.
pub const LOST_REQUESTS: u32 = 2;
/// A listener appeared and the listener map was full.
pub const LOST_LISTENERS: u32 = 3;
/// A call of a TLS library was seen and the map of calls was full.
pub const LOST_TLS_CALLS: u32 = 4;

/// Socket states, `include/net/tcp_states.h`.
#[expect(missing_docs, reason = "each name is the kernel's own")]
pub mod tcp_state {
    pub const ESTABLISHED: u8 = 1;
    pub const SYN_SENT: u8 = 2;
    pub const SYN_RECV: u8 = 3;
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const LISTEN: u8 = 10;
    pub const CLOSING: u8 = 11;
}

/// What the kernel side remembers of one connected (or connecting) socket; the map's key is the
/// address of its `struct sock`.
///
/// Addresses are IPv6 or IPv4-mapped IPv6 in network order; ports are in host order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Connection {
    /// When the SYN was sent (client) or the handshake ended (server), `CLOCK_MONOTONIC`; with the
    /// socket's address it identifies the connection, since addresses are used again.
    pub start_ns: u64,
    /// When the handshake ended; 0 while connecting.
    pub established_ns: u64,
    /// When this end closed while the peer had not; 0 until then. Where it carried no requests it is not told when, but
    /// that: then it is `start_ns`. Once it [`is_over`](Self::is_over), when it ended.
    pub closing_ns: u64,
    /// The socket's own cgroup: inode of its directory in the unified hierarchy.
    pub cgroup_id: u64,
    /// Cgroup of the socket at the other end, where that is on this node; else 0.
    pub peer_cgroup_id: u64,
    /// Own address.
    pub local_address: [u8; 16],
    /// The peer's address.
    pub remote_address: [u8; 16],
    /// Inode of the socket's network namespace.
    pub netns: u32,
    /// Network namespace of the socket at the other end, where that is on this node; else 0.
    pub peer_netns: u32,
    /// Process that called `connect`; 0 for accepted sockets.
    pub process: u32,
    /// Smoothed round-trip time when the connection stopped being established; 0 before.
    pub srtt_us: u32,
    /// Own port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// Process that holds the other end, where known; else 0.
    pub peer_process: u32,
    /// One of the `ROLE_` constants.
    pub role: u8,
    /// `FLAG_` bits.
    pub flags: u8,
    /// 1 where something may be known of its requests.
    pub may_have_requests: u8,
    /// 1 where it ended and was reported; its memory waits for the next connection of the same socket's memory.
    pub is_over: u8,
    /// What its counters came to when it was last shown to user space; 0 before. See [`shown_mark`].
    pub shown: u32,
}

/// Tells whether anything moved between two looks at a connection; never 0. `counted` is [`Exchange::mark`]: an answer
/// may have come before a look, and be read after it. Wrong where all of it together grew by a multiple of 2^31 in
/// between, which the next full look makes good.
///
/// [`Exchange::mark`]: crate::protocols::Exchange::mark
#[inline(always)]
#[must_use]
pub const fn shown_mark(sent_bytes: u64, received_bytes: u64, retransmits: u32, counted: u64) -> u32 {
    let sum = sent_bytes.wrapping_add(received_bytes).wrapping_add(retransmits as u64).wrapping_add(counted);
    (sum as u32) << 1 | 1
}

/// A connection that is open.
pub const RECORD_LIVE: u8 = 0;
/// One that ended.
pub const RECORD_ENDED: u8 = 1;
/// One that goes on, of which a round of counts is over: what was counted since begins at zero.
pub const RECORD_ROUND: u8 = 2;

/// A connection with its counters: as it is (from the iterator) or as it ended (from the ring).
/// Where `has_requests` is 1, a [`RequestStats`] follows at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ConnectionRecord {
    /// Address of the `struct sock`.
    pub socket: u64,
    /// When this record was made, `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// Payload bytes that the peer has acknowledged.
    pub sent_bytes: u64,
    /// Payload bytes received.
    pub received_bytes: u64,
    /// What was remembered.
    pub connection: Connection,
    /// Segments sent again since the connection began.
    pub retransmits: u32,
    /// Smoothed round-trip time; 0 where never measured.
    pub srtt_us: u32,
    /// `sk_err` at the end: an errno, or 0.
    pub error: u32,
    /// State of the socket; for a record of an end, the state it left.
    pub state: u8,
    /// Why this record was made: one of the `RECORD_` constants.
    pub ended: u8,
    /// 1 where a [`RequestStats`] follows.
    pub has_requests: u8,
    /// 1 where anything was counted since the last record.
    pub has_moved: u8,
}

/// The record of a connection that carried requests, as it stands in the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ConnectionRequestsRecord {
    /// With `has_requests` set.
    pub record: ConnectionRecord,
    /// Its requests.
    pub requests: RequestStats,
}

/// A round of counts of datagrams that is over, as it stands in the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct DatagramsRecord {
    /// Between whom.
    pub flow: DatagramFlow,
    /// What was counted.
    pub requests: RequestStats,
}

/// A listening socket; the map's key is the address of its `struct sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Listener {
    /// When it began to listen or was found.
    pub start_ns: u64,
    /// The socket's own cgroup.
    pub cgroup_id: u64,
    /// Inode of the socket's network namespace.
    pub netns: u32,
    /// Process that called `listen`, or a holder of the descriptor.
    pub process: u32,
}

/// A listener with its live state, from the iterator.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ListenerRecord {
    /// Address of the `struct sock`.
    pub socket: u64,
    /// What was remembered.
    pub listener: Listener,
    /// Address it is bound to; all zero for any.
    pub address: [u8; 16],
    /// Connections waiting to be accepted.
    pub queue_length: u32,
    /// `listen`'s backlog, as the kernel capped it; one more than this may wait.
    pub queue_limit: u32,
    /// Connection attempts dropped at this socket since it was made.
    pub drops: u32,
    /// Port it listens at.
    pub port: u16,
    /// Always 0.
    pub reserved: u16,
}

/// Slots in which clients wait for their servers; a power of two.
pub const CLIENT_SLOTS: u32 = 1 << 14;

/// The slot of the client of a connection: by both ports and what tells addresses of one network apart. That two
/// connections share one is no harm unless both are made within the same moment.
#[inline(always)]
#[must_use]
pub fn client_slot(client: (&[u8; 16], u16), server: (&[u8; 16], u16)) -> u32 {
    let low = |address: &[u8; 16]| u32::from_ne_bytes([address[12], address[13], address[14], address[15]]);
    // Multiplicative hashing (Knuth, The Art of Computer Programming, volume 3, 6.4); the factor is 2^64 by the golden ratio.
    let ports = (client.1 as u64) << 16 | server.1 as u64;
    let mixed = (ports ^ (low(client.0) as u64) << 32 ^ (low(server.0) as u64).rotate_left(13))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as u32 % CLIENT_SLOTS
}

/// Slots of the array of what was not timed: eight reasons per protocol.
pub const SKIPPED_SLOTS: u32 = 8 * PROTOCOLS as u32;

/// The slot of a protocol's reason.
#[inline(always)]
#[must_use]
pub const fn skipped_slot(protocol: u8, reason: u32) -> u32 {
    protocol as u32 * 8 + reason
}

/// The reason's place among a protocol's slots.
#[inline(always)]
#[must_use]
pub const fn skipped_untimed(why: Untimed) -> u32 {
    why as u32
}

/// The same for connections.
#[inline(always)]
#[must_use]
pub const fn skipped_unparsed(why: Unparsed) -> u32 {
    4 + why as u32
}

/// Two peers that exchange datagrams, as one of them sees it.
///
/// Who asks has many sockets of which only the peer's port matters; who answers, one socket and many peers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct DatagramFlow {
    /// The socket's own cgroup.
    pub cgroup_id: u64,
    /// Inode of the socket's network namespace.
    pub netns: u32,
    /// Process that made the call.
    pub process: u32,
    /// Own address; all zero for any.
    pub local_address: [u8; 16],
    /// The peer's.
    pub remote_address: [u8; 16],
    /// Own port; 0 for who asks.
    pub local_port: u16,
    /// The peer's port; 0 for who answers.
    pub remote_port: u16,
    /// `ROLE_CLIENT` or `ROLE_SERVER`.
    pub role: u16,
    /// Always 0.
    pub reserved: u16,
}

/// Names a query that waits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct DatagramQueryKey {
    /// Address of the `struct sock`.
    pub socket: u64,
    /// Chosen by who asks.
    pub id: u16,
    /// The peer's port; 0 for the first of those that a socket asks by this identifier.
    pub peer_port: u16,
    /// Tells peers of one port apart; those of IPv4 always, those of IPv6 but for one pair in 2^32.
    pub peer: u32,
}

impl DatagramQueryKey {
    /// Of the first query that a socket asks by an identifier while no other waits; it is found by who does not know who
    /// answers.
    #[inline(always)]
    #[must_use]
    pub const fn first(socket: u64, id: u16) -> Self {
        Self { socket, id, peer_port: 0, peer: 0 }
    }

    /// Of a further one, to another peer, and of each that a server is asked.
    #[inline(always)]
    #[must_use]
    pub const fn of(socket: u64, id: u16, address: &[u8; 16], peer_port: u16) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
        let words = [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]];
        let peer = u32::from_ne_bytes(words[0])
            ^ u32::from_ne_bytes(words[1])
            ^ u32::from_ne_bytes(words[2])
            ^ u32::from_ne_bytes(words[3]);
        Self { socket, id, peer_port, peer }
    }
}

/// A query that waits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct DatagramQuery {
    /// Whose it is.
    pub flow: DatagramFlow,
    /// When it was first seen, `CLOCK_MONOTONIC`.
    pub began_ns: u64,
    /// 1 where its socket asked another peer by the same identifier while it waited.
    pub is_shared: u32,
    /// Always 0.
    pub reserved: u32,
}
