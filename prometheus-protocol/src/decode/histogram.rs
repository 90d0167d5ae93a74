//! What a reader of counts and sums wants of native histograms.

use super::DecodeError;
use crate::wire::{Cursor, WireType};

/// `Histogram.ResetHint.GAUGE`.
const GAUGE: u64 = 3;

/// Count and sum of one native histogram sample; its buckets are skipped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Observations.
    pub count: f64,
    /// Their sum, with its bits as sent: the staleness marker of a histogram stands here.
    pub sum: f64,
    /// Whether this is a gauge histogram, whose count and sum are no counters.
    pub gauge: bool,
}

/// Iterator over the native histograms of a series.
#[derive(Debug, Clone)]
pub struct HistogramIter<'a> {
    cursor: Cursor<'a>,
    field: u32,
    left: usize,
}

impl<'a> HistogramIter<'a> {
    /// Over the `left` histograms in field number `field` of a series whose framing was checked.
    pub(super) fn new(message: &'a [u8], field: u32, left: usize) -> Self {
        Self { cursor: Cursor::new(message), field, left }
    }

    fn advance(&mut self) -> Result<HistogramSample, DecodeError> {
        loop {
            match self.cursor.tag()? {
                (field, WireType::Bytes) if field == self.field => return histogram(self.cursor.delimited()?),
                (_, wire) => self.cursor.skip(wire)?,
            }
        }
    }
}

impl Iterator for HistogramIter<'_> {
    type Item = Result<HistogramSample, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let histogram = self.advance();
        if histogram.is_err() {
            self.left = 0;
        }
        Some(histogram)
    }
}

fn histogram(message: &[u8]) -> Result<HistogramSample, DecodeError> {
    let mut cursor = Cursor::new(message);
    let mut sample = HistogramSample { timestamp_ms: 0, count: 0.0, sum: 0.0, gauge: false };
    while !cursor.at_end() {
        match cursor.tag()? {
            (1, WireType::Varint) => sample.count = cursor.varint()? as f64,
            (2, WireType::Fixed64) => sample.count = f64::from_bits(cursor.fixed64()?),
            (3, WireType::Fixed64) => sample.sum = f64::from_bits(cursor.fixed64()?),
            (14, WireType::Varint) => sample.gauge = cursor.varint()? == GAUGE,
            (15, WireType::Varint) => sample.timestamp_ms = cursor.varint()?.cast_signed(),
            (field @ (1..=3 | 14 | 15), found) => {
                return Err(DecodeError::WireType { message: "Histogram", field, found });
            }
            (_, wire) => cursor.skip(wire)?,
        }
    }
    Ok(sample)
}
