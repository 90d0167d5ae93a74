//! HTTP/2 and gRPC, from the header blocks that the kernel side sends (RFC 9113, RFC 7541).
//!
//! ```text
//! pieces ──► frames ──► blocks ──► hpack ──► fields ──► streams ──► requests with outcome and duration
//! ```
//!
//! Nothing is guessed. A connection of which a piece is missing, that says nonsense or wants more memory than it gets,
//! is *unparsed* from there on and counted as such, and the requests that were open on it as not timed. What was
//! counted before stays right.
//!
//! Header blocks are decoded as they come; of their text nothing is kept (see [`hpack`]).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod frames;
pub mod grpc;
pub mod hpack;
pub mod streams;
mod tally;

use foldhash::HashMap;
use quoll_ebpf_abi::protocols::http2::{FRAME_HEAD_BYTES, Http2Piece};
use quoll_ebpf_abi::protocols::{Protocol, method};

use frames::{Event, Frames};
use hpack::{Decoder, HpackError};
use streams::{Headers, Observed, Outcome, Streams};
pub use tally::{Kind, Tally};

/// Connections that are followed at once.
pub const MOST_CONNECTIONS: usize = 16_384;
/// Memory of all of them together, beyond some 500 bytes each: tables, open streams and unfinished frames.
pub const MOST_BYTES: usize = 16 << 20;

/// Tells connections apart: the address of the socket, and when it began.
pub type ConnectionId = (u64, u64);

/// Why nothing more can be made of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unparsed {
    /// A piece is missing.
    #[error("a piece is missing")]
    Gap,
    /// It is not what the standard allows.
    #[error("a frame that may not be")]
    Malformed,
    /// A frame or block is too large.
    #[error("a header block of more than {} bytes", frames::MOST_BLOCK_BYTES)]
    TooLarge,
    /// Too many streams are open, or too much memory is in use.
    #[error("more than {} open streams, or {MOST_BYTES} bytes of state of all connections", streams::MOST_OPEN)]
    TooMany,
    /// A header block cannot be decoded.
    #[error(transparent)]
    Hpack(#[from] HpackError),
}

fn add(tallies: &mut Vec<Tally>, by_method: bool, observed: Observed) {
    let kind = match observed.outcome {
        Outcome::Http(method, class) => (Protocol::Http1, if by_method { method } else { method::OTHER }, class),
        Outcome::Grpc(status) => (Protocol::Grpc, method::OTHER, status),
    };
    Tally::of(tallies, kind).observe(observed.duration_ns);
}

/// How many there are in all.
fn requests(tallies: &[Tally]) -> u64 {
    tallies.iter().flat_map(|tally| &tally.counts).map(|(_, count)| u64::from(*count)).sum()
}

/// One direction of one connection.
#[derive(Debug, Default)]
struct Direction {
    frames: Frames,
    hpack: Decoder,
}

/// What is known of a connection while it can be parsed.
#[derive(Debug, Default)]
struct State {
    requests: Direction,
    responses: Direction,
    streams: Streams,
}

impl State {
    fn held_bytes(&self) -> usize {
        let direction = |one: &Direction| one.frames.held_bytes() + one.hpack.held_bytes();
        direction(&self.requests) + direction(&self.responses) + self.streams.held_bytes()
    }

    fn piece(
        &mut self,
        piece: &Http2Piece,
        head: Option<[u8; FRAME_HEAD_BYTES]>,
        bytes: &[u8],
        receive: &mut dyn FnMut(Observed),
    ) -> Result<(), Unparsed> {
        let Self { requests, responses, streams } = self;
        let is_request = piece.is_request == 1;
        let Direction { frames, hpack } = if is_request { requests } else { responses };
        frames.piece(piece.sequence, piece.time_ns, head, bytes, &mut |event| match event {
            Event::Headers { stream, is_end, time_ns, block } => {
                let mut headers = Headers::default();
                hpack.block(block, |field| headers.add(field))?;
                match stream {
                    0 => Ok(()),
                    _ if is_request => streams.request(stream, time_ns, headers, receive),
                    _ => streams.response(stream, time_ns, is_end, headers, receive),
                }
            }
            Event::Reset { stream, code, time_ns } => {
                streams.reset(stream, code, time_ns, receive);
                Ok(())
            }
        })
    }
}

