//! Follows messages that carry their lengths, from header to header, however calls cut them.
//!
//! Bounded: one call costs at most 512 headers, with HTTP/2 4,096, and what is remembered between calls is a
//! [`Lane`] per direction. Payload is skipped and never read, but for that of HTTP/2's header blocks.

use super::Protocol;
use super::dns::Dns;
use super::http1::scan::{MAX_STEPS as MAX_STEPS_HTTP1, Scan, WINDOW_BYTES, Window};
use super::http2::{FRAME_HEAD_BYTES, Http2, Http2Piece, PIECE_BYTES};
use super::mysql::Mysql;
use super::postgres::Postgres;
use super::redis::Redis;
use crate::requests::{Answered, Queue, RequestStats};

/// Bytes of a message that are looked at.
pub const HEADER: usize = 16;

/// Headers and pieces of one call at most.
const MAX_STEPS: u32 = 512;
/// The same with HTTP/2, whose servers put many small frames of many streams into one call: 36 KiB of the smallest.
const MAX_STEPS_HTTP2: u32 = 4096;

/// What is remembered of one direction between two calls.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Lane {
    /// The beginning of a header that the last call cut.
    pub held: [u8; HEADER],
    /// How many bytes of it.
    pub held_bytes: u32,
    /// Payload bytes until the next header.
    pub skip: u32,
    /// The protocol's own: what it counts down.
    pub left: u32,
    /// The protocol's own.
    pub state: u32,
    /// Payload bytes that are to be sent before what is skipped.
    pub wanted: u32,
    /// The socket's sequence number after the last call, where the protocol needs to know of every byte.
    pub position: u32,
}

impl Lane {
    /// At the beginning of a message.
    pub const NEW: Self = Self { held: [0; HEADER], held_bytes: 0, skip: 0, left: 0, state: 0, wanted: 0, position: 0 };
}

/// What a header means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing for us.
    Nothing,
    /// A request begins that a later message completes.
    Opens,
    /// One request.
    Asks,
    /// One answer.
    Answers,
    /// What follows is encrypted.
    Encrypted,
    /// This message is to be sent to user space.
    Sends,
    /// More bytes are needed.
    Hold,
    /// This is not the protocol, or not the beginning of a message.
    Bad,
}

/// One header read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes from the header's first to the next header's.
    pub take: u32,
    /// What it means.
    pub event: Event,
    /// Of an answer, the index of its status.
    pub class: u8,
}

impl Step {
    /// More bytes are needed.
    pub const HOLD: Self = Self::new(0, Event::Hold);
    /// Not a header.
    pub const BAD: Self = Self::new(0, Event::Bad);

    /// A header and its payload.
    #[inline(always)]
    #[must_use]
    pub const fn new(take: u32, event: Event) -> Self {
        Self { take, event, class: 0 }
    }

    /// One that begins an answer.
    #[inline(always)]
    #[must_use]
    pub const fn answer(take: u32, class: u8) -> Self {
        Self { take, event: Event::Answers, class }
    }
}

/// A protocol whose messages carry their lengths.
pub trait Framing {
    /// Reads the header at a message's beginning, of which `available` bytes are there; the rest is
    /// zero. Takes at least one byte unless it holds or refuses, and never holds a full header.
    fn step(lane: &mut Lane, is_request: bool, header: &[u8; HEADER], available: u32) -> Step;
}

/// The bytes of one call, in one piece or several.
pub trait Bytes {
    /// Bytes left of the current piece.
    fn left(&self) -> u32;
    /// Copies the next `count` bytes of the current piece, at most [`HEADER`] and no more than are left.
    fn read(&mut self, count: u32, into: &mut [u8]) -> bool;
    /// Copies the next `count` bytes of the current piece, at most [`WINDOW_BYTES`] and no more than are left.
    fn fill(&mut self, count: u32, into: &mut [u64; WINDOW_BYTES as usize / 8]) -> bool;
    /// Skips bytes of the current piece.
    fn advance(&mut self, count: u32);
    /// Goes to the next piece, if there is one.
    fn next(&mut self) -> bool;
    /// The call's last eight bytes, where they are in one piece; else zero.
    fn tail(&self) -> [u8; 8];
    /// Sends the next `piece.length` bytes of the current piece to user space, behind the head of their frame, with
    /// which `header` begins. False where there is no room.
    fn send(&mut self, piece: &Http2Piece, header: &[u8; HEADER]) -> bool;
    /// Counts a request that they answer.
    #[inline(always)]
    fn observe(&self, stats: &mut RequestStats, method: u8, class: u8, duration_ns: u64) {
        stats.observe_within(method, class, duration_ns);
    }
    /// What is remembered of a request's method.
    #[inline(always)]
    fn remembered(&self, method: u8) -> u8 {
        method
    }
}

/// Bytes in memory, in one piece. What is to be sent goes to a function: the piece, the beginning of its frame, and its
/// bytes.
#[derive(Debug)]
pub struct Slice<'a, F> {
    rest: &'a [u8],
    tail: [u8; 8],
    send: F,
}

