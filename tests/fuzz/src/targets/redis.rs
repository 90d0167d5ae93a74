//! Commands, pipelines, values of every kind, absurd lengths. See [`super::conversation`] for what is promised.

use quoll_ebpf_abi::protocols::Protocol;

use super::conversation::{join, read};
use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "redis", shape: Shape::Bytes, run, seeds };

/// Reads a conversation.
pub fn run(input: &[u8]) {
    read(Protocol::Redis, input);
}

/// One of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let turns: &[&[&[u8]]] = &[
        &[b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"$-1\r\n"],
        &[b"*1\r\n$4\r\nPING\r\nPING\r\n", b"+PONG\r\n-ERR no\r\n"],
        &[b"*1\r\n$4\r\nINFO\r\n", b">2\r\n$1\r\nx\r\n:1\r\n%1\r\n+a\r\n*2\r\n:1\r\n_\r\n"],
        &[b"*99999999\r\n$99999999\r\n", b"*99999999\r\n*-1\r\n"],
    ];
    turns.iter().map(|turn| join(turn)).collect()
}
