//! The seam between bytes and requests.
//!
//! Whoever has the bytes of a message, from a system call or from a TLS library, hands them to [`on_call`]
//! together with their socket. What the bytes mean is decided by the pure functions of
//! [`quoll_ebpf_abi::protocols`]; here is only what takes the kernel: maps and sockets. Datagrams have no
//! connection and go to [`dns`].
//!
//! Durations go straight into counts held by the connection's [`Exchange`], so nothing is emitted per request; user
//! space reads these with the live connections and gets the rest with the record of the end, or before, when a
//! connection has seen so many durations and statuses that a round of counts is over. Only HTTP/2 takes more memory to
//! understand than there is here: its header blocks are sent.
//!
//! What counts is kept in global functions: the verifier looks at each of these once, in whatever state it is called,
//! and at anything else in each state again, up to a million instructions in all. They take numbers since Linux 5.6 and
//! pointers since 5.12.

pub mod dns;
pub mod http1;
pub mod http2;

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use quoll_ebpf_abi::protocols::http1::scan::{MAX_STEPS, Scan};
use quoll_ebpf_abi::protocols::{
    Bytes, Call, Counted, Exchange, HEADER, Memory, Protocol, Steps, Walk, method, recognise,
};
use quoll_ebpf_abi::requests::{RequestStats, Unparsed, Untimed};
use quoll_ebpf_abi::{
    Connection, ConnectionRequestsRecord, FLAG_LISTENED, LOST_REQUESTS, RECORD_ROUND, ROLE_SERVER, ROLE_UNKNOWN,
    skipped_slot, skipped_unparsed, skipped_untimed,
};

use crate::connections::{End, NO_WAKEUP, fill, known, now_ns};
use crate::kernel::{Socket, copy_words, read};
use crate::maps::{ENDED, EXCHANGES, count_loss, count_skipped};
use crate::syscalls::{Data, follow, protocols};

/// A connection of which nothing is known.
static BLANK: Exchange = Exchange::BLANK;

/// Takes in the bytes of one call: `length` of them, which begin with `head`. With `is_decrypted`, they are
/// from the program's TLS library and not what the socket carries.
#[inline(always)]
pub fn on_call(
    socket: Socket,
    is_outgoing: bool,
    is_decrypted: bool,
    length: u32,
    head: &[u8; HEADER],
    bytes: &mut Data,
    memory: &mut Memory,
) {
    let Some(exchange) = exchange_of(socket, is_outgoing, is_decrypted, length, head) else { return };
    // SAFETY: the entry stays valid while this program runs; of its fields, each is written by the calls of
    // one direction, which follow one another.
    let exchange = unsafe { &mut *exchange };
    let protocol = exchange.stats.protocol;
    let (mut answer_sequence, mut position, mut other_position) = (0, 0, 0);
    if protocol == Protocol::Http1 as u8 {
        if !is_decrypted {
            (position, other_position) = http1::positions(socket, exchange, is_outgoing);
        }
    } else {
        answer_sequence = if exchange.asks_outgoing() { socket.receive_sequence() } else { socket.write_sequence() };
    }
    bytes.connection = [socket.0, exchange.start_ns];
    if protocol == Protocol::Http2 as u8 {
        position = if is_outgoing { socket.written_sequence() } else { socket.read_sequence() };
    }
    let call = Call {
        now_ns: now_ns(),
        is_outgoing,
        length,
        head,
        bytes,
        is_decrypted,
        answer_sequence,
        position,
        other_position,
    };
    let counted = exchange.call::<KernelLoop, _>(call, memory);
    if exchange.is_framed() && !is_decrypted {
        follow();
    }
    count(protocol, counted);
    count_without_cell(&mut exchange.stats);
}

/// Counts one request of the connection of a socket, if that is not 0. Gives 0 where there is no room for it even after
/// what was counted has been handed over.
///
/// # Safety
/// `stats` must be null or valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn observe_request(
    stats: *mut RequestStats,
    method: u32,
    class: u32,
    duration_ns: u64,
    address: u64,
) -> u32 {
    for may_hand_over in [true, false] {
        // SAFETY: see above. Each time anew, as it is emptied in between.
        let Some(stats) = (unsafe { stats.as_mut() }) else { return 0 };
        if stats.observe(method as u8, class as u8, duration_ns) {
            return 1;
        }
        if !may_hand_over || address == 0 {
            return 0;
        }
        hand_over_requests(address);
    }
    0
}

/// The same from Rust.
#[inline(always)]
pub fn observe(stats: &mut RequestStats, method: u8, class: u8, duration_ns: u64, address: u64) -> bool {
    // SAFETY: it is valid.
    unsafe { observe_request(stats, counted_method(method), class as u32, duration_ns, address) != 0 }
}

