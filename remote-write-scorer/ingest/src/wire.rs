//! What a request may be written in.

use quoll_prometheus_protocol::{snappy, zstd};

use crate::receiver::WriteError;

/// Most bytes that one of zstd can stand for: a block of 128 KiB in 4 bytes (RFC 8878, section 3.1.1.2).
const ZSTD_EXPANSION: usize = 32 << 10;

/// A decompressed body, by the message it is.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// `prometheus.WriteRequest`.
    V1(&'a [u8]),
    /// `io.prometheus.write.v2.Request`.
    V2(&'a [u8]),
}

/// Which message a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Remote write 1.0.
    V1,
    /// Remote write 2.0.
    V2,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The block format of snappy.
    Snappy,
    /// Zstandard.
    Zstd,
}

/// Message and compression of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Message.
    pub version: Version,
    /// Compression.
    pub encoding: Encoding,
}

impl Format {
    /// What every sender of remote write 1.0 can do.
    pub const V1: Self = Self { version: Version::V1, encoding: Encoding::Snappy };
    /// The same of 2.0.
    pub const V2: Self = Self { version: Version::V2, encoding: Encoding::Snappy };

    pub(crate) fn body(self, bytes: &[u8]) -> Body<'_> {
        match self.version {
            Version::V1 => Body::V1(bytes),
            Version::V2 => Body::V2(bytes),
        }
    }
}

impl Encoding {
    /// Bytes that decompressing may take: what a snappy block declares, and for zstd, whose frames need not
    /// declare anything, the limit or what its blocks can hold at most.
    pub(crate) fn most_decoded(self, compressed: &[u8], limit: usize) -> Result<usize, WriteError> {
        match self {
            Self::Snappy => Ok(snappy::declared_length(compressed)?.min(limit)),
            Self::Zstd => Ok(compressed.len().saturating_mul(ZSTD_EXPANSION).min(limit)),
        }
    }

    /// Decompresses into `buffer`, within `limit`.
    pub(crate) fn decompress<'b>(
        self,
        compressed: &[u8],
        buffer: &'b mut Vec<u8>,
        limit: usize,
    ) -> Result<&'b [u8], WriteError> {
        match self {
            Self::Snappy => Ok(snappy::decompress(compressed, buffer, limit)?),
            Self::Zstd => Ok(zstd::decompress(compressed, buffer, limit)?),
        }
    }
}
