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
    Connection, ConnectionRecord, ConnectionRequestsRecord, FLAG_BEGIN_UNSEEN, FLAG_END_UNSEEN, LOST_CONNECTIONS,
    LOST_LISTENERS, LOST_RECORDS, Listener, RECORD_ENDED, ROLE_CLIENT, ROLE_SERVER, client_slot, tcp_state,
};

use crate::kernel::{Access, Numbers, Probed, Socket, copy_words};
use crate::maps::{BEGINNING, CLIENTS, CONNECTIONS, ENDED, LISTENED, LISTENERS, count_loss};
use crate::protocols;

/// `BPF_RB_NO_WAKEUP`: a wake-up per connection costs more than all the rest.
pub const NO_WAKEUP: u64 = 1;
/// `BPF_NOEXIST`
pub const ONLY_NEW: u64 = 1;
/// `-EEXIST`
pub const EEXIST: i32 = -17;

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
        (tcp_state::ESTABLISHED, tcp_state::FIN_WAIT1) => on_closing(Socket::<A>::given(address)),
        (tcp_state::LISTEN, tcp_state::CLOSE) => {
            let _ = LISTENERS.remove(&address);
        }
        (_, tcp_state::LISTEN) => {
            if let Some(socket) = Socket::<A>::tcp(address) {
                remember_listener(socket, current_process());
            }
        }
        // A socket that never was connected.
        (tcp_state::CLOSE, tcp_state::CLOSE) => {}
        (_, tcp_state::CLOSE) => on_closed(Socket::<A>::given(address), old),
        _ => {}
    }
}

/// The connection that is remembered at this address, unless it is over.
#[inline(always)]
pub fn known(address: u64) -> Option<&'static mut Connection> {
    // SAFETY: the entry stays valid while the program runs, and a socket's transitions are serialised by its lock.
    let connection = unsafe { &mut *CONNECTIONS.get_ptr_mut(&address)? };
    (connection.is_over == 0).then_some(connection)
}

/// Where a connection that begins is put together: in the memory of one that was at the same address and is over, or
/// else in this CPU's own.
struct Place {
    connection: &'static mut Connection,
    is_remembered: bool,
}

impl Place {
    #[inline(always)]
    fn at(address: u64) -> Option<Self> {
        if let Some(connection) = CONNECTIONS.get_ptr_mut(&address) {
            // SAFETY: as in `known`.
            let connection = unsafe { &mut *connection };
            if connection.is_over != 0 {
                return Some(Self { connection, is_remembered: true });
            }
        }
        let connection = BEGINNING.get_ptr_mut(0)?;
        // SAFETY: the slot is this CPU's own, and a program is not interrupted by itself.
        Some(Self { connection: unsafe { &mut *connection }, is_remembered: false })
    }

    /// The connection can be found at this address from now on; false where another one is found there, which is open.
    #[inline(always)]
    fn remember(&mut self, address: u64) -> bool {
        if self.is_remembered {
            self.connection.is_over = 0;
            return true;
        }
        match CONNECTIONS.insert(&address, &*self.connection, ONLY_NEW) {
            Err(EEXIST) => return false,
            Err(_) => count_loss(LOST_CONNECTIONS),
            Ok(()) => {}
        }
        true
    }

    /// The same where another one is, which has ended unseen.
    #[inline(always)]
    fn replace(&mut self, address: u64) {
        retire(address, 0);
        if CONNECTIONS.insert(&address, &*self.connection, 0).is_err() {
            count_loss(LOST_CONNECTIONS);
        }
    }
}

/// Sets every field but `is_over`: a connection that begins now, with what its socket says of itself before the
/// handshake.
#[inline(always)]
fn begin<A: Access>(connection: &mut Connection, socket: Socket<A>, role: u8, start_ns: u64) {
    connection.start_ns = start_ns;
    connection.established_ns = 0;
    connection.closing_ns = 0;
    connection.cgroup_id = socket.cgroup_id();
    connection.peer_cgroup_id = 0;
    connection.local_address = socket.local_address();
    connection.remote_address = socket.remote_address();
    connection.netns = socket.netns();
    connection.peer_netns = 0;
    connection.process = 0;
    connection.srtt_us = 0;
    connection.local_port = 0;
    connection.remote_port = socket.remote_port();
    connection.peer_process = 0;
    connection.role = role;
    connection.flags = 0;
    connection.may_have_requests = 0;
    connection.shown = 0;
}

#[inline(always)]
fn on_connect<A: Access>(socket: Socket<A>) {
    let Some(mut place) = Place::at(socket.0) else { return };
    begin(place.connection, socket, ROLE_CLIENT, now_ns());
    place.connection.process = current_process();
    if !place.remember(socket.0) {
        place.replace(socket.0);
    }
}

