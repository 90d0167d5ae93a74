//! The walk through a body that both versions share.

use std::marker::PhantomData;

use super::{DecodeError, HistogramIter, Sample};
use crate::wire::{Cursor, WireType, joined};

/// What the versions write differently: numbers of fields, and labels.
pub trait Version: sealed::Sealed + Copy {
    /// Name of the request's message.
    const REQUEST: &'static str;
    /// Its field of series.
    const SERIES: u32;
    /// Its field of metadata, where that is not the series'.
    const REQUEST_METADATA: Option<u32> = None;
    /// A series' field of exemplars.
    const EXEMPLARS: u32;
    /// A series' field of native histograms.
    const HISTOGRAMS: u32;
    /// A series' field of metadata.
    const METADATA: Option<u32> = None;
    /// The last field of a series.
    const LAST: u32;
    /// The last field of a sample: 3 is when its counter started, which is checked for form and not kept, as
    /// resets are seen in the values.
    const SAMPLE_LAST: u32;

    /// Reads labels whose key began at `start`; `None` where they are written in a way that is no block.
    #[doc(hidden)]
    fn labels<'a>(cursor: &mut Cursor<'a>, start: usize, wire: WireType) -> Result<Option<&'a [u8]>, DecodeError>;

    /// Appends to `buffer` what [`Version::labels`] would have as a block.
    #[doc(hidden)]
    fn gather(cursor: &mut Cursor<'_>, wire: WireType, buffer: &mut Vec<u8>) -> Result<(), DecodeError>;
}

mod sealed {
    /// There are two versions.
    pub trait Sealed {}
    impl Sealed for super::super::V1 {}
    impl Sealed for super::super::v2::V2 {}
}

/// Iterator over the series of a request.
#[derive(Debug, Clone)]
pub struct SeriesIter<'a, V> {
    cursor: Cursor<'a>,
    metadata: usize,
    failed: bool,
    version: PhantomData<V>,
}

impl<'a, V: Version> SeriesIter<'a, V> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(body), metadata: 0, failed: false, version: PhantomData }
    }

    /// Metadata entries passed so far.
    #[must_use]
    pub fn metadata(&self) -> usize {
        self.metadata
    }

    #[inline]
    fn advance(&mut self) -> Result<Option<Series<'a, V>>, DecodeError> {
        while !self.cursor.at_end() {
            match self.cursor.tag()? {
                (field, WireType::Bytes) if field == V::SERIES => {
                    let series = Series::parse(self.cursor.delimited()?)?;
                    self.metadata += usize::from(series.metadata);
                    return Ok(Some(series));
                }
                (field, WireType::Bytes) if Some(field) == V::REQUEST_METADATA => {
                    self.cursor.delimited()?;
                    self.metadata += 1;
                }
                (field, found) if field == V::SERIES || Some(field) == V::REQUEST_METADATA => {
                    return Err(DecodeError::WireType { message: V::REQUEST, field, found });
                }
                (_, wire) => self.cursor.skip(wire)?,
            }
        }
        Ok(None)
    }
}

impl<'a, V: Version> Iterator for SeriesIter<'a, V> {
    type Item = Result<Series<'a, V>, DecodeError>;

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

/// One series of a request, borrowed from its body.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a, V> {
    message: &'a [u8],
    labels: &'a [u8],
    scattered: bool,
    metadata: bool,
    /// The first sample, and where the message goes on behind it.
    sample: &'a [u8],
    after_sample: usize,
    samples: usize,
    exemplars: usize,
    histograms: usize,
    version: PhantomData<V>,
}

