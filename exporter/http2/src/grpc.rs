//! How gRPC calls end (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>), and what is to be
//! understood where nobody says it (`doc/PROTOCOL-HTTP2.md`, `doc/http-grpc-status-mapping.md` there).

const CANCELLED: u8 = 1;
const UNKNOWN: u8 = 2;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
/// The connection ended before the call did.
pub const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

/// Where the stream was reset, by its error code (RFC 9113 section 7).
#[must_use]
pub fn of_reset(code: u32) -> u8 {
    match code {
        0..=4 | 6 | 9 | 10 => INTERNAL,
        // STREAM_CLOSED has no mapping of its own.
        5 => UNKNOWN,
        // REFUSED_STREAM
        7 => UNAVAILABLE,
        // CANCEL
        8 => CANCELLED,
        // ENHANCE_YOUR_CALM
        11 => RESOURCE_EXHAUSTED,
        // INADEQUATE_SECURITY
        12 => PERMISSION_DENIED,
        _ => UNKNOWN,
    }
}

/// Where there is no `grpc-status`, by that of HTTP; a proxy answered, as a rule.
#[must_use]
pub fn of_http(status: u16) -> u8 {
    match status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}
