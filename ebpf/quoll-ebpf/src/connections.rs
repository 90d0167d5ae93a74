//! Follows TCP sockets from SYN or accept to close.
//!
//! Identity is the socket's own cgroup and network namespace, never the current task's: half of the
//! transitions happen in softirq, where the current task is whoever was interrupted. Only
//! CLOSE to SYN_SENT and CLOSE to LISTEN are in the context of the process that asked for them.
//!
//! At CLOSE to SYN_SENT both addresses are set (`tcp_v4_connect`, `tcp_v6_connect`), but not yet the
//! local port, which is read when the handshake ends. At CLOSE it is already released, so the
//! remembered one is reported.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use quoll_ebpf_abi::{
    Connection, ConnectionRecord, ConnectionRequestsRecord, LOST_CONNECTIONS, LOST_LISTENERS, LOST_RECORDS, Listener,
    PeerIdentity, ROLE_CLIENT, ROLE_SERVER, TcpTuple, tcp_state,
};

use crate::kernel::{Access, Socket};
use crate::maps::{CLIENTS, CONNECTIONS, ENDED, LISTENED, LISTENERS, count_loss};
use crate::protocols;

/// `BPF_RB_NO_WAKEUP`: a wake-up per connection costs more than all the rest.
pub const NO_WAKEUP: u64 = 1;

#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub fn current_process() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// The kernel calls this ten times per connection, both ends together; only the transitions that begin
/// something look at the socket to find out whether it is one of TCP. Those that end something look
/// it up in our maps. Four of the ten are of no interest.
#[inline(always)]
pub fn on_transition<A: Access>(address: u64, old: u8, new: u8) {
    match (old, new) {
        (_, tcp_state::SYN_SENT) => {
            if let Some(socket) = Socket::<A>::tcp(address) {
                on_connect(socket);
            }
        }
        (tcp_state::SYN_SENT, tcp_state::ESTABLISHED) => on_connected(Socket::<A>::given(address)),
        (tcp_state::SYN_RECV, tcp_state::ESTABLISHED) => {
            if let Some(socket) = Socket::<A>::tcp(address) {
                on_accepted(socket);
            }
        }
        (tcp_state::ESTABLISHED, tcp_state::FIN_WAIT1) | (tcp_state::CLOSE_WAIT, tcp_state::LAST_ACK) => {
            on_closing(Socket::<A>::given(address));
        }
        (tcp_state::LISTEN, tcp_state::CLOSE) => {
            let _ = LISTENERS.remove(&address);
        }
        (_, tcp_state::LISTEN) => {
            if let Some(socket) = Socket::<A>::tcp(address) {
                remember_listener(socket, current_process());
            }
        }
        (_, tcp_state::CLOSE) => on_closed(Socket::<A>::given(address), old),
        _ => {}
    }
}

#[inline(always)]
fn on_connect<A: Access>(socket: Socket<A>) {
    let connection = Connection {
        start_ns: now_ns(),
        cgroup_id: socket.cgroup_id(),
        netns: socket.netns(),
        local_address: socket.local_address(),
        remote_address: socket.remote_address(),
        remote_port: socket.remote_port(),
        process: current_process(),
        role: ROLE_CLIENT,
        ..Default::default()
    };
    if CONNECTIONS.insert(&socket.0, &connection, 0).is_err() {
        count_loss(LOST_CONNECTIONS);
    }
}

#[inline(always)]
fn on_connected<A: Access>(socket: Socket<A>) {
    let Some(connection) = CONNECTIONS.get_ptr_mut(&socket.0) else { return };
    // SAFETY: the entry stays valid while this program runs, and this socket's transitions are
    // serialised by the socket's lock.
    let connection = unsafe { &mut *connection };
    connection.established_ns = now_ns();
    connection.local_port = socket.local_port();
    let tuple = tuple(connection, true);
    let identity = PeerIdentity {
        socket: socket.0,
        cgroup_id: connection.cgroup_id,
        netns: connection.netns,
        process: connection.process,
    };
    let _ = CLIENTS.insert(&tuple, &identity, 0);
}

/// The server's socket becomes established only after the client's, by the client's ACK; if both
/// are on this node they are introduced to one another here.
#[inline(always)]
fn on_accepted<A: Access>(socket: Socket<A>) {
    let mut connection = Connection { role: ROLE_SERVER, ..established(socket) };
    let tuple = tuple(&connection, false);
    if let Some(client) = CLIENTS.get_ptr(&tuple) {
        // SAFETY: entries are written once, before the server's side exists.
        let client = unsafe { *client };
        // Taken out, or each new one would have to drive out an old one, which is what takes long.
        let _ = CLIENTS.remove(&tuple);
        connection.peer_cgroup_id = client.cgroup_id;
        connection.peer_netns = client.netns;
        connection.peer_process = client.process;
        if let Some(other) = CONNECTIONS.get_ptr_mut(&client.socket) {
            // SAFETY: as above; these two fields are written nowhere else after the insertion.
            unsafe {
                (*other).peer_cgroup_id = connection.cgroup_id;
                (*other).peer_netns = connection.netns;
            }
        }
    }
    if CONNECTIONS.insert(&socket.0, &connection, 0).is_err() {
        count_loss(LOST_CONNECTIONS);
    }
}

