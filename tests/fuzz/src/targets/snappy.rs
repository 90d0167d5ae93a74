//! Compressed blocks: no memory is taken that the bytes cannot fill, and what is decoded is what the reference
//! implementation for Rust decodes.

use quoll_prometheus_protocol::snappy::{MAX_EXPANSION, compress, decompress};

use super::remote_write_v1;
use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "snappy", shape: Shape::Bytes, run, seeds };

/// Bytes that a block may decode to.
const LIMIT: usize = 1 << 16;

/// Decodes a block, and a good one in the same buffer.
pub fn run(input: &[u8]) {
    let mut buffer = Vec::new();
    let ours = decompress(input, &mut buffer, LIMIT).map(<[u8]>::to_vec);
    assert!(buffer.capacity() <= LIMIT.min(input.len() * MAX_EXPANSION as usize + 64), "{}", buffer.capacity());
    match (&ours, snap::raw::decompress_len(input)) {
        (Ok(ours), _) => assert_eq!(ours, &snap::raw::Decoder::new().decompress_vec(input).unwrap()),
        (Err(_), Ok(length)) if length <= LIMIT => {
            assert!(snap::raw::Decoder::new().decompress_vec(input).is_err(), "refused though it is sound");
        }
        _ => {}
    }
    let block = compress(input).unwrap();
    assert_eq!(decompress(&block, &mut buffer, LIMIT).unwrap(), input);
}

/// Blocks of every kind of element, and bombs.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = remote_write_v1::seeds().iter().map(|body| compress(body).unwrap()).collect();
    seeds.push(compress(&[0; 5000]).unwrap());
    seeds.push(compress(&(0..3000_u32).flat_map(|at| (at % 251).to_le_bytes()).collect::<Vec<_>>()).unwrap());
    let mut bomb = vec![0xff, 0xff, 0xff, 0xff, 0x0f];
    bomb.resize(47, 0xfe);
    seeds.push(bomb);
    seeds
}
