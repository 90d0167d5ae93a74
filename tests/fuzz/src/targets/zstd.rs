//! zstd bodies: never more than the limit, and a good frame after a bad one is read.

use quoll_prometheus_protocol::zstd::decompress;

use super::remote_write_v1;
use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "zstd", shape: Shape::Bytes, run, seeds };

/// Bytes that a body may decode to.
const LIMIT: usize = 1 << 16;

/// Decodes a body, and a good one in the same buffer.
pub fn run(input: &[u8]) {
    let mut buffer = Vec::new();
    if let Ok(decoded) = decompress(input, &mut buffer, LIMIT) {
        assert!(decoded.len() <= LIMIT);
    }
    assert!(buffer.capacity() <= 4 * LIMIT + (1 << 18), "{} bytes held", buffer.capacity());
    assert_eq!(decompress(&stored(b"good"), &mut buffer, LIMIT).unwrap(), b"good");
}

/// A frame of one raw block that declares its size (RFC 8878, section 3.1.1).
fn stored(body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend(length.to_le_bytes());
    frame.extend(&(length << 3 | 1).to_le_bytes()[..3]);
    frame.extend(body);
    frame
}

/// Raw and run-length blocks, a frame of the reference encoder, skippable frames, several frames.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = remote_write_v1::seeds().iter().map(|body| stored(body)).collect();
    // 4 KiB of one byte, run-length, no declared size but a window of 1 KiB times 2^5.
    seeds.push(vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x28, 0x03, 0x80, 0x00, 0x61]);
    // Of the reference encoder, with a checksum: entropy-coded literals and matches.
    seeds.push(include_bytes!("seeds/numbers.zst").to_vec());
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    seeds.push([&skippable[..], &stored(b"one"), &stored(b"two")].concat());
    seeds
}
