//! Header blocks (RFC 7541), as far as they concern us.
//!
//! A decoder must follow every instruction of every block of its direction, or the table that later blocks
//! refer to is not what the sender means. This one does, but holds of each field only its lengths and what
//! it says if it is [one of ours](Field): 12 bytes instead of the text. A table of the usual 4,096 bytes has
//! at most 128 entries (each counts for 32 bytes more than its text, section 4.1), so it takes 1.5 KiB here.
//!
//! After an error the decoder is of no use any more: its connection counts as unparsed.

mod fields;
mod huffman;
mod static_table;

use std::collections::VecDeque;

pub use fields::{Field, Name, Text};

/// The largest table that is followed; senders choose theirs up to what the receiver offers, 4,096 unless it
/// says otherwise (RFC 9113 section 6.5.2).
pub const MOST_TABLE_BYTES: usize = 16 * 1024;
/// What a table is at first.
const FIRST_TABLE_BYTES: usize = 4096;
/// What an entry counts for beyond its name and value (RFC 7541 section 4.1).
const ENTRY_OVERHEAD: usize = 32;
/// Integers beyond this are nobody's: no string or table is so large.
const MOST_INTEGER: usize = 1 << 24;

/// Why a block cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpackError {
    /// It ends within a field.
    #[error("the block ends within a field")]
    Truncated,
    /// A number that is larger than any may be.
    #[error("a number above {MOST_INTEGER}")]
    Integer,
    /// A reference to a field that there is not.
    #[error("index {index} of a table with {fields} fields")]
    Index {
        /// Asked for.
        index: usize,
        /// There are so many, static ones included.
        fields: usize,
    },
    /// A string that is not in the code that it says it is in.
    #[error("a string that is no Huffman code")]
    Huffman,
    /// A table that is larger than what is followed.
    #[error("a table of {bytes} bytes, at most {MOST_TABLE_BYTES} are followed")]
    Table {
        /// What the sender wants.
        bytes: usize,
    },
    /// The table may change its size before a block's first field only (RFC 7541 section 4.2).
    #[error("a change of the table's size after a field")]
    LateTable,
}

/// A field of the dynamic table; 12 bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// As the table counts them.
    bytes: u32,
    name_bytes: u32,
    field: Field,
}

/// Decodes the blocks of one direction of one connection.
#[derive(Debug)]
pub struct Decoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    most_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, most_bytes: FIRST_TABLE_BYTES }
    }
}

impl Decoder {
    /// Memory held beyond the decoder itself.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// Hands over the fields of a whole block.
    ///
    /// # Errors
    /// The first thing that is wrong; fields before it were handed over.
    pub fn block(&mut self, block: &[u8], mut receive: impl FnMut(Field)) -> Result<(), HpackError> {
        let mut rest = Reader(block);
        let mut has_field = false;
        while let Some(first) = rest.0.first().copied() {
            // RFC 7541 section 6: which kind of representation, by its first bits.
            match first {
                0x80.. => receive(self.entry(rest.integer(7)?)?.field),
                0x40..0x80 => {
                    let entry = self.literal(&mut rest, 6)?;
                    self.insert(entry);
                    receive(entry.field);
                }
                0x20..0x40 => {
                    if has_field {
                        return Err(HpackError::LateTable);
                    }
                    self.resize(rest.integer(5)?)?;
                    continue;
                }
                // Without indexing, or never indexed.
                0x00..0x20 => receive(self.literal(&mut rest, 4)?.field),
            }
            has_field = true;
        }
        Ok(())
    }

    /// A literal field whose name's index has so many bits.
    fn literal(&self, rest: &mut Reader<'_>, index_bits: u32) -> Result<Entry, HpackError> {
        let index = rest.integer(index_bits)?;
        let (name, name_bytes) = if index == 0 {
            let text = rest.string()?;
            (Name::of(&text), text.total_bytes())
        } else {
            let entry = self.entry(index)?;
            (entry.field.name(), entry.name_bytes as usize)
        };
        let value = rest.string()?;
        let bytes = name_bytes + value.total_bytes() + ENTRY_OVERHEAD;
        Ok(Entry { bytes: bytes as u32, name_bytes: name_bytes as u32, field: Field::new(name, &value) })
    }

    fn entry(&self, index: usize) -> Result<Entry, HpackError> {
        if let Some((name, value)) = index.checked_sub(1).and_then(|index| static_table::FIELDS.get(index)) {
            let (name, value) = (Text::from(name.as_bytes()), Text::from(value.as_bytes()));
            return Ok(Entry {
                bytes: 0,
                name_bytes: name.total_bytes() as u32,
                field: Field::new(Name::of(&name), &value),
            });
        }
        let fields = static_table::FIELDS.len() + self.entries.len();
        let place = index.checked_sub(static_table::FIELDS.len() + 1);
        place.and_then(|place| self.entries.get(place)).copied().ok_or(HpackError::Index { index, fields })
    }

    /// RFC 7541 section 4.4: an entry that is larger than the table empties it.
    fn insert(&mut self, entry: Entry) {
        self.evict(self.most_bytes.saturating_sub(entry.bytes as usize));
        if entry.bytes as usize <= self.most_bytes {
            self.bytes += entry.bytes as usize;
            self.entries.push_front(entry);
        }
    }

    fn resize(&mut self, bytes: usize) -> Result<(), HpackError> {
        if bytes > MOST_TABLE_BYTES {
            return Err(HpackError::Table { bytes });
        }
        self.most_bytes = bytes;
        self.evict(bytes);
        Ok(())
    }

    fn evict(&mut self, until_bytes: usize) {
        while self.bytes > until_bytes {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.bytes -= oldest.bytes as usize;
        }
    }
}

/// What is left of a block.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, HpackError> {
        let (first, rest) = self.0.split_first().ok_or(HpackError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    /// RFC 7541 section 5.1; `bits` are those of the first byte.
    fn integer(&mut self, bits: u32) -> Result<usize, HpackError> {
        let most = (1 << bits) - 1;
        let first = usize::from(self.byte()?) & most;
        if first < most {
            return Ok(first);
        }
        let mut value = first;
        for shift in (0..28).step_by(7) {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if value <= MOST_INTEGER { Ok(value) } else { Err(HpackError::Integer) };
            }
        }
        Err(HpackError::Integer)
    }

    /// RFC 7541 section 5.2.
    fn string(&mut self) -> Result<Text, HpackError> {
        let is_huffman = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let (bytes, rest): (&'a [u8], _) = self.0.split_at_checked(length).ok_or(HpackError::Truncated)?;
        self.0 = rest;
        if !is_huffman {
            return Ok(Text::from(bytes));
        }
        let mut text = Text::default();
        huffman::decode(bytes, |byte| text.push(byte)).map_err(|_| HpackError::Huffman)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