/// A connection.
#[derive(Debug, Default)]
struct Connection {
    /// `None` once it is unparsed.
    state: Option<Box<State>>,
    held_bytes: usize,
    tallies: Vec<Tally>,
    /// Requests in `tallies` when these were last handed out.
    handed_out: u64,
    /// Number of the last look that saw it.
    look: u64,
}

/// What could not be followed, or not to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Connections that are not understood, or of which a piece is missing.
    pub lost: u64,
    /// Connections that there was no room for.
    pub no_room: u64,
    /// Requests of which nothing more will be known: open on connections that were given up, here or by the kernel side, or
    /// whose end nobody told of; of these also those that were counted and not handed out yet.
    pub requests: u64,
}

/// All connections that speak HTTP/2.
#[derive(Debug, Default)]
pub struct Connections {
    all: HashMap<ConnectionId, Connection>,
    held_bytes: usize,
    look: u64,
    given_up: GivenUp,
    by_method: bool,
}

impl Connections {
    /// None yet; with `by_method`, requests of different methods are counted apart, else all as of one.
    #[must_use]
    pub fn new(by_method: bool) -> Self {
        Self { by_method, ..Self::default() }
    }

    /// What was given up since the start.
    #[must_use]
    pub fn given_up(&self) -> GivenUp {
        self.given_up
    }

    /// Memory held now, of what [`MOST_BYTES`] bounds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes a record of the ring: a piece with its bytes. Records that are none are left alone.
    pub fn record(&mut self, record: &[u8]) {
        let Some((head, rest)) = record.split_at_checked(size_of::<Http2Piece>()) else { return };
        let piece: Http2Piece = bytemuck::pod_read_unaligned(head);
        let Some((head, rest)) = rest.split_first_chunk::<FRAME_HEAD_BYTES>() else { return };
        let Some(bytes) = rest.get(..usize::from(piece.length)) else { return };
        self.piece(&piece, (piece.is_head == 1).then_some(*head), bytes);
    }

    fn piece(&mut self, piece: &Http2Piece, head: Option<[u8; FRAME_HEAD_BYTES]>, bytes: &[u8]) {
        let id = (piece.socket, piece.start_ns);
        if !self.all.contains_key(&id) {
            // Without its first piece, or without room, it stays unknown.
            if piece.sequence != 0 {
                return;
            }
            if self.all.len() >= MOST_CONNECTIONS {
                self.given_up.no_room += u64::from(piece.is_request);
                return;
            }
            let state = Some(Box::default());
            self.all.insert(id, Connection { state, look: self.look, ..Connection::default() });
        }
        let Some(connection) = self.all.get_mut(&id) else { return };
        let Some(state) = &mut connection.state else { return };
        let (tallies, by_method) = (&mut connection.tallies, self.by_method);
        let mut result = state.piece(piece, head, bytes, &mut |observed| add(tallies, by_method, observed));
        self.held_bytes -= connection.held_bytes;
        connection.held_bytes = state.held_bytes();
        self.held_bytes += connection.held_bytes;
        if self.held_bytes > MOST_BYTES {
            result = result.and(Err(Unparsed::TooMany));
        }
        let Err(error) = result else { return };
        tracing::debug!("a connection of HTTP/2 cannot be followed: {error}");
        match error {
            Unparsed::TooLarge | Unparsed::TooMany | Unparsed::Hpack(HpackError::Table { .. }) => {
                self.given_up.no_room += 1;
            }
            Unparsed::Gap | Unparsed::Malformed | Unparsed::Hpack(_) => self.given_up.lost += 1,
        }
        self.give_up(id);
    }

