//! TLS: what the first bytes of a record say (RFC 8446 sections 4 and 5.1), and the calls of OpenSSL's that are
//! watched.

use crate::protocols::HEADER;

/// Content types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// A record's payload is at most 2^14 bytes, and 256 more for the encryption.
const MOST_RECORD_BYTES: u16 = (1 << 14) + 256;
/// Bytes of a record's head; programs often read these alone.
const RECORD_HEAD_BYTES: u32 = 5;
/// Messages that begin a handshake.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// Whether a call's first bytes are a record's.
#[inline(always)]
#[must_use]
pub fn is_record(head: &[u8; HEADER], length: u32) -> bool {
    let [kind, major, minor, high, low, ..] = *head;
    let payload = (high as u16) << 8 | low as u16;
    length >= RECORD_HEAD_BYTES
        && (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind)
        && major == 3
        && minor <= 4
        && payload != 0
        && payload <= MOST_RECORD_BYTES
}

/// Whether a call that begins with a record begins a handshake.
#[inline(always)]
#[must_use]
pub fn is_handshake(head: &[u8; HEADER], length: u32) -> bool {
    head[0] == HANDSHAKE && (length == RECORD_HEAD_BYTES || head[5] == CLIENT_HELLO || head[5] == SERVER_HELLO)
}

/// No call of OpenSSL's.
pub const OUTSIDE: u32 = 0;
/// Plain bytes are read.
pub const READS: u32 = 1;
/// Plain bytes are written.
pub const WRITES: u32 = 2;
/// Neither.
pub const SHAKES_HANDS: u32 = 3;
/// With one of the others: the call says by its fourth argument how many bytes it moved, and not by its result.
pub const HAS_COUNT: u32 = 4;
/// The same by its fifth argument, after flags (OpenSSL 3.3).
pub const COUNT_IS_FIFTH: u32 = 8;

/// Functions of OpenSSL's that are watched, each with what it does.
#[cfg(feature = "user")]
pub const FUNCTIONS: [(&str, u32); 8] = [
    ("SSL_connect", SHAKES_HANDS),
    ("SSL_accept", SHAKES_HANDS),
    ("SSL_do_handshake", SHAKES_HANDS),
    ("SSL_read", READS),
    ("SSL_read_ex", READS | HAS_COUNT),
    ("SSL_write", WRITES),
    ("SSL_write_ex", WRITES | HAS_COUNT),
    ("SSL_write_ex2", WRITES | COUNT_IS_FIFTH),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> [u8; HEADER] {
        let mut head = [0; HEADER];
        head[..bytes.len()].copy_from_slice(bytes);
        head
    }

    #[test]
    fn records_are_known_by_their_heads_alone() {
        assert!(is_record(&head(&[22, 3, 1, 2, 0]), 5) && is_handshake(&head(&[22, 3, 1, 2, 0]), 5));
        assert!(is_record(&head(&[23, 3, 3, 0x41, 0]), 5));
        assert!(is_record(&head(&[23, 3, 3, 0, 1, 9]), 6) && !is_handshake(&head(&[23, 3, 3, 0, 1]), 5));
        for other in [[23, 3, 3, 0x41, 1], [23, 3, 3, 0, 0], [24, 3, 3, 0, 1], [23, 2, 3, 0, 1], [23, 3, 5, 0, 1]] {
            assert!(!is_record(&head(&other), 100), "{other:?}");
        }
        assert!(!is_record(&head(&[22, 3, 1, 2]), 4));
        assert!(!is_record(&head(b"GET / HTTP/1.1"), 14));
    }

    #[test]
    fn a_handshake_begins_with_the_hello_of_either_end() {
        for (message, is_one) in [(1, true), (2, true), (4, false), (11, false)] {
            assert_eq!(is_handshake(&head(&[22, 3, 3, 0, 80, message]), 85), is_one, "{message}");
        }
    }
}
