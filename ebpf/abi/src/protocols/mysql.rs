//! MySQL and MariaDB (<https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>).
//!
//! A packet has three bytes of length and one of sequence. A command has sequence 0; the first packet of its
//! answer has sequence 1 and is an error if it begins with 0xff. What follows in an answer is not looked
//! at: an error after the first rows is not seen. Commands that get no answer are no requests.

use super::{ERROR, Event, Framing, HEADER, Lane, OK, Step};

/// Largest command (`COM_RESET_CONNECTION` and those after it).
const LAST_COMMAND: u8 = 0x1f;
const QUIT: u8 = 0x01;
const QUERY: u8 = 0x03;
const LONG_DATA: u8 = 0x18;
const CLOSE: u8 = 0x19;
/// `CLIENT_SSL`, bit 11 of the capabilities, in their second byte.
const CLIENT_SSL: u8 = 0x08;
/// Payload of a request for TLS, which is a handshake response cut short.
const SSL_REQUEST: u32 = 32;
/// More than any call has: the rest of an answer is let past until the next request.
const REST: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub struct Mysql;

#[inline(always)]
fn length(header: &[u8; HEADER]) -> u32 {
    header[0] as u32 | (header[1] as u32) << 8 | (header[2] as u32) << 16
}

/// Whether a call may begin something: a greeting or a command.
#[inline(always)]
#[must_use]
pub fn may_begin(head: &[u8; HEADER], length: u32) -> bool {
    begins(head, length, true) || begins(head, length, false)
}

/// Whether a call is the server's greeting, or from the middle of a connection a query or a statement's
/// execution in full.
#[inline(always)]
#[must_use]
pub fn begins(head: &[u8; HEADER], call: u32, is_request: bool) -> bool {
    if head[3] != 0 || length(head).wrapping_add(4) != call {
        return false;
    }
    if is_request {
        return match head[4] {
            QUERY => call > 9 && head[5].is_ascii_alphabetic() && head[6].is_ascii_alphabetic(),
            _ => false,
        };
    }
    // Protocol version 10 and a version as text.
    call > 40 && head[4] == 10 && head[5].is_ascii_digit() && (head[6].is_ascii_digit() || head[6] == b'.')
}

impl Framing for Mysql {
    #[inline(always)]
    fn step(_: &mut Lane, is_request: bool, header: &[u8; HEADER], available: u32) -> Step {
        if available < 4 {
            return Step::HOLD;
        }
        let (length, sequence) = (length(header), header[3]);
        if length == 0 {
            return Step::new(4, Event::Nothing);
        }
        if available < 5 || (is_request && sequence == 1 && length == SSL_REQUEST && available < 8) {
            return Step::HOLD;
        }
        let first = header[4];
        let event = match (is_request, sequence) {
            (true, 0) => match first {
                QUIT | LONG_DATA | CLOSE => Event::Nothing,
                0..=LAST_COMMAND | 0xfa | 0xfe => Event::Asks,
                _ => return Step::BAD,
            },
            (true, 1) if length == SSL_REQUEST && header[5] & CLIENT_SSL != 0 => Event::Encrypted,
            (false, 1) => {
                return Step::answer(REST, if first == 0xff { ERROR } else { OK });
            }
            _ => Event::Nothing,
        };
        Step::new(length + 4, event)
    }
}
