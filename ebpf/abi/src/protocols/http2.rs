//! Finds the frames of HTTP/2 in a stream of bytes that comes in any cuts (RFC 9113 section 4), and says
//! which of them are wanted: those that carry header blocks, and resets of streams.
//!
//! Everything else is stepped over by its length. `DATA` holds what is nobody's business. `SETTINGS` is not
//! needed either: an encoder says itself, within a header block, how large its table is (RFC 7541 section
//! 4.2). Streams that `GOAWAY` refuses end with their connection.

use super::HEADER;

/// How a client begins (RFC 9113 section 3.4); the first [`HEADER`] bytes are looked at.
pub const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags and stream of a frame (RFC 9113 section 4.1).
pub const FRAME_HEAD_BYTES: usize = 9;
const HEAD_ROOM: usize = 24;
/// Bytes of a wanted frame's payload that travel in one record.
pub const PIECE_BYTES: usize = 4096;

/// Types of frames (RFC 9113 section 6).
#[expect(missing_docs, reason = "each name is the standard's own")]
pub mod frame_type {
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const CONTINUATION: u8 = 9;
}

/// The stream does not begin as HTTP/2 must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHttp2;

/// What the next bytes of a direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// So many that say nothing.
    Skip(u32),
    /// So many of a wanted frame's payload.
    Wanted(u32),
    /// So many of a frame's head, from this place in it on.
    Head {
        /// Bytes of the head that are there already.
        from: usize,
        /// Bytes that it lacks.
        missing: u32,
    },
}

/// Where one direction of a connection stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Http2Direction {
    /// Bytes left of the preface or of the current frame's payload.
    pub left: u32,
    /// The socket's sequence number after the last message.
    pub position: u32,
    /// Records sent so far.
    pub pieces: u32,
    /// Bytes of the next frame's head that are in `head`.
    pub head_bytes: u8,
    /// 1 where the current frame is wanted.
    pub is_wanted: u8,
    /// 1 where `head` belongs to a wanted frame of which nothing has been sent yet.
    pub is_head_due: u8,
    /// 1 once the first frame has been seen, which is `SETTINGS`.
    pub has_begun: u8,
    /// 1 where the client's frames go.
    pub is_request: u8,
    /// Always 0.
    pub reserved: [u8; 3],
    /// The last frame's head, and room behind it: the kernel's verifier knows no better than that a read of up to
    /// 16 bytes begins at any of its bytes.
    pub head: [u8; HEAD_ROOM],
}

impl Http2Direction {
    /// Nothing so far.
    pub const UNBEGUN: Self = Self {
        left: 0,
        position: 0,
        pieces: 0,
        head_bytes: 0,
        is_wanted: 0,
        is_head_due: 0,
        has_begun: 0,
        is_request: 0,
        reserved: [0; 3],
        head: [0; HEAD_ROOM],
    };

    /// Of the client's direction: whether not even the preface has been seen.
    #[inline(always)]
    #[must_use]
    pub fn is_before_preface(&self) -> bool {
        self.is_request == 1 && self.has_begun == 0 && self.left == PREFACE.len() as u32
    }

    /// What comes next.
    #[inline(always)]
    #[must_use]
    pub fn next(&self) -> Next {
        if self.left > 0 {
            return if self.is_wanted == 1 { Next::Wanted(self.left) } else { Next::Skip(self.left) };
        }
        let from = self.head_bytes as usize;
        Next::Head { from, missing: (FRAME_HEAD_BYTES - if from < FRAME_HEAD_BYTES { from } else { 0 }) as u32 }
    }

    /// Takes so many bytes, at most as many as [`Self::next`] says, of a preface or payload.
    #[inline(always)]
    pub fn advance(&mut self, count: u32) {
        self.left = self.left.wrapping_sub(count);
    }

    /// Takes the head of a frame, whole in `head`.
    ///
    /// # Errors
    /// Where it cannot be the first of a stream, or carries a header block of no stream.
    #[inline(always)]
    pub fn take_head(&mut self) -> Result<(), NotHttp2> {
        let [l2, l1, l0, kind, _, s3, s2, s1, s0, ..] = self.head;
        let wanted = matches!(
            kind,
            frame_type::HEADERS | frame_type::RST_STREAM | frame_type::PUSH_PROMISE | frame_type::CONTINUATION
        );
        let is_of_no_stream = s3 & 0x7f | s2 | s1 | s0 == 0;
        if self.has_begun == 0 && kind != frame_type::SETTINGS || wanted && is_of_no_stream {
            return Err(NotHttp2);
        }
        self.has_begun = 1;
        self.head_bytes = 0;
        self.left = (l2 as u32) << 16 | (l1 as u32) << 8 | l0 as u32;
        self.is_wanted = wanted as u8;
        self.is_head_due = wanted as u8;
        Ok(())
    }

    /// Steps over bytes that nobody saw; gives whether they can only have been part of what is not wanted.
    #[inline(always)]
    #[must_use]
    pub fn skip_unseen(&mut self, count: u32) -> bool {
        if self.is_wanted == 1 || count > self.left {
            return false;
        }
        self.left -= count;
        true
    }
}

/// Whether a server's first message begins with the frame that it must begin with (RFC 9113 section 3.4):
/// `SETTINGS` of no stream, not an acknowledgement, with a whole number of settings.
#[inline(always)]
#[must_use]
pub fn begins_with_settings(head: &[u8; HEADER], length: u32) -> bool {
    length >= FRAME_HEAD_BYTES as u32
        && matches!(head, [0, 0, payload, frame_type::SETTINGS, 0, 0, 0, 0, 0, ..] if payload % 6 == 0)
}

