//! DNS over UDP: each query waits by its socket, its identifier and its peer for the response.
//!
//! A program may read without asking who sent, so the first query of a socket and identifier is found without its peer.
//! Only where another peer was asked by the same identifier, as some resolvers ask all their servers at once, does such a
//! read not say which of them answered.
//!
//! Sockets of resolvers live for one question, so what was counted belongs to a pair of peers and not to a
//! socket: of who asks, its cgroup and the server's address; of who answers, its own and the client's.

use quoll_ebpf_abi::protocols::dns::Message;
use quoll_ebpf_abi::protocols::{Protocol, method};
use quoll_ebpf_abi::requests::{RequestStats, Untimed};
use quoll_ebpf_abi::{
    DatagramFlow, DatagramQuery, DatagramQueryKey, DatagramsRecord, ROLE_CLIENT, ROLE_SERVER, skipped_slot,
    skipped_untimed,
};

use crate::connections::{EEXIST, NO_WAKEUP, ONLY_NEW, current_process, now_ns};
use crate::kernel::{AF_INET, AF_INET6, Socket, copy_words};
use crate::maps::{DATAGRAM_FLOWS, DATAGRAM_QUERIES, ENDED, count_skipped};
use crate::protocols::observe;
use crate::syscalls::read_user;

static NO_ANSWERS: RequestStats = RequestStats::of(Protocol::Dns);

/// Takes in one datagram; `address` is where the call has the peer's address, if not 0.
#[inline(always)]
pub fn on_datagram(socket: Socket, is_outgoing: bool, message: Message, address: u64) {
    let outcome = match message.outcome {
        Some(outcome) => outcome as u32,
        None => QUERY,
    };
    take_datagram(socket.0, message.id as u32, outcome, is_outgoing as u32, address);
}

/// In the place of an outcome.
const QUERY: u32 = 255;

/// The same in numbers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take_datagram(socket: u64, id: u32, outcome: u32, is_outgoing: u32, address: u64) -> u32 {
    let (socket, id, is_outgoing) = (Socket::at(socket), id as u16, is_outgoing != 0);
    let peer = peer(socket, address);
    if outcome != QUERY {
        on_response(socket, is_outgoing, id, outcome as u8, peer);
    } else if peer.1 != 0 {
        on_query(socket, is_outgoing, id, peer);
    }
    0
}

/// Who is at the other end: address and port, which is 0 where that is not known.
type Peer = ([u8; 16], u16);
const NOBODY: Peer = ([0; 16], 0);

/// The query that a response may answer.
#[inline(always)]
fn answered(socket: Socket, is_outgoing: bool, id: u16, (address, port): Peer) -> DatagramQueryKey {
    if !is_outgoing {
        let first = DatagramQueryKey::first(socket.0, id);
        if let Some(query) = DATAGRAM_QUERIES.get_ptr(&first) {
            // SAFETY: the entry stays valid while this program runs.
            let query = unsafe { &*query };
            if port == 0 || query.flow.remote_address == address && query.flow.remote_port == port {
                return first;
            }
        }
    }
    DatagramQueryKey::of(socket.0, id, &address, port)
}

#[inline(always)]
fn on_response(socket: Socket, is_outgoing: bool, id: u16, outcome: u8, peer: Peer) {
    let key = answered(socket, is_outgoing, id, peer);
    let Some(query) = DATAGRAM_QUERIES.get_ptr(&key) else { return };
    // SAFETY: entries are written once, but for a word that is set; the copy is taken before it is removed.
    let DatagramQuery { flow, began_ns, is_shared, .. } = unsafe { *query };
    // Whoever reads from a socket that is not connected may not ask who sent it: then it answers the only query that the
    // socket has by this identifier, or none.
    if peer.1 == 0 && is_shared != 0 {
        return;
    }
    // A response goes the other way.
    if (flow.role == ROLE_CLIENT as u16) == is_outgoing || DATAGRAM_QUERIES.remove(&key).is_err() {
        return;
    }
    let mut stats = DATAGRAM_FLOWS.get_ptr_mut(&flow);
    if stats.is_none() {
        if DATAGRAM_FLOWS.insert(&flow, &NO_ANSWERS, 0).is_err() {
            return no_room();
        }
        stats = DATAGRAM_FLOWS.get_ptr_mut(&flow);
    }
    if let Some(stats) = stats {
        // SAFETY: the entry stays valid while this program runs; two sockets of one flow may lose a count
        // to one another.
        let stats = unsafe { &mut *stats };
        let duration_ns = now_ns().saturating_sub(began_ns);
        if !observe(stats, method::OTHER, outcome, duration_ns, 0) {
            hand_over(&flow, stats);
            if !observe(stats, method::OTHER, outcome, duration_ns, 0) {
                no_room();
            }
        }
    }
}

