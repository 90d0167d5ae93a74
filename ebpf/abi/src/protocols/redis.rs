//! Redis and what speaks like it: RESP 2 and 3
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//!
//! A request is an array of bulk strings, or a line of text; an answer is a value of any type, and an error
//! if it is one. Values that the server pushes on its own (RESP 3) and attributes are no answers.

use super::walk::place_of;
use super::{ERROR, Event, Framing, HEADER, Lane, OK, Step};

/// The line that began is not complete.
const IN_LINE: u32 = 1;

/// See the module.
#[derive(Debug)]
pub struct Redis;

/// Whether a call begins a request: `*3\r\n$..`, or `PING` alone.
#[inline(always)]
#[must_use]
pub fn begins(head: &[u8; HEADER], length: u32) -> bool {
    match head {
        [b'*', b'1'..=b'9', b'\r', b'\n', b'$', b'1'..=b'9', ..]
        | [b'*', b'1'..=b'9', b'0'..=b'9', b'\r', b'\n', b'$', b'1'..=b'9', ..]
        | [b'*', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b'\r', b'\n', b'$', b'1'..=b'9', ..] => true,
        [b'*', b'1'..=b'9', b'\r', b'\n', 0, ..] => length == 4,
        [b'P' | b'p', b'I' | b'i', b'N' | b'n', b'G' | b'g', b'\r', b'\n', ..] => true,
        _ => false,
    }
}

/// The number of a header and the header's length.
enum Number {
    Of(u32, u32),
    Null(u32),
    More,
    None,
}

/// Reads `X123\r\n`. Eight digits are as many as are read; no loop, since the kernel's verifier would follow
/// each way through it.
#[inline(always)]
fn number(header: &[u8; HEADER], available: u32) -> Number {
    if header[1] == b'-' {
        return if available < 5 { Number::More } else { Number::Null(5) };
    }
    let word =
        u64::from_le_bytes([header[1], header[2], header[3], header[4], header[5], header[6], header[7], header[8]]);
    let digits = place_of(word, b'\r');
    if digits + 3 > available {
        return if available < 11 { Number::More } else { Number::None };
    }
    if digits == 0 || (digits == 8 && header[9] != b'\r') {
        return Number::None;
    }
    // Zeroes before them make them eight.
    let shift = (64 - 8 * digits) & 63;
    let padding = if digits == 8 { 0 } else { ZEROES >> (8 * digits) };
    let text = (word << shift) | padding;
    let is_number = text & HIGH_HALVES == ZEROES && text.wrapping_add(0x0606_0606_0606_0606) & HIGH_HALVES == ZEROES;
    if !is_number {
        return Number::None;
    }
    // Neighbours are joined three times: digits to pairs, pairs to fours, fours to eight.
    let pairs = (text & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(2561) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(6_553_601) >> 16;
    let value = (fours & 0x0000_ffff_0000_ffff).wrapping_mul(42_949_672_960_001) >> 32;
    Number::Of(value as u32, digits + 3)
}

/// Eight times the digit 0.
const ZEROES: u64 = 0x3030_3030_3030_3030;
const HIGH_HALVES: u64 = 0xf0f0_f0f0_f0f0_f0f0;

/// Up to the end of a line, or to the end of what is there.
#[inline(always)]
fn line(lane: &mut Lane, header: &[u8; HEADER], available: u32, event: Event) -> Step {
    let h = header;
    let low = place_of(u64::from_le_bytes([h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]]), b'\n');
    let high = place_of(u64::from_le_bytes([h[8], h[9], h[10], h[11], h[12], h[13], h[14], h[15]]), b'\n');
    let length = 1 + if low < 8 { low } else { 8 + high };
    if length <= available {
        lane.state &= !IN_LINE;
        return Step::new(length, event);
    }
    lane.state |= IN_LINE;
    Step::new(available, event)
}

