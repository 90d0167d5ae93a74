//! The few header fields that anything is made of, recognised while they are decoded.
//!
//! Names and values live no longer than the decoding of their string: of a name its length and whether it is
//! one of ours is kept, of a value what one of ours says. So no header of anybody is ever held.

use quoll_ebpf_abi::protocols::method;

/// Bytes of a string that are looked at: enough for `application/grpc` and the byte after it.
const LOOKED_AT: usize = 17;

/// The beginning of a string, and how long it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text {
    head: [u8; LOOKED_AT],
    length: usize,
}

impl Text {
    /// Takes one more byte.
    pub fn push(&mut self, byte: u8) {
        if let Some(slot) = self.head.get_mut(self.length) {
            *slot = byte;
        }
        self.length += 1;
    }

    /// Of all bytes of the string.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.length
    }

    /// The string, or its beginning where it is longer than anything that is looked for.
    fn seen(&self) -> &[u8] {
        &self.head[..self.length.min(LOOKED_AT)]
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        let mut head = [0; LOOKED_AT];
        let seen = bytes.len().min(LOOKED_AT);
        head[..seen].copy_from_slice(&bytes[..seen]);
        Self { head, length: bytes.len() }
    }
}

/// Which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// `:method`
    Method,
    /// `:status`
    Status,
    /// `content-type`
    ContentType,
    /// `grpc-status`
    GrpcStatus,
    /// Any other.
    Other,
}

impl Name {
    /// Of a name's text; names are lower case (RFC 9113 section 8.2.1).
    #[must_use]
    pub fn of(text: &Text) -> Self {
        match text.seen() {
            b":method" => Self::Method,
            b":status" => Self::Status,
            b"content-type" => Self::ContentType,
            b"grpc-status" => Self::GrpcStatus,
            _ => Self::Other,
        }
    }
}

/// A field: its name, and what the value of one of ours says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `:method`, by its index among [`method::NAMES`].
    Method(u8),
    /// `:status`; 0 where it is no number of three digits.
    Status(u16),
    /// `content-type`, and whether it is gRPC's (`application/grpc`, `application/grpc+proto`).
    ContentType {
        /// Whether it is.
        is_grpc: bool,
    },
    /// `grpc-status`; what is no number up to 16 is 2, `UNKNOWN`.
    GrpcStatus(u8),
    /// Any other.
    Other,
}

impl Field {
    /// The field of a name and a value.
    #[must_use]
    pub fn new(name: Name, value: &Text) -> Self {
        let seen = value.seen();
        match name {
            Name::Method => Self::Method(method::of(seen)),
            Name::Status => Self::Status(match seen {
                [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                    u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
                }
                _ => 0,
            }),
            Name::ContentType => {
                let is_grpc = match seen.strip_prefix(b"application/grpc") {
                    Some([]) => true,
                    Some([next, ..]) => matches!(next, b'+' | b';'),
                    None => false,
                };
                Self::ContentType { is_grpc }
            }
            Name::GrpcStatus => Self::GrpcStatus(match seen {
                [digit @ b'0'..=b'9'] => digit - b'0',
                [b'1', digit @ b'0'..=b'6'] => 10 + digit - b'0',
                _ => 2,
            }),
            Name::Other => Self::Other,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> Name {
        match self {
            Self::Method(_) => Name::Method,
            Self::Status(_) => Name::Status,
            Self::ContentType { .. } => Name::ContentType,
            Self::GrpcStatus(_) => Name::GrpcStatus,
            Self::Other => Name::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Field {
        Field::new(Name::of(&Text::from(name.as_bytes())), &Text::from(value.as_bytes()))
    }

    #[test]
    fn the_five_are_recognised_and_nothing_else_is() {
        for (value, known) in [
            ("GET", method::GET),
            ("OPTIONS", method::OPTIONS),
            ("PROPFIND", method::OTHER),
            ("get", method::OTHER),
            ("", method::OTHER),
            ("GET                        ", method::OTHER),
        ] {
            assert_eq!(field(":method", value), Field::Method(known), "{value:?}");
        }
        assert_eq!(field(":status", "204"), Field::Status(204));
        assert_eq!(field(":status", "2000"), Field::Status(0));
        for (value, is_grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(field("content-type", value), Field::ContentType { is_grpc }, "{value}");
        }
        for (value, status) in [("0", 0), ("9", 9), ("16", 16), ("17", 2), ("-1", 2), ("", 2), ("007", 2)] {
            assert_eq!(field("grpc-status", value), Field::GrpcStatus(status), "{value}");
        }
        assert_eq!(field("authorization", "secret"), Field::Other);
        assert_eq!(field("content-type-of-a-long-name", "application/grpc"), Field::Other);
    }

    #[test]
    fn a_text_pushed_byte_by_byte_is_the_same() {
        let mut text = Text::default();
        b"application/grpc+proto".iter().for_each(|byte| text.push(*byte));
        assert_eq!(text.total_bytes(), 22);
        assert_eq!(Field::new(Name::ContentType, &text), Field::ContentType { is_grpc: true });
    }
}
