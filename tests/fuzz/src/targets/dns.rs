//! Queries and outcomes over TCP, and headers as of UDP. See [`super::conversation`] for what is promised.

use quoll_ebpf_abi::protocols::Protocol;

use super::conversation::{join, read};
use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "dns", shape: Shape::Bytes, run, seeds };

/// Reads a conversation.
pub fn run(input: &[u8]) {
    read(Protocol::Dns, input);
}

/// One of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let turns: &[&[&[u8]]] = &[
        &[
            b"\0\x11\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01",
            b"\0\x11\x12\x34\x81\x80\0\x01\0\0\0\0\0\0\0\0\x01\0\x01",
        ],
        &[
            b"\0\x11\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01",
            b"\0\x11\x12\x34\x81\x83\0\x01\0\0\0\0\0\0\0\0\x01\0\x01",
        ],
    ];
    turns.iter().map(|turn| join(turn)).collect()
}
