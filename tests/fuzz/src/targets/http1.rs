//! Requests, responses, interim ones, upgrades, tunnels, bodies, requests in a row and cut heads. See [`super::conversation`] for what is promised.

use quoll_ebpf_abi::protocols::Protocol;

use super::conversation::{join, read};
use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "http1", shape: Shape::Bytes, run, seeds };

/// Reads a conversation.
pub fn run(input: &[u8]) {
    read(Protocol::Http1, input);
}

/// One of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let turns: &[&[&[u8]]] = &[
        &[b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
        &[
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nGETHEAD / HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 204 N\r\n\r\nHTTP/1.1 100 C\r\n\r\n",
            b"a;b=c\r\n0123456789\r\n0\r\nA: b\r\n\r\nCONNECT a:1 HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 500 O\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ],
        &[b"HEAD /", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/", b"1.1 503 X\r\n\r\n"],
        &[
            b"GET / HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\nLOCK / HTTP/1.1\r\n\r\nTRACE / HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 204 N\r\n\r\nHTTP/1.1 304 N\r\n\r\nHTTP/1.1 404 N\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204 N\r\n\r\n",
            b"DELETE / HTTP/1.1\r\n\r\nOPTIONS / HTTP/1.1\r\n\r\nPATCH / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 405 N\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 N\r\n\r\nHTTP/1.1 204 N\r\n\r\nHTTP/1.1 204 N\r\n\r\nHTTP/1.1 204 N\r\n\r\n",
        ],
        &[b"GET /chat HTTP/1.1\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"\x81\x05hello"],
    ];
    turns.iter().map(|turn| join(turn)).collect()
}
