//! PostgreSQL, protocol 3 (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
//!
//! A request is a simple query, a function call, or what an extended query brings up to its Sync; it is answered
//! when the server says ReadyForQuery, and has failed if an ErrorResponse came before. An answer with
//! more messages than are followed is read from its end ([`ends`]).

use super::{ERROR, Event, Framing, HEADER, Lane, OK, Step, be32};

/// Of requests: the first packets have no type. Of answers: one byte says whether TLS follows.
const STARTING: u32 = 1;
/// It is known that the next packet is no first packet.
const STARTED: u32 = 2;

/// `SSLRequest`, `GSSENCRequest`, `CancelRequest`, and version 3.
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;

/// See the module.
#[derive(Debug)]
pub struct Postgres;

#[inline(always)]
fn is_first(head: &[u8; HEADER]) -> bool {
    let (length, code) = (be32(head, 0), be32(head, 4));
    match code {
        SSL | GSS => length == 8,
        CANCEL => length == 16,
        _ => code >> 16 == 3 && length > 8 && length < 10_000,
    }
}

/// Whether a call may begin something of a client.
#[inline(always)]
#[must_use]
pub fn may_begin(head: &[u8; HEADER], length: u32) -> bool {
    begins(head, length)
}

/// Whether a call begins a connection's first packet, or is from its middle one simple query in full, or
/// begins an extended one.
#[inline(always)]
#[must_use]
pub fn begins(head: &[u8; HEADER], length: u32) -> bool {
    if length < 8 {
        return false;
    }
    if head[0] == 0 {
        return is_first(head);
    }
    let message = be32(head, 1);
    match head[0] {
        b'Q' => message.wrapping_add(1) == length && (head[5].is_ascii_graphic() || head[5].is_ascii_whitespace()),
        b'P' | b'B' => message >= 6 && message.wrapping_add(1) < length && head[1] == 0,
        _ => false,
    }
}

/// Whether the last bytes of a call are a ReadyForQuery, and if so, whether after an error: an
/// ErrorResponse ends in two zero bytes, a CommandComplete in one that follows text.
#[inline(always)]
#[must_use]
pub fn ends(tail: &[u8; 8]) -> Option<bool> {
    match tail {
        [before, last, b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E'] => Some(*before == 0 && *last == 0),
        _ => None,
    }
}

impl Framing for Postgres {
    #[inline(always)]
    fn step(lane: &mut Lane, is_request: bool, header: &[u8; HEADER], available: u32) -> Step {
        if !is_request {
            return answer(lane, header, available);
        }
        if lane.state & STARTED == 0 {
            if header[0] == 0 {
                if available < 8 {
                    return Step::HOLD;
                }
                if !is_first(header) {
                    return Step::BAD;
                }
                // After a version, messages have types.
                if be32(header, 4) >> 16 == 3 {
                    lane.state = STARTED;
                } else {
                    lane.state = STARTING;
                }
                return Step::new(be32(header, 0), Event::Nothing);
            }
            // TLS begins with a handshake record (RFC 8446 section 5.1).
            if lane.state & STARTING != 0 && header[0] == 22 {
                return Step::new(1, Event::Encrypted);
            }
            lane.state = STARTED;
        }
        if available < 5 {
            return Step::HOLD;
        }
        let event = match header[0] {
            b'Q' | b'S' | b'F' => Event::Asks,
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => Event::Opens,
            b'X' | b'd' | b'c' | b'f' | b'p' => Event::Nothing,
            _ => return Step::BAD,
        };
        let length = be32(header, 1);
        if !(4..1 << 30).contains(&length) {
            return Step::BAD;
        }
        Step::new(length + 1, event)
    }
}

#[inline(always)]
fn answer(lane: &mut Lane, header: &[u8; HEADER], available: u32) -> Step {
    let kind = header[0];
    // To an SSLRequest: one byte, S or N. No message of that type is followed by a length that long.
    if lane.state & STARTED == 0 {
        if matches!(kind, b'S' | b'N' | b'G') && available == 1 {
            return Step::new(1, if kind == b'N' { Event::Nothing } else { Event::Encrypted });
        }
        if kind == b'R' {
            lane.state = STARTED;
        }
    }
    if available < 5 {
        return Step::HOLD;
    }
    let length = be32(header, 1);
    if !(4..1 << 30).contains(&length) {
        return Step::BAD;
    }
    let event = match kind {
        b'Z' if length == 5 => {
            let failed = lane.left != 0;
            lane.left = 0;
            return Step::answer(length + 1, if failed { ERROR } else { OK });
        }
        b'E' => {
            lane.left = 1;
            Event::Nothing
        }
        b'R' | b'S' | b'K' | b'T' | b'D' | b'C' | b'N' | b'A' | b'I' | b'1' | b'2' | b'3' | b'n' | b's' | b't'
        | b'G' | b'H' | b'W' | b'd' | b'c' | b'V' | b'v' => Event::Nothing,
        _ => return Step::BAD,
    };
    Step::new(length + 1, event)
}
