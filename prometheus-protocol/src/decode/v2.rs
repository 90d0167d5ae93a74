//! A borrowed decoder of remote write 2.0 bodies.
//!
//! A request interns its strings: [`symbols`] walks that table, [`series`] the series, whose labels are
//! indices into it ([`refs`]). Protobuf lets a sender write the table after the series or in pieces, so the table is
//! walked first, over the whole body. Nothing is allocated, and everything points into the body.
//!
//! # Guarantees
//! As of 1.0 ([`super`]): framing is checked, what is accepted is what prost decodes from the same bytes,
//! unknown fields are skipped. A label reference beyond the table or without its partner is for the caller to
//! refuse, as it concerns one series only; so is a symbol that is not UTF-8, where it is used.

use std::ops::Range;

use super::DecodeError;
use super::walk::{SeriesIter, Version};
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
                // Series, which are many.
                (_, WireType::Bytes) => drop(self.cursor.delimited()?),
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

/// Remote write 2.0: labels refer to strings that the request interned.
#[derive(Debug, Clone, Copy)]
pub struct V2;

impl Version for V2 {
    const REQUEST: &'static str = "Request";
    const SERIES: u32 = 5;
    const HISTOGRAMS: u32 = 3;
    const EXEMPLARS: u32 = 4;
    const METADATA: Option<u32> = Some(5);
    const LAST: u32 = 5;
    const SAMPLE_LAST: u32 = 3;

    /// Packed references. Not packed is allowed to every writer of protobuf, though none of remote write does it.
    #[inline]
    fn labels<'a>(cursor: &mut Cursor<'a>, _: usize, wire: WireType) -> Result<Option<&'a [u8]>, DecodeError> {
        match wire {
            WireType::Bytes => cursor.delimited().map(Some),
            WireType::Varint => cursor.varint().map(|_| None),
            found => Err(DecodeError::WireType { message: "TimeSeries", field: 1, found }),
        }
    }

    fn gather(cursor: &mut Cursor<'_>, wire: WireType, buffer: &mut Vec<u8>) -> Result<(), DecodeError> {
        if wire == WireType::Varint {
            put_varint(buffer, cursor.varint()?);
        } else {
            let part = cursor.delimited()?;
            refs(part).try_for_each(|reference| reference.map(drop))?;
            buffer.extend_from_slice(part);
        }
        Ok(())
    }
}

/// The series of a decompressed request, in the order sent. After an error the iterator ends.
#[must_use]
pub fn series(body: &[u8]) -> SeriesIter<'_, V2> {
    SeriesIter::new(body)
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

impl<'a> RefIter<'a> {
    /// What is not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.cursor.rest()
    }
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
