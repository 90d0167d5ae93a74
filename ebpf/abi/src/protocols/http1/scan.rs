//! Follows one direction of HTTP/1 from message to message, however calls cut it: start line, fields up to a blank
//! line, then a body by its length or in chunks (RFC 9112 sections 2 to 7).
//!
//! A machine that goes byte by byte, or word by word where nothing matters, and remembers a [`Lane`] between calls.
//! Of a head, the start line and two fields are looked at. Bodies are stepped over by their length and not read. What
//! could be read in two ways ends the following: a length that is none, or two of them.
//!
//! Written for the kernel's verifier: one small step, whose numbers are in memory that it knows nothing of.

use core::hint::black_box;

use super::{HEAD_BYTES, HEADER, Head, classify};
use crate::protocols::method;
use crate::protocols::walk::{Bytes, Lane, Outcome, place_of};
use crate::requests::{Answered, Queue, RequestStats};

/// Steps of one call at most: some 40 KiB of heads.
pub const MAX_STEPS: u32 = 1 << 14;
/// Bytes that are read at once.
pub const WINDOW_BYTES: u32 = 8 * WORDS as u32;
const WORDS: usize = 16;
/// Words of a line that one step goes on.
const WORDS_AT_ONCE: u32 = 4;

/// The bytes at hand.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// As they are in memory.
    pub words: [u64; WORDS],
    at: u32,
    filled: u32,
}

impl Window {
    /// Nothing.
    pub const EMPTY: Self = Self { words: [0; WORDS], at: 0, filled: 0 };

    /// The byte at a place that is filled, and those behind it in its word, with how many these are.
    #[inline(always)]
    fn word(&self, at: u32) -> (u64, u32) {
        let place = at & 7;
        let word = match self.words.get(black_box((at >> 3) as usize % WORDS)) {
            Some(word) => *word >> (8 * place),
            None => 0,
        };
        (word, (8 - place).min(self.filled - at))
    }

    /// Forgets what is there.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.at = 0;
        self.filled = 0;
    }
}

/// Where a direction stands: the lowest bits of [`Lane::state`].
const MODE: u32 = 0xf;
/// Before a start line; [`Lane::held`] has what there is of it.
const START: u32 = 0;
/// Within a line of a head; the rest of it means nothing.
const LINE: u32 = 1;
/// At the beginning of a field.
const FIELD: u32 = 2;
/// Within a name that has been one of the two so far.
const NAME: u32 = 3;
/// Within the value of `Content-Length`.
const LENGTH: u32 = 4;
/// Within the value of `Transfer-Encoding`.
const CODING: u32 = 5;
/// Behind the first half of the blank line's end.
const BLANK: u32 = 6;
/// Within a body, or a chunk of one.
const DATA: u32 = 7;
/// Within the size of a chunk.
const SIZE: u32 = 8;
/// Behind the size of a chunk, within its line.
const SIZE_LINE: u32 = 9;
/// Behind the data of a chunk.
const DATA_END: u32 = 10;
/// In a body that ends with the connection.
const TO_END: u32 = 11;

/// The head has a `Content-Length`.
const HAS_LENGTH: u32 = 1 << 4;
/// The body comes in chunks.
const IS_CHUNKED: u32 = 1 << 5;
/// The message has no body, whatever its head says.
const NO_BODY: u32 = 1 << 6;
/// These fields are behind the last chunk.
const TRAILERS: u32 = 1 << 7;
/// Digits were read.
const HAS_DIGITS: u32 = 1 << 8;
/// What follows digits was read.
const IS_BEHIND: u32 = 1 << 9;
/// The name is that of `Transfer-Encoding`.
const IS_CODING: u32 = 1 << 10;
/// The body has a coding whose end does not show.
const HAS_CODING: u32 = 1 << 11;
/// One more letter of a word that was recognised so far.
const LETTER: u32 = 1 << 16;
const LETTERS: u32 = 31;

/// The two names in small letters, and the one coding.
static WORDS_OF_INTEREST: [u8; 64] =
    *b"content-length:\0transfer-encoding:\0\0\0\0\0\0\0\0\0\0\0\0\0\0chunked\0\0\0\0\0\0\0\0\0";
const CODING_NAME: u32 = 16;
const CHUNKED: u32 = 48;
const CHUNKED_LETTERS: u32 = 7;

/// Longer bodies are not believed.
const MAX_BODY: u64 = 1 << 56;

