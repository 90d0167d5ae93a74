//! Varints and tags of the protobuf wire format.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use crate::decode::DecodeError;

/// Bytes that `value` takes as a varint.
pub(crate) fn varint_length(value: u64) -> usize {
    // 7 bits a byte; `| 1` makes zero take one.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends `value` as a varint.
#[inline]
pub fn put_varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push((value as u8) | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// The value of a varint of at most eight bytes, which stand alone in `bytes`: closes the gaps of one bit per byte,
/// pairs of bytes first.
#[inline]
pub(crate) fn joined(bytes: u64) -> u64 {
    let kept = bytes & 0x7f7f_7f7f_7f7f_7f7f;
    let pairs = (kept & 0x007f_007f_007f_007f) | ((kept & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4)
}

/// How a field's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireType {
    /// A varint.
    Varint,
    /// Eight bytes, little-endian.
    Fixed64,
    /// A length and that many bytes.
    Bytes,
    /// Four bytes, little-endian.
    Fixed32,
}

/// A position in a message. Offsets in errors count from the start of the slice it was made from.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    #[inline]
    pub(crate) fn at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    /// The bytes not read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// The bytes between two positions of this cursor.
    #[inline]
    pub(crate) fn between(&self, start: usize, end: usize) -> &'a [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.bytes.get(self.position) {
            Some(&byte) if byte < 0x80 => {
                self.position += 1;
                Ok(u64::from(byte))
            }
            _ => self.multi_varint(),
        }
    }

    /// A varint that mostly takes one or two bytes, such as an index into a table.
    #[inline]
    pub(crate) fn short_varint(&mut self) -> Result<u64, DecodeError> {
        match self.bytes.get(self.position..) {
            Some(&[low, ..]) if low < 0x80 => {
                self.position += 1;
                Ok(u64::from(low))
            }
            Some(&[low, high, ..]) if high < 0x80 => {
                self.position += 2;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.multi_varint(),
        }
    }

    /// A varint of several bytes, eight at a time where there are: timestamps in milliseconds take six. Kept out of
    /// line, as lengths mostly take one byte and their code should stay small.
    #[inline(never)]
    fn multi_varint(&mut self) -> Result<u64, DecodeError> {
        let Some(chunk) = self.bytes.get(self.position..).and_then(<[u8]>::first_chunk::<8>) else {
            return self.long_varint();
        };
        let chunk = u64::from_le_bytes(*chunk);
        let ends = !chunk & 0x8080_8080_8080_8080;
        if ends == 0 {
            return self.long_varint();
        }
        let bits = ends.trailing_zeros() + 1;
        self.position += (bits / 8) as usize;
        Ok(joined(chunk & (u64::MAX >> (64 - bits))))
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let start = self.position;
        let mut value = 0_u64;
        for index in 0..10 {
            let Some(&byte) = self.bytes.get(start + index) else {
                return Err(DecodeError::Truncated { offset: self.bytes.len() });
            };
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.position = start + index + 1;
                return Ok(value);
            }
        }
        Err(DecodeError::VarintOverflow { offset: start })
    }

    /// The next field's number and wire type.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<(u32, WireType), DecodeError> {
        let offset = self.position;
        let key = self.varint()?;
        let key = u32::try_from(key).map_err(|_| DecodeError::InvalidTag { key, offset })?;
        let wire = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Bytes,
            5 => WireType::Fixed32,
            _ => return Err(DecodeError::InvalidTag { key: u64::from(key), offset }),
        };
        if key >> 3 == 0 {
            return Err(DecodeError::InvalidTag { key: u64::from(key), offset });
        }
        Ok((key >> 3, wire))
    }

    #[inline]
    pub(crate) fn delimited(&mut self) -> Result<&'a [u8], DecodeError> {
        let offset = self.position;
        let length = self.varint()?;
        let remaining = self.bytes.len() - self.position;
        match usize::try_from(length) {
            Ok(length) if length <= remaining => {
                let start = self.position;
                self.position += length;
                Ok(&self.bytes[start..start + length])
            }
            _ => Err(DecodeError::LengthOverrun { length, remaining, offset }),
        }
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, DecodeError> {
        let end = self.position + 8;
        let bytes = self.bytes.get(self.position..end).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        let bytes = bytes.ok_or(DecodeError::Truncated { offset: self.bytes.len() })?;
        self.position = end;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn skip(&mut self, wire: WireType) -> Result<(), DecodeError> {
        match wire {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.fixed64().map(drop),
            WireType::Bytes => self.delimited().map(drop),
            WireType::Fixed32 => {
                if self.bytes.len() - self.position < 4 {
                    return Err(DecodeError::Truncated { offset: self.bytes.len() });
                }
                self.position += 4;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_survive_the_round_trip(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            let mut buffer = Vec::new();
            put_varint(&mut buffer, value);
            let length = buffer.len();
            prop_assert_eq!(length, varint_length(value));
            // At the end of a message and within one.
            for after in [0, 9] {
                buffer.resize(length + after, 0xff);
                let mut cursor = Cursor::new(&buffer);
                prop_assert_eq!(cursor.varint().unwrap(), value);
                prop_assert_eq!(cursor.position(), length);
                let mut cursor = Cursor::new(&buffer);
                prop_assert_eq!(cursor.short_varint().unwrap(), value);
                prop_assert_eq!(cursor.position(), length);
            }
        }
    }

    #[test]
    fn an_eleven_byte_varint_is_refused() {
        let mut cursor = Cursor::new(&[0xff; 11]);
        assert_eq!(cursor.varint(), Err(DecodeError::VarintOverflow { offset: 0 }));
    }
}