/// By which method a request is counted: all by one, unless they are told apart.
#[inline(always)]
fn counted_method(method: u8) -> u32 {
    (if protocols().by_method != 0 { method } else { method::OTHER }) as u32
}

/// The same for the connection of a socket, without a pointer: ends are seen before Linux 5.12, too. What finds no room is
/// counted as such.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn observe_at_end(address: u64, method: u32, class: u32, duration_ns: u64) -> u32 {
    let Some(exchange) = EXCHANGES.get_ptr_mut(&address) else { return 0 };
    // SAFETY: the entry stays valid while this program runs.
    if !unsafe { (*exchange).stats.observe(method as u8, class as u8, duration_ns) } {
        hand_over_requests(address);
        // SAFETY: as above.
        unsafe { (*exchange).stats.observe_within(method as u8, class as u8, duration_ns) };
    }
    0
}

/// Hands over to user space what was counted on the connection of a socket, and begins another round. Where there is no
/// room for it, it stays.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn hand_over_requests(address: u64) -> u32 {
    let Some(exchange) = EXCHANGES.get_ptr_mut(&address) else { return 0 };
    let Some(connection) = known(address) else { return 0 };
    let Some(mut entry) = ENDED.reserve::<ConnectionRequestsRecord>(0) else { return 0 };
    let socket = Socket::at(address);
    let as_it_is = End { numbers: Some(socket.numbers()), now_ns: now_ns(), error: 0, state: socket.state() };
    let target = entry.as_mut_ptr();
    // SAFETY: the reservation is of this type, and the entries of both maps stay valid while this program runs.
    unsafe {
        let record = &mut (*target).record;
        fill(record, address, connection, as_it_is, true);
        record.ended = RECORD_ROUND;
        record.has_moved = 0;
        copy_words(&raw const (*exchange).stats, &raw mut (*target).requests);
    }
    entry.submit(NO_WAKEUP);
    // SAFETY: as above; answers of one connection follow one another.
    unsafe { (*exchange).stats.empty() }
    0
}

/// Counts requests that found no room, as the ring had no room for those before.
#[inline(always)]
pub fn count_without_cell(stats: &mut RequestStats) {
    if stats.without_cell != 0 {
        count_skipped(skipped_slot(stats.protocol, skipped_untimed(Untimed::NoRoom)), stats.without_cell);
        stats.without_cell = 0;
    }
}

/// Steps by `bpf_loop` (Linux 5.17): the verifier looks at one step instead of at all of them.
struct KernelLoop;

impl Steps for KernelLoop {
    #[inline(always)]
    fn can() -> bool {
        protocols().follows != 0
    }