/// What a socket says of itself once its handshake is over.
#[inline(always)]
pub fn established<A: Access>(socket: Socket<A>) -> Connection {
    let now = now_ns();
    Connection {
        start_ns: now,
        established_ns: now,
        cgroup_id: socket.cgroup_id(),
        netns: socket.netns(),
        local_address: socket.local_address(),
        local_port: socket.local_port(),
        remote_address: socket.remote_address(),
        remote_port: socket.remote_port(),
        ..Default::default()
    }
}

/// The connection's name from its client's side.
#[inline(always)]
fn tuple(connection: &Connection, is_client: bool) -> TcpTuple {
    let own = (connection.local_address, connection.local_port);
    let peer = (connection.remote_address, connection.remote_port);
    let (client, server) = if is_client { (own, peer) } else { (peer, own) };
    TcpTuple {
        client_address: client.0,
        server_address: server.0,
        netns: if is_loopback(&server.0) { connection.netns } else { 0 },
        client_port: client.1,
        server_port: server.1,
    }
}

/// `127.0.0.0/8` (mapped) or `::1`.
#[inline(always)]
fn is_loopback(address: &[u8; 16]) -> bool {
    let high = u64::from_be_bytes([
        address[0], address[1], address[2], address[3], address[4], address[5], address[6], address[7],
    ]);
    let low = u64::from_be_bytes([
        address[8],
        address[9],
        address[10],
        address[11],
        address[12],
        address[13],
        address[14],
        address[15],
    ]);
    high == 0 && (low == 1 || low >> 24 == 0xffff_7f)
}

/// This end closes, the first or the second of both.
#[inline(always)]
fn on_closing<A: Access>(socket: Socket<A>) {
    let Some(connection) = CONNECTIONS.get_ptr_mut(&socket.0) else { return };
    // SAFETY: as in `on_connected`.
    let connection = unsafe { &mut *connection };
    connection.srtt_us = socket.numbers().srtt_us();
    connection.closing_ns = now_ns();
}

#[inline(always)]
fn on_closed<A: Access>(socket: Socket<A>, old: u8) {
    let Some(connection) = CONNECTIONS.get_ptr(&socket.0) else { return };
    // SAFETY: as in `on_connected`; the copy is taken before the entry is removed.
    let connection = unsafe { *connection };
    match protocols::on_end(Socket::at(socket.0), &connection) {
        Some(stats) => {
            match ENDED.reserve::<ConnectionRequestsRecord>(0) {
                Some(mut entry) => {
                    let target = entry.as_mut_ptr();
                    // SAFETY: the reservation is large enough for both, and `stats` stays valid
                    // until it is removed below.
                    unsafe {
                        fill(&mut (*target).record, socket, &connection, old, true);
                        (*target).requests = *stats;
                    }
                    entry.submit(NO_WAKEUP);
                }
                None => count_loss(LOST_RECORDS),
            }
            protocols::forget(Socket::at(socket.0));
        }
        None => match ENDED.reserve::<ConnectionRecord>(0) {
            Some(mut entry) => {
                // SAFETY: the reservation is of this type, and `fill` writes every field.
                fill(unsafe { &mut *entry.as_mut_ptr() }, socket, &connection, old, false);
                entry.submit(NO_WAKEUP);
            }
            None => count_loss(LOST_RECORDS),
        },
    }
    let _ = CONNECTIONS.remove(&socket.0);
}

/// Writes a record of `socket` in `state`; every field is set.
#[inline(always)]
pub fn fill<A: Access>(
    record: &mut ConnectionRecord,
    socket: Socket<A>,
    connection: &Connection,
    state: u8,
    has_requests: bool,
) {
    record.socket = socket.0;
    record.now_ns = now_ns();
    let numbers = socket.numbers();
    record.sent_bytes = numbers.sent_bytes(connection.role == ROLE_CLIENT, state);
    record.received_bytes = numbers.received_bytes();
    record.connection = *connection;
    record.retransmits = numbers.retransmits();
    record.srtt_us = if connection.srtt_us != 0 { connection.srtt_us } else { numbers.srtt_us() };
    record.error = socket.error();
    record.state = state;
    record.ended = 1;
    record.has_requests = has_requests as u8;
    record.reserved = 0;
}

/// Begins to follow a listening socket.
#[inline(always)]
pub fn remember_listener<A: Access>(socket: Socket<A>, process: u32) {
    let listener = Listener { start_ns: now_ns(), cgroup_id: socket.cgroup_id(), netns: socket.netns(), process };
    if LISTENERS.insert(&socket.0, &listener, 0).is_err() {
        count_loss(LOST_LISTENERS);
    }
    let _ = LISTENED.insert(&[listener.netns, socket.local_port() as u32], &1, 0);
}
