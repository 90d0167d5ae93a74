//! Puts the frames of one direction together again from the pieces that the kernel side sent: header blocks
//! and resets of streams (RFC 9113 sections 6.2, 6.4, 6.6 and 6.10). All other frames it left out.

use quoll_ebpf_abi::protocols::http2::{FRAME_HEAD_BYTES, frame_type};

use super::Unparsed;

/// A frame's payload or a whole header block beyond this is nobody's: servers refuse header lists that are
/// larger (nginx 32 KiB, Go 1 MiB, most others 8 to 16 KiB).
pub const MOST_BLOCK_BYTES: usize = 64 * 1024;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The dependency and weight that a prioritised `HEADERS` begins with.
const PRIORITY_BYTES: usize = 5;
/// The promised stream that `PUSH_PROMISE` begins with.
const PROMISED_BYTES: usize = 4;

/// What a direction says.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole header block.
    Headers {
        /// Stream it belongs to; 0 where it only promises one.
        stream: u32,
        /// Nothing follows on this stream.
        is_end: bool,
        /// Time of the piece that it began in.
        time_ns: u64,
        /// The block.
        block: &'a [u8],
    },
    /// The stream ends at once.
    Reset {
        /// Which.
        stream: u32,
        /// Why (RFC 9113 section 7).
        code: u32,
        /// Time of the piece that it was in.
        time_ns: u64,
    },
}

/// A frame's head.
#[derive(Debug, Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn new([l2, l1, l0, kind, flags, s3, s2, s1, s0]: [u8; FRAME_HEAD_BYTES]) -> Self {
        Self {
            length: u32::from_be_bytes([0, l2, l1, l0]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s3, s2, s1, s0]) & 0x7fff_ffff,
        }
    }
}

/// A frame of which a part is missing, or a block that further frames continue.
#[derive(Debug)]
struct Pending {
    head: Head,
    /// Its payload so far.
    payload: Vec<u8>,
    time_ns: u64,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Frames {
    frame: Option<Pending>,
    block: Option<Pending>,
    /// Pieces so far.
    pieces: u32,
}

impl Frames {
    /// Memory held beyond the value itself.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        [&self.frame, &self.block].into_iter().flatten().map(|pending| pending.payload.capacity()).sum()
    }

