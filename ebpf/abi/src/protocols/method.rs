//! Methods of HTTP (RFC 9110 section 9, RFC 5789) as far as they are told apart: the usual ones, and all others together.

/// Any other, or one that is not known.
pub const OTHER: u8 = 0;
/// GET.
pub const GET: u8 = 1;
/// HEAD: its answer has no body, whatever it says (RFC 9110 section 9.3.2).
pub const HEAD: u8 = 2;
/// POST.
pub const POST: u8 = 3;
/// PUT.
pub const PUT: u8 = 4;
/// DELETE.
pub const DELETE: u8 = 5;
/// PATCH.
pub const PATCH: u8 = 6;
/// OPTIONS.
pub const OPTIONS: u8 = 7;
/// CONNECT: a good answer begins a tunnel (RFC 9110 section 9.3.6).
pub const CONNECT: u8 = 8;
/// TRACE.
pub const TRACE: u8 = 9;

/// How many there are.
pub const METHODS: usize = 10;
/// Label values, by index.
pub const NAMES: [&str; METHODS] =
    ["other", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"];

/// The method of a name, which is in capitals (RFC 9110 section 9.1).
#[must_use]
pub fn of(name: &[u8]) -> u8 {
    match name {
        b"GET" => GET,
        b"HEAD" => HEAD,
        b"POST" => POST,
        b"PUT" => PUT,
        b"DELETE" => DELETE,
        b"PATCH" => PATCH,
        b"OPTIONS" => OPTIONS,
        b"CONNECT" => CONNECT,
        b"TRACE" => TRACE,
        _ => OTHER,
    }
}

/// Whether it has to be known when the answer comes, be it counted or not: what follows the answer depends on it.
#[inline(always)]
#[must_use]
pub const fn matters(method: u8) -> bool {
    method == HEAD || method == CONNECT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_methods_index_and_others_are_other() {
        for (index, name) in NAMES.iter().enumerate() {
            assert_eq!(usize::from(of(name.as_bytes())), index);
        }
        for name in ["get", "GET ", "PROPFIND", ""] {
            assert_eq!(of(name.as_bytes()), OTHER, "{name:?}");
        }
    }
}
