//! DNS over UDP: each query waits by its socket, its peer's port and its identifier for the response.
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

use crate::connections::{NO_WAKEUP, current_process, now_ns};
use crate::kernel::{AF_INET, AF_INET6, Socket, copy_words};
use crate::maps::{DATAGRAM_FLOWS, DATAGRAM_QUERIES, ENDED, count_skipped};
use crate::protocols::observe;
use crate::syscalls::read_user;

static NO_ANSWERS: RequestStats = RequestStats::of(Protocol::Dns);

/// Takes in one datagram; `address` is where the call has the peer's address, if not 0.
#[inline(always)]
pub fn on_datagram(socket: Socket, is_outgoing: bool, message: Message, address: u64) {
    let Some((peer, peer_port)) = peer(socket, address) else { return };
    let key = DatagramQueryKey { socket: socket.0, id: message.id, peer_port, reserved: 0 };
    let Some(outcome) = message.outcome else { return on_query(socket, is_outgoing, &key, peer) };
    let Some(query) = DATAGRAM_QUERIES.get_ptr(&key) else { return };
    // SAFETY: entries are written once; the copy is taken before it is removed.
    let DatagramQuery { flow, began_ns } = unsafe { *query };
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
fn on_query(socket: Socket, is_outgoing: bool, key: &DatagramQueryKey, peer: [u8; 16]) {
    let role = if is_outgoing { ROLE_CLIENT } else { ROLE_SERVER };
    let flow = DatagramFlow {
        cgroup_id: socket.cgroup_id(),
        netns: socket.netns(),
        process: current_process(),
        local_address: socket.local_address(),
        remote_address: peer,
        local_port: if is_outgoing { 0 } else { socket.local_port() },
        remote_port: if is_outgoing { key.peer_port } else { 0 },
        role: role as u16,
        reserved: 0,
    };
    let query = DatagramQuery { flow, began_ns: now_ns() };
    // One that is asked again keeps its time.
    const ONLY_NEW: u64 = 1;
    if let Err(error) = DATAGRAM_QUERIES.insert(key, &query, ONLY_NEW)
        && error != crate::connections::EEXIST
    {
        no_room();
    }
}

#[inline(always)]
fn no_room() {
    count_skipped(skipped_slot(Protocol::Dns as u8, skipped_untimed(Untimed::NoRoom)), 1);
}

/// Address and port of the peer: that of a connected socket, else what the call says.
#[inline(always)]
fn peer(socket: Socket, address: u64) -> Option<([u8; 16], u16)> {
    let port = socket.remote_port();
    if port != 0 {
        return Some((socket.remote_address(), port));
    }
    if address == 0 {
        return None;
    }
    // `struct sockaddr_in`: family, port, address at 4; `struct sockaddr_in6`: address at 8.
    let [family_low, family_high, port_high, port_low] = read_user::<[u8; 4]>(address)?;
    let port = u16::from_be_bytes([port_high, port_low]);
    match u16::from_le_bytes([family_low, family_high]) {
        AF_INET => {
            let [a, b, c, d] = read_user::<[u8; 4]>(address + 4)?;
            Some(([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port))
        }
        AF_INET6 => Some((read_user(address + 8)?, port)),
        _ => None,
    }
}
