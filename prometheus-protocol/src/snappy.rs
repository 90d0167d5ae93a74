//! The snappy block format, safe against bodies that lie about their size.
//!
//! A block opens with its decoded length as a varint; a decoder that believes it can be made to reserve
//! 4 GiB by 5 bytes. [`decompress`] refuses before taking any memory where that length
//! - is above the caller's limit, or
//! - cannot be reached by the bytes that follow: the densest element is a 3-byte copy of 64 bytes, so a
//!   block decodes to less than 22 times its size (snappy `format_description.txt`, sections 2.1 to 2.2).

use snap::raw::{Decoder, Encoder};
use thiserror::Error;

/// Most bytes that one compressed byte can stand for, rounded up: a 3-byte copy yields 64 bytes.
pub const MAX_EXPANSION: u64 = 22;

/// Default limit of a decoded body.
pub const DEFAULT_LIMIT_BYTES: usize = 32 << 20;

/// Why a block was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SnappyError {
    /// The block declares more than the limit; nothing was allocated.
    #[error("snappy block declares {declared} bytes, the limit is {limit}")]
    TooLarge {
        /// Length declared by the block.
        declared: u64,
        /// Limit of the caller.
        limit: u64,
    },
    /// The block declares more than its bytes can hold; nothing was allocated.
    #[error("snappy block of {compressed} bytes declares {declared} decoded bytes, more than it can hold")]
    Impossible {
        /// Length declared by the block.
        declared: u64,
        /// Length of the block.
        compressed: u64,
    },
    /// The block is not snappy, or is cut short.
    #[error("not a valid snappy block: {0}")]
    Corrupt(String),
    /// The block to write is larger than the format allows.
    #[error("cannot compress: {0}")]
    Compress(String),
}

/// Decoded length that a block declares.
///
/// # Errors
/// [`SnappyError::Corrupt`] where the block has no valid length.
pub fn declared_length(block: &[u8]) -> Result<usize, SnappyError> {
    snap::raw::decompress_len(block).map_err(|error| SnappyError::Corrupt(error.to_string()))
}

/// Decodes `block` into `buffer` and returns the decoded part of it.
///
/// The buffer is grown when needed and never shrunk, so that a reused one costs nothing per call.
///
/// # Errors
/// Each variant of [`SnappyError`] but `Compress`.
pub fn decompress<'b>(block: &[u8], buffer: &'b mut Vec<u8>, limit: usize) -> Result<&'b [u8], SnappyError> {
    let declared = declared_length(block)?;
    if declared > limit {
        return Err(SnappyError::TooLarge { declared: declared as u64, limit: limit as u64 });
    }
    if declared as u64 > (block.len() as u64).saturating_mul(MAX_EXPANSION) {
        return Err(SnappyError::Impossible { declared: declared as u64, compressed: block.len() as u64 });
    }
    if buffer.len() < declared {
        buffer.resize(declared, 0);
    }
    let written = Decoder::new()
        .decompress(block, &mut buffer[..declared])
        .map_err(|error| SnappyError::Corrupt(error.to_string()))?;
    Ok(&buffer[..written])
}

/// Compresses `data` as one block.
///
/// # Errors
/// [`SnappyError::Compress`] where `data` is 4 GiB or more.
pub fn compress(data: &[u8]) -> Result<Vec<u8>, SnappyError> {
    Encoder::new().compress_vec(data).map_err(|error| SnappyError::Compress(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_above_the_limit_is_refused_before_allocation() {
        let mut bomb = vec![0xff, 0xff, 0xff, 0xff, 0x0f];
        bomb.extend([0; 42]);
        let mut buffer = Vec::new();
        let refused = decompress(&bomb, &mut buffer, DEFAULT_LIMIT_BYTES);
        assert_eq!(refused, Err(SnappyError::TooLarge { declared: 0xffff_ffff, limit: 32 << 20 }));
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn a_length_the_bytes_cannot_hold_is_refused_before_allocation() {
        let mut bomb = vec![0x80, 0x80, 0x80, 0x08]; // 16 MiB, within the limit
        bomb.extend([0; 43]);
        let mut buffer = Vec::new();
        let refused = decompress(&bomb, &mut buffer, DEFAULT_LIMIT_BYTES);
        assert_eq!(refused, Err(SnappyError::Impossible { declared: 16 << 20, compressed: 47 }));
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn the_densest_block_there_is_passes() {
        let zeros = vec![0; 1 << 20];
        let block = compress(&zeros).unwrap();
        assert_eq!(decompress(&block, &mut Vec::new(), 1 << 20).unwrap(), zeros);
    }

    proptest! {
        #[test]
        fn every_body_survives_the_round_trip(body in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let block = compress(&body).unwrap();
            let mut reused = vec![7; 17];
            prop_assert_eq!(decompress(&block, &mut reused, 1 << 20).unwrap(), &body[..]);
        }

        #[test]
        fn no_bytes_panic_and_a_good_block_follows_a_bad_one(
            noise in proptest::collection::vec(any::<u8>(), 0..256),
            body in proptest::collection::vec(any::<u8>(), 0..256),
        ) {
            let mut reused = Vec::new();
            let _ = decompress(&noise, &mut reused, 1 << 20);
            let block = compress(&body).unwrap();
            prop_assert_eq!(decompress(&block, &mut reused, 1 << 20).unwrap(), &body[..]);
        }
    }
}
