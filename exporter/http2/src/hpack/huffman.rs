//! Huffman coding of strings in header blocks (RFC 7541 section 5.2 and Appendix B).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols, so the
//! lengths alone give the code. A string is decoded symbol by symbol, at most 20 comparisons each and two or
//! three for usual text; nothing is allocated.

/// Not a string in this code: a symbol that only ends strings, or padding that is too long or not of ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotHuffman;

/// Symbols, the end of a string included.
const SYMBOLS: usize = 257;
/// The end of a string; its first bits are the padding.
const END: u16 = 256;
/// The longest code.
const MOST_BITS: usize = 30;

/// Bits of each symbol's code.
#[rustfmt::skip]
const CODE_BITS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The code by length.
struct Code {
    /// Symbols in the order of their codes.
    symbols: [u16; SYMBOLS],
    /// Lengths in use.
    lengths: [Length; MOST_BITS],
    /// How many these are.
    count: usize,
}

#[derive(Clone, Copy)]
struct Length {
    bits: u32,
    /// One past the last code of this length, at the left of 32 bits.
    end: u64,
    first_code: u32,
    /// Index of the first code's symbol.
    first_symbol: usize,
}

const CODE: Code = build();

const fn build() -> Code {
    let nothing = Length { bits: 0, end: 0, first_code: 0, first_symbol: 0 };
    let mut code = Code { symbols: [0; SYMBOLS], lengths: [nothing; MOST_BITS], count: 0 };
    let mut next_code: u64 = 0;
    let mut placed = 0;
    let mut bits = 1;
    while bits <= MOST_BITS {
        next_code <<= 1;
        let first = Length { bits: bits as u32, end: 0, first_code: next_code as u32, first_symbol: placed };
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if CODE_BITS[symbol] as usize == bits {
                code.symbols[placed] = symbol as u16;
                placed += 1;
                next_code += 1;
            }
            symbol += 1;
        }
        if placed > first.first_symbol {
            code.lengths[code.count] = Length { end: next_code << (32 - bits), ..first };
            code.count += 1;
        }
        bits += 1;
    }
    code
}

/// Hands over every byte of the string; gives how many there were.
///
/// # Errors
/// [`NotHuffman`].
pub fn decode(bytes: &[u8], mut receive: impl FnMut(u8)) -> Result<usize, NotHuffman> {
    let mut rest = bytes.iter();
    // What was read and not yet used, at the left.
    let mut window: u64 = 0;
    let mut available = 0;
    let mut count = 0;
    loop {
        while available <= 56 {
            let Some(byte) = rest.next() else { break };
            window |= u64::from(*byte) << (56 - available);
            available += 8;
        }
        if available == 0 {
            return Ok(count);
        }
        let top = window >> 32;
        let Some(length) = CODE.lengths[..CODE.count].iter().find(|length| top < length.end) else {
            return Err(NotHuffman);
        };
        if length.bits > available {
            // Less than a symbol is left: up to seven ones.
            let is_padding = available < 8 && window >> (64 - available) == (1 << available) - 1;
            return if is_padding { Ok(count) } else { Err(NotHuffman) };
        }
        let place = length.first_symbol + ((top >> (32 - length.bits)) as u32 - length.first_code) as usize;
        let symbol = CODE.symbols[place];
        if symbol == END {
            return Err(NotHuffman);
        }
        receive(symbol as u8);
        count += 1;
        window <<= length.bits;
        available -= length.bits;
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn code_of(symbol: usize) -> (u32, u32) {
        let place = CODE.symbols.iter().position(|other| usize::from(*other) == symbol).unwrap();
        let bits = u32::from(CODE_BITS[symbol]);
        let length = CODE.lengths[..CODE.count].iter().find(|length| length.bits == bits).unwrap();
        (length.first_code + (place - length.first_symbol) as u32, bits)
    }

    pub fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for byte in text {
            let (code, length) = code_of(usize::from(*byte));
            bits += &format!("{code:0width$b}", width = length as usize);
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|chunk| u8::from_str_radix(std::str::from_utf8(chunk).unwrap(), 2).unwrap())
            .collect()
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, NotHuffman> {
        let mut text = Vec::new();
        let count = decode(bytes, |byte| text.push(byte))?;
        assert_eq!(count, text.len());
        Ok(text)
    }

    #[test]
    fn codes_are_those_of_the_standards_table() {
        // Samples from every part of RFC 7541 Appendix B, the last of each length among them.
        for (symbol, code, bits) in [
            (0, 0x1ff8, 13),
            (1, 0x7f_ffd8, 23),
            (10, 0x3fff_fffc, 30),
            (32, 0x14, 6),
            (48, 0x0, 5),
            (116, 0x9, 5),
            (117, 0x2d, 6),
            (122, 0x7b, 7),
            (88, 0xfc, 8),
            (90, 0xfd, 8),
            (63, 0x3fc, 10),
            (92, 0x7_fff0, 19),
            (195, 0x7_fff1, 19),
            (249, 0xfff_fffe, 28),
            (255, 0x3ff_ffee, 26),
            (256, 0x3fff_ffff, 30),
        ] {
            assert_eq!(code_of(symbol), (code, bits), "symbol {symbol}");
        }
    }

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&encode(&all)).unwrap(), all);
        for byte in 0..=255 {
            assert_eq!(decoded(&encode(&[byte])).unwrap(), [byte]);
            assert_eq!(decoded(&encode(&[b'a', byte, byte])).unwrap(), [b'a', byte, byte]);
        }
    }

    #[test]
    fn padding_is_short_and_of_ones() {
        assert_eq!(decoded(&[]).unwrap(), b"");
        // `0` is 00000.
        assert_eq!(decoded(&[0b0000_0111]).unwrap(), b"0");
        assert_eq!(decoded(&[0b0000_0110]), Err(NotHuffman));
        assert_eq!(decoded(&[0b0000_0111, 0xff]), Err(NotHuffman), "eleven bits of padding");
        assert_eq!(decoded(&[0xff]), Err(NotHuffman), "eight bits of padding");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(NotHuffman), "the end of a string within it");
    }
}
