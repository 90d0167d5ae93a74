//! HTTP/2: finds the frames that matter in what is said (RFC 9113 section 4), those with header blocks and
//! resets of streams, and says that they are to be sent to user space, which keeps the state that these need.
//!
//! Everything else is stepped over by its length. `DATA` holds what is nobody's business. `SETTINGS` is not
//! needed either: an encoder says itself, within a header block, how large its table is (RFC 7541 section
//! 4.2). Streams that `GOAWAY` refuses end with their connection.
//!
//! A connection is followed from its first byte or not at all, since each header block refers to those before.
//! Of one that is met later, no more is recognised than that it is HTTP/2 ([`is_within`]).

use super::{Event, Framing, HEADER, Lane, Step};

/// How a client begins (RFC 9113 section 3.4); the first [`HEADER`] bytes are looked at.
pub const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags and stream of a frame (RFC 9113 section 4.1).
pub const FRAME_HEAD_BYTES: usize = 9;
/// Bytes of a frame's payload that travel in one record.
pub const PIECE_BYTES: usize = 1024;
/// The largest frame that every receiver takes (RFC 9113 section 4.2).
const USUAL_FRAME_BYTES: u32 = 16_384;

/// Types of frames (RFC 9113 section 6).
#[expect(missing_docs, reason = "each name is the standard's own")]
pub mod frame_type {
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const CONTINUATION: u8 = 9;
}

/// Label values of gRPC's statuses, by the number that `grpc-status` carries (`doc/statuscodes.md` of gRPC).
pub const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Where a direction stands, in [`Lane::state`]: nothing was seen.
const UNBEGUN: u32 = 0;
/// The preface was seen.
const PREFACED: u32 = 1;
/// The first frame was seen, which is `SETTINGS`.
const BEGUN: u32 = 2;

/// See the module. Of the lane, `left` counts the pieces that were sent.
#[derive(Debug)]
pub struct Http2;

impl Framing for Http2 {
    #[inline(always)]
    fn step(lane: &mut Lane, is_request: bool, header: &[u8; HEADER], available: u32) -> Step {
        if is_request && lane.state == UNBEGUN {
            if available < HEADER as u32 {
                return Step::HOLD;
            }
            lane.state = PREFACED;
            return if begins_with_preface(header) {
                Step::new(PREFACE.len() as u32, Event::Nothing)
            } else {
                Step::BAD
            };
        }
        if available < FRAME_HEAD_BYTES as u32 {
            return Step::HOLD;
        }
        let [l2, l1, l0, kind, _, s3, s2, s1, s0, ..] = *header;
        let length = (l2 as u32) << 16 | (l1 as u32) << 8 | l0 as u32;
        let take = FRAME_HEAD_BYTES as u32 + length;
        if lane.state != BEGUN && kind != frame_type::SETTINGS {
            return Step::BAD;
        }
        lane.state = BEGUN;
        let matters = matches!(
            kind,
            frame_type::HEADERS | frame_type::RST_STREAM | frame_type::PUSH_PROMISE | frame_type::CONTINUATION
        );
        if !matters {
            return Step::new(take, Event::Nothing);
        }
        if s3 & 0x7f | s2 | s1 | s0 == 0 { Step::BAD } else { Step::new(take, Event::Sends) }
    }
}

impl Lane {
    /// Of a direction that stands at this sequence number of its socket, before its first byte.
    #[inline(always)]
    pub(super) fn stand_at(&mut self, position: u32) {
        self.position = position;
    }

    /// Goes on by so many decrypted bytes, of which the socket's sequence numbers say nothing.
    #[inline(always)]
    pub(super) fn go_on(&mut self, length: u32) {
        self.position = self.position.wrapping_add(length);
    }

    /// Goes to where a call of `length` bytes ended. Bytes that went by unseen before it (by sendfile, io_uring,
    /// or in a call that was missed) are of no consequence within what is stepped over. False where they are.
    #[inline(always)]
    pub(super) fn go_to(&mut self, position: u32, length: u32) -> bool {
        let moved = position.wrapping_sub(self.position);
        self.position = position;
        let unseen = moved.wrapping_sub(length);
        if unseen == 0 {
            return true;
        }
        if self.wanted != 0 || self.held_bytes != 0 || unseen > self.skip {
            return false;
        }
        self.skip -= unseen;
        true
    }
}

/// Whether a server's first message begins with the frame that it must begin with (RFC 9113 section 3.4):
/// `SETTINGS` of no stream, not an acknowledgement, with a whole number of settings.
#[inline(always)]
fn begins_with_settings(head: &[u8; HEADER], length: u32) -> bool {
    length >= FRAME_HEAD_BYTES as u32
        && matches!(head, [0, 0, payload, frame_type::SETTINGS, 0, 0, 0, 0, 0, ..] if payload % 6 == 0)
}

/// Whether a client's first bytes are the preface, as far as they are looked at.
#[inline(always)]
fn begins_with_preface(head: &[u8; HEADER]) -> bool {
    let [p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15, ..] = PREFACE;
    *head == [p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15]
}

/// Whether a call may begin HTTP/2 or be within it.
#[inline(always)]
#[must_use]
pub fn may_begin(head: &[u8; HEADER], length: u32) -> bool {
    begins(head, length, true) || begins(head, length, false) || is_within(head, length)
}

