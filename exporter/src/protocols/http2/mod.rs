//! HTTP/2 and gRPC, from the header blocks that the kernel side sends (RFC 9113, RFC 7541).
//!
//! ```text
//! pieces ──► frames ──► blocks ──► hpack ──► fields ──► streams ──► requests with outcome and duration
//! ```
//!
//! The kernel side does not send these pieces yet: it takes a connection of HTTP/2 for one of no known protocol.
//!
//! Nothing is guessed. A connection that was not followed from its first byte on, of which a piece is missing,
//! that says nonsense or wants more memory than it gets, is *unparsed* from there on and counted as such. What
//! was counted before stays right.
//!
//! Header blocks are decoded as they come; of their text nothing is kept (see [`hpack`]).

mod frames;
pub mod grpc;
pub mod hpack;
pub mod streams;

use std::collections::HashMap;

use quoll_ebpf_abi::RequestStats;
use quoll_ebpf_abi::protocols::Protocol;
use quoll_ebpf_abi::protocols::http2::{FRAME_HEAD_BYTES, Http2Piece};

use quoll_ebpf_abi::requests::{BUCKETS, bucket};

use crate::source::ConnectionId;
use frames::{Event, Frames};
use hpack::{Decoder, HpackError};
use streams::{Headers, Observed, Outcome, Streams};

/// Connections that are followed at once.
pub const MOST_CONNECTIONS: usize = 16_384;
/// Memory of all of them together, beyond some 500 bytes each: tables, open streams and unfinished frames.
pub const MOST_BYTES: usize = 16 << 20;

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

/// Durations of requests that ended alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// Summed.
    pub sum_ns: u64,
    /// Per bucket; not cumulative.
    pub counts: [u32; BUCKETS],
}

/// What a connection came to so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    /// HTTP requests.
    pub http: RequestStats,
    /// gRPC calls by status; only those that there were, since they were last taken.
    pub grpc: Vec<(u8, Timed)>,
}