impl Framing for Redis {
    #[inline(always)]
    fn step(lane: &mut Lane, is_request: bool, header: &[u8; HEADER], available: u32) -> Step {
        if lane.state & IN_LINE != 0 {
            return line(lane, header, available, Event::Nothing);
        }
        let kind = header[0];
        let is_top = lane.left == 0;
        if is_request {
            if is_top && kind != b'*' {
                // A line of text; empty ones are no requests.
                return match kind {
                    b'a'..=b'z' | b'A'..=b'Z' => line(lane, header, available, Event::Asks),
                    b'\r' | b'\n' => Step::new(1, Event::Nothing),
                    _ => Step::BAD,
                };
            }
            return match (number(header, available), is_top, kind) {
                (Number::More, ..) => Step::HOLD,
                (Number::Of(0, length) | Number::Null(length), true, _) => Step::new(length, Event::Nothing),
                (Number::Of(count, length), true, _) => {
                    lane.left = count;
                    Step::new(length, Event::Asks)
                }
                (Number::Of(bytes, length), false, b'$') => {
                    lane.left -= 1;
                    Step::new(length + bytes + 2, Event::Nothing)
                }
                _ => Step::BAD,
            };
        }
        let event = if !is_top || matches!(kind, b'>' | b'|') { Event::Nothing } else { Event::Answers };
        let class = if matches!(kind, b'-' | b'!') { ERROR } else { OK };
        let step = value(lane, kind, event, header, available);
        Step { class, ..step }
    }
}

/// The header of a value of an answer.
#[inline(always)]
fn value(lane: &mut Lane, kind: u8, event: Event, header: &[u8; HEADER], available: u32) -> Step {
    let beneath = lane.left.saturating_sub(1);
    match kind {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
            lane.left = beneath;
            line(lane, header, available, event)
        }
        b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|' => match number(header, available) {
            Number::More => Step::HOLD,
            Number::None => Step::BAD,
            Number::Null(length) => {
                lane.left = beneath;
                Step::new(length, event)
            }
            Number::Of(count, length) => match kind {
                b'$' | b'=' | b'!' => {
                    lane.left = beneath;
                    Step::new(length + count + 2, event)
                }
                b'%' => {
                    lane.left = beneath.saturating_add(2 * count);
                    Step::new(length, event)
                }
                // An attribute stands before the value that it belongs to.
                b'|' => {
                    lane.left = lane.left.saturating_add(2 * count);
                    Step::new(length, event)
                }
                _ => {
                    lane.left = beneath.saturating_add(count);
                    Step::new(length, event)
                }
            },
        },
        _ => Step::BAD,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn of(text: &str) -> Option<(u32, u32)> {
        let mut header = [0; HEADER];
        let available = text.len().min(HEADER);
        header[..available].copy_from_slice(&text.as_bytes()[..available]);
        match number(&header, available as u32) {
            Number::Of(value, length) => Some((value, length)),
            Number::Null(length) => Some((u32::MAX, length)),
            Number::More => Some((0, 0)),
            Number::None => None,
        }
    }

    #[test]
    fn numbers_are_read_up_to_eight_digits() {
        for value in [0, 1, 9, 10, 305, 4096, 65_535, 123_456, 9_999_999, 99_999_999] {
            let text = std::format!("${value}\r\nrest and more");
            assert_eq!(of(&text), Some((value, text.find('r').unwrap() as u32)), "{text:?}");
        }
        assert_eq!(of("$-1\r\n"), Some((u32::MAX, 5)));
        for text in ["$", "$1", "$12345", "$12\r", "$12345678\r", "$-1"] {
            assert_eq!(of(text), Some((0, 0)), "{text:?}");
        }
        for text in
            ["$\r\nabcdefghij", "$12x\r\nabcdefg", "$1:\r\nabcdefghij", "$123456789\r\nabc", "$abcdefghijkl\r\n"]
        {
            assert_eq!(of(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_place_of_a_byte_is_the_first() {
        for place in 0..8 {
            let mut bytes = [b'x'; 8];
            bytes[place..].fill(b'\n');
            assert_eq!(place_of(u64::from_le_bytes(bytes), b'\n') as usize, place);
        }
        assert_eq!(place_of(u64::from_le_bytes(*b"xxxxxxxx"), b'\n'), 8);
        assert_eq!(place_of(u64::from_le_bytes([b'\n' + 1, b'\n', 0, 0, 0, 0, 0, 0]), b'\n'), 1);
    }
}
