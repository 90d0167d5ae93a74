//! A borrowed decoder of remote write 2.0 bodies.
//!
//! A request interns its strings: [`symbols`] walks that table, [`series`] the series, whose labels are
//! indices into it. Protobuf lets a sender write the table after the series or in pieces, so the table is
//! walked first, over the whole body. Nothing is allocated, and everything points into the body.
//!
//! # Guarantees
//! As of 1.0 ([`super`]): framing is checked, what is accepted is what prost decodes from the same bytes,
//! unknown fields are skipped. A label reference beyond the table or without its partner is for the caller to
//! refuse, as it concerns one series only; so is a symbol that is not UTF-8, where it is used.

use std::ops::Range;

use super::{DecodeError, HistogramIter, Sample};
use crate::wire::{Cursor, WireType, put_varint};

/// The symbol table of a decompressed `io.prometheus.write.v2.Request`, in order: where each string stands in
/// the body. After an error the iterator ends.
#[must_use]
pub fn symbols(body: &[u8]) -> SymbolIter<'_> {
    SymbolIter { cursor: Cursor::new(body), failed: false }
}

/// Iterator over a symbol table.
#[derive(Debug, Clone)]
pub struct SymbolIter<'a> {
    cursor: Cursor<'a>,
    failed: bool,
}

impl SymbolIter<'_> {
    #[inline]
    fn advance(&mut self) -> Result<Option<Range<usize>>, DecodeError> {
        while !self.cursor.at_end() {
            match self.cursor.tag()? {
                (4, WireType::Bytes) => {
                    let length = self.cursor.delimited()?.len();
                    let end = self.cursor.position();
                    return Ok(Some(end - length..end));
                }
                (4, found) => return Err(DecodeError::WireType { message: "Request", field: 4, found }),
                (_, wire) => self.cursor.skip(wire)?,
            }
        }
        Ok(None)
    }
}

impl Iterator for SymbolIter<'_> {
    type Item = Result<Range<usize>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let symbol = self.advance();
        self.failed = symbol.is_err();
        symbol.transpose()
    }
}

/// The series of a decompressed request, in the order sent. After an error the iterator ends.
#[must_use]
pub fn series(body: &[u8]) -> SeriesIter<'_> {
    SeriesIter { cursor: Cursor::new(body), failed: false }
}

/// Iterator over the series of a request.
#[derive(Debug, Clone)]
pub struct SeriesIter<'a> {
    cursor: Cursor<'a>,
    failed: bool,
}

impl<'a> SeriesIter<'a> {
    #[inline]
    fn advance(&mut self) -> Result<Option<Series<'a>>, DecodeError> {
        while !self.cursor.at_end() {
            match self.cursor.tag()? {
                (5, WireType::Bytes) => return Series::parse(self.cursor.delimited()?).map(Some),
                (5, found) => return Err(DecodeError::WireType { message: "Request", field: 5, found }),
                (_, wire) => self.cursor.skip(wire)?,
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for SeriesIter<'a> {
    type Item = Result<Series<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let series = self.advance();
        self.failed = series.is_err();
        series.transpose()
    }
}

/// One series of a request, borrowed from its body.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    message: &'a [u8],
    refs: &'a [u8],
    scattered: bool,
    first_sample: usize,
    samples: usize,
    exemplars: usize,
    histograms: usize,
    metadata: bool,
}

impl<'a> Series<'a> {
    #[inline]
    fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(message);
        let mut series = Self {
            message,
            refs: &[],
            scattered: false,
            first_sample: message.len(),
            samples: 0,
            exemplars: 0,
            histograms: 0,
            metadata: false,
        };
        while !cursor.at_end() {
            let start = cursor.position();
            match cursor.tag()? {
                (1, WireType::Bytes) => {
                    let refs = cursor.delimited()?;
                    series.scattered |= !series.refs.is_empty();
                    series.refs = refs;
                }
                // Not packed: allowed to every writer of protobuf, though none of remote write does it.
                (1, WireType::Varint) => {
                    cursor.varint()?;
                    series.scattered = true;
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
                    series.histograms += 1;
                }
                (4, WireType::Bytes) => {
                    cursor.delimited()?;
                    series.exemplars += 1;
                }
                (5, WireType::Bytes) => {
                    cursor.delimited()?;
                    series.metadata = true;
                }
                (field @ 1..=5, found) => {
                    return Err(DecodeError::WireType { message: "TimeSeries", field, found });
                }
                (_, wire) => cursor.skip(wire)?,
            }
        }
        Ok(series)
    }

    /// The label references, packed as they stand in the body, if they stand together.
    #[inline]
    #[must_use]
    pub fn label_refs(&self) -> Option<&'a [u8]> {
        (!self.scattered).then_some(self.refs)
    }

    /// Writes the label references to `buffer` (cleared first) as one packed block, wherever they stand.
    ///
    /// # Errors
    /// Where a packed part ends within a reference.
    pub fn gather_label_refs(&self, buffer: &mut Vec<u8>) -> Result<(), DecodeError> {
        buffer.clear();
        let mut cursor = Cursor::new(self.message);
        while !cursor.at_end() {
            match cursor.tag()? {
                (1, WireType::Bytes) => {
                    let part = cursor.delimited()?;
                    refs(part).try_for_each(|reference| reference.map(drop))?;
                    buffer.extend_from_slice(part);
                }
                (1, WireType::Varint) => put_varint(buffer, cursor.varint()?),
                (_, wire) => cursor.skip(wire)?,
            }
        }
        Ok(())
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

    /// Number of native histograms.
    #[must_use]
    pub fn histogram_count(&self) -> usize {
        self.histograms
    }

    /// Whether it says its type, help text or unit.
    #[must_use]
    pub fn has_metadata(&self) -> bool {
        self.metadata
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

    /// Counts and sums of the native histograms, in the order sent.
    #[must_use]
    pub fn histograms(&self) -> HistogramIter<'a> {
        HistogramIter::new(self.message, 3, self.histograms)
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
        self.left = self.left.checked_sub(1)?;
        let sample = self.advance();
        if sample.is_err() {
            self.left = 0;
        }
        Some(sample)
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

/// A sample. When its counter started is checked for form and not kept: resets are seen in the values.
#[inline]
fn sample(message: &[u8]) -> Result<Sample, DecodeError> {
    let mut cursor = Cursor::new(message);
    let mut sample = Sample { timestamp_ms: 0, value: 0.0 };
    while !cursor.at_end() {
        match cursor.tag()? {
            (1, WireType::Fixed64) => sample.value = f64::from_bits(cursor.fixed64()?),
            (2, WireType::Varint) => sample.timestamp_ms = cursor.varint()?.cast_signed(),
            (3, WireType::Varint) => drop(cursor.varint()?),
            (field @ 1..=3, found) => return Err(DecodeError::WireType { message: "Sample", field, found }),
            (_, wire) => cursor.skip(wire)?,
        }
    }
    Ok(sample)
}

/// The references of a packed block: indices into the symbol table, a label's name and value in turn.
#[inline]
#[must_use]
pub fn refs(packed: &[u8]) -> RefIter<'_> {
    RefIter { cursor: Cursor::new(packed) }
}

/// Iterator over packed references.
#[derive(Debug, Clone)]
pub struct RefIter<'a> {
    cursor: Cursor<'a>,
}

impl Iterator for RefIter<'_> {
    type Item = Result<u64, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.at_end() {
            return None;
        }
        let reference = self.cursor.short_varint();
        if reference.is_err() {
            self.cursor = Cursor::new(&[]);
        }
        Some(reference)
    }
}

#[cfg(test)]
mod tests;
