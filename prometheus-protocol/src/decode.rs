//! A borrowed decoder of remote write bodies, of 1.0 here and of 2.0 in [`v2`]: one walk ([`walk`]), two ways to
//! write labels.
//!
//! [`series`] walks a decompressed `prometheus.WriteRequest` and yields one [`Series`] at a time, whose
//! parts point into the body; nothing is allocated. What a receiver of millions of samples a second
//! wants from a series is its labels as **one slice**, to be hashed and looked up in one go, and its
//! samples; labels are only taken apart for a series never seen before.
//!
//! # Guarantees
//! - The framing of every field of the request and of its series is checked: lengths, wire types, tags. A
//!   sample is checked when it is read, a label (UTF-8 included) when it is taken apart.
//! - What is accepted equals what prost decodes from the same bytes (differential tests), except that the
//!   group wire types, which no version of these messages ever had, are refused.
//! - Unknown fields are skipped, as protobuf demands of a reader older than the sender.
//! - [`Series::label_block`] is `None` where other fields stand between the labels. Protobuf allows this,
//!   though no known sender does it; [`Series::gather_labels`] then gives the same bytes in a buffer.

mod histogram;
pub mod v2;
pub mod walk;

use thiserror::Error;

pub use self::histogram::{HistogramIter, HistogramSample};
use self::walk::Version;
pub use self::walk::{SampleIter, Series, SeriesIter};
pub use crate::wire::WireType;
use crate::wire::{Cursor, put_varint};

/// Why a body was refused. Offsets count from the start of the message at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The message ends within a field.
    #[error("message ends within a field, at byte {offset}")]
    Truncated {
        /// Where the message ends.
        offset: usize,
    },
    /// A varint does not fit 64 bits.
    #[error("varint at byte {offset} does not fit 64 bits")]
    VarintOverflow {
        /// Where it starts.
        offset: usize,
    },
    /// A field number of zero or beyond 32 bits, or a wire type that does not exist here.
    #[error("invalid field key {key:#x} at byte {offset}")]
    InvalidTag {
        /// The key.
        key: u64,
        /// Where it starts.
        offset: usize,
    },
    /// A length that reaches beyond the message.
    #[error("length {length} at byte {offset} exceeds the {remaining} bytes left")]
    LengthOverrun {
        /// The length.
        length: u64,
        /// Bytes left in the message.
        remaining: usize,
        /// Where the length starts.
        offset: usize,
    },
    /// A known field written in a way that its type forbids.
    #[error("field {field} of {message} has wire type {found:?}")]
    WireType {
        /// Message.
        message: &'static str,
        /// Field number.
        field: u32,
        /// Wire type found.
        found: WireType,
    },
    /// A label's name or value is not UTF-8.
    #[error("label {part} is not UTF-8")]
    Utf8 {
        /// `name` or `value`.
        part: &'static str,
    },
}

/// A float sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Value, with its bits as sent: the staleness marker is a NaN.
    pub value: f64,
}

/// Remote write 1.0: each series has its labels in it.
#[derive(Debug, Clone, Copy)]
pub struct V1;

impl Version for V1 {
    const REQUEST: &'static str = "WriteRequest";
    const SERIES: u32 = 1;
    const REQUEST_METADATA: Option<u32> = Some(3);
    const EXEMPLARS: u32 = 3;
    const HISTOGRAMS: u32 = 4;
    const LAST: u32 = 4;
    const SAMPLE_LAST: u32 = 2;

    /// A run of labels, keys and lengths included.
    #[inline]
    fn labels<'a>(cursor: &mut Cursor<'a>, start: usize, wire: WireType) -> Result<Option<&'a [u8]>, DecodeError> {
        if wire != WireType::Bytes {
            return Err(DecodeError::WireType { message: "TimeSeries", field: 1, found: wire });
        }
        cursor.delimited()?;
        while cursor.peek() == Some(0x0a) {
            cursor.tag()?;
            cursor.delimited()?;
        }
        Ok(Some(cursor.between(start, cursor.position())))
    }

    fn gather(cursor: &mut Cursor<'_>, _: WireType, buffer: &mut Vec<u8>) -> Result<(), DecodeError> {
        let label = cursor.delimited()?;
        buffer.push(0x0a);
        put_varint(buffer, label.len() as u64);
        buffer.extend_from_slice(label);
        Ok(())
    }
}

/// The series of a decompressed `prometheus.WriteRequest`, in the order sent. After an error the iterator ends.
#[must_use]
pub fn series(body: &[u8]) -> SeriesIter<'_, V1> {
    SeriesIter::new(body)
}

/// Takes a label block apart, in the order sent: neither sorted nor checked beyond UTF-8.
#[must_use]
pub fn labels(block: &[u8]) -> LabelIter<'_> {
    LabelIter { cursor: Cursor::new(block) }
}

/// Iterator over `(name, value)` of a label block.
#[derive(Debug, Clone)]
pub struct LabelIter<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = Result<(&'a str, &'a str), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.at_end() {
            return None;
        }
        let label = self.advance();
        if label.is_err() {
            self.cursor = Cursor::new(&[]);
        }
        Some(label)
    }
}

impl<'a> LabelIter<'a> {
    fn advance(&mut self) -> Result<(&'a str, &'a str), DecodeError> {
        match self.cursor.tag()? {
            (1, WireType::Bytes) => label(self.cursor.delimited()?),
            (field, found) => Err(DecodeError::WireType { message: "TimeSeries", field, found }),
        }
    }
}

fn label(message: &[u8]) -> Result<(&str, &str), DecodeError> {
    let mut cursor = Cursor::new(message);
    let (mut name, mut value) = ("", "");
    while !cursor.at_end() {
        match cursor.tag()? {
            (1, WireType::Bytes) => name = text(cursor.delimited()?, "name")?,
            (2, WireType::Bytes) => value = text(cursor.delimited()?, "value")?,
            (field @ (1 | 2), found) => return Err(DecodeError::WireType { message: "Label", field, found }),
            (_, wire) => cursor.skip(wire)?,
        }
    }
    Ok((name, value))
}

fn text<'a>(bytes: &'a [u8], part: &'static str) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8 { part })
}

#[cfg(test)]
mod tests;