impl<'a, V: Version> Series<'a, V> {
    #[inline]
    fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(message);
        let mut series = Self {
            message,
            labels: &[],
            scattered: false,
            metadata: false,
            sample: &[],
            after_sample: message.len(),
            samples: 0,
            exemplars: 0,
            histograms: 0,
            version: PhantomData,
        };
        while !cursor.at_end() {
            let start = cursor.position();
            match cursor.tag()? {
                (1, wire) => {
                    let block = V::labels(&mut cursor, start, wire)?;
                    series.scattered |= block.is_none() || !series.labels.is_empty();
                    series.labels = block.unwrap_or(series.labels);
                }
                (2, WireType::Bytes) => {
                    let sample = cursor.delimited()?;
                    if series.samples == 0 {
                        series.sample = sample;
                        series.after_sample = cursor.position();
                    }
                    series.samples += 1;
                }
                (field, WireType::Bytes) if field == V::EXEMPLARS => {
                    cursor.delimited()?;
                    series.exemplars += 1;
                }
                (field, WireType::Bytes) if field == V::HISTOGRAMS => {
                    cursor.delimited()?;
                    series.histograms += 1;
                }
                (field, WireType::Bytes) if Some(field) == V::METADATA => {
                    cursor.delimited()?;
                    series.metadata = true;
                }
                (field, found) if field <= V::LAST => {
                    return Err(DecodeError::WireType { message: "TimeSeries", field, found });
                }
                (_, wire) => cursor.skip(wire)?,
            }
        }
        Ok(series)
    }

    /// The labels as they stand in the body, if they stand together: the key by which to look the series up.
    /// In 1.0, a block that [`super::labels`] takes apart: two encodings of one label set may differ in bytes,
    /// equal bytes are always equal labels. In 2.0, packed references for [`super::v2::refs`].
    #[inline]
    #[must_use]
    pub fn label_block(&self) -> Option<&'a [u8]> {
        (!self.scattered).then_some(self.labels)
    }

    /// Writes the labels to `buffer` (cleared first) as one block, wherever they stand in the series.
    ///
    /// # Errors
    /// In 2.0, where a packed part ends within a reference. In 1.0 none is expected, as the framing was checked.
    pub fn gather_labels(&self, buffer: &mut Vec<u8>) -> Result<(), DecodeError> {
        buffer.clear();
        let mut cursor = Cursor::new(self.message);
        while !cursor.at_end() {
            match cursor.tag()? {
                (1, wire) => V::gather(&mut cursor, wire, buffer)?,
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

    /// Number of native histogram samples.
    #[must_use]
    pub fn histogram_count(&self) -> usize {
        self.histograms
    }

    /// Whether it says its type, help text or unit (2.0).
    #[must_use]
    pub fn has_metadata(&self) -> bool {
        self.metadata
    }

    /// Counts and sums of the native histograms, in the order sent.
    #[must_use]
    pub fn histograms(&self) -> HistogramIter<'a> {
        HistogramIter::new(self.message, V::HISTOGRAMS, self.histograms)
    }

    /// The float samples, in the order sent.
    #[inline]
    #[must_use]
    pub fn samples(&self) -> SampleIter<'a, V> {
        SampleIter {
            first: (self.samples > 0).then_some(self.sample),
            cursor: Cursor::new(self.message.get(self.after_sample..).unwrap_or_default()),
            left: self.samples,
            version: PhantomData,
        }
    }
}

/// Iterator over the float samples of a series.
#[derive(Debug, Clone)]
pub struct SampleIter<'a, V> {
    first: Option<&'a [u8]>,
    cursor: Cursor<'a>,
    left: usize,
    version: PhantomData<V>,
}

impl<V: Version> Iterator for SampleIter<'_, V> {
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

impl<V: Version> SampleIter<'_, V> {
    #[inline]
    fn advance(&mut self) -> Result<Sample, DecodeError> {
        if let Some(first) = self.first.take() {
            return sample::<V>(first);
        }
        loop {
            match self.cursor.tag()? {
                (2, WireType::Bytes) => return sample::<V>(self.cursor.delimited()?),
                (_, wire) => self.cursor.skip(wire)?,
            }
        }
    }
}

/// A sample as nearly all are written: a value, then a time of six bytes (1971 to 2109).
#[inline]
fn usual(message: &[u8]) -> Option<Sample> {
    let message: &[u8; 16] = message.try_into().ok()?;
    let ([0x09, value @ .., 0x10, _, _, _, _, _, _], [.., high]) = (message, message.as_chunks::<8>().0) else {
        return None;
    };
    let time = u64::from_le_bytes(*high) >> 16;
    // Five bytes that go on and one that ends.
    (time & 0x8080_8080_8080 == 0x0080_8080_8080)
        .then(|| Sample { timestamp_ms: joined(time).cast_signed(), value: f64::from_bits(u64::from_le_bytes(*value)) })
}

#[inline]
fn sample<V: Version>(message: &[u8]) -> Result<Sample, DecodeError> {
    match usual(message) {
        Some(sample) => Ok(sample),
        None => unusual::<V>(message),
    }
}

/// Any other.
#[inline(never)]
fn unusual<V: Version>(message: &[u8]) -> Result<Sample, DecodeError> {
    let mut cursor = Cursor::new(message);
    let mut sample = Sample { timestamp_ms: 0, value: 0.0 };
    while !cursor.at_end() {
        match cursor.tag()? {
            (1, WireType::Fixed64) => sample.value = f64::from_bits(cursor.fixed64()?),
            (2, WireType::Varint) => sample.timestamp_ms = cursor.varint()?.cast_signed(),
            (3, WireType::Varint) => drop(cursor.varint()?),
            (field, found) if field <= V::SAMPLE_LAST => {
                return Err(DecodeError::WireType { message: "Sample", field, found });
            }
            (_, wire) => cursor.skip(wire)?,
        }
    }
    Ok(sample)
}