impl Lane {
    /// Whether a message of HTTP/1 begins next, of which nothing is here yet.
    #[inline(always)]
    pub(crate) fn is_between(&self) -> bool {
        self.state & MODE == START && self.held_bytes == 0
    }

    /// Whether a message of HTTP/1 begins next, or its first bytes are here.
    #[inline(always)]
    pub(crate) fn is_before_line(&self) -> bool {
        self.state & MODE == START
    }

    /// Whether calls may be left out until something begins like a message: nothing has begun, or what follows is
    /// known by its length.
    #[inline(always)]
    pub(crate) fn may_miss(&self) -> bool {
        self.is_between() || self.state & (MODE | IS_CHUNKED) == DATA
    }

    /// A start line begins here that is known already.
    #[inline(always)]
    pub(crate) fn begin_line(&mut self) {
        self.state = LINE;
    }

    /// Bytes of a body until its end, or that of the chunk.
    #[inline(always)]
    pub(crate) fn body(&self) -> u64 {
        (self.left as u64) << 32 | self.skip as u64
    }

    #[inline(always)]
    fn set_body(&mut self, bytes: u64) {
        self.skip = bytes as u32;
        self.left = (bytes >> 32) as u32;
    }

    /// Goes to where a call of `length` bytes ended. Bytes that went by unseen before it (by sendfile, or in a call
    /// that was not looked at) are of no consequence within a body. False where they are.
    #[inline(always)]
    pub(crate) fn go_on_to(&mut self, position: u32, length: u32) -> bool {
        let unseen = position.wrapping_sub(self.position).wrapping_sub(length);
        self.position = position;
        let mode = self.state & MODE;
        if unseen == 0 || mode == TO_END {
            return true;
        }
        let body = self.body();
        if mode != DATA || unseen as u64 > body {
            return false;
        }
        self.set_body(body - unseen as u64);
        if unseen as u64 == body {
            self.end_data();
        }
        true
    }

    #[inline(always)]
    fn end_data(&mut self) {
        self.state = if self.state & IS_CHUNKED != 0 { DATA_END | IS_CHUNKED } else { START };
    }

    #[inline(always)]
    fn go(&mut self, mode: u32) {
        self.state = self.state & !MODE | mode;
    }
}

/// See the module.
#[derive(Debug)]
pub struct Scan<'a, B> {
    /// Of the call's direction.
    pub lane: &'a mut Lane,
    /// Requests go there, and answers take from it.
    pub queue: &'a mut Queue,
    /// Answers are counted here.
    pub stats: &'a mut RequestStats,
    /// Working memory; empty.
    pub window: &'a mut Window,
    /// What is left.
    pub bytes: B,
    /// When the call ended.
    pub now_ns: u64,
    /// When the first request of the call began.
    pub began_ns: u64,
    /// Requests that it brought.
    pub asked: u32,
    /// Answers that cannot be timed, as their requests were not remembered.
    pub untimed: u32,
    /// Whether it is one of requests.
    pub is_request: bool,
    /// Of requests: whether answers that came before them are theirs. Of answers: whether one may be.
    pub is_overtaken: bool,
    /// See there.
    pub outcome: Outcome,
}