    /// A connection is not followed any further. The kernel side says so of those that it gave up itself.
    pub fn give_up(&mut self, id: ConnectionId) {
        let Some(connection) = self.all.get_mut(&id) else { return };
        if let Some(state) = connection.state.take() {
            self.given_up.requests += state.streams.unfinished() as u64;
            self.held_bytes -= connection.held_bytes;
            connection.held_bytes = 0;
        }
    }

    /// The requests of a connection that is open, since it began.
    pub fn totals(&mut self, id: ConnectionId) -> Vec<Tally> {
        let Some(connection) = self.all.get_mut(&id) else { return Vec::new() };
        connection.look = self.look;
        connection.handed_out = requests(&connection.tallies);
        connection.tallies.clone()
    }

    /// The requests of a connection that ended then. What was open on it got no answer, unless it was given up.
    pub fn ended(&mut self, id: ConnectionId, time_ns: u64) -> Vec<Tally> {
        let Some(mut connection) = self.all.remove(&id) else { return Vec::new() };
        self.held_bytes -= connection.held_bytes;
        if let Some(mut state) = connection.state {
            // Answers whose requests did not come will have none.
            self.given_up.requests += state.streams.early() as u64;
            state.streams.end(time_ns, &mut |observed| add(&mut connection.tallies, self.by_method, observed));
        }
        connection.tallies
    }

    /// Begins a look at all open connections.
    pub fn begin_look(&mut self) {
        self.look += 1;
    }

