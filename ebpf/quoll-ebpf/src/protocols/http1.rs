//! HTTP/1.1: where the directions of a connection stand.
//!
//! Sequence numbers of the socket tell where the bytes of a call are among all that were said; see
//! [`quoll_ebpf_abi::protocols::Exchange`] for what that is good for.

use quoll_ebpf_abi::protocols::http1::is_cut_request;
use quoll_ebpf_abi::protocols::{Exchange, HEADER, Protocol};

use crate::kernel::Socket;
use crate::syscalls::protocols;

/// Where a call's direction stands behind its bytes, and where the other one does, if that matters.
#[inline(always)]
pub fn positions(socket: Socket, exchange: &Exchange, is_outgoing: bool) -> (u32, u32) {
    let own = match (exchange.counts_bytes(), is_outgoing) {
        (true, true) => socket.written_sequence(),
        (true, false) => socket.read_sequence(),
        (false, true) => socket.write_sequence(),
        (false, false) => socket.copied_sequence(),
    };
    let other = if !exchange.compares(is_outgoing) {
        0
    } else if is_outgoing {
        socket.copied_sequence()
    } else {
        socket.write_sequence()
    };
    (own, other)
}

/// Whether the very first bytes of a connection, fewer than a method has, are those of one.
#[inline(always)]
pub fn begins_cut(socket: Socket, is_server: bool, is_outgoing: bool, length: u32, head: &[u8; HEADER]) -> bool {
    protocols().has(Protocol::Http1)
        && protocols().follows != 0
        && is_cut_request(head, length)
        && socket.is_first(is_server, is_outgoing, length)
}
