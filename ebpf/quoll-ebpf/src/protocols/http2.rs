//! HTTP/2: what of a connection goes to user space, and where a connection begins.
//!
//! Sequence numbers of the socket tell whether any byte went by unseen; see
//! [`quoll_ebpf_abi::protocols::http2`] for what that means.

use core::hint::black_box;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use quoll_ebpf_abi::protocols::http2::{FRAME_HEAD_BYTES, Http2Piece, PIECE_BYTES, begins};
use quoll_ebpf_abi::protocols::{Beginning, HEADER};

use crate::connections::NO_WAKEUP;
use crate::kernel::Socket;
use crate::maps::BLOCKS;

const RECORD_HEAD_BYTES: usize = size_of::<Http2Piece>() + FRAME_HEAD_BYTES;
/// Sizes that records come in, since the kernel wants to know them beforehand: most blocks are short, as they refer
/// to those before.
const SMALL_BYTES: usize = 128;
const LARGE_BYTES: usize = RECORD_HEAD_BYTES + PIECE_BYTES;

/// Where the directions of a connection begin, if this call has its first bytes. What comes from a TLS library has
/// no numbers, and begins where HTTP/2 begins.
#[inline(always)]
pub fn beginning(
    socket: Socket,
    is_server: bool,
    is_outgoing: bool,
    is_decrypted: bool,
    length: u32,
    head: &[u8; HEADER],
) -> Option<Beginning> {
    let is_request = is_outgoing != is_server;
    if !begins(head, length, is_request) {
        return None;
    }
    if is_decrypted {
        return Some(Beginning { requests: 0, answers: 0 });
    }
    if !socket.is_first(is_server, is_outgoing, length) {
        return None;
    }
    let (written, read) = (socket.written_sequence(), socket.read_sequence());
    let (own, other) = if is_outgoing { (written, read) } else { (read, written) };
    let own = own.wrapping_sub(length);
    Some(if is_request {
        Beginning { requests: own, answers: other }
    } else {
        Beginning { requests: other, answers: own }
    })
}

/// Sends a piece of a frame with so many bytes of payload from an address of the current process. False where
/// there is no room.
#[inline(always)]
pub fn send(piece: &Http2Piece, header: &[u8; HEADER], address: u64) -> bool {
    if RECORD_HEAD_BYTES + piece.length as usize <= SMALL_BYTES {
        send_within::<SMALL_BYTES>(piece, header, address)
    } else {
        send_within::<LARGE_BYTES>(piece, header, address)
    }
}

#[inline(always)]
fn send_within<const BYTES: usize>(piece: &Http2Piece, header: &[u8; HEADER], address: u64) -> bool {
    let Some(mut record) = BLOCKS.reserve::<[u8; BYTES]>(0) else { return false };
    // The verifier wants to see the bound where it is used.
    let count = black_box(piece.length as usize);
    if count > BYTES - RECORD_HEAD_BYTES {
        record.discard(NO_WAKEUP);
        return false;
    }
    let start = record.as_mut_ptr().cast::<u8>();
    // SAFETY: the record has room for the piece, the frame's head and so many bytes; the helper checks the address
    // that it reads from and fails on a bad one.
    let is_read = unsafe {
        start.cast::<Http2Piece>().write_unaligned(*piece);
        let head = start.add(size_of::<Http2Piece>()).cast::<[u8; FRAME_HEAD_BYTES]>();
        let [h0, h1, h2, h3, h4, h5, h6, h7, h8, ..] = *header;
        head.write([h0, h1, h2, h3, h4, h5, h6, h7, h8]);
        count == 0 || bpf_probe_read_user(start.add(RECORD_HEAD_BYTES).cast(), count as u32, address as *const _) == 0
    };
    if is_read {
        record.submit(NO_WAKEUP);
    } else {
        record.discard(NO_WAKEUP);
    }
    is_read
}