impl Requests {
    fn add(&mut self, observed: Observed) {
        let bucket = bucket(observed.duration_ns);
        match observed.outcome {
            Outcome::Http(class) => {
                self.http.protocol = Protocol::Http2 as u8;
                self.http.observe(class, observed.duration_ns);
            }
            Outcome::Grpc(status) => {
                let place = self.grpc.iter().position(|(one, _)| *one == status).unwrap_or_else(|| {
                    self.grpc.push((status, Timed { sum_ns: 0, counts: [0; BUCKETS] }));
                    self.grpc.len() - 1
                });
                let timed = &mut self.grpc[place].1;
                timed.sum_ns += observed.duration_ns;
                timed.counts[bucket] += 1;
            }
        }
    }
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
        seen: &mut Requests,
    ) -> Result<(), Unparsed> {
        let Self { requests, responses, streams } = self;
        let is_request = piece.is_request == 1;
        let Direction { frames, hpack } = if is_request { requests } else { responses };
        frames.piece(piece.sequence, piece.time_ns, head, bytes, &mut |event| {
            let add = &mut |observed| seen.add(observed);
            match event {
                Event::Headers { stream, is_end, time_ns, block } => {
                    let mut headers = Headers::default();
                    hpack.block(block, |field| headers.add(field))?;
                    match stream {
                        0 => Ok(()),
                        _ if is_request => streams.request(stream, time_ns, headers, add),
                        _ => streams.response(stream, time_ns, is_end, headers, add),
                    }
                }
                Event::Reset { stream, code, time_ns } => {
                    streams.reset(stream, code, time_ns, add);
                    Ok(())
                }
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
    requests: Requests,
    /// Number of the last look that saw it.
    look: u64,
}

/// All connections that speak HTTP/2.
#[derive(Debug, Default)]
pub struct Connections {
    all: HashMap<ConnectionId, Connection>,
    held_bytes: usize,
    look: u64,
    unparsed: u64,
}

impl Connections {
    /// Connections that could not be followed to their end, or not at all.
    #[must_use]
    pub fn unparsed(&self) -> u64 {
        self.unparsed
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
        let id = ConnectionId(piece.socket, piece.start_ns);
        if !self.all.contains_key(&id) {
            // Without its first piece, or without room, it stays unknown, which means unparsed.
            if piece.sequence != 0 || self.all.len() >= MOST_CONNECTIONS {
                self.unparsed += u64::from(piece.sequence == 0);
                return;
            }
            let state = Some(Box::default());
            self.all.insert(id, Connection { state, look: self.look, ..Connection::default() });
        }
        let Some(connection) = self.all.get_mut(&id) else { return };
        let Some(state) = &mut connection.state else { return };
        let mut result = state.piece(piece, head, bytes, &mut connection.requests);
        self.held_bytes -= connection.held_bytes;
        connection.held_bytes = state.held_bytes();
        if self.held_bytes + connection.held_bytes > MOST_BYTES {
            result = result.and(Err(Unparsed::TooMany));
        }
        if let Err(error) = result {
            tracing::debug!("a connection of HTTP/2 cannot be followed: {error}");
            connection.state = None;
            connection.held_bytes = 0;
            self.unparsed += 1;
        }
        self.held_bytes += connection.held_bytes;
    }

    /// A connection that is open: its HTTP requests so far, and its gRPC calls since this was last asked. `None` where
    /// nothing is known of it.
    pub fn seen(&mut self, id: ConnectionId) -> Option<(RequestStats, Vec<(u8, Timed)>)> {
        let connection = self.all.get_mut(&id)?;
        connection.look = self.look;
        Some((connection.requests.http, std::mem::take(&mut connection.requests.grpc)))
    }

    /// A connection that ended then; requests that were still open are part of what it came to, unless
    /// `is_unparsed` says that the kernel side lost track of it.
    pub fn ended(&mut self, id: ConnectionId, time_ns: u64, is_unparsed: bool) -> Option<Requests> {
        let mut connection = self.all.remove(&id)?;
        self.held_bytes -= connection.held_bytes;
        if let Some(mut state) = connection.state.filter(|_| !is_unparsed) {
            state.streams.end(time_ns, &mut |observed| connection.requests.add(observed));
        }
        Some(connection.requests)
    }

    /// Begins a look at all open connections.
    pub fn begin_look(&mut self) {
        self.look += 1;
    }

    /// Forgets those that were not seen at this look nor the last: the record of their end was lost.
    pub fn end_look(&mut self) {
        let Self { all, held_bytes, look, .. } = self;
        all.retain(|_, connection| {
            let is_kept = connection.look + 1 >= *look;
            if !is_kept {
                *held_bytes -= connection.held_bytes;
            }
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnectionId = ConnectionId(7, 9);
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
    fn requests_of_both_kinds_are_summed_per_connection() {
        let mut peer = Peer::default();
        peer.request(0, 1);
        peer.response(2_000_000, 1);
        let grpc = [&[0x83, 0x5f, 16][..], b"application/grpc"].concat();
        peer.send_as(ID, true, 3_000_000, OPEN, 3, &grpc);
        peer.send_as(ID, false, 4_000_000, OPEN, 3, &[&[0x88, 0x5f, 16][..], b"application/grpc"].concat());
        peer.send_as(ID, false, 5_000_000, END, 3, &[&[0x40, 11][..], b"grpc-status", &[1, b'5']].concat());
        let (http, calls) = peer.connections.seen(ID).unwrap();
        assert_eq!((http.sum_ns[0], http.counts[0][1]), (2_000_000, 1));
        let [(status, timed)] = calls[..] else { panic!("{calls:?}") };
        assert_eq!((status, timed.sum_ns, timed.counts[1]), (5, 2_000_000, 1));
        assert_eq!(peer.connections.seen(ID).unwrap(), (http, Vec::new()), "calls are handed over once");
        assert_eq!(peer.connections.unparsed(), 0);
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
        assert_eq!(peer.connections.unparsed(), 1);
        let requests = peer.connections.ended(ID, 5, false).unwrap();
        assert_eq!(requests.http.counts.iter().flatten().sum::<u32>(), 1);
        assert_eq!(peer.connections.held_bytes, 0);
    }

    #[test]
    fn a_connection_that_follows_a_bad_one_is_good() {
        let mut peer = Peer::default();
        peer.send_as(ID, true, 3, END, 1, &[0xfe]);
        peer.sequences = [0; 2];
        let other = ConnectionId(7, 10);
        peer.send_as(other, true, 0, END, 1, &[0x82]);
        peer.send_as(other, false, 5, END, 1, &[0x88]);
        assert_eq!(peer.connections.unparsed(), 1);
        assert_eq!(peer.connections.seen(other).unwrap().0.counts[0][0], 1);
    }

    #[test]
    fn a_lost_piece_ends_the_parsing_and_a_lost_beginning_never_begins_it() {
        let mut peer = Peer::default();
        peer.request(0, 1);
        peer.sequences[1] += 1;
        peer.request(1, 3);
        assert_eq!(peer.connections.unparsed(), 1);
        let mut late = Peer { sequences: [1, 1], ..Peer::default() };
        late.request(0, 1);
        assert!(late.connections.seen(ID).is_none());
    }

    #[test]
    fn open_requests_end_with_their_connection_unless_the_kernel_lost_track() {
        for (lost, expected) in [(false, 1), (true, 0)] {
            let mut peer = Peer::default();
            peer.request(0, 1);
            let requests = peer.connections.ended(ID, 9, lost).unwrap();
            assert_eq!(requests.http.counts.iter().flatten().sum::<u32>(), expected);
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
        assert_eq!(peer.connections.held_bytes, 0);
    }

    #[test]
    fn memory_of_all_connections_is_bounded() {
        let mut peer = Peer::default();
        for number in 0..MOST_CONNECTIONS as u64 + 100 {
            let id = ConnectionId(number, 1);
            peer.sequences = [0; 2];
            // A block that never ends.
            for _ in 0..10 {
                peer.send_as(id, true, 0, 0, 1, &[0; 200]);
            }
            peer.sequences = [0; 2];
            for stream in 0..30 {
                peer.send_as(ConnectionId(number, 2), true, 0, END, 2 * stream + 1, &[0x82]);
            }
            assert!(peer.connections.held_bytes <= MOST_BYTES);
        }
        assert_eq!(peer.connections.all.len(), MOST_CONNECTIONS);
        assert!(peer.connections.unparsed() > 0);
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