#[inline(always)]
fn on_connected<A: Access>(socket: Socket<A>) {
    let Some(connection) = known(socket.0) else { return };
    connection.established_ns = socket.numbers().packet_ns();
    connection.local_port = socket.local_port();
    let own = (&connection.local_address, connection.local_port);
    let slot = client_slot(own, (&connection.remote_address, connection.remote_port));
    if let Some(slot) = CLIENTS.get_ptr_mut(slot) {
        // SAFETY: the slot is of this type; the write is of one word, and whoever reads it checks what it leads to.
        unsafe { slot.write_volatile(socket.0) }
    }
}

/// The server's socket becomes established only after the client's, by the client's ACK; if both
/// are on this node they are introduced to one another here.
#[inline(always)]
fn on_accepted<A: Access>(socket: Socket<A>) {
    let Some(mut place) = Place::at(socket.0) else { return };
    let connection = &mut *place.connection;
    begin(connection, socket, ROLE_SERVER, socket.numbers().packet_ns());
    connection.established_ns = connection.start_ns;
    connection.local_port = socket.local_port();
    let peer = (&connection.remote_address, connection.remote_port);
    let slot = client_slot(peer, (&connection.local_address, connection.local_port));
    // SAFETY: as in `on_connected`.
    let client = CLIENTS.get_ptr(slot).map_or(0, |slot| unsafe { slot.read_volatile() });
    // Of the client, two fields are written that nobody else writes after its beginning.
    if client != 0
        && let Some(client) = known(client)
        && is_other_end(client, connection)
    {
        connection.peer_cgroup_id = client.cgroup_id;
        connection.peer_netns = client.netns;
        connection.peer_process = client.process;
        client.peer_cgroup_id = connection.cgroup_id;
        client.peer_netns = connection.netns;
    }
    if place.remember(socket.0) {
        return;
    }
    if is_calling(socket.0, place.connection) {
        on_connected(socket);
    } else {
        place.replace(socket.0);
    }
}

/// Whether this socket is remembered as calling the same peer: both ends call one another at once (RFC 9293, 3.5).
#[inline(always)]
fn is_calling(address: u64, connection: &Connection) -> bool {
    known(address).is_some_and(|known| {
        known.established_ns == 0
            && known.remote_port == connection.remote_port
            && known.remote_address == connection.remote_address
    })
}

