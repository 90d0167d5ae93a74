//! HTTP/1.0 and 1.1 (RFC 9112): what the first bytes of a message say it is.
//!
//! A request and its answer that each begin a call are known by these bytes alone. What does not fit that, requests
//! in a row, cut heads, bodies and interim responses, is followed from message to message by a [`scan`].

pub mod scan;

use super::{HEADER, method};
use crate::requests::CLASSES;

/// As many as a status line needs up to its code, `HTTP/1.1 200`; no request line is shorter.
pub const HEAD_BYTES: usize = 12;

/// Label values of the status classes, by index.
pub const STATUSES: [&str; CLASSES] = ["2xx", "3xx", "4xx", "5xx", "none"];

/// What the first bytes of a message say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A request with one of the usual methods, by its index among [`method::NAMES`].
    Request(u8),
    /// A final response, with the index of its status class, and whether it has no body, whatever it says.
    Response(u8, bool),
    /// A response before the final one.
    Interim,
    /// `101 Switching Protocols`: what follows is not HTTP any more.
    Switching,
    /// Body bytes, or no HTTP at all.
    Other,
}

/// Classifies the first bytes of a message (RFC 9112 sections 3 and 4).
#[inline(always)]
#[must_use]
pub fn classify(head: &[u8; HEADER]) -> Head {
    match head {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', class, tens, units, ..] => match class {
            // RFC 9112 section 6.3: 204 and 304 have no body.
            b'2'..=b'5' => Head::Response(*class - b'2', matches!((class, tens, units), (b'2' | b'3', b'0', b'4'))),
            b'1' if *tens == b'0' && *units == b'1' => Head::Switching,
            b'1' => Head::Interim,
            _ => Head::Other,
        },
        [b'G', b'E', b'T', b' ', ..] => Head::Request(method::GET),
        [b'H', b'E', b'A', b'D', b' ', ..] => Head::Request(method::HEAD),
        [b'P', b'O', b'S', b'T', b' ', ..] => Head::Request(method::POST),
        [b'P', b'U', b'T', b' ', ..] => Head::Request(method::PUT),
        [b'D', b'E', b'L', b'E', b'T', b'E', b' ', ..] => Head::Request(method::DELETE),
        [b'P', b'A', b'T', b'C', b'H', b' ', ..] => Head::Request(method::PATCH),
        [b'O', b'P', b'T', b'I', b'O', b'N', b'S', b' ', ..] => Head::Request(method::OPTIONS),
        [b'C', b'O', b'N', b'N', b'E', b'C', b'T', b' ', ..] => Head::Request(method::CONNECT),
        [b'T', b'R', b'A', b'C', b'E', b' ', ..] => Head::Request(method::TRACE),
        _ => Head::Other,
    }
}

/// Whether a call of these bytes begins a request.
#[inline(always)]
#[must_use]
pub fn begins(head: &[u8; HEADER], _length: u32) -> bool {
    matches!(classify(head), Head::Request(_))
}

/// Whether a call may begin a message.
#[inline(always)]
#[must_use]
pub fn may_begin(head: &[u8; HEADER], length: u32) -> bool {
    !matches!(classify(head), Head::Other) || is_cut_request(head, length) || is_cut_response(head, length)
}

/// Whether a call ends before a status line says its status.
#[inline(always)]
#[must_use]
pub fn is_cut_response(head: &[u8; HEADER], length: u32) -> bool {
    length < HEAD_BYTES as u32 && {
        let [h0, h1, h2, h3, h4, ..] = *head;
        let word = u64::from_le_bytes([h0, h1, h2, h3, h4, 0, 0, 0]);
        begins_like(word, length, b"HTTP/\0\0\0", 5)
    }
}

