//! Changes of bytes that stand for nothing in particular.

use crate::random::Random;

/// Numbers at the edges of their encodings: bytes, varints, lengths, floats.
const EDGES: [&[u8]; 14] = [
    &[0],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0x80, 0x01],
    &[0xff, 0x7f],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02],
    &[0, 0, 0, 0, 0, 0, 0xf0, 0x7f],
    &[2, 0, 0, 0, 0, 0, 0xf0, 0x7f],
    &[0xff, 0xff, 0xff, 0xff],
];

fn range(length: usize, random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(length + 1);
    let most = if random.one_in(4) { length } else { 16 };
    let end = (start + random.below(most + 1)).min(length);
    start..end
}

/// Changes something.
pub(super) fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(9) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.bits() as u8;
            }
        }
        3 => {
            let edge = random.choose(&EDGES).copied().unwrap_or_default();
            let end = (at + edge.len()).min(input.len());
            input.splice(at..end, edge.iter().copied());
        }
        4 => {
            let edge = random.choose(&EDGES).copied().unwrap_or_default();
            input.splice(at..at, edge.iter().copied());
        }
        5 => drop(input.drain(range(input.len(), random))),
        6 => {
            let copied = input[range(input.len(), random)].to_vec();
            input.splice(at..at, copied);
        }
        7 => {
            let other = random.choose(corpus).map_or(&[][..], Vec::as_slice);
            let copied = other[range(other.len(), random)].to_vec();
            let end = (at + random.below(copied.len() + 1)).min(input.len());
            input.splice(at..end, copied);
        }
        _ => input.truncate(at),
    }
}
