//! HTTP/1.0 and 1.1 (RFC 9112): the first bytes of a call that begins a message.
//!
//! Bodies are not followed: neither lengths nor chunks matter, since a message is known by the first bytes of
//! the call that begins it. Interim responses do not end a request; `101 Switching Protocols` ends HTTP.
//! A head whose first bytes are spread over several calls is put together again.

use super::{HEADER, Lane};
use crate::requests::CLASSES;

/// As many as a status line needs up to its code, `HTTP/1.1 200`.
pub const HEAD_BYTES: usize = 12;

/// Label values of the status classes, by index.
pub const STATUSES: [&str; CLASSES] = ["2xx", "3xx", "4xx", "5xx", "none"];

/// What the first bytes of a message say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A request with one of the usual methods.
    Request,
    /// A final response, with the index of its status class.
    Response(u8),
    /// `101 Switching Protocols`: what follows is not HTTP any more.
    Switching,
    /// An interim response, body bytes, or no HTTP at all.
    Other,
}

/// Classifies the first bytes of a message (RFC 9112 sections 3 and 4).
#[inline(always)]
#[must_use]
pub fn classify(head: &[u8; HEADER]) -> Head {
    match head {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', class, tens, units, ..] => match class {
            b'2'..=b'5' => Head::Response(*class - b'2'),
            b'1' if *tens == b'0' && *units == b'1' => Head::Switching,
            _ => Head::Other,
        },
        [b'G', b'E', b'T', b' ', ..]
        | [b'P', b'O', b'S', b'T', b' ', ..]
        | [b'P', b'U', b'T', b' ', ..]
        | [b'D', b'E', b'L', b'E', b'T', b'E', b' ', ..]
        | [b'H', b'E', b'A', b'D', b' ', ..]
        | [b'P', b'A', b'T', b'C', b'H', b' ', ..]
        | [b'O', b'P', b'T', b'I', b'O', b'N', b'S', b' ', ..] => Head::Request,
        _ => Head::Other,
    }
}

/// Whether a call of these bytes begins a request.
#[inline(always)]
#[must_use]
pub fn begins(head: &[u8; HEADER], _length: u32) -> bool {
    matches!(classify(head), Head::Request)
}

/// Whether a call may begin a message, or is the rest of a short piece of one.
#[inline(always)]
#[must_use]
pub fn may_begin(head: &[u8; HEADER], length: u32) -> bool {
    !matches!(classify(head), Head::Other) || is_cut(head, length)
}

/// Whether a call ends before a status line says its status.
#[inline(always)]
fn is_cut(head: &[u8; HEADER], length: u32) -> bool {
    length < HEAD_BYTES as u32 && matches!(head, [b'H', b'T', b'T', b'P', b'/', ..])
}

/// What a call of this direction begins with, together with what the last call held back.
#[inline(always)]
pub fn head(lane: &mut Lane, head: &[u8; HEADER], length: u32, scratch: &mut [u8; 2 * HEADER]) -> Head {
    if lane.held_bytes == 0 {
        if is_cut(head, length) {
            lane.held = *head;
            lane.held_bytes = length;
            return Head::Other;
        }
        return classify(head);
    }
    // The new bytes behind the held ones.
    let held = lane.held_bytes & (HEADER as u32 - 1);
    let Some(place) = scratch.first_chunk_mut::<HEADER>() else { return Head::Other };
    *place = lane.held;
    let Some(place) = scratch.get_mut(held as usize..).and_then(|rest| rest.first_chunk_mut::<HEADER>()) else {
        return Head::Other;
    };
    *place = *head;
    let Some(both) = scratch.first_chunk::<HEADER>() else { return Head::Other };
    let available = held.saturating_add(length);
    *lane = Lane::default();
    if is_cut(both, available) {
        lane.held = *both;
        lane.held_bytes = available;
        return Head::Other;
    }
    classify(both)
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
        for method in ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"] {
            assert_eq!(of(&std::format!("{method} /")), Head::Request, "{method}");
        }
    }

    #[test]
    fn methods_need_their_space_and_capitals() {
        for text in ["GETTING on with", "get / HTTP/1.1", "POSTAL code", "", "PRI * HTTP/2.0"] {
            assert_eq!(of(text), Head::Other, "{text:?}");
        }
    }

    #[test]
    fn responses_give_their_status_class() {
        assert_eq!(of("HTTP/1.1 200 OK"), Head::Response(0));
        assert_eq!(of("HTTP/1.0 302 Found"), Head::Response(1));
        assert_eq!(of("HTTP/1.1 404 Not Found"), Head::Response(2));
        assert_eq!(of("HTTP/1.1 503 Service Unavailable"), Head::Response(3));
    }

    #[test]
    fn interim_responses_do_not_end_a_request_but_switching_does() {
        assert_eq!(of("HTTP/1.1 100 Continue"), Head::Other);
        assert_eq!(of("HTTP/1.1 103 Early Hints"), Head::Other);
        assert_eq!(of("HTTP/1.1 101 Switching Protocols"), Head::Switching);
    }

    #[test]
    fn nonsense_status_codes_and_versions_are_not_responses() {
        for text in ["HTTP/1.1 999 ", "HTTP/1.1 000 ", "HTTP/2.0 200 ", "HTTP/1.12200", "HTTP/1.1\t200"] {
            assert_eq!(of(text), Head::Other, "{text:?}");
        }
    }

    #[test]
    fn a_status_line_is_put_together_however_the_first_call_cuts_it() {
        let line = "HTTP/1.1 503 Service Unavailable";
        for cut in 5..line.len() {
            let mut lane = Lane::default();
            let heads = [&line[..cut], &line[cut..]]
                .map(|part| head(&mut lane, &bytes(part), u32::try_from(part.len()).unwrap(), &mut [0; 2 * HEADER]));
            let expected = [Head::Response(3), Head::Other];
            assert_eq!(heads, if cut < HEAD_BYTES { [Head::Other, expected[0]] } else { expected }, "cut at {cut}");
            assert_eq!(lane, Lane::default());
        }
    }
}