/// Whether a call ends before its method does, of the usual ones.
#[inline(always)]
#[must_use]
pub fn is_cut_request(head: &[u8; HEADER], length: u32) -> bool {
    length < 8 && {
        let [h0, h1, h2, h3, h4, h5, h6, h7, ..] = *head;
        let word = u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7]);
        begins_like(word, length, b"GET \0\0\0\0", 4)
            || begins_like(word, length, b"POST \0\0\0", 5)
            || begins_like(word, length, b"PUT \0\0\0\0", 4)
            || begins_like(word, length, b"HEAD \0\0\0", 5)
            || begins_like(word, length, b"DELETE \0", 7)
            || begins_like(word, length, b"PATCH \0\0", 6)
            || begins_like(word, length, b"OPTIONS ", 8)
            || begins_like(word, length, b"CONNECT ", 8)
            || begins_like(word, length, b"TRACE \0\0", 6)
    }
}

/// Whether the first bytes, of which there are `length`, agree with those of a text of so many.
#[inline(always)]
fn begins_like(word: u64, length: u32, text: &[u8; 8], of: u32) -> bool {
    let known = if length < of { length } else { of };
    let mask = if known >= 8 { u64::MAX } else { (1 << (8 * known)) - 1 };
    (word ^ u64::from_le_bytes(*text)) & mask == 0
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn bytes(text: &str) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let n = text.len().min(HEADER);
        bytes[..n].copy_from_slice(&text.as_bytes()[..n]);
        bytes
    }

    fn of(text: &str) -> Head {
        classify(&bytes(text))
    }

    #[test]
    fn every_usual_method_begins_a_request() {
        for (index, method) in method::NAMES.iter().enumerate().skip(1) {
            assert_eq!(of(&std::format!("{method} /")), Head::Request(index as u8), "{method}");
        }
    }

    #[test]
    fn methods_need_their_space_and_capitals() {
        for text in ["GETTING on with", "get / HTTP/1.1", "POSTAL code", "", "PRI * HTTP/2.0"] {
            assert_eq!(of(text), Head::Other, "{text:?}");
        }
    }

    #[test]
    fn responses_give_their_status_class_and_whether_they_have_no_body() {
        assert_eq!(of("HTTP/1.1 200 OK"), Head::Response(0, false));
        assert_eq!(of("HTTP/1.1 204 No"), Head::Response(0, true));
        assert_eq!(of("HTTP/1.0 302 Found"), Head::Response(1, false));
        assert_eq!(of("HTTP/1.1 304 Not M"), Head::Response(1, true));
        assert_eq!(of("HTTP/1.1 404 Not Found"), Head::Response(2, false));
        assert_eq!(of("HTTP/1.1 503 Service Unavailable"), Head::Response(3, false));
    }

    #[test]
    fn interim_responses_do_not_end_a_request_but_switching_does() {
        assert_eq!(of("HTTP/1.1 100 Continue"), Head::Interim);
        assert_eq!(of("HTTP/1.1 103 Early Hints"), Head::Interim);
        assert_eq!(of("HTTP/1.1 101 Switching Protocols"), Head::Switching);
    }

    #[test]
    fn nonsense_status_codes_and_versions_are_not_responses() {
        for text in ["HTTP/1.1 999 ", "HTTP/1.1 000 ", "HTTP/2.0 200 ", "HTTP/1.12200", "HTTP/1.1\t200"] {
            assert_eq!(of(text), Head::Other, "{text:?}");
        }
    }

    #[test]
    fn cut_beginnings_may_be_messages_and_others_may_not() {
        for method in &method::NAMES[1..] {
            for cut in 1..=method.len() {
                assert!(is_cut_request(&bytes(&method[..cut]), cut as u32), "{method} cut at {cut}");
            }
        }
        for cut in 1..HEAD_BYTES {
            assert!(is_cut_response(&bytes(&"HTTP/1.1 200"[..cut]), cut as u32), "{cut}");
        }
        for text in ["X", "GEX", "PUTS", "g", "\0"] {
            assert!(!is_cut_request(&bytes(text), text.len() as u32), "{text:?}");
        }
        for text in ["X", "HTTQ", "HTTP 1"] {
            assert!(!is_cut_response(&bytes(text), text.len() as u32), "{text:?}");
        }
    }
}
