//! Frames and header blocks of every kind, from the calls of both ends to the requests that are counted. What
//! [`super::conversation`] promises, and: both ends count the same; no more requests than header blocks; memory is
//! bounded; and a good connection that follows is counted.

use quoll_ebpf_abi::protocols::Protocol;
use quoll_ebpf_abi::protocols::method::METHODS;
use quoll_http2::hpack::Decoder;
use quoll_http2::{Connections, MOST_BYTES, Tally};

use super::conversation::{Sent, join, read};
use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "http2", shape: Shape::Bytes, run, seeds };

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// Reads a conversation, and the same bytes as one header block.
pub fn run(input: &[u8]) {
    let mut fields = 0;
    let _ = Decoder::default().block(input, |_| fields += 1);
    assert!(fields <= input.len(), "more fields than bytes");

    let mut connections = Connections::new(true);
    let ends = read(Protocol::Http2, input);
    let mut counted = Vec::new();
    for (id, sent) in ends.iter().enumerate() {
        let blocks = sent.iter().filter(|(piece, ..)| piece.is_head == 1 && piece.is_request == 1).count();
        let requests = requests(&mut connections, id as u64, sent);
        assert!(requests as usize <= blocks, "{requests} requests in {blocks} blocks");
        counted.push(requests);
    }
    assert_eq!(counted[0], counted[1], "the ends differ");
    let [good, _] = read(Protocol::Http2, &join(&[PREFACE, SETTINGS, &request(1), &response(1)]));
    assert_eq!(requests(&mut connections, 2, &good), 1, "a good connection after it");
    let [asked, answered] = call(b"0");
    let [good, _] = read(Protocol::Http2, &join(&[PREFACE, SETTINGS, &asked, &answered]));
    assert_eq!(requests(&mut connections, 3, &good), 1, "a good call after it");
}

/// Requests of a connection until its end.
fn requests(connections: &mut Connections, id: u64, sent: &[Sent]) -> u32 {
    for (piece, head, bytes) in sent {
        let mut record = Vec::new();
        for word in [id, 1, piece.time_ns] {
            record.extend(word.to_ne_bytes());
        }
        record.extend(piece.sequence.to_ne_bytes());
        record.extend(piece.length.to_ne_bytes());
        record.extend([piece.is_request, piece.is_head]);
        connections.record(&[&record[..], head, bytes].concat());
        assert!(connections.held_bytes() <= MOST_BYTES);
    }
    let tallies = connections.ended((id, 1), u64::MAX);
    let names = |tally: &Tally| usize::from(tally.kind.1);
    assert!(tallies.iter().all(|tally| names(tally) < if tally.kind.0 == Protocol::Http1 { METHODS } else { 1 }));
    tallies.iter().flat_map(|tally| &tally.counts).map(|(_, count)| count).sum()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

fn request(stream: u8) -> Vec<u8> {
    frame(1, 5, stream, &[0x82, 0x84, 0x86])
}

fn response(stream: u8) -> Vec<u8> {
    frame(1, 5, stream, &[0x88])
}

/// What a call of gRPC's and its answer say, with a status of one digit.
fn call(status: &[u8; 1]) -> [Vec<u8>; 2] {
    let grpc = [&[0x83, 0x5f, 16][..], b"application/grpc"].concat();
    let trailers = [&[0x40, 11][..], b"grpc-status", b"\x01", status].concat();
    [
        [frame(1, 4, 1, &grpc), frame(0, 1, 1, b"\0\0\0\0\x02ab")].concat(),
        [frame(1, 4, 1, &[0x88, 0x5f, 0]), frame(0, 0, 1, b"x"), frame(1, 5, 1, &trailers)].concat(),
    ]
}

/// One of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let [asked, answered] = call(b"5");
    let long = [&[0x00, 1][..], b"x", &[100], &[b'y'; 100]].concat();
    let turns: &[&[&[u8]]] = &[
        &[PREFACE, SETTINGS, &request(1), &response(1), &request(3), &frame(3, 0, 3, &[0, 0, 0, 8])],
        &[PREFACE, SETTINGS, &asked, &answered],
        &[PREFACE, SETTINGS, &[frame(1, 0, 1, &long), frame(9, 0, 1, &long), frame(9, 4, 1, &[0x82])].concat()],
        &[PREFACE, SETTINGS, &frame(1, 0x2c, 1, &[2, 0, 0, 0, 0, 9, 0x82, 0, 0]), &frame(5, 4, 1, &[0, 0, 0, 2, 0x82])],
        // Tables of every size, references to what is not there, numbers without end.
        &[
            PREFACE,
            SETTINGS,
            &frame(1, 5, 1, &[0x3f, 0xe1, 0x1f, 0x20, 0x82]),
            &frame(1, 5, 1, &[0xff, 0xff, 0xff, 0xff]),
        ],
        &[PREFACE, SETTINGS, &frame(1, 5, 1, &[0x40, 0x81, 0xff, 0x81, 0xff, 0xbe, 0xbe]), &frame(1, 5, 1, &[0xfe])],
    ];
    turns.iter().map(|turn| join(turn)).collect()
}