/// Whether a call of the client's, or of the server's, begins HTTP/2.
#[inline(always)]
#[must_use]
pub fn begins(head: &[u8; HEADER], length: u32, is_request: bool) -> bool {
    if is_request { begins_with_preface(head) } else { begins_with_settings(head, length) }
}

/// Whether a call begins with a frame that only HTTP/2 has: `HEADERS` of a client's stream with a whole block,
/// not longer than the call, whose first field is an indexed one, as `:method` and `:status` always are.
#[inline(always)]
#[must_use]
pub fn is_within(head: &[u8; HEADER], length: u32) -> bool {
    const END_HEADERS: u8 = 4;
    const END_STREAM: u8 = 1;
    let [0, l1, l0, frame_type::HEADERS, flags, s3, _, _, s0, field, ..] = *head else { return false };
    let payload = (l1 as u32) << 8 | l0 as u32;
    flags & !END_STREAM == END_HEADERS
        && s3 < 0x80
        && s0 & 1 == 1
        && field >= 0x80
        && payload <= USUAL_FRAME_BYTES
        && FRAME_HEAD_BYTES as u32 + payload <= length
}

/// The head of a record that carries a piece of a frame; [`FRAME_HEAD_BYTES`] and `length` bytes of
/// payload follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Http2Piece {
    /// Address of the `struct sock`.
    pub socket: u64,
    /// When the connection began; with the socket it identifies the connection.
    pub start_ns: u64,
    /// When the system call that carried these bytes ended.
    pub time_ns: u64,
    /// Number of this record within its direction, from 0 on.
    pub sequence: u32,
    /// Bytes of payload.
    pub length: u16,
    /// 1 where the client sent it.
    pub is_request: u8,
    /// 1 where the frame begins here, so that its head means something.
    pub is_head: u8,
}

impl Http2Piece {
    /// Of no connection.
    pub(super) const NONE: Self =
        Self { socket: 0, start_ns: 0, time_ns: 0, sequence: 0, length: 0, is_request: 0, is_head: 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> [u8; HEADER] {
        let mut head = [0; HEADER];
        head[..bytes.len()].copy_from_slice(bytes);
        head
    }

    #[test]
    fn a_stream_that_does_not_begin_with_settings_is_refused() {
        let settings = head(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let headers = head(&[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x82]);
        let mut lane = Lane::NEW;
        assert_eq!(Http2::step(&mut lane, true, &head(&PREFACE[..HEADER]), 16), Step::new(24, Event::Nothing));
        assert_eq!(Http2::step(&mut lane, true, &headers, 16), Step::BAD);
        let mut lane = Lane::NEW;
        assert_eq!(Http2::step(&mut lane, false, &headers, 16), Step::BAD);
        assert_eq!(Http2::step(&mut lane, false, &settings, 9), Step::new(9, Event::Nothing));
        assert_eq!(Http2::step(&mut lane, false, &headers, 9), Step::new(10, Event::Sends));
        assert_eq!(Http2::step(&mut lane, false, &head(&[0, 0, 1, 1, 4, 0, 0, 0, 0]), 9), Step::BAD, "of no stream");
        assert_eq!(Http2::step(&mut lane, false, &headers, 8), Step::HOLD);
    }

    #[test]
    fn unseen_bytes_are_stepped_over_within_what_does_not_matter_only() {
        let mut lane = Lane { skip: 100, ..Lane::NEW };
        lane.stand_at(u32::MAX - 9);
        assert!(lane.go_to(60, 10), "the number wraps around");
        assert_eq!(lane.skip, 40);
        assert!(lane.go_to(110, 10));
        assert!(!lane.go_to(121, 10), "a head may have been among them");
        let mut wanted = Lane { wanted: 100, skip: 5, ..Lane::NEW };
        assert!(wanted.go_to(10, 10));
        assert!(!wanted.go_to(21, 10));
        let mut held = Lane { held_bytes: 3, skip: 5, ..Lane::NEW };
        assert!(!held.go_to(11, 10));
    }

    #[test]
    fn both_beginnings_are_recognised() {
        assert!(begins(&head(&PREFACE[..HEADER]), 24, true));
        assert!(!begins(&head(b"GET / HTTP/1.1\r\n"), 24, true));
        assert!(begins(&head(&[0, 0, 18, 4, 0, 0, 0, 0, 0, 9]), 27, false));
        assert!(!begins(&head(&[0, 0, 0, 4, 0, 0, 0, 0]), 8, false));
        for other in [[0, 0, 17, 4, 0, 0, 0, 0, 0], [0, 0, 0, 4, 1, 0, 0, 0, 0], [1, 0, 18, 4, 0, 0, 0, 0, 0]] {
            assert!(!begins(&head(&other), 27, false), "{other:?}");
        }
    }

    #[test]
    fn a_connection_met_midway_is_known_by_a_whole_header_block() {
        let request = [0, 0, 5, 1, 5, 0, 0, 1, 7, 0x83, 0x86];
        assert!(is_within(&head(&request), 14));
        assert!(!is_within(&head(&request), 13), "longer than the call");
        for (place, value) in [(0, 1), (3, 0), (4, 1), (4, 12), (5, 0x80), (8, 6), (9, 0x40)] {
            let mut other = request;
            other[place] = value;
            assert!(!is_within(&head(&other), 100), "{other:?}");
        }
    }
}
