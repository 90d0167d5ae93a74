//! Changes of text, line by line.

use super::bytes;
use crate::random::Random;

/// Words with a meaning of their own in YAML, and numbers at the edges.
const WORDS: [&str; 20] = [
    "~",
    "null",
    "true",
    "{}",
    "[]",
    "[[[[[[[[",
    "{a: {a: {a: ",
    "&a",
    "*a",
    "<<: *a",
    "- ",
    "? ",
    "|",
    ">-",
    "!!binary ",
    "-9223372036854775809",
    "1e999",
    ".nan",
    "\"\\u0000\"",
    "---",
];

/// Changes something.
pub(super) fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let mut lines: Vec<Vec<u8>> = input.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let (from, to) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(8) {
        0 => drop(lines.remove(from)),
        1 => lines.insert(to, lines[from].clone()),
        2 => lines.swap(from, to),
        3 => {
            let other = random.choose(corpus).map_or(&[][..], Vec::as_slice);
            let others: Vec<&[u8]> = other.split(|&byte| byte == b'\n').collect();
            lines.insert(to, random.choose(&others).map_or_else(Vec::new, |line| line.to_vec()));
        }
        4 => drop(lines[to].splice(0..0, vec![b' '; 1 + random.below(4)])),
        5 => {
            let spaces = lines[to].iter().take_while(|&&byte| byte == b' ').count();
            lines[to].drain(..random.below(spaces + 1));
        }
        6 => {
            let word = random.choose(&WORDS).copied().unwrap_or_default();
            let value = lines[to].iter().position(|&byte| byte == b':').map_or(0, |colon| colon + 1);
            lines[to].truncate(value);
            lines[to].extend([b" ", word.as_bytes()].concat());
        }
        _ => bytes::change(&mut lines[to], corpus, random),
    }
    *input = lines.join(&b'\n');
}
