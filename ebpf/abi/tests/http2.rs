//! HTTP/2 through the entrance that the kernel side uses: what is sent to user space, however calls and buffers cut
//! the bytes, and when a connection is given up.

use quoll_ebpf_abi::protocols::http1::scan::WINDOW_BYTES;
use quoll_ebpf_abi::protocols::http2::{FRAME_HEAD_BYTES, Http2Piece, PIECE_BYTES, PREFACE};
use quoll_ebpf_abi::protocols::{Beginning, Bytes, Call, Exchange, HEADER, Memory, PlainLoop};
use quoll_ebpf_abi::requests::Unparsed;

/// The bytes of one call in pieces of at most so many bytes, and what is sent of them.
struct Pieces<'a> {
    rest: &'a [u8],
    left: usize,
    most: usize,
    sent: &'a mut Vec<(Http2Piece, Vec<u8>)>,
    room: usize,
}

impl Bytes for Pieces<'_> {
    fn left(&self) -> u32 {
        self.left as u32
    }
    fn read(&mut self, count: u32, into: &mut [u8]) -> bool {
        assert!((1..=HEADER.min(self.left)).contains(&(count as usize)));
        into[..count as usize].copy_from_slice(&self.rest[..count as usize]);
        true
    }
    fn fill(&mut self, _: u32, _: &mut [u64; WINDOW_BYTES as usize / 8]) -> bool {
        unreachable!("of HTTP/1.1 only")
    }
    fn advance(&mut self, count: u32) {
        self.left -= count as usize;
        self.rest = &self.rest[count as usize..];
    }
    fn next(&mut self) -> bool {
        self.left = self.rest.len().min(self.most);
        self.left > 0
    }
    fn tail(&self) -> [u8; 8] {
        [0; 8]
    }
    fn send(&mut self, piece: &Http2Piece, header: &[u8; HEADER]) -> bool {
        let length = piece.length as usize;
        assert!(length <= PIECE_BYTES.min(self.left));
        let head = if piece.is_head == 1 { &header[..FRAME_HEAD_BYTES] } else { &[] };
        self.sent.push((*piece, [head, &self.rest[..length]].concat()));
        self.sent.len() <= self.room
    }
}

/// One end of a connection.
struct End {
    exchange: Exchange,
    is_server: bool,
    positions: [u32; 2],
    sent: Vec<(Http2Piece, Vec<u8>)>,
    room: usize,
    unparsed: Option<Unparsed>,
}

impl End {
    fn new(is_server: bool) -> Self {
        // So that the numbers wrap around soon.
        let (requests, answers) = (u32::MAX - 20, 7);
        let mut exchange = Exchange::BLANK;
        exchange.take_up_http2(is_server, false, 5, Some(Beginning { requests, answers }));
        let positions = [requests, answers];
        Self { exchange, is_server, positions, sent: Vec::new(), room: usize::MAX, unparsed: None }
    }

    /// One call of which the kernel says that it has moved so many bytes more than it says itself.
    fn call(&mut self, is_request: bool, bytes: &[u8], most: usize, unseen: u32) {
        let mut head = [0; HEADER];
        let known = bytes.len().min(HEADER);
        head[..known].copy_from_slice(&bytes[..known]);
        let position = &mut self.positions[usize::from(!is_request)];
        *position = position.wrapping_add(bytes.len() as u32 + unseen);
        let call = Call {
            now_ns: 1,
            is_outgoing: is_request != self.is_server,
            length: bytes.len() as u32,
            head: &head,
            bytes: Pieces { rest: bytes, left: 0, most, sent: &mut self.sent, room: self.room },
            is_decrypted: false,
            answer_sequence: 0,
            position: *position,
            other_position: 0,
        };
        let counted = self.exchange.call::<PlainLoop, _>(call, &mut Memory::default());
        self.unparsed = self.unparsed.or(counted.unparsed);
        assert_eq!(counted.untimed, [0; 2]);
    }