impl<'a, F: FnMut(&Http2Piece, &[u8; HEADER], &[u8]) -> bool> Slice<'a, F> {
    /// The bytes of one call.
    pub fn new(bytes: &'a [u8], send: F) -> Self {
        Self { rest: bytes, tail: bytes.last_chunk().copied().unwrap_or_default(), send }
    }
}

impl<F: FnMut(&Http2Piece, &[u8; HEADER], &[u8]) -> bool> Bytes for Slice<'_, F> {
    fn left(&self) -> u32 {
        self.rest.len() as u32
    }

    fn read(&mut self, count: u32, into: &mut [u8]) -> bool {
        debug_assert!((1..=HEADER as u32).contains(&count));
        let (Some(from), Some(into)) = (self.rest.get(..count as usize), into.get_mut(..count as usize)) else {
            return false;
        };
        into.copy_from_slice(from);
        true
    }

    fn fill(&mut self, count: u32, into: &mut [u64; WINDOW_BYTES as usize / 8]) -> bool {
        debug_assert!((1..=WINDOW_BYTES).contains(&count));
        let Some(from) = self.rest.get(..count as usize) else { return false };
        for (word, bytes) in into.iter_mut().zip(from.chunks(8)) {
            let mut known = [0; 8];
            known[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(known);
        }
        true
    }

    fn advance(&mut self, count: u32) {
        self.rest = self.rest.get(count as usize..).unwrap_or_default();
    }

    fn next(&mut self) -> bool {
        false
    }

    fn tail(&self) -> [u8; 8] {
        self.tail
    }

    fn send(&mut self, piece: &Http2Piece, header: &[u8; HEADER]) -> bool {
        self.rest.get(..piece.length as usize).is_some_and(|bytes| (self.send)(piece, header, bytes))
    }
}

/// Where a walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// More steps are needed, or none was made.
    Going,
    /// All bytes are understood.
    Done,
    /// What follows is encrypted.
    Encrypted,
    /// This is no header.
    Lost,
    /// What was to be sent found no room.
    Full,
    /// The bytes could not be read: their page was elsewhere for a moment.
    Unread,
    /// What follows is another protocol, by `101 Switching Protocols`.
    Switched,
    /// What follows is nobody's business: a tunnel was asked for and granted.
    Tunnel,
}

/// Working memory of one call; in the kernel, a program's stack may not be indexed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Of a [`Walk`].
    pub header: [u8; 2 * HEADER],
    /// Of a [`Scan`].
    pub window: Window,
}

impl Memory {
    /// Unused.
    pub const NEW: Self = Self { header: [0; 2 * HEADER], window: Window::EMPTY };
}

/// A walk over the bytes of one call.
///
/// What it finds is counted as it goes, so that a step needs nothing but this.
#[derive(Debug)]
pub struct Walk<'a, B> {
    /// Of the call's direction.
    pub lane: &'a mut Lane,
    /// Answers take from it.
    pub queue: &'a mut Queue,
    /// Answers are counted here.
    pub stats: &'a mut RequestStats,
    /// Working memory; in the kernel, a program's stack may not be indexed.
    pub scratch: &'a mut [u8; 2 * HEADER],
    /// What is left.
    pub bytes: B,
    /// When the call ended.
    pub now_ns: u64,
    /// Requests that it brought.
    pub asked: u32,
    /// Answers to requests that found no room.
    pub beyond: u32,
    /// Whether it brought the beginning of a request.
    pub opens: bool,
    /// Whether it is one of requests.
    pub is_request: bool,
    /// See there.
    pub outcome: Outcome,
}

