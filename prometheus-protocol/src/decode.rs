//! A borrowed decoder of remote write 1.0 bodies; [`v2`] reads those of 2.0.
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

use thiserror::Error;

pub use self::histogram::{HistogramIter, HistogramSample};
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

/// The series of a decompressed request, in the order sent. After an error the iterator ends.
#[must_use]
pub fn series(body: &[u8]) -> SeriesIter<'_> {
    SeriesIter { cursor: Cursor::new(body), metadata: 0, failed: false }
}

/// Iterator over the series of a request.
#[derive(Debug, Clone)]
pub struct SeriesIter<'a> {
    cursor: Cursor<'a>,
    metadata: usize,
    failed: bool,
}

impl SeriesIter<'_> {
    /// Metadata entries passed so far.
    #[must_use]
    pub fn metadata(&self) -> usize {
        self.metadata
    }
}

impl<'a> Iterator for SeriesIter<'a> {
    type Item = Result<Series<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.advance() {
            Ok(series) => series.map(Ok),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl<'a> SeriesIter<'a> {
    #[inline]
    fn advance(&mut self) -> Result<Option<Series<'a>>, DecodeError> {
        while !self.cursor.at_end() {
            match self.cursor.tag()? {
                (1, WireType::Bytes) => return Series::parse(self.cursor.delimited()?).map(Some),
                (3, WireType::Bytes) => {
                    self.cursor.delimited()?;
                    self.metadata += 1;
                }
                (field @ (1 | 3), found) => {
                    return Err(DecodeError::WireType { message: "WriteRequest", field, found });
                }
                (_, wire) => self.cursor.skip(wire)?,
            }
        }
        Ok(None)
    }
}

/// One series of a request, borrowed from its body.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    message: &'a [u8],
    labels: &'a [u8],
    scattered: bool,
    label_count: usize,
    first_sample: usize,
    samples: usize,
    exemplars: usize,
    histograms: usize,
}

impl<'a> Series<'a> {
    #[inline]
    fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(message);
        let mut series = Self {
            message,
            labels: &[],
            scattered: false,
            label_count: 0,
            first_sample: message.len(),
            samples: 0,
            exemplars: 0,
            histograms: 0,
        };
        while !cursor.at_end() {
            let start = cursor.position();
            match cursor.tag()? {
                (1, WireType::Bytes) => {
                    cursor.delimited()?;
                    let mut count = 1;
                    while cursor.peek() == Some(0x0a) {
                        cursor.tag()?;
                        cursor.delimited()?;
                        count += 1;
                    }
                    series.scattered |= series.label_count > 0;
                    series.label_count += count;
                    series.labels = cursor.between(start, cursor.position());
                }
                (2, WireType::Bytes) => {
                    cursor.delimited()?;
                    if series.samples == 0 {
                        series.first_sample = start;
                    }
                    series.samples += 1;
                }
                (3, WireType::Bytes) => {
                    cursor.delimited()?;
                    series.exemplars += 1;
                }
                (4, WireType::Bytes) => {
                    cursor.delimited()?;
                    series.histograms += 1;
                }
                (field @ 1..=4, found) => {
                    return Err(DecodeError::WireType { message: "TimeSeries", field, found });
                }
                (_, wire) => cursor.skip(wire)?,
            }
        }
        Ok(series)
    }

    /// The labels as they stand in the body, if they stand together: the key by which to look the series
    /// up. Two encodings of one label set may differ in bytes, equal bytes are always equal labels.
    #[inline]
    #[must_use]
    pub fn label_block(&self) -> Option<&'a [u8]> {
        (!self.scattered).then_some(self.labels)
    }

    /// Writes the labels to `buffer` (cleared first) as one block, wherever they stand in the series.
    ///
    /// # Errors
    /// As the framing was checked before, none is expected.
    pub fn gather_labels(&self, buffer: &mut Vec<u8>) -> Result<(), DecodeError> {
        buffer.clear();
        let mut cursor = Cursor::new(self.message);
        while !cursor.at_end() {
            match cursor.tag()? {
                (1, _) => {
                    let label = cursor.delimited()?;
                    buffer.push(0x0a);
                    put_varint(buffer, label.len() as u64);
                    buffer.extend_from_slice(label);
                }
                (_, wire) => cursor.skip(wire)?,
            }
        }
        Ok(())
    }

    /// Number of labels.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.label_count
    }

    /// Number of float samples.
    #[must_use]
    pub fn sample_count(&self) -> usize {
        self.samples
    }

    /// Number of exemplars, which are skipped.
    #[must_use]
    pub fn exemplar_count(&self) -> usize {
        self.exemplars
    }

    /// Number of native histogram samples.
    #[must_use]
    pub fn histogram_count(&self) -> usize {
        self.histograms
    }

    /// Counts and sums of the native histograms, in the order sent.
    #[must_use]
    pub fn histograms(&self) -> HistogramIter<'a> {
        HistogramIter::new(self.message, 4, self.histograms)
    }

    /// The float samples, in the order sent.
    #[inline]
    #[must_use]
    pub fn samples(&self) -> SampleIter<'a> {
        SampleIter {
            cursor: Cursor::new(self.message.get(self.first_sample..).unwrap_or_default()),
            left: self.samples,
        }
    }
}

/// Iterator over the float samples of a series.
#[derive(Debug, Clone)]
pub struct SampleIter<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

impl Iterator for SampleIter<'_> {
    type Item = Result<Sample, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        match self.advance() {
            Ok(sample) => {
                self.left -= 1;
                Some(Ok(sample))
            }
            Err(error) => {
                self.left = 0;
                Some(Err(error))
            }
        }
    }
}

impl SampleIter<'_> {
    #[inline]
    fn advance(&mut self) -> Result<Sample, DecodeError> {
        loop {
            match self.cursor.tag()? {
                (2, WireType::Bytes) => return sample(self.cursor.delimited()?),
                (_, wire) => self.cursor.skip(wire)?,
            }
        }
    }
}

#[inline]
fn sample(message: &[u8]) -> Result<Sample, DecodeError> {
    let mut cursor = Cursor::new(message);
    let mut sample = Sample { timestamp_ms: 0, value: 0.0 };
    while !cursor.at_end() {
        match cursor.tag()? {
            (1, WireType::Fixed64) => sample.value = f64::from_bits(cursor.fixed64()?),
            (2, WireType::Varint) => sample.timestamp_ms = cursor.varint()?.cast_signed(),
            (field @ (1 | 2), found) => return Err(DecodeError::WireType { message: "Sample", field, found }),
            (_, wire) => cursor.skip(wire)?,
        }
    }
    Ok(sample)
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