/// Hands what was counted over to user space, and begins another round. Where there is no room for it, it stays.
#[inline(always)]
fn hand_over(flow: &DatagramFlow, stats: &mut RequestStats) {
    let Some(mut entry) = ENDED.reserve::<DatagramsRecord>(0) else { return };
    let target = entry.as_mut_ptr();
    // SAFETY: the reservation is of this type.
    unsafe {
        copy_words(flow, &raw mut (*target).flow);
        copy_words(stats, &raw mut (*target).requests);
    }
    entry.submit(NO_WAKEUP);
    stats.empty();
}

#[inline(always)]
fn on_query(socket: Socket, is_outgoing: bool, id: u16, (peer, peer_port): Peer) {
    let role = if is_outgoing { ROLE_CLIENT } else { ROLE_SERVER };
    let flow = DatagramFlow {
        cgroup_id: socket.cgroup_id(),
        netns: socket.netns(),
        process: current_process(),
        local_address: socket.local_address(),
        remote_address: peer,
        local_port: if is_outgoing { 0 } else { socket.local_port() },
        remote_port: if is_outgoing { peer_port } else { 0 },
        role: role as u16,
        reserved: 0,
    };
    let query = DatagramQuery { flow, began_ns: now_ns(), is_shared: 0, reserved: 0 };
    if is_outgoing {
        let first = DatagramQueryKey::first(socket.0, id);
        match DATAGRAM_QUERIES.insert(&first, &query, ONLY_NEW) {
            Ok(()) => return,
            Err(EEXIST) => {}
            Err(_) => return no_room(),
        }
        if let Some(known) = DATAGRAM_QUERIES.get_ptr_mut(&first) {
            // SAFETY: the entry stays valid while this program runs, and this word of it is only ever set.
            let known = unsafe { &mut *known };
            // One that is asked again keeps its time.
            if known.flow.remote_address == peer && known.flow.remote_port == peer_port {
                return;
            }
            known.is_shared = 1;
        }
    }
    let key = DatagramQueryKey::of(socket.0, id, &peer, peer_port);
    if let Err(error) = DATAGRAM_QUERIES.insert(&key, &query, ONLY_NEW)
        && error != EEXIST
    {
        no_room();
    }
}

#[inline(always)]
fn no_room() {
    count_skipped(skipped_slot(Protocol::Dns as u8, skipped_untimed(Untimed::NoRoom)), 1);
}

/// The peer of a connected socket, else what the call says.
#[inline(always)]
fn peer(socket: Socket, address: u64) -> Peer {
    let port = socket.remote_port();
    if port != 0 {
        return (socket.remote_address(), port);
    }
    if address == 0 {
        return NOBODY;
    }
    // `struct sockaddr_in`: family, port, address at 4; `struct sockaddr_in6`: address at 8.
    let [family_low, family_high, port_high, port_low] = read_user::<[u8; 4]>(address).unwrap_or_default();
    let port = u16::from_be_bytes([port_high, port_low]);
    match u16::from_le_bytes([family_low, family_high]) {
        AF_INET => {
            let [a, b, c, d] = read_user::<[u8; 4]>(address + 4).unwrap_or_default();
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port)
        }
        AF_INET6 => (read_user(address + 8).unwrap_or_default(), port),
        _ => NOBODY,
    }
}