/// Makes the steps of a walk or a scan: at most [`Walk::most_steps`] or [`super::http1::scan::MAX_STEPS`], until one says that it was the
/// last.
pub trait Steps {
    /// Whether it can make any.
    fn can() -> bool;
    /// Makes those of a walk.
    fn run<B: Bytes>(walk: &mut Walk<'_, B>);
    /// Makes those of a scan.
    fn scan<B: Bytes>(scan: &mut Scan<'_, B>);
}

/// Steps in a plain loop.
#[derive(Debug)]
pub struct PlainLoop;

impl Steps for PlainLoop {
    fn can() -> bool {
        true
    }

    fn run<B: Bytes>(walk: &mut Walk<'_, B>) {
        for _ in 0..walk.most_steps() {
            if !walk.step() {
                return;
            }
        }
    }

    fn scan<B: Bytes>(scan: &mut Scan<'_, B>) {
        for _ in 0..MAX_STEPS_HTTP1 {
            if !scan.step() {
                return;
            }
        }
    }
}

/// Index of the first byte that is `byte`, from the lowest; 8 where none is.
#[inline(always)]
pub(crate) fn place_of(word: u64, byte: u8) -> u32 {
    let differs = word ^ (0x0101_0101_0101_0101 * byte as u64);
    // The lowest byte of zero leaves its highest bit (Hacker's Delight, 6-1).
    let zeroes = differs.wrapping_sub(0x0101_0101_0101_0101) & !differs & 0x8080_8080_8080_8080;
    // The bits below it, counted by bytes; all of them where there is none.
    let below = ((zeroes & zeroes.wrapping_neg()) >> 7).wrapping_sub(1) & 0x0101_0101_0101_0101;
    (below.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32 & 0xf
}

impl<B: Bytes> Walk<'_, B> {
    /// Steps of this walk at most.
    #[inline(always)]
    #[must_use]
    pub fn most_steps(&self) -> u32 {
        if self.stats.protocol == Protocol::Http2 as u8 { MAX_STEPS_HTTP2 } else { MAX_STEPS }
    }

    /// One header or one piece. False where there is no more to do.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        self.outcome = self.advance();
        matches!(self.outcome, Outcome::Going)
    }

    #[inline(always)]
    fn advance(&mut self) -> Outcome {
        let mut left = self.bytes.left();
        if left == 0 {
            return if self.bytes.next() { Outcome::Going } else { Outcome::Done };
        }
        let mut wanted = self.lane.wanted;
        let is_head = wanted == 0;
        if is_head {
            if self.lane.skip != 0 {
                let skipped = self.lane.skip.min(left);
                self.lane.skip -= skipped;
                self.bytes.advance(skipped);
                return Outcome::Going;
            }
            let held = self.lane.held_bytes & (HEADER as u32 - 1);
            let Some(header) = self.scratch.first_chunk_mut::<HEADER>() else { return Outcome::Lost };
            *header = self.lane.held;
            let fresh = left.min(HEADER as u32 - held);
            let Some(into) = self.scratch.get_mut(held as usize..) else { return Outcome::Lost };
            if !self.bytes.read(fresh, into) {
                return Outcome::Lost;
            }
            let available = held + fresh;
            let Some(header) = self.scratch.first_chunk::<HEADER>() else { return Outcome::Lost };
            let step = step(self.stats.protocol, self.lane, self.is_request, header, available);
            match step.event {
                Event::Bad => return Outcome::Lost,
                Event::Hold => {
                    self.lane.held = *header;
                    self.lane.held_bytes = available;
                    self.bytes.advance(fresh);
                    return if available < HEADER as u32 { Outcome::Going } else { Outcome::Lost };
                }
                Event::Encrypted => return Outcome::Encrypted,
                Event::Nothing | Event::Sends => {}
                Event::Opens => self.opens = true,
                Event::Asks => self.asked += 1,
                Event::Answers => match self.queue.answer() {
                    Answered::Since(began_ns, method) => {
                        self.bytes.observe(self.stats, method, step.class, self.now_ns.saturating_sub(began_ns))
                    }
                    Answered::Beyond => self.beyond += 1,
                    // What overtook its request is counted with that.
                    Answered::Nothing => {}
                },
            }
            if held != 0 {
                self.lane.held = [0; HEADER];
                self.lane.held_bytes = 0;
            }
            let is_sent = matches!(step.event, Event::Sends);
            let take = if is_sent { FRAME_HEAD_BYTES as u32 } else { step.take }.saturating_sub(held);
            let here = take.min(left);
            self.bytes.advance(here);
            if !is_sent {
                self.lane.skip = take - here;
                return Outcome::Going;
            }
            left -= here;
            wanted = step.take.saturating_sub(FRAME_HEAD_BYTES as u32);
        }
        let count = wanted.min(left).min(PIECE_BYTES as u32);
        let piece = Http2Piece {
            time_ns: self.now_ns,
            sequence: self.lane.left,
            length: count as u16,
            is_request: self.is_request as u8,
            is_head: is_head as u8,
            ..Http2Piece::NONE
        };
        let Some(header) = self.scratch.first_chunk::<HEADER>() else { return Outcome::Lost };
        if !self.bytes.send(&piece, header) {
            return Outcome::Full;
        }
        self.lane.left = self.lane.left.wrapping_add(1);
        self.lane.wanted = wanted - count;
        self.bytes.advance(count);
        Outcome::Going
    }
}

#[inline(always)]
fn step(protocol: u8, lane: &mut Lane, is_request: bool, header: &[u8; HEADER], available: u32) -> Step {
    const HTTP2: u8 = Protocol::Http2 as u8;
    const POSTGRES: u8 = Protocol::Postgres as u8;
    const MYSQL: u8 = Protocol::Mysql as u8;
    const REDIS: u8 = Protocol::Redis as u8;
    const DNS: u8 = Protocol::Dns as u8;
    match protocol {
        HTTP2 => Http2::step(lane, is_request, header, available),
        POSTGRES => Postgres::step(lane, is_request, header, available),
        MYSQL => Mysql::step(lane, is_request, header, available),
        REDIS => Redis::step(lane, is_request, header, available),
        DNS => Dns::step(lane, is_request, header, available),
        _ => Step::BAD,
    }
}
