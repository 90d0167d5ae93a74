//! One record of the log: what it looks like in a file.
//!
//! ```text
//! length of what follows the CRC   u32 LE
//! CRC-32 (IEEE) of length and rest u32 LE
//! sequence number                  u64 LE
//! newest timestamp in ms           i64 LE
//! samples in the body              u32 LE
//! body                             the request body, as it is sent
//! ```
//! The CRC covers the length, so that a damaged length does not read a neighbour's bytes as its own.

/// Bytes before the body.
pub(crate) const HEADER: usize = 28;
/// Bytes before the part that the length counts.
const PREFIX: usize = 8;
/// A body is never larger; a length beyond it is damage.
pub(crate) const MAX_BODY: usize = 64 << 20;

/// What is known of a record without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub sequence: u64,
    pub newest_ms: i64,
    pub samples: u32,
    pub body_bytes: usize,
    crc: u32,
}

impl Header {
    /// Bytes of the whole record.
    pub fn record_bytes(&self) -> u64 {
        (HEADER + self.body_bytes) as u64
    }
}

/// Appends one record to `out`. The body is at most [`MAX_BODY`] bytes.
pub(crate) fn write(out: &mut Vec<u8>, sequence: u64, newest_ms: i64, samples: u32, body: &[u8]) {
    let start = out.len();
    let length = u32::try_from(HEADER - PREFIX + body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&newest_ms.to_le_bytes());
    out.extend_from_slice(&samples.to_le_bytes());
    out.extend_from_slice(body);
    let crc = checksum(&out[start..start + 4], &out[start + PREFIX..]);
    out[start + 4..start + PREFIX].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(length: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(rest);
    hasher.finalize()
}

/// Reads a header; `None` where no record can begin so.
pub(crate) fn header(bytes: &[u8; HEADER]) -> Option<Header> {
    let length = usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    let body_bytes = length.checked_sub(HEADER - PREFIX).filter(|&bytes| bytes <= MAX_BODY)?;
    Some(Header {
        crc: u32::from_le_bytes(*bytes[4..].first_chunk()?),
        sequence: u64::from_le_bytes(*bytes[8..].first_chunk()?),
        newest_ms: i64::from_le_bytes(*bytes[16..].first_chunk()?),
        samples: u32::from_le_bytes(*bytes[24..].first_chunk()?),
        body_bytes,
    })
}

/// Whether header and body are as they were written.
pub(crate) fn is_intact(header: &Header, bytes: &[u8; HEADER], body: &[u8]) -> bool {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..4]);
    hasher.update(&bytes[PREFIX..]);
    hasher.update(body);
    hasher.finalize() == header.crc
}