    /// Forgets those that were not seen at this look nor the last: the record of their end was lost. How the requests ended
    /// that were open on them nobody knows, and what was counted since they were last seen has no connection any more.
    pub fn end_look(&mut self) {
        let Self { all, held_bytes, look, given_up, .. } = self;
        all.retain(|_, connection| {
            let is_kept = connection.look + 1 >= *look;
            if !is_kept {
                *held_bytes -= connection.held_bytes;
                let unfinished = connection.state.as_ref().map_or(0, |state| state.streams.unfinished() as u64);
                given_up.requests += unfinished + requests(&connection.tallies).saturating_sub(connection.handed_out);
            }
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoll_ebpf_abi::buckets::bucket;

    const ID: ConnectionId = (7, 9);
    const HEADERS: u8 = 1;
    /// `END_HEADERS`, and with `END_STREAM`.
    const OPEN: u8 = 4;
    const END: u8 = 5;

    #[derive(Default)]
    struct Peer {
        connections: Connections,
        sequences: [u32; 2],
    }

    impl Peer {
        fn send_as(&mut self, id: ConnectionId, is_request: bool, time_ns: u64, flags: u8, stream: u32, block: &[u8]) {
            let sequence = &mut self.sequences[usize::from(is_request)];
            let piece = Http2Piece {
                socket: id.0,
                start_ns: id.1,
                time_ns,
                sequence: *sequence,
                length: block.len() as u16,
                is_request: u8::from(is_request),
                is_head: 1,
            };
            *sequence += 1;
            let [s3, s2, s1, s0] = stream.to_be_bytes();
            let head = [0, 0, block.len() as u8, HEADERS, flags, s3, s2, s1, s0];
            self.connections.record(&[bytemuck::bytes_of(&piece), &head, block].concat());
        }

        fn request(&mut self, time_ns: u64, stream: u32) {
            self.send_as(ID, true, time_ns, END, stream, &[0x82]);
        }

        fn response(&mut self, time_ns: u64, stream: u32) {
            self.send_as(ID, false, time_ns, END, stream, &[0x88]);
        }
    }

    #[test]
    fn requests_are_summed_per_connection_by_protocol_method_and_status() {
        for by_method in [false, true] {
            let mut peer = Peer { connections: Connections::new(by_method), ..Peer::default() };
            // GET and POST of the static table, and PUT by its name.
            let put = [0x02, 3, b'P', b'U', b'T'];
            for (stream, block) in [(1, &[0x82][..]), (3, &[0x83]), (5, &[0x83]), (7, &put)] {
                peer.send_as(ID, true, 0, END, stream, block);
                peer.response(1_000, stream);
            }
            let kinds = [(method::GET, 1), (method::POST, 2), (method::PUT, 1)];
            let kinds = if by_method { &kinds[..] } else { &[(method::OTHER, 4)] };
            let tally = |(method, count): &(u8, u32)| Tally {
                kind: (Protocol::Http1, *method, 0),
                sum_ns: u64::from(*count) * 1_000,
                counts: vec![(bucket(1_000) as u8, *count)],
            };
            assert_eq!(peer.connections.totals(ID), kinds.iter().map(tally).collect::<Vec<_>>());
        }
    }

    #[test]
    fn calls_of_grpc_have_no_method() {
        let mut peer = Peer { connections: Connections::new(true), ..Peer::default() };
        peer.request(0, 1);
        peer.response(2_000_000, 1);
        let grpc = [&[0x83, 0x5f, 16][..], b"application/grpc"].concat();
        peer.send_as(ID, true, 3_000_000, OPEN, 3, &grpc);
        peer.send_as(ID, false, 4_000_000, OPEN, 3, &[&[0x88, 0x5f, 16][..], b"application/grpc"].concat());
        peer.send_as(ID, false, 5_000_000, END, 3, &[&[0x40, 11][..], b"grpc-status", &[1, b'5']].concat());
        let counts = vec![(bucket(2_000_000) as u8, 1)];
        let expected = [(Protocol::Http1, method::GET, 0), (Protocol::Grpc, method::OTHER, 5)];
        let expected = expected.map(|kind| Tally { kind, sum_ns: 2_000_000, counts: counts.clone() });
        assert_eq!(peer.connections.totals(ID), expected);
        assert_eq!(peer.connections.ended(ID, 9), expected);
        assert_eq!(peer.connections.given_up(), GivenUp::default());
    }

    #[test]
    fn good_then_bad_keeps_what_was_right_and_says_so() {
        let mut peer = Peer::default();
        peer.request(0, 1);
        peer.response(1, 1);
        peer.request(2, 3);
        // A reference to a field that there is not.
        peer.send_as(ID, false, 3, END, 3, &[0xfe]);
        peer.response(4, 3);
        assert_eq!(peer.connections.given_up(), GivenUp { lost: 1, no_room: 0, requests: 1 });
        assert_eq!(requests(&peer.connections.ended(ID, 5)), 1);
        assert_eq!(peer.connections.held_bytes(), 0);
    }

    #[test]
    fn a_connection_that_follows_a_bad_one_is_good() {
        let mut peer = Peer::default();
        peer.send_as(ID, true, 3, END, 1, &[0xfe]);
        peer.sequences = [0; 2];
        let other = (7, 10);
        peer.send_as(other, true, 0, END, 1, &[0x82]);
        peer.send_as(other, false, 5, END, 1, &[0x88]);
        assert_eq!(peer.connections.given_up().lost, 1);
        assert_eq!(requests(&peer.connections.totals(other)), 1);
    }

    #[test]
    fn a_lost_piece_ends_the_parsing_and_a_lost_beginning_never_begins_it() {
        let mut peer = Peer::default();
        peer.request(0, 1);
        peer.sequences[1] += 1;
        peer.request(1, 3);
        assert_eq!(peer.connections.given_up().lost, 1);
        let mut late = Peer { sequences: [1, 1], ..Peer::default() };
        late.request(0, 1);
        assert!(late.connections.all.is_empty());
    }

    #[test]
    fn open_requests_end_with_their_connection_unless_the_kernel_lost_track() {
        for (is_lost, expected) in [(false, 1), (true, 0)] {
            let mut peer = Peer::default();
            peer.request(0, 1);
            if is_lost {
                peer.connections.give_up(ID);
            }
            assert_eq!(requests(&peer.connections.ended(ID, 9)), expected);
            assert_eq!(peer.connections.given_up().requests, 1 - expected);
        }
    }

    #[test]
    fn connections_whose_end_was_lost_are_forgotten() {
        let mut peer = Peer::default();
        peer.request(0, 1);
        for _ in 0..2 {
            peer.connections.begin_look();
            peer.connections.end_look();
        }
        assert!(peer.connections.all.is_empty());
        assert_eq!(peer.connections.held_bytes(), 0);
    }

    #[test]
    fn requests_of_a_connection_whose_end_was_lost_are_counted_once() {
        // Handed out, counted since, open, and answered before it was reported: of each as many as its number says.
        for is_given_up in [false, true] {
            let mut peer = Peer::default();
            let mut stream = 1;
            let mut next = || {
                stream += 2;
                stream
            };
            peer.request(0, 1);
            peer.response(1, 1);
            assert_eq!(requests(&peer.connections.totals(ID)), 1);
            for _ in 0..2 {
                let stream = next();
                peer.request(2, stream);
                peer.response(3, stream);
            }
            (0..3).for_each(|_| peer.request(4, next()));
            (0..4).for_each(|_| peer.response(5, next()));
            if is_given_up {
                peer.connections.give_up(ID);
                assert_eq!(peer.connections.given_up().requests, 3 + 4);
            }
            for _ in 0..5 {
                peer.connections.begin_look();
                peer.connections.end_look();
            }
            assert_eq!(peer.connections.given_up(), GivenUp { requests: 2 + 3 + 4, ..GivenUp::default() });
            // Its end comes after all, and so does a piece of it.
            assert!(peer.connections.ended(ID, 9).is_empty());
            peer.request(10, next());
            assert_eq!(peer.connections.given_up().requests, 2 + 3 + 4);
        }
    }

    #[test]
    fn nothing_is_given_up_of_a_connection_that_is_seen_or_whose_end_is() {
        let mut peer = Peer::default();
        for stream in [1, 3, 5] {
            peer.request(0, stream);
            peer.response(1, 1);
            peer.connections.begin_look();
            assert_eq!(requests(&peer.connections.totals(ID)), 1);
            peer.connections.end_look();
        }
        assert_eq!(requests(&peer.connections.ended(ID, 9)), 3);
        assert_eq!(peer.connections.given_up(), GivenUp::default());
    }

    #[test]
    fn answers_whose_request_never_came_are_given_up_with_their_connection() {
        let mut peer = Peer::default();
        peer.request(0, 1);
        peer.response(1, 3);
        assert_eq!(requests(&peer.connections.ended(ID, 9)), 1);
        assert_eq!(peer.connections.given_up(), GivenUp { requests: 1, ..GivenUp::default() });
    }

    #[test]
    fn each_request_on_a_connection_with_too_many_is_given_up() {
        let mut peer = Peer::default();
        (0..=streams::MOST_OPEN as u32).for_each(|number| peer.request(0, 2 * number + 1));
        let requests = streams::MOST_OPEN as u64 + 1;
        assert_eq!(peer.connections.given_up(), GivenUp { lost: 0, no_room: 1, requests });
        peer.request(0, 9_999);
        assert_eq!(peer.connections.given_up().requests, requests);
    }

    #[test]
    fn memory_of_all_connections_is_bounded() {
        let mut peer = Peer::default();
        for number in 0..MOST_CONNECTIONS as u64 + 100 {
            let id = (number, 1);
            peer.sequences = [0; 2];
            // A block that never ends.
            for _ in 0..10 {
                peer.send_as(id, true, 0, 0, 1, &[0; 200]);
            }
            peer.sequences = [0; 2];
            for stream in 0..30 {
                peer.send_as((number, 2), true, 0, END, 2 * stream + 1, &[0x82]);
            }
            assert!(peer.connections.held_bytes() <= MOST_BYTES);
        }
        assert_eq!(peer.connections.all.len(), MOST_CONNECTIONS);
        assert!(peer.connections.given_up().no_room > 0);
    }

    #[test]
    fn records_of_any_length_are_harmless() {
        let mut connections = Connections::default();
        for length in 0..200 {
            connections.record(&vec![0xff; length]);
        }
        assert!(connections.all.is_empty());
    }
}
