//! Wishes for TLS, starts, simple and extended queries, errors. See [`super::conversation`] for what is promised.

use quoll_ebpf_abi::protocols::Protocol;

use super::conversation::{join, read};
use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "postgres", shape: Shape::Bytes, run, seeds };

/// Reads a conversation.
pub fn run(input: &[u8]) {
    read(Protocol::Postgres, input);
}

/// One of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let turns: &[&[&[u8]]] = &[
        &[b"\0\0\0\x08\x04\xd2\x16\x2f", b"N", b"\0\0\0\x10\0\x03\0\0user\0me\0", b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"],
        &[b"Q\0\0\0\x0dselect 1\0", b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I"],
        &[b"Q\0\0\0\x09nope\0", b"E\0\0\0\x0cSERROR\0\0Z\0\0\0\x05I"],
        &[b"P\0\0\0\x08\0\0\0\0S\0\0\0\x04", b"1\0\0\0\x04Z\0\0\0\x05T"],
    ];
    turns.iter().map(|turn| join(turn)).collect()
}