impl<B: Bytes> Scan<'_, B> {
    /// A byte, a word, or a body. False where there is no more to do.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        self.outcome = self.advance();
        matches!(self.outcome, Outcome::Going)
    }

    #[inline(always)]
    fn advance(&mut self) -> Outcome {
        let (at, filled) = (self.window.at, self.window.filled);
        if at >= filled {
            return self.refill();
        }
        let (word, here) = self.window.word(at);
        let byte = word as u8;
        let state = self.lane.state;
        let mut used = 1;
        match state & MODE {
            LINE | SIZE_LINE => return self.line(at, state),
            FIELD => match byte {
                b'\r' if here > 1 && word as u16 == u16::from_le_bytes(*b"\r\n") => {
                    return self.end_head(state, at + 1);
                }
                b'\r' => self.lane.go(BLANK),
                b'\n' => return self.end_head(state, at),
                b'c' | b'C' if state & TRAILERS == 0 => {
                    self.lane.state = state & (LETTER - 1) & !(MODE | IS_CODING) | NAME | LETTER;
                }
                b't' | b'T' if state & TRAILERS == 0 => {
                    self.lane.state = state & (LETTER - 1) & !MODE | NAME | IS_CODING | LETTER;
                }
                _ => {
                    self.lane.go(LINE);
                    return self.line(at, state & !MODE | LINE);
                }
            },
            NAME => {
                let start = if state & IS_CODING != 0 { CODING_NAME } else { 0 };
                let letters = (state / LETTER) & LETTERS;
                if byte | 0x20 != letter(start + letters) {
                    self.lane.state = state & (LETTER - 1) & !MODE | LINE;
                    used = 0;
                } else if byte != b':' {
                    self.lane.state = state + LETTER;
                } else if state & IS_CODING != 0 {
                    self.lane.state = state & (LETTER - 1) & !MODE | CODING;
                } else if state & HAS_LENGTH != 0 {
                    return Outcome::Lost;
                } else {
                    self.lane.set_body(0);
                    self.lane.state = state & (LETTER - 1) & !(MODE | HAS_DIGITS | IS_BEHIND) | LENGTH | HAS_LENGTH;
                }
            }
            LENGTH => match byte {
                b'0'..=b'9' if state & IS_BEHIND == 0 => {
                    let body = self.lane.body();
                    if body >= MAX_BODY / 10 {
                        return Outcome::Lost;
                    }
                    self.lane.set_body(body * 10 + (byte - b'0') as u64);
                    self.lane.state = state | HAS_DIGITS;
                }
                b' ' | b'\t' if state & HAS_DIGITS == 0 => {}
                b' ' | b'\t' | b'\r' if state & HAS_DIGITS != 0 => self.lane.state = state | IS_BEHIND,
                b'\n' if state & HAS_DIGITS != 0 => self.lane.go(FIELD),
                _ => return Outcome::Lost,
            },
            CODING => {
                let letters = (state / LETTER) & LETTERS;
                let plain = state & (LETTER - 1);
                match byte {
                    b'\n' if letters == CHUNKED_LETTERS => self.lane.state = plain & !MODE | FIELD | IS_CHUNKED,
                    b'\n' => self.lane.state = plain & !MODE | FIELD | HAS_CODING,
                    b'\r' | b' ' | b'\t' => {}
                    _ if byte | 0x20 == letter(CHUNKED + letters) => self.lane.state = state + LETTER,
                    _ => self.lane.state = plain,
                }
            }
            BLANK if byte == b'\n' => return self.end_head(state, at),
            DATA => {
                let body = self.lane.body();
                used = if body < (filled - at) as u64 { body as u32 } else { filled - at };
                self.skip(body, used);
            }
            SIZE => {
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    b'a'..=b'f' => byte - b'a' + 10,
                    b'A'..=b'F' => byte - b'A' + 10,
                    _ => 16,
                };
                let size = self.lane.body();
                if digit < 16 && size < MAX_BODY >> 4 {
                    self.lane.set_body(size << 4 | digit as u64);
                    self.lane.state = state | HAS_DIGITS;
                } else if state & HAS_DIGITS != 0 && matches!(byte, b'\r' | b'\n' | b';' | b' ' | b'\t') {
                    self.lane.go(SIZE_LINE);
                    used = 0;
                } else {
                    return Outcome::Lost;
                }
            }
            DATA_END if byte == b'\r' => {}
            DATA_END if byte == b'\n' => {
                self.lane.set_body(0);
                self.lane.state = SIZE | IS_CHUNKED;
            }
            TO_END => used = filled - at,
            START => {
                self.window.at = at + 1;
                return self.start(byte);
            }
            _ => return Outcome::Lost,
        }
        self.window.at = at + used;
        Outcome::Going
    }

    /// Reads on, or skips what need not be read.
    #[inline(always)]
    fn refill(&mut self) -> Outcome {
        let left = self.bytes.left();
        if left == 0 {
            return if self.bytes.next() { Outcome::Going } else { Outcome::Done };
        }
        let mode = self.lane.state & MODE;
        if mode == TO_END {
            self.bytes.advance(left);
            return Outcome::Going;
        }
        if mode == DATA {
            let body = self.lane.body();
            let here = if body < left as u64 { body as u32 } else { left };
            self.skip(body, here);
            self.bytes.advance(here);
            return Outcome::Going;
        }
        let count = left.min(WINDOW_BYTES);
        if !self.bytes.fill(count, &mut self.window.words) {
            return Outcome::Unread;
        }
        self.bytes.advance(count);
        self.window.at = 0;
        self.window.filled = count;
        Outcome::Going
    }

    #[inline(always)]
    fn skip(&mut self, body: u64, bytes: u32) {
        self.lane.set_body(body - bytes as u64);
        if bytes as u64 == body {
            self.lane.end_data();
        }
    }

    /// Goes on to the end of the line, or a few words on.
    #[inline(always)]
    fn line(&mut self, mut at: u32, state: u32) -> Outcome {
        for _ in 0..WORDS_AT_ONCE {
            if at >= self.window.filled {
                break;
            }
            let (word, here) = self.window.word(at);
            let end = place_of(word, b'\n');
            if end < here {
                self.end_line(state);
                at += end + 1;
                break;
            }
            at += here;
        }
        self.window.at = at;
        Outcome::Going
    }

    #[inline(always)]
    fn end_line(&mut self, state: u32) {
        if state & MODE == LINE {
            self.lane.go(FIELD);
        } else if self.lane.body() == 0 {
            self.lane.state = FIELD | TRAILERS;
        } else {
            self.lane.go(DATA);
        }
    }

    /// A blank line: behind a head, or behind trailers.
    #[inline(always)]
    fn end_head(&mut self, state: u32, at: u32) -> Outcome {
        self.window.at = at + 1;
        let body = self.lane.body();
        let is_empty = state & (TRAILERS | NO_BODY) != 0;
        if !is_empty && state & IS_CHUNKED != 0 {
            self.lane.set_body(0);
            self.lane.state = SIZE | IS_CHUNKED;
        } else if !is_empty && state & HAS_CODING != 0 {
            if self.is_request {
                return Outcome::Lost;
            }
            self.lane.state = TO_END;
        } else if !is_empty && state & HAS_LENGTH != 0 && body != 0 {
            self.lane.state = DATA;
        } else {
            self.lane.set_body(0);
            let goes_on = !is_empty && !self.is_request && state & HAS_LENGTH == 0;
            self.lane.state = if goes_on { TO_END } else { START };
        }
        Outcome::Going
    }

    /// One more byte of what begins a message.
    #[inline(always)]
    fn start(&mut self, byte: u8) -> Outcome {
        let held = self.lane.held_bytes;
        // RFC 9112 section 2.2: an empty line before a request is passed over.
        if held == 0 && self.is_request && matches!(byte, b'\r' | b'\n') {
            return Outcome::Going;
        }
        if let Some(place) = self.lane.held.get_mut(black_box(held as usize % HEADER)) {
            *place = byte;
        }
        if held + 1 < HEAD_BYTES as u32 {
            self.lane.held_bytes = held + 1;
            return Outcome::Going;
        }
        self.lane.held_bytes = 0;
        match classify(&self.lane.held) {
            Head::Request(method) if self.is_request => self.ask(method),
            // A method that is none of the usual ones, where it is known that a request begins.
            Head::Other if self.is_request && !self.queue.is_untouched() && has_capitals(&self.lane.held) => {
                self.ask(method::OTHER)
            }
            Head::Response(class, is_bodiless) if !self.is_request => self.answer(class, is_bodiless),
            Head::Interim if !self.is_request => {
                self.lane.state = LINE | NO_BODY;
                Outcome::Going
            }
            Head::Switching if !self.is_request => Outcome::Switched,
            _ => Outcome::Lost,
        }
    }

    #[inline(always)]
    fn ask(&mut self, method: u8) -> Outcome {
        if method::matters(method) && !self.queue.has_room() {
            return Outcome::Lost;
        }
        self.queue.ask_one(self.began_ns, self.bytes.remembered(method), self.is_overtaken);
        self.began_ns = self.now_ns;
        self.asked += 1;
        self.lane.state = LINE;
        Outcome::Going
    }

    #[inline(always)]
    fn answer(&mut self, class: u8, is_bodiless: bool) -> Outcome {
        let method = self.queue.method();
        // Servers may say of their own accord that they waited in vain.
        if !self.queue.is_empty() || self.is_overtaken {
            match self.queue.answer() {
                Answered::Since(began_ns, method) => {
                    self.bytes.observe(self.stats, method, class, self.now_ns.saturating_sub(began_ns))
                }
                Answered::Beyond | Answered::Nothing => self.untimed += 1,
            }
        }
        if method == method::CONNECT && class == 0 {
            return Outcome::Tunnel;
        }
        self.lane.state = LINE | if is_bodiless || method == method::HEAD { NO_BODY } else { 0 };
        Outcome::Going
    }
}

#[inline(always)]
fn letter(index: u32) -> u8 {
    match WORDS_OF_INTEREST.get(black_box(index as usize % 64)) {
        Some(letter) => *letter,
        None => 0,
    }
}

#[inline(always)]
fn has_capitals(held: &[u8; HEADER]) -> bool {
    let [a, b, c, ..] = *held;
    a.is_ascii_uppercase() && b.is_ascii_uppercase() && c.is_ascii_uppercase()
}
