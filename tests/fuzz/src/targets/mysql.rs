//! Greetings, commands, errors and a wish for TLS. See [`super::conversation`] for what is promised.

use quoll_ebpf_abi::protocols::Protocol;

use super::conversation::{join, read};
use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "mysql", shape: Shape::Bytes, run, seeds };

/// Reads a conversation.
pub fn run(input: &[u8]) {
    read(Protocol::Mysql, input);
}

/// One of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let turns: &[&[&[u8]]] = &[
        &[b"", b"\x4a\0\0\0\x0a8.0.36\0", b"\x05\0\0\x01\x85\xa6\xff\x01\0", b"\x07\0\0\x02\0\0\0\x02\0\0\0"],
        &[b"\x09\0\0\0\x03select 1", b"\x01\0\0\x01\x01\x05\0\0\x02\xfe\0\0\x02\0"],
        &[b"\x05\0\0\0\x03nope", b"\x09\0\0\x01\xff\x28\x04#42000no"],
        &[b"\x20\0\0\x01\x05\xae\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"],
    ];
    turns.iter().map(|turn| join(turn)).collect()
}
