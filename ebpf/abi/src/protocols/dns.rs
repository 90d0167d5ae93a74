//! DNS (RFC 1035 section 4.1.1): the header says query or response, the identifier and the outcome.

use super::{Event, Framing, HEADER, Lane, Step};
use crate::requests::CLASSES;

/// Bytes of a header.
pub const HEADER_BYTES: u32 = 12;
/// No message over TCP is longer.
const MESSAGE_BYTES: u32 = 65_535;

/// Label values of the outcomes, by index. `error` is any other code, REFUSED and FORMERR among them.
pub const STATUSES: [&str; CLASSES] = ["noerror", "nxdomain", "servfail", "error", "none"];

/// A header of a standard query or of the response to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Chosen by who asks.
    pub id: u16,
    /// The index of the outcome; `None` for a query.
    pub outcome: Option<u8>,
}

/// Reads a header; `None` for what is not a message with one question.
#[inline(always)]
#[must_use]
pub fn message(head: &[u8; HEADER], length: u32) -> Option<Message> {
    // Flags: QR, four bits of opcode, which is 0 for a standard query, AA, TC, RD; RA, Z, AD, CD, RCODE.
    let [id_high, id_low, flags, more, 0, 1, answers_high, answers_low, authorities_high, ..] = *head else {
        return None;
    };
    // A question has a name, a type and a class: five bytes at least.
    if length < HEADER_BYTES + 5 || flags & 0b0111_1000 != 0 || more & 0b0100_0000 != 0 {
        return None;
    }
    let id = (id_high as u16) << 8 | id_low as u16;
    if flags & 0x80 == 0 {
        // A query brings no answers and no outcome.
        let is_plain = answers_high == 0 && answers_low == 0 && authorities_high == 0 && more & 0x0f == 0;
        return (is_plain && flags & 0b0000_0110 == 0).then_some(Message { id, outcome: None });
    }
    let outcome = match more & 0x0f {
        0 => 0,
        3 => 1,
        2 => 2,
        _ => 3,
    };
    Some(Message { id, outcome: Some(outcome) })
}

/// The header behind the length that TCP puts before it (RFC 1035 section 4.2.2).
#[inline(always)]
fn behind_length(head: &[u8; HEADER]) -> [u8; HEADER] {
    let mut behind = [0; HEADER];
    let (Some(from), Some(to)) = (head.get(2..), behind.get_mut(..HEADER - 2)) else { return behind };
    to.copy_from_slice(from);
    behind
}

/// Whether a call over TCP is a query in full, with its length or, where that was in a call of its own, without.
#[inline(always)]
#[must_use]
pub fn begins(head: &[u8; HEADER], length: u32) -> bool {
    if matches!(message(head, length), Some(Message { outcome: None, .. })) {
        return true;
    }
    let framed = (head[0] as u32) << 8 | head[1] as u32;
    framed + 2 == length && matches!(message(&behind_length(head), framed), Some(Message { outcome: None, .. }))
}

/// Of requests, in [`Lane::state`]: nothing was seen.
const UNBEGUN: u32 = 0;
/// The first one was seen.
const BEGUN: u32 = 1;
/// It came without its length, and ends with its call.
const TO_CALLS_END: u32 = 2;

/// DNS over TCP; answers are taken in the order of the queries.
#[derive(Debug)]
pub struct Dns;

/// What ends with the call has ended.
#[inline(always)]
pub(super) fn end_of_call(lane: &mut Lane) {
    if lane.state == TO_CALLS_END {
        lane.state = BEGUN;
        lane.skip = 0;
    }
}

impl Framing for Dns {
    #[inline(always)]
    fn step(lane: &mut Lane, is_request: bool, header: &[u8; HEADER], available: u32) -> Step {
        if available < 2 + HEADER_BYTES {
            return Step::HOLD;
        }
        if is_request && lane.state == UNBEGUN {
            lane.state = BEGUN;
            // Many servers read the length, then the message.
            if matches!(message(header, MESSAGE_BYTES), Some(Message { outcome: None, .. })) {
                lane.state = TO_CALLS_END;
                return Step::new(MESSAGE_BYTES, Event::Asks);
            }
        }
        let length = (header[0] as u32) << 8 | header[1] as u32;
        let event = match (message(&behind_length(header), length), is_request) {
            (Some(Message { outcome: None, .. }), true) => Event::Asks,
            (Some(Message { outcome: Some(outcome), .. }), false) => return Step::answer(length + 2, outcome),
            (Some(_), _) => return Step::BAD,
            // Transfers and updates.
            (None, _) if length >= HEADER_BYTES => Event::Nothing,
            (None, _) => return Step::BAD,
        };
        Step::new(length + 2, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(flags: [u8; 2]) -> [u8; HEADER] {
        [0x12, 0x34, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0]
    }

    #[test]
    fn queries_and_outcomes_are_told_apart() {
        for (flags, outcome) in [
            ([0x01, 0x00], None),
            ([0x01, 0x20], None),
            ([0x81, 0x80], Some(0)),
            ([0x85, 0x83], Some(1)),
            ([0x81, 0x82], Some(2)),
            ([0x81, 0x85], Some(3)),
            ([0x81, 0x81], Some(3)),
        ] {
            assert_eq!(message(&head(flags), 33), Some(Message { id: 0x1234, outcome }), "{flags:x?}");
        }
    }

    #[test]
    fn what_is_not_one_question_is_not_a_message() {
        assert_eq!(message(&head([0x01, 0]), 16), None);
        for flags in [[0x28, 0], [0x01, 0x40], [0x05, 0], [0x01, 0x03]] {
            assert_eq!(message(&head(flags), 33), None, "{flags:x?}");
        }
        let mut several = head([0x01, 0]);
        several[5] = 2;
        assert_eq!(message(&several, 33), None);
        assert_eq!(message(b"GET / HTTP/1.1\r\n", 33), None);
    }
}
