//! The first bytes of HTTP/1 messages, and the buckets that durations fall into.

/// Bytes looked at: as many as a status line needs up to its code, `HTTP/1.1 200`. No valid request
/// is shorter (`GET / HTTP/1.1` and an empty line).
pub const HEAD_BYTES: usize = 12;

/// Status classes that are told apart; see [`CLASS_NAMES`].
pub const CLASSES: usize = 5;
/// Index of the class of requests whose connection ended without any answer.
pub const CLASS_NONE: u8 = 4;
/// Label values of the classes, by index.
pub const CLASS_NAMES: [&str; CLASSES] = ["2xx", "3xx", "4xx", "5xx", "none"];

/// Upper bounds of the buckets of duration but the last, which has none. Half-decades from 1 ms to
/// 10 s: five classes with ten buckets, sum and count each stay within 60 series per edge.
pub const BOUNDS_NS: [u64; BUCKETS - 1] = [
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
    3_000_000_000,
    10_000_000_000,
];
/// Buckets of duration, the unbounded one included.
pub const BUCKETS: usize = 10;

/// What the first bytes of a message say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A request with one of the usual methods.
    Request,
    /// A final response, with the index of its status class.
    Response(u8),
    /// `101 Switching Protocols`: what follows is not HTTP any more, and nothing is counted.
    Switching,
    /// An interim response, body bytes, or no HTTP at all.
    Other,
}

/// Classifies the first bytes of a message (RFC 9112 sections 3 and 4).
#[inline(always)]
#[must_use]
pub fn classify(head: &[u8; HEAD_BYTES]) -> Head {
    match head {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', class, tens, units] => match class {
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

/// Index of the bucket that `duration_ns` falls into; bounds are inclusive, as Prometheus has them.
#[inline(always)]
#[must_use]
pub fn bucket(duration_ns: u64) -> usize {
    let mut index = 0;
    while index < BOUNDS_NS.len() {
        if duration_ns <= BOUNDS_NS[index] {
            return index;
        }
        index += 1;
    }
    BUCKETS - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        let mut bytes = [0; HEAD_BYTES];
        let n = text.len().min(HEAD_BYTES);
        bytes[..n].copy_from_slice(&text.as_bytes()[..n]);
        classify(&bytes)
    }

    #[test]
    fn every_usual_method_begins_a_request() {
        for method in ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"] {
            let mut line = [b' '; HEAD_BYTES];
            line[..method.len()].copy_from_slice(method.as_bytes());
            line[method.len() + 1] = b'/';
            assert_eq!(classify(&line), Head::Request, "{method}");
        }
    }

    #[test]
    fn methods_need_their_space_and_capitals() {
        for text in ["GETTING on with", "get / HTTP/1.1", "POSTAL code", "", "PRI * HTTP/2.0"] {
            assert_eq!(head(text), Head::Other, "{text:?}");
        }
    }

    #[test]
    fn responses_give_their_status_class() {
        assert_eq!(head("HTTP/1.1 200 OK"), Head::Response(0));
        assert_eq!(head("HTTP/1.0 302 Found"), Head::Response(1));
        assert_eq!(head("HTTP/1.1 404 Not Found"), Head::Response(2));
        assert_eq!(head("HTTP/1.1 503 Service Unavailable"), Head::Response(3));
    }

    #[test]
    fn interim_responses_do_not_end_a_request_but_switching_does() {
        assert_eq!(head("HTTP/1.1 100 Continue"), Head::Other);
        assert_eq!(head("HTTP/1.1 103 Early Hints"), Head::Other);
        assert_eq!(head("HTTP/1.1 101 Switching Protocols"), Head::Switching);
    }

    #[test]
    fn nonsense_status_codes_and_versions_are_not_responses() {
        for text in ["HTTP/1.1 999 ", "HTTP/1.1 000 ", "HTTP/2.0 200 ", "HTTP/1.12200", "HTTP/1.1\t200"] {
            assert_eq!(head(text), Head::Other, "{text:?}");
        }
    }

    #[test]
    fn durations_on_a_bound_fall_below_it() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(1_000_000), 0);
        assert_eq!(bucket(1_000_001), 1);
        assert_eq!(bucket(10_000_000_000), BUCKETS - 2);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