    #[inline(always)]
    fn run<B: Bytes>(walk: &mut Walk<'_, B>) {
        if !Self::can() {
            return;
        }
        let step: extern "C" fn(u64, *mut Walk<'_, B>) -> i64 = one_step::<B>;
        // SAFETY: the callback is called with this pointer only, while the walk is borrowed here.
        unsafe {
            bpf_loop(walk.most_steps(), step as *mut c_void, (&raw mut *walk).cast(), 0);
        }
    }

    #[inline(always)]
    fn scan<B: Bytes>(scan: &mut Scan<'_, B>) {
        if !Self::can() {
            return;
        }
        let step: extern "C" fn(u64, *mut Scan<'_, B>) -> i64 = one_scan_step::<B>;
        // SAFETY: as above.
        unsafe {
            bpf_loop(MAX_STEPS, step as *mut c_void, (&raw mut *scan).cast(), 0);
        }
    }
}

extern "C" fn one_scan_step<B: Bytes>(_: u64, scan: *mut Scan<'_, B>) -> i64 {
    // SAFETY: see `KernelLoop`.
    let goes_on = unsafe { (*scan).step() };
    !goes_on as i64
}

extern "C" fn one_step<B: Bytes>(_: u64, walk: *mut Walk<'_, B>) -> i64 {
    // SAFETY: see `KernelLoop`.
    let goes_on = unsafe { (*walk).step() };
    !goes_on as i64
}

/// What is known of a socket's connection; begins to know it at a message that may begin one.
#[inline(always)]
fn exchange_of(
    socket: Socket,
    is_outgoing: bool,
    is_decrypted: bool,
    length: u32,
    head: &[u8; HEADER],
) -> Option<*mut Exchange> {
    if let Some(exchange) = EXCHANGES.get_ptr_mut(&socket.0) {
        if is_decrypted {
            // SAFETY: as in `on_call`.
            unsafe { (*exchange).decrypt() };
        }
        return Some(exchange);
    }
    let connection = known(socket.0)?;
    let is_listened = connection.flags & FLAG_LISTENED != 0;
    let (role, start_ns) = (connection.role, connection.start_ns);
    let mut is_server = role == ROLE_SERVER || is_listened;
    let is_request = is_outgoing != is_server;
    let protocol = match recognise(protocols(), head, length, is_request) {
        Some(protocol) => protocol,
        None if is_request && !is_decrypted && http1::begins_cut(socket, is_server, is_outgoing, length, head) => {
            Protocol::Http1
        }
        None => return None,
    };
    if protocol == Protocol::Http1 && !is_request {
        // Part of a body, unless it is not known who asks.
        if role != ROLE_UNKNOWN || is_listened {
            return None;
        }
        is_server = !is_outgoing;
    }
    connection.may_have_requests = 1;
    if EXCHANGES.insert(&socket.0, &BLANK, 0).is_err() {
        count_loss(LOST_REQUESTS);
        count_skipped(skipped_slot(protocol as u8, skipped_untimed(Untimed::NoRoom)), 1);
        return None;
    }
    // The connection may have ended meanwhile, on another processor, and what is left here would be the next one's.
    if known(socket.0).is_none_or(|now| now.start_ns != start_ns) {
        forget(socket);
        return None;
    }
    let exchange = EXCHANGES.get_ptr_mut(&socket.0)?;
    // SAFETY: as above; it is new.
    let new = unsafe { &mut *exchange };
    if protocol == Protocol::Http2 {
        let beginning = http2::beginning(socket, is_server, is_outgoing, is_decrypted, length, head);
        let counted = new.take_up_http2(is_server, is_decrypted, start_ns, beginning);
        count(protocol as u8, counted);
    } else {
        new.take_up(protocol, is_server, is_decrypted);
    }
    Some(exchange)
}

/// A connection goes on in TLS, it seems. With `is_read`, what that carries is going to be decrypted; else nothing can
/// be read of it.
#[inline(always)]
pub fn on_handshake(socket: Socket, is_read: bool) {
    let mut protocol = 0;
    if let Some(exchange) = EXCHANGES.get_ptr_mut(&socket.0) {
        // SAFETY: as in `on_call`.
        let exchange = unsafe { &mut *exchange };
        if !exchange.encrypt() {
            return;
        }
        protocol = exchange.stats.protocol;
    }
    if !is_read {
        count_skipped(skipped_slot(protocol, skipped_unparsed(Unparsed::Encrypted)), 1);
    }
}

/// A connection ended: gives what was counted on it. [`forget`] must follow.
#[inline(always)]
pub fn on_end(socket: Socket, connection: &Connection, now_ns: u64) -> Option<*const RequestStats> {
    let exchange = EXCHANGES.get_ptr_mut(&socket.0)?;
    // SAFETY: the socket is closed, and nobody else writes any more.
    let exchange = unsafe { &mut *exchange };
    let answer_sequence = if exchange.asks_outgoing() { socket.receive_sequence() } else { socket.write_sequence() };
    let end_ns = if connection.closing_ns > connection.start_ns { connection.closing_ns } else { now_ns };
    let counted = exchange.end(end_ns, answer_sequence, |_, method, class, duration_ns| {
        // The verifier may know it as a pointer, which is no argument; what is read is a number.
        let address = read(&raw const socket.0 as u64, 0);
        observe_at_end(address, counted_method(method), class as u32, duration_ns);
    });
    count(exchange.stats.protocol, counted);
    count_without_cell(&mut exchange.stats);
    Some(&raw const exchange.stats)
}

/// Forgets a connection.
#[inline(always)]
pub fn forget(socket: Socket) {
    let _ = EXCHANGES.remove(&socket.0);
}

/// The counts of a connection go untold, as there is no room for the record of its end: they are counted as lost.
#[inline(always)]
pub fn lose(socket: Socket) {
    let Some(exchange) = EXCHANGES.get_ptr(&socket.0) else { return };
    // SAFETY: the entry stays valid while this program runs.
    let (protocol, untold) = unsafe { ((*exchange).stats.protocol, (*exchange).stats.untold()) };
    if untold != 0 {
        count_skipped(skipped_slot(protocol, skipped_untimed(Untimed::NoRoom)), untold);
    }
}

/// What was counted on a connection so far, and a mark of it.
#[inline(always)]
pub fn counted(socket: Socket) -> Option<(*mut RequestStats, u64)> {
    // SAFETY: the entry stays valid while this program runs; the address is of a field of it.
    EXCHANGES.get_ptr_mut(&socket.0).map(|exchange| unsafe { (&raw mut (*exchange).stats, (*exchange).mark()) })
}

#[inline(always)]
fn count(protocol: u8, counted: Counted) {
    for (reason, count) in counted.untimed.into_iter().enumerate() {
        if count != 0 {
            count_skipped(skipped_slot(protocol, reason as u32), count);
        }
    }
    if let Some(why) = counted.unparsed {
        count_skipped(skipped_slot(protocol, skipped_unparsed(why)), 1);
    }
}
