//! The zstd format, as vmagent sends it, safe against bodies that grow without bound.
//!
//! A frame may declare its decoded length and declares the window that a decoder must keep. [`decompress`]
//! takes memory only for what is really decoded, a block of at most 128 KiB at a time, and stops
//! - before decoding, where a frame declares a length or a window above the caller's limit;
//! - where the limit is reached, whatever was declared.
//!
//! A decoder serves one frame and is dropped, so that a bad body leaves nothing behind. Checksums are verified.
//! Dictionaries are not supported. Source: RFC 8878.

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use thiserror::Error;

/// Bytes decoded before they are taken over: Block_Maximum_Size of RFC 8878, section 3.1.1.2.4.
const STEP: usize = 128 << 10;

/// Why a body was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ZstdError {
    /// The body is, or declares to be, larger than the limit.
    #[error("zstd body of {declared} bytes or more exceeds the limit of {limit}")]
    TooLarge {
        /// Bytes declared or found.
        declared: u64,
        /// Limit of the caller.
        limit: u64,
    },
    /// The body is not zstd, or is cut short or damaged.
    #[error("not a valid zstd body: {0}")]
    Corrupt(String),
}

/// Decodes all frames of `body` into `buffer`, which is cleared first, and returns what they hold.
///
/// # Errors
/// Each variant of [`ZstdError`].
pub fn decompress<'b>(body: &[u8], buffer: &'b mut Vec<u8>, limit: usize) -> Result<&'b [u8], ZstdError> {
    buffer.clear();
    let mut rest = body;
    if rest.is_empty() {
        return Err(ZstdError::Corrupt("it is empty".to_owned()));
    }
    while !rest.is_empty() {
        decode_frame(&mut rest, buffer, limit)?;
    }
    Ok(buffer)
}

fn decode_frame(rest: &mut &[u8], buffer: &mut Vec<u8>, limit: usize) -> Result<(), ZstdError> {
    let corrupt = |error: FrameDecoderError| ZstdError::Corrupt(error.to_string());
    let too_large = |declared: u64| ZstdError::TooLarge { declared, limit: limit as u64 };
    let mut decoder = FrameDecoder::new();
    // A window cannot be of use beyond what may be decoded; small bodies may declare the least there is.
    decoder.set_max_window_size((limit as u64).max(STEP as u64));
    match decoder.init(&mut *rest) {
        Ok(()) => {}
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
            *rest = rest.get(length as usize..).ok_or_else(|| ZstdError::Corrupt("it is cut short".to_owned()))?;
            return Ok(());
        }
        Err(FrameDecoderError::WindowSizeTooBig { requested, .. }) => return Err(too_large(requested)),
        Err(error) => return Err(corrupt(error)),
    }
    // Zero stands for "not declared" too.
    let declared = (buffer.len() as u64).saturating_add(decoder.content_size());
    if declared > limit as u64 {
        return Err(too_large(declared));
    }
    loop {
        let finished = decoder.decode_blocks(&mut *rest, BlockDecodingStrategy::UptoBytes(STEP)).map_err(corrupt)?;
        if buffer.len() + decoder.can_collect() > limit {
            return Err(too_large((buffer.len() + decoder.can_collect()) as u64));
        }
        decoder.collect_to_writer(&mut *buffer).map_err(|error| ZstdError::Corrupt(error.to_string()))?;
        if finished {
            break;
        }
    }
    match (decoder.get_checksum_from_data(), decoder.get_calculated_checksum()) {
        (Some(stored), Some(found)) if stored != found => Err(ZstdError::Corrupt("its checksum is wrong".to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn compress(data: &[u8]) -> Vec<u8> {
        compress_to_vec(data, CompressionLevel::Fastest)
    }

    /// A frame of one RLE block after the other, 128 KiB each, that declares a content size of 8 bytes if given.
    fn bomb(blocks: usize, declared: Option<u64>) -> Vec<u8> {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
        match declared {
            // Frame_Content_Size_flag 3, and a window of 1 MiB.
            Some(size) => {
                frame.extend([0xc0, 10 << 3]);
                frame.extend(size.to_le_bytes());
            }
            None => frame.extend([0, 10 << 3]),
        }
        for block in 0..blocks {
            let header = (STEP as u32) << 3 | 1 << 1 | u32::from(block + 1 == blocks);
            frame.extend(&header.to_le_bytes()[..3]);
            frame.push(0);
        }
        frame
    }

    #[test]
    fn what_declares_more_than_the_limit_is_refused_before_decoding() {
        let mut buffer = Vec::new();
        let refused = decompress(&bomb(2, Some(1 << 40)), &mut buffer, 1 << 20);
        assert_eq!(refused, Err(ZstdError::TooLarge { declared: 1 << 40, limit: 1 << 20 }));
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn what_declares_nothing_stops_at_the_limit() {
        let mut buffer = Vec::new();
        assert_eq!(decompress(&bomb(4, None), &mut buffer, 1 << 20).unwrap().len(), 4 * STEP);
        let refused = decompress(&bomb(10_000, None), &mut buffer, 1 << 20);
        assert!(matches!(refused, Err(ZstdError::TooLarge { limit: 0x10_0000, .. })), "{refused:?}");
        assert!(buffer.capacity() <= 2 << 20);
    }

    #[test]
    fn a_window_above_the_limit_is_refused() {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 31 << 3];
        frame.extend([1, 0, 0]);
        let mut buffer = Vec::new();
        let refused = decompress(&frame, &mut buffer, 1 << 20);
        assert!(matches!(refused, Err(ZstdError::TooLarge { .. })), "{refused:?}");
    }

    #[test]
    fn frames_follow_one_another_and_skippable_ones_are_skipped() {
        let mut body = compress(b"one ");
        body.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        body.extend(compress(b"two"));
        assert_eq!(decompress(&body, &mut Vec::new(), 100).unwrap(), b"one two");
        let cut = [0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1];
        assert!(matches!(decompress(&cut, &mut Vec::new(), 100), Err(ZstdError::Corrupt(_))));
    }

    #[test]
    fn an_empty_body_is_no_frame() {
        assert!(matches!(decompress(&[], &mut Vec::new(), 100), Err(ZstdError::Corrupt(_))));
    }

    proptest! {
        #[test]
        fn every_body_survives_the_round_trip(body in proptest::collection::vec(0..4_u8, 0..4096)) {
            let mut reused = vec![7; 17];
            prop_assert_eq!(decompress(&compress(&body), &mut reused, 1 << 20).unwrap(), &body[..]);
        }

        #[test]
        fn damage_never_panics_and_a_good_body_follows_a_bad_one(
            body in proptest::collection::vec(0..4_u8, 1..2048),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let good = compress(&body);
            let mut bad = good.clone();
            for (index, byte) in edits {
                let at = index.index(bad.len());
                bad[at] = byte;
            }
            let mut buffer = Vec::new();
            let _ = decompress(&bad, &mut buffer, 1 << 16);
            prop_assert_eq!(decompress(&good, &mut buffer, 1 << 16).unwrap(), &body[..]);
        }
    }
}