    /// What was sent, put together.
    fn sent(&self) -> Vec<u8> {
        for (number, (piece, _)) in self.sent.iter().enumerate() {
            assert_eq!(piece.sequence, number as u32);
        }
        self.sent.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, (payload.len() >> 8) as u8, payload.len() as u8, kind, 4];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What a client says, and what of it is sent.
fn requests() -> (Vec<u8>, Vec<u8>) {
    let wanted = [frame(1, 1, b"headers"), frame(9, 1, b""), frame(3, 1, &[0, 0, 0, 8]), frame(1, 3, &[7; 3000])];
    let [headers, continuation, reset, large] = &wanted;
    let (settings, update) = (frame(4, 0, &[0; 12]), frame(8, 0, &[0; 4]));
    let data = frame(0, 1, &[1; 1000]);
    let parts = [&PREFACE[..], &settings, headers, continuation, &data, reset, &update, large, &data];
    (parts.concat(), wanted.concat())
}

#[test]
fn header_blocks_and_resets_are_sent_however_calls_and_buffers_cut_the_bytes() {
    let (bytes, wanted) = requests();
    for is_server in [false, true] {
        for length in (1..40).chain([bytes.len()]) {
            for most in [3, 9, 13, usize::MAX] {
                let mut end = End::new(is_server);
                for call in bytes.chunks(length) {
                    end.call(true, call, most, 0);
                }
                assert_eq!(end.unparsed, None, "calls of {length} bytes, buffers of {most}");
                assert_eq!(end.sent(), wanted, "calls of {length} bytes, buffers of {most}");
            }
        }
    }
}

#[test]
fn a_server_may_speak_first_and_both_directions_are_told_apart() {
    let mut end = End::new(true);
    end.call(false, &frame(4, 0, &[]), 100, 0);
    end.call(true, &[&PREFACE[..], &frame(4, 0, &[]), &frame(1, 1, b"ask")].concat(), 100, 0);
    end.call(false, &frame(1, 1, b"tell"), 100, 0);
    let directions: Vec<_> = end.sent.iter().map(|(piece, _)| (piece.is_request, piece.sequence)).collect();
    assert_eq!((directions, end.unparsed), (vec![(1, 0), (0, 0)], None));
}

#[test]
fn what_is_no_http2_or_went_by_unseen_is_given_up() {
    let settings = frame(4, 0, &[]);
    let of = |calls: &[(&[u8], u32)]| {
        let mut end = End::new(false);
        for (bytes, unseen) in calls {
            end.call(true, bytes, usize::MAX, *unseen);
        }
        end.unparsed
    };
    assert_eq!(of(&[(b"GET / HTTP/1.1\r\n\r\n", 0)]), Some(Unparsed::Lost));
    assert_eq!(of(&[(&PREFACE, 0), (&frame(1, 1, b"x"), 0)]), Some(Unparsed::Lost), "no SETTINGS");
    assert_eq!(of(&[(&PREFACE, 0), (&settings, 0), (&frame(1, 0, b"x"), 0)]), Some(Unparsed::Lost), "of no stream");
    // The payload of DATA may go out by sendfile, and no more than that.
    let data = &frame(0, 1, &[1; 50])[..FRAME_HEAD_BYTES];
    let start = [&PREFACE[..], &settings, data].concat();
    assert_eq!(of(&[(&start, 0), (&settings, 50)]), None);
    assert_eq!(of(&[(&start, 0), (&settings, 51)]), Some(Unparsed::Lost));
}

#[test]
fn a_ring_without_room_ends_what_is_sent() {
    let (bytes, _) = requests();
    let mut end = End::new(false);
    end.room = 2;
    end.call(true, &bytes, usize::MAX, 0);
    assert_eq!((end.unparsed, end.exchange.stats.given_up), (Some(Unparsed::NoRoom), 1));
    end.call(true, &bytes, usize::MAX, 0);
    assert_eq!(end.sent.len(), 3, "the last of them was refused");
}

#[test]
fn a_connection_met_midway_is_not_looked_at() {
    let mut exchange = Exchange::BLANK;
    let counted = exchange.take_up_http2(true, false, 5, None);
    assert_eq!((counted.unparsed, exchange.is_framed()), (Some(Unparsed::Midway), false));
}