    /// Takes the next piece; `head` is the frame's where it begins here. What it makes whole is handed over.
    ///
    /// # Errors
    /// [`Unparsed`], after which nothing can be made of this direction.
    pub fn piece(
        &mut self,
        sequence: u32,
        time_ns: u64,
        head: Option<[u8; FRAME_HEAD_BYTES]>,
        bytes: &[u8],
        receive: &mut dyn FnMut(Event<'_>) -> Result<(), Unparsed>,
    ) -> Result<(), Unparsed> {
        if sequence != self.pieces {
            return Err(Unparsed::Gap);
        }
        self.pieces = self.pieces.wrapping_add(1);
        let pending = match (self.frame.take(), head) {
            (Some(mut pending), None) => {
                pending.payload.extend_from_slice(bytes);
                pending
            }
            (None, Some(head)) => {
                let head = Head::new(head);
                if head.length > MOST_BLOCK_BYTES {
                    return Err(Unparsed::TooLarge);
                }
                if bytes.len() == head.length {
                    return self.frame(head, time_ns, bytes, receive);
                }
                Pending { head, payload: bytes.to_vec(), time_ns }
            }
            _ => return Err(Unparsed::Gap),
        };
        if pending.payload.len() < pending.head.length {
            self.frame = Some(pending);
            return Ok(());
        }
        self.frame(pending.head, pending.time_ns, &pending.payload, receive)
    }

    fn frame(
        &mut self,
        head: Head,
        time_ns: u64,
        payload: &[u8],
        receive: &mut dyn FnMut(Event<'_>) -> Result<(), Unparsed>,
    ) -> Result<(), Unparsed> {
        if payload.len() != head.length {
            return Err(Unparsed::Gap);
        }
        let fragment = match head.kind {
            frame_type::RST_STREAM => {
                let code = payload.try_into().map(u32::from_be_bytes).map_err(|_| Unparsed::Malformed)?;
                return receive(Event::Reset { stream: head.stream, code, time_ns });
            }
            frame_type::HEADERS => {
                let priority = if head.flags & PRIORITY != 0 { PRIORITY_BYTES } else { 0 };
                without_padding(payload, head.flags)?.get(priority..).ok_or(Unparsed::Malformed)?
            }
            frame_type::PUSH_PROMISE => {
                without_padding(payload, head.flags)?.get(PROMISED_BYTES..).ok_or(Unparsed::Malformed)?
            }
            frame_type::CONTINUATION => payload,
            _ => return Err(Unparsed::Malformed),
        };
        let is_continuation = head.kind == frame_type::CONTINUATION;
        match self.block.take() {
            None if !is_continuation && head.flags & END_HEADERS != 0 => headers(head, time_ns, fragment, receive),
            None if !is_continuation => {
                self.block = Some(Pending { head, payload: fragment.to_vec(), time_ns });
                Ok(())
            }
            // Nothing may come between the frames of a block (RFC 9113 section 4.3).
            Some(mut block) if is_continuation && block.head.stream == head.stream => {
                if block.payload.len() + fragment.len() > MOST_BLOCK_BYTES {
                    return Err(Unparsed::TooLarge);
                }
                block.payload.extend_from_slice(fragment);
                if head.flags & END_HEADERS != 0 {
                    return headers(block.head, block.time_ns, &block.payload, receive);
                }
                self.block = Some(block);
                Ok(())
            }
            _ => Err(Unparsed::Malformed),
        }
    }
}

fn headers(
    head: Head,
    time_ns: u64,
    block: &[u8],
    receive: &mut dyn FnMut(Event<'_>) -> Result<(), Unparsed>,
) -> Result<(), Unparsed> {
    let is_promise = head.kind == frame_type::PUSH_PROMISE;
    let stream = if is_promise { 0 } else { head.stream };
    receive(Event::Headers { stream, is_end: !is_promise && head.flags & END_STREAM != 0, time_ns, block })
}

fn without_padding(payload: &[u8], flags: u8) -> Result<&[u8], Unparsed> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(Unparsed::Malformed)?;
    rest.get(..rest.len().wrapping_sub(usize::from(*padding))).ok_or(Unparsed::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; FRAME_HEAD_BYTES] {
        let [_, l2, l1, l0] = (length as u32).to_be_bytes();
        let [s3, s2, s1, s0] = stream.to_be_bytes();
        [l2, l1, l0, kind, flags, s3, s2, s1, s0]
    }

    /// What comes out of frames with their payloads, each cut into pieces of `cut` bytes.
    fn events(frames: &[(u8, u8, u32, &[u8])], cut: usize) -> Result<Vec<String>, Unparsed> {
        let mut seen = Vec::new();
        let mut reader = Frames::default();
        let mut sequence = 0;
        for (kind, flags, stream, payload) in frames {
            let mut head = Some(head(payload.len(), *kind, *flags, *stream));
            let pieces: Vec<&[u8]> = if payload.is_empty() { vec![&[]] } else { payload.chunks(cut).collect() };
            for piece in pieces {
                let mut receive = |event: Event<'_>| {
                    seen.push(match event {
                        Event::Headers { stream, is_end, time_ns, block } => {
                            format!("{stream} {} {is_end} at {time_ns}", String::from_utf8_lossy(block))
                        }
                        Event::Reset { stream, code, .. } => format!("{stream} reset {code}"),
                    });
                    Ok(())
                };
                reader.piece(sequence, u64::from(sequence), head.take(), piece, &mut receive)?;
                sequence += 1;
            }
        }
        Ok(seen)
    }

    #[test]
    fn blocks_come_whole_without_padding_and_priority_however_they_are_cut() {
        let frames: [(u8, u8, u32, &[u8]); 6] = [
            (1, END_HEADERS | END_STREAM, 1, b"whole"),
            (1, END_HEADERS | PADDED | PRIORITY, 3, b"\x02.....padded.."),
            (1, END_STREAM, 5, b"in "),
            (9, 0, 5, b"three "),
            (9, END_HEADERS, 5, b"frames"),
            (3, 0, 5, &[0, 0, 0, 8]),
        ];
        for cut in 1..20 {
            let seen = events(&frames, cut).unwrap();
            let said: Vec<&str> = seen.iter().map(|text| text.split(" at ").next().unwrap()).collect();
            assert_eq!(said, ["1 whole true", "3 padded false", "5 in three frames true", "5 reset 8"], "cut at {cut}");
        }
        // A block's time is that of its first piece.
        assert_eq!(events(&frames, 100).unwrap()[2], "5 in three frames true at 2");
    }

    #[test]
    fn promises_are_handed_over_for_the_table_alone() {
        let seen = events(&[(5, END_HEADERS, 1, b"\0\0\0\x02promised")], 100).unwrap();
        assert_eq!(seen, ["0 promised false at 0"]);
    }

    #[test]
    fn gaps_and_nonsense_are_refused() {
        let one = |frames: &[(u8, u8, u32, &[u8])]| events(frames, 100).unwrap_err();
        assert_eq!(one(&[(9, END_HEADERS, 1, b"x")]), Unparsed::Malformed);
        assert_eq!(one(&[(1, 0, 1, b"x"), (1, END_HEADERS, 3, b"y")]), Unparsed::Malformed);
        assert_eq!(one(&[(1, 0, 1, b"x"), (9, END_HEADERS, 3, b"y")]), Unparsed::Malformed);
        assert_eq!(one(&[(1, PADDED, 1, b"\x05x")]), Unparsed::Malformed);
        assert_eq!(one(&[(1, PADDED, 1, b"")]), Unparsed::Malformed);
        assert_eq!(one(&[(1, PRIORITY, 1, b"abcd")]), Unparsed::Malformed);
        assert_eq!(one(&[(3, 0, 1, b"abc")]), Unparsed::Malformed);
        assert_eq!(one(&[(0, 0, 1, b"data")]), Unparsed::Malformed);
        let mut reader = Frames::default();
        let mut none = |_: Event<'_>| Ok(());
        assert_eq!(reader.piece(1, 0, Some(head(0, 1, 4, 1)), b"", &mut none), Err(Unparsed::Gap));
        assert_eq!(reader.piece(0, 0, None, b"x", &mut none), Err(Unparsed::Gap));
        assert_eq!(reader.piece(1, 0, Some(head(2, 1, 4, 1)), b"xyz", &mut none), Err(Unparsed::Gap));
    }

    #[test]
    fn memory_is_bounded() {
        let mut reader = Frames::default();
        let mut none = |_: Event<'_>| Ok(());
        let too_large = head(MOST_BLOCK_BYTES + 1, 1, 4, 1);
        assert_eq!(reader.piece(0, 0, Some(too_large), &[0; 4096], &mut none), Err(Unparsed::TooLarge));
        let mut reader = Frames::default();
        let frame = [0; 16 * 1024];
        reader.piece(0, 0, Some(head(frame.len(), 1, 0, 1)), &frame, &mut none).unwrap();
        for sequence in 1..4 {
            reader.piece(sequence, 0, Some(head(frame.len(), 9, 0, 1)), &frame, &mut none).unwrap();
        }
        assert_eq!(reader.piece(4, 0, Some(head(1, 9, 0, 1)), b"x", &mut none), Err(Unparsed::TooLarge));
        assert!(reader.held_bytes() <= 2 * MOST_BLOCK_BYTES);
    }
}
