//! Changes of a protobuf message, field by field, at any depth, with the lengths around them kept right.

use super::bytes;
use crate::random::Random;

/// Deepest message within a message.
const DEPTH: usize = 5;

/// One field: its key, and its value without a length.
#[derive(Debug, Clone)]
struct Field {
    key: u64,
    value: Vec<u8>,
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for index in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * index)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// The fields of a message; `None` where it is none.
fn split(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let length = match key & 7 {
            0 => {
                let mut rest = bytes;
                varint(&mut rest)?;
                bytes.len() - rest.len()
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        fields.push(Field { key, value: value.to_vec() });
    }
    Some(fields)
}

fn join(fields: &[Field]) -> Vec<u8> {
    let mut message = Vec::new();
    for field in fields {
        put_varint(&mut message, field.key);
        if field.key & 7 == 2 {
            put_varint(&mut message, field.value.len() as u64);
        }
        message.extend_from_slice(&field.value);
    }
    message
}

/// Changes something.
pub(super) fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    *input = changed(input, corpus, random, 0);
}

fn changed(message: &[u8], corpus: &[Vec<u8>], random: &mut Random, depth: usize) -> Vec<u8> {
    let fields = split(message).filter(|fields| !fields.is_empty());
    let Some(mut fields) = fields else {
        let mut message = message.to_vec();
        bytes::change(&mut message, corpus, random);
        return message;
    };
    let (at, other) = (random.below(fields.len()), random.below(fields.len()));
    let field = fields[at].clone();
    match random.below(12) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(other, field),
        2 => fields.swap(at, other),
        // Another number, or another way of writing, for the same value.
        3 => fields[at].key ^= 1 << random.below(6),
        4 => {
            let unknown = Field { key: random.below(1 << 12) as u64 & !7 | 2, value: field.value };
            fields.insert(other, unknown);
        }
        5 => {
            // A field of the same place in another seed.
            let theirs = random.choose(corpus).and_then(|seed| split(seed)).unwrap_or_default();
            if let Some(field) = random.choose(&theirs) {
                fields.insert(at, field.clone());
            }
        }
        _ if field.key & 7 == 2 && depth < DEPTH => {
            fields[at].value = changed(&field.value, corpus, random, depth + 1);
        }
        _ if field.key & 7 == 0 => {
            let value = random.bits() >> random.below(64);
            fields[at].value.clear();
            put_varint(&mut fields[at].value, value);
        }
        _ => bytes::change(&mut fields[at].value, corpus, random),
    }
    join(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_is_put_together_again() {
        let message = [0x0a, 3, 1, 2, 3, 0x10, 0x80, 1, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4];
        let fields = split(&message).unwrap();
        assert_eq!(fields.len(), 4);
        assert_eq!(join(&fields), message);
        assert!(split(&message[..4]).is_none());
    }
}