/// Whether a client's first bytes are the preface, as far as they are looked at.
#[inline(always)]
#[must_use]
pub fn begins_with_preface(head: &[u8; HEADER]) -> bool {
    PREFACE.starts_with(head)
}

/// Whether a call of the client's, or of the server's, begins HTTP/2.
#[inline(always)]
#[must_use]
pub fn begins(head: &[u8; HEADER], length: u32, is_request: bool) -> bool {
    if is_request { begins_with_preface(head) } else { begins_with_settings(head, length) }
}

/// Both directions of one connection; the map's key is the address of its `struct sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Http2State {
    /// When the connection began.
    pub start_ns: u64,
    /// What this end writes.
    pub outgoing: Http2Direction,
    /// What it reads.
    pub incoming: Http2Direction,
}

impl Http2State {
    /// Nothing so far.
    pub const UNBEGUN: Self =
        Self { start_ns: 0, outgoing: Http2Direction::UNBEGUN, incoming: Http2Direction::UNBEGUN };
}

/// The head of a record that carries a piece of a wanted frame; [`FRAME_HEAD_BYTES`] and `length` bytes of
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

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, (payload.len() >> 8) as u8, payload.len() as u8, kind, 4];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Wanted payloads with their heads, as the kernel side would send them from messages of these lengths.
    fn walk(bytes: &[u8], lengths: &[usize]) -> Result<Vec<u8>, NotHttp2> {
        let mut direction = Http2Direction { left: PREFACE.len() as u32, ..Default::default() };
        let mut sent = Vec::new();
        let mut rest = bytes;
        for length in lengths.iter().cycle() {
            let (mut message, after) = rest.split_at((*length).min(rest.len()));
            rest = after;
            while !message.is_empty() {
                let next = direction.next();
                let (Next::Skip(most) | Next::Wanted(most) | Next::Head { missing: most, .. }) = next;
                let (taken, after) = message.split_at((most as usize).min(message.len()));
                message = after;
                match next {
                    Next::Head { from, missing } => {
                        direction.head[from..from + taken.len()].copy_from_slice(taken);
                        direction.head_bytes += taken.len() as u8;
                        if taken.len() == missing as usize {
                            direction.take_head()?;
                            if direction.is_wanted == 1 {
                                sent.extend(&direction.head[..FRAME_HEAD_BYTES]);
                            }
                        }
                    }
                    Next::Wanted(_) => {
                        sent.extend(taken);
                        direction.advance(taken.len() as u32);
                    }
                    Next::Skip(_) => direction.advance(taken.len() as u32),
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        Ok(sent)
    }

    #[test]
    fn wanted_frames_are_found_however_the_bytes_are_cut() {
        let wanted = [frame(1, 1, b"headers"), frame(9, 1, b""), frame(3, 1, &[0, 0, 0, 8]), frame(1, 3, &[7; 300])];
        let [headers, continuation, reset, large] = &wanted;
        let settings = frame(4, 0, &[0; 12]);
        let data = frame(0, 1, &[1; 1000]);
        let parts = [&PREFACE[..], &settings, headers, continuation, &data, reset, &frame(8, 0, &[0; 4]), large, &data];
        let bytes = parts.concat();
        for length in 1..40 {
            assert_eq!(walk(&bytes, &[length]).unwrap(), wanted.concat(), "messages of {length} bytes");
        }
        assert_eq!(walk(&bytes, &[9, 1, 100, 7]).unwrap(), wanted.concat());
        assert_eq!(walk(&bytes, &[bytes.len()]).unwrap(), wanted.concat());
    }

    #[test]
    fn a_stream_that_does_not_begin_with_settings_is_refused() {
        let bytes = [&PREFACE[..], &frame(1, 1, b"x")].concat();
        assert_eq!(walk(&bytes, &[1000]), Err(NotHttp2));
        let of_no_stream = [&PREFACE[..], &frame(4, 0, b""), &frame(1, 0, b"x")].concat();
        assert_eq!(walk(&of_no_stream, &[1000]), Err(NotHttp2));
    }

    #[test]
    fn unseen_bytes_are_stepped_over_within_data_only() {
        let mut direction = Http2Direction { left: 100, ..Default::default() };
        assert!(direction.skip_unseen(60));
        assert!(!direction.skip_unseen(41));
        assert!(direction.skip_unseen(40));
        assert!(!direction.skip_unseen(1), "a head may have been among them");
        let mut wanted = Http2Direction { left: 100, is_wanted: 1, ..Default::default() };
        assert!(!wanted.skip_unseen(1));
    }

    #[test]
    fn both_beginnings_are_recognised() {
        let head = |bytes: &[u8]| {
            let mut head = [0; HEADER];
            head[..bytes.len()].copy_from_slice(bytes);
            head
        };
        assert!(begins_with_preface(&head(&PREFACE[..HEADER])));
        assert!(!begins_with_preface(&head(b"GET / HTTP/1.1\r\n")));
        assert!(begins_with_settings(&head(&[0, 0, 18, 4, 0, 0, 0, 0, 0, 9]), 27));
        assert!(!begins_with_settings(&head(&[0, 0, 0, 4, 0, 0, 0, 0]), 8));
        for other in [[0, 0, 17, 4, 0, 0, 0, 0, 0], [0, 0, 0, 4, 1, 0, 0, 0, 0], [1, 0, 18, 4, 0, 0, 0, 0, 0]] {
            assert!(!begins_with_settings(&head(&other), 27), "{other:?}");
        }
    }
}