/// Whether these are the two ends of one connection. A loopback address means something else in each namespace.
#[inline(always)]
fn is_other_end(client: &Connection, server: &Connection) -> bool {
    client.role == ROLE_CLIENT
        && client.local_port == server.remote_port
        && client.remote_port == server.local_port
        && client.local_address == server.remote_address
        && client.remote_address == server.local_address
        && (client.netns == server.netns || !is_loopback(&server.local_address))
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

/// This end closes, the first of both. After it, the socket may wait for the peer for long. Where it closes as the
/// second, its end follows at once.
#[inline(always)]
fn on_closing<A: Access>(socket: Socket<A>) {
    let Some(connection) = known(socket.0) else { return };
    connection.srtt_us = socket.numbers().srtt_us();
    // Only requests that wait for an answer want to know when, and the clock is not for nothing.
    connection.closing_ns = if connection.may_have_requests == 0 { connection.start_ns } else { now_ns() };
}

#[inline(always)]
fn on_closed<A: Access>(socket: Socket<A>, old: u8) {
    let Some(connection) = known(socket.0) else { return on_stranger_closed(socket, old) };
    let numbers = socket.numbers();
    // Once both ends have closed it is a packet that ends it; before, it may be a timer or the program.
    let is_orderly = matches!(old, tcp_state::FIN_WAIT2 | tcp_state::CLOSING | tcp_state::LAST_ACK);
    let now_ns = if is_orderly && numbers.has_fin() { numbers.packet_ns() } else { now_ns() };
    let end = End { numbers: Some(numbers), now_ns, error: socket.error(), state: old };
    // What could not be reported stays, and is when it is next looked at.
    if let Some(has_requests) = report(socket.0, connection, end) {
        forget(socket.0, connection, end.now_ns, has_requests);
    }
}

/// The end of a connection whose beginning was not seen, or not remembered.
#[inline(always)]
fn on_stranger_closed<A: Access>(socket: Socket<A>, old: u8) {
    if old == tcp_state::SYN_RECV {
        return;
    }
    let Some(socket) = Socket::<A>::tcp(socket.0) else { return };
    let numbers = socket.numbers();
    let Some(connection) = BEGINNING.get_ptr_mut(0) else { return };
    // SAFETY: the slot is this CPU's own, and a program is not interrupted by itself.
    let connection = unsafe { &mut *connection };
    begin(connection, socket, ROLE_CLIENT, now_ns());
    connection.is_over = 0;
    connection.flags = FLAG_BEGIN_UNSEEN;
    connection.local_port = numbers.port_it_had();
    if old != tcp_state::SYN_SENT {
        connection.established_ns = connection.start_ns;
        if LISTENED.get_ptr(&[connection.netns, connection.local_port as u32]).is_some() {
            connection.role = ROLE_SERVER;
        }
    }
    let end = End { numbers: Some(numbers), now_ns: connection.start_ns, error: socket.error(), state: old };
    if report(socket.0, connection, end).is_none() {
        count_loss(LOST_RECORDS);
    }
}

/// What is known of an end, or of a connection as it is.
#[derive(Clone, Copy)]
pub struct End<A> {
    pub numbers: Option<Numbers<A>>,
    pub now_ns: u64,
    pub error: u32,
    pub state: u8,
}

/// Writes the record of an end, and gives whether it had requests; `None` where there is no room for it.
#[inline(always)]
fn report<A: Access>(address: u64, connection: &Connection, end: End<A>) -> Option<bool> {
    if connection.may_have_requests != 0
        && let Some(stats) = protocols::on_end(Socket::at(address), connection, end.now_ns)
    {
        let mut entry = ENDED.reserve::<ConnectionRequestsRecord>(0)?;
        let target = entry.as_mut_ptr();
        // SAFETY: the reservation is large enough for both, and `stats` stays valid until it is forgotten.
        unsafe {
            fill(&mut (*target).record, address, connection, end, true);
            copy_words(stats, &raw mut (*target).requests);
        }
        entry.submit(NO_WAKEUP);
        return Some(true);
    }
    let mut entry = ENDED.reserve::<ConnectionRecord>(0)?;
    // SAFETY: the reservation is of this type, and `fill` writes every field.
    fill(unsafe { &mut *entry.as_mut_ptr() }, address, connection, end, false);
    entry.submit(NO_WAKEUP);
    Some(false)
}

/// A connection that lasted no longer than this leaves its memory to the next one. Where connections are short, the
/// kernel makes the next socket in the memory of one that went just now, and taking up what is there costs a third of
/// taking it out and putting it in again.
const SHORT_NS: u64 = 1_000_000_000;

#[inline(always)]
fn forget(address: u64, connection: &mut Connection, now_ns: u64, has_requests: bool) {
    if has_requests {
        protocols::forget(Socket::at(address));
    }
    if now_ns.wrapping_sub(connection.start_ns) > SHORT_NS {
        let _ = CONNECTIONS.remove(&address);
        return;
    }
    connection.closing_ns = now_ns;
    connection.is_over = 1;
}

/// Reports and forgets a connection whose end was not seen, if it is still the one that began at `start_ns`, or any
/// for 0. The kernel leaves a program out where it would interrupt itself on one CPU (`bpf_prog::active`): a softirq
/// that comes while a system call is in it may end many connections.
///
/// Where the ring has no room for it, it stays until the next look, before which user space empties the ring. If another
/// connection takes its place before that, its end is lost and counted, with the requests that nobody was told of.
#[inline(never)]
pub fn retire(address: u64, start_ns: u64) {
    let Some(connection) = known(address) else { return };
    if start_ns != 0 && connection.start_ns != start_ns {
        return;
    }
    connection.flags |= FLAG_END_UNSEEN;
    let was_open = connection.established_ns != 0 || connection.closing_ns != 0;
    let state = if was_open { tcp_state::FIN_WAIT2 } else { tcp_state::SYN_SENT };
    let end = End::<Probed> { numbers: None, now_ns: now_ns(), error: 0, state };
    let reported = report(address, connection, end);
    if reported.is_none() {
        if start_ns != 0 {
            return;
        }
        count_loss(LOST_RECORDS);
        protocols::lose(Socket::at(address));
    }
    forget(address, connection, end.now_ns, reported.unwrap_or(true));
}

/// Writes a record of a socket; every field is set.
#[inline(always)]
pub fn fill<A: Access>(
    record: &mut ConnectionRecord,
    address: u64,
    connection: &Connection,
    end: End<A>,
    has_requests: bool,
) {
    let End { numbers, now_ns, error, state } = end;
    record.socket = address;
    record.now_ns = now_ns;
    // SAFETY: both are of this type.
    unsafe { copy_words(connection, &mut record.connection) }
    record.error = error;
    record.state = state;
    record.ended = RECORD_ENDED;
    record.has_requests = has_requests as u8;
    record.has_moved = 1;
    (record.sent_bytes, record.received_bytes, record.retransmits) = (0, 0, 0);
    record.srtt_us = connection.srtt_us;
    if connection.established_ns == 0 && state != tcp_state::SYN_SENT {
        // Nobody told us of its being made.
        record.connection.established_ns = connection.start_ns;
        record.connection.flags |= FLAG_BEGIN_UNSEEN;
    }
    let Some(numbers) = numbers else { return };
    record.sent_bytes = numbers.sent_bytes(connection.role == ROLE_CLIENT, state);
    record.received_bytes = numbers.received_bytes();
    record.retransmits = numbers.retransmits();
    if connection.srtt_us == 0 {
        record.srtt_us = numbers.srtt_us();
    }
    if connection.local_port == 0 {
        record.connection.local_port = numbers.port_it_had();
    }
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
