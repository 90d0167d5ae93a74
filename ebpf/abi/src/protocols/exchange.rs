//! One connection's requests and answers.
//!
//! About 500 bytes, whatever the peer sends. A duration lasts from the first bytes of a request to the first
//! bytes of its answer, with PostgreSQL to the end of its answer; each end takes it by its own calls.

mod http1;

use super::{Bytes, HEADER, Lane, Memory, Outcome, Protocol, Steps, Walk, dns, postgres};
use crate::requests::{Answered, CLASS_NONE, Queue, RequestStats, Unparsed, Untimed};

/// This end is the server.
const FLAG_SERVER: u8 = 1;
/// Where the messages of answers begin is not known until they are all here.
const FLAG_LOST: u8 = 2;
/// Requests of several calls were in flight at once, so a request does not say that all before it is
/// answered.
const FLAG_SHARED: u8 = 4;
/// Nothing is looked at any more.
const FLAG_UNPARSED: u8 = 8;
/// Its messages come from the program's TLS library, and what the socket carries is no message.
const FLAG_DECRYPTED: u8 = 16;
/// Of HTTP/1.1: answers are followed from message to message.
const FLAG_EXACT: u8 = 32;

/// What one call moved.
#[derive(Debug)]
pub struct Call<'a, B> {
    /// When it ended, `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// Whether this end sent the bytes.
    pub is_outgoing: bool,
    /// How many bytes in all.
    pub length: u32,
    /// The first of them; zero beyond `length`.
    pub head: &'a [u8; HEADER],
    /// All of them, piece by piece.
    pub bytes: B,
    /// Whether they were read in plain from the program's TLS library.
    pub is_decrypted: bool,
    /// Sequence number in the direction that an answer takes, if this is a request; not used with HTTP/1.1.
    pub answer_sequence: u32,
    /// The socket's sequence number behind the call's bytes, in their direction; says nothing of decrypted ones.
    pub position: u32,
    /// Of HTTP/1.1, the same in the other direction.
    pub other_position: u32,
}

/// Where the two directions of a socket stand before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// Of requests.
    pub requests: u32,
    /// Of answers.
    pub answers: u32,
}

/// What a call counted besides durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests that are not timed, by [`Untimed`].
    pub untimed: [u32; 2],
    /// The connection is not looked at any more from now on.
    pub unparsed: Option<Unparsed>,
}

/// See the module.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Exchange {
    /// What was counted.
    pub stats: RequestStats,
    /// What is in flight.
    pub queue: Queue,
    /// Of requests, and of answers.
    lanes: [Lane; 2],
    /// When the request began that is not complete yet; 0 where none is.
    opened_ns: u64,
    /// When the connection began, where its pieces have to be told from those of others.
    pub start_ns: u64,
    /// Where the direction of answers stood at the last request.
    mark: u32,
    flags: u8,
    /// 1 where decrypted bytes of an answer came after the last of a request.
    heard: u8,
    /// 1 where it went on in TLS; it is looked at again once somebody hands over what that carries.
    encrypted: u8,
    reserved: u8,
}

impl Exchange {
    /// Nothing so far, of no protocol.
    pub const BLANK: Self = Self {
        stats: RequestStats::NONE,
        queue: Queue::NEW,
        lanes: [Lane::NEW; 2],
        opened_ns: 0,
        start_ns: 0,
        mark: 0,
        flags: 0,
        heard: 0,
        encrypted: 0,
        reserved: 0,
    };

    /// Makes a blank one the exchange of a protocol. Without `is_server`, this end asks.
    #[inline(always)]
    pub fn take_up(&mut self, protocol: Protocol, is_server: bool, is_decrypted: bool) {
        self.stats.protocol = protocol as u8;
        self.flags = if is_server { FLAG_SERVER } else { 0 } | if is_decrypted { FLAG_DECRYPTED } else { 0 };
    }

    /// Decrypted bytes came: if it went on in TLS, it begins anew with these.
    #[inline(always)]
    pub fn decrypt(&mut self) {
        if self.encrypted != 0 {
            self.encrypted = 0;
            self.lanes = [Lane::NEW; 2];
            self.opened_ns = 0;
            self.flags = (self.flags & FLAG_SERVER) | FLAG_DECRYPTED;
        }
    }

    /// What may begin a TLS handshake was seen. Gives whether it does: after the protocol's own wish for it, or where
    /// nothing of HTTP is in flight, as in a proxy's tunnel. Other protocols have payload that looks like it.
    #[inline(always)]
    #[must_use]
    pub fn encrypt(&mut self) -> bool {
        if self.stats.protocol == HTTP1 && self.flags & FLAG_DECRYPTED == 0 && self.queue.is_empty() {
            self.flags |= FLAG_UNPARSED;
            self.encrypted = 1;
        }
        self.encrypted != 0
    }

    /// The same with HTTP/2, of a connection that began at `start_ns`; its first bytes are those of the call at
    /// hand, or it cannot be followed and `beginning` is `None`.
    #[inline(always)]
    pub fn take_up_http2(
        &mut self,
        is_server: bool,
        is_decrypted: bool,
        start_ns: u64,
        beginning: Option<Beginning>,
    ) -> Counted {
        self.take_up(Protocol::Http2, is_server, is_decrypted);
        self.start_ns = start_ns;
        let mut counted = Counted::default();
        match beginning {
            Some(Beginning { requests, answers }) => {
                self.lanes[0].stand_at(requests);
                self.lanes[1].stand_at(answers);
            }
            None => self.give_up(Unparsed::Midway, &mut counted),
        }
        counted
    }

    /// Whether its messages are followed from call to call, so that none of its calls may be missed.
    #[inline(always)]
    #[must_use]
    pub fn is_framed(&self) -> bool {
        (self.stats.protocol > HTTP1 || !self.may_miss()) && self.flags & FLAG_UNPARSED == 0
    }

    /// Takes in one call.
    #[inline(always)]
    pub fn call<S: Steps, B: Bytes>(&mut self, call: Call<'_, B>, memory: &mut Memory) -> Counted {
        let mut counted = Counted::default();
        if self.flags & FLAG_UNPARSED != 0 || call.is_decrypted != (self.flags & FLAG_DECRYPTED != 0) {
            return counted;
        }
        // What was heard before this call.
        let heard = call.is_decrypted && !self.is_request(call.is_outgoing);
        match self.stats.protocol {
            HTTP1 => self.http1::<S, B>(call, &mut memory.window, &mut counted),
            HTTP2 | POSTGRES | MYSQL | REDIS | DNS => self.framed::<S, B>(call, &mut memory.header, &mut counted),
            _ => {}
        }
        self.heard = heard as u8;
        counted
    }

    /// Whether a call is one of requests.
    #[inline(always)]
    fn is_request(&self, is_outgoing: bool) -> bool {
        is_outgoing != (self.flags & FLAG_SERVER != 0)
    }

    /// Counts one answer.
    #[inline(always)]
    fn answer<B: Bytes>(&mut self, bytes: &B, class: u8, now_ns: u64, counted: &mut Counted) {
        match self.queue.answer() {
            Answered::Since(began_ns, method) => {
                bytes.observe(&mut self.stats, method, class, now_ns.saturating_sub(began_ns))
            }
            Answered::Beyond | Answered::Nothing => counted.untimed[Untimed::Pipelined as usize] += 1,
        }
    }

    #[inline(always)]
    fn framed<S: Steps, B: Bytes>(&mut self, call: Call<'_, B>, scratch: &mut [u8; 2 * HEADER], counted: &mut Counted) {
        let is_request = self.is_request(call.is_outgoing);
        let (now_ns, answer_sequence, tail) = (call.now_ns, call.answer_sequence, call.bytes.tail());
        if !is_request && self.flags & FLAG_LOST != 0 {
            return self.find_end(&call.bytes, &tail, now_ns, counted);
        }
        let is_http2 = self.stats.protocol == HTTP2;
        let [requests, answers] = &mut self.lanes;
        if is_http2 {
            let lane = if is_request { &mut *requests } else { &mut *answers };
            if call.is_decrypted {
                lane.go_on(call.length);
            } else if !lane.go_to(call.position, call.length) {
                return self.give_up(Unparsed::Lost, counted);
            }
        }
        let mut walk = Walk {
            lane: if is_request { requests } else { answers },
            queue: &mut self.queue,
            stats: &mut self.stats,
            scratch,
            bytes: call.bytes,
            now_ns,
            asked: 0,
            beyond: 0,
            opens: false,
            is_request,
            outcome: Outcome::Going,
        };
        S::run(&mut walk);
        if is_request && walk.stats.protocol == DNS {
            dns::end_of_call(walk.lane);
        }
        let Walk { bytes, outcome, asked, opens, beyond, .. } = walk;
        counted.untimed[Untimed::Pipelined as usize] += beyond;
        if matches!(outcome, Outcome::Encrypted) {
            // Whoever sees the handshake counts it, unless what it protects is seen too.
            counted.untimed[Untimed::Unrecognised as usize] += self.queue.forget();
            self.flags |= FLAG_UNPARSED;
            self.encrypted = 1;
            return;
        }
        if matches!(outcome, Outcome::Full) {
            return self.give_up(Unparsed::NoRoom, counted);
        }
        if is_request || is_http2 {
            self.ask(now_ns, answer_sequence, asked, opens, counted);
            if !matches!(outcome, Outcome::Done) {
                self.give_up(Unparsed::Lost, counted);
            }
        } else if !matches!(outcome, Outcome::Done) {
            self.flags |= FLAG_LOST;
            self.find_end(&bytes, &tail, now_ns, counted);
        }
    }

    /// Remembers requests.
    #[inline(always)]
    fn ask(&mut self, now_ns: u64, answer_sequence: u32, asked: u32, opens: bool, counted: &mut Counted) {
        if asked == 0 {
            if opens && self.opened_ns == 0 {
                self.opened_ns = now_ns;
            }
            return;
        }
        let is_lost = self.flags & FLAG_LOST != 0;
        if is_lost || self.stats.protocol == MYSQL {
            if !self.queue.is_empty() {
                if self.flags & FLAG_SHARED != 0 {
                    return self.give_up(Unparsed::Lost, counted);
                }
                // Whoever asks again has got all answers.
                counted.untimed[Untimed::Unrecognised as usize] += self.queue.forget();
            }
            self.flags &= !FLAG_LOST;
            let state = self.lanes[1].state;
            self.lanes[1] = Lane { state, ..Lane::NEW };
        }
        let began_ns = if self.opened_ns != 0 { self.opened_ns } else { now_ns };
        self.opened_ns = 0;
        self.mark = answer_sequence;
        // Clients of the others write and read in one thread, and their servers speak first.
        let early = if self.stats.protocol == REDIS { u32::MAX } else { 0 };
        counted.untimed[Untimed::Pipelined as usize] += self.queue.ask(began_ns, asked, early);
        if self.queue.is_shared() {
            self.flags |= FLAG_SHARED;
        }
    }

    /// Looks for the end of an answer whose messages are too many to follow: PostgreSQL says where it is.
    #[inline(always)]
    fn find_end<B: Bytes>(&mut self, bytes: &B, tail: &[u8; 8], now_ns: u64, counted: &mut Counted) {
        if self.stats.protocol != POSTGRES || self.queue.is_empty() {
            return;
        }
        if let Some(failed) = postgres::ends(tail) {
            self.flags &= !FLAG_LOST;
            self.lanes[1] = Lane { state: self.lanes[1].state, ..Lane::NEW };
            self.answer(bytes, if failed { super::ERROR } else { super::OK }, now_ns, counted);
            counted.untimed[Untimed::Unrecognised as usize] += self.queue.forget();
        }
    }

    #[inline(always)]
    fn give_up(&mut self, why: Unparsed, counted: &mut Counted) {
        counted.untimed[Untimed::Unrecognised as usize] += self.queue.forget();
        counted.unparsed = Some(why);
        self.stats.given_up = 1;
        self.flags |= FLAG_UNPARSED;
    }

    /// The connection ended. Whatever is in flight got no answer, if no byte came back after the last
    /// request; else it got one that was not recognised. `observe` is [`RequestStats::observe_within`] or does the same.
    #[inline(always)]
    pub fn end(
        &mut self,
        end_ns: u64,
        answer_sequence: u32,
        observe: impl Fn(&mut RequestStats, u8, u8, u64),
    ) -> Counted {
        let mut counted = Counted::default();
        if self.queue.is_empty() || self.flags & FLAG_UNPARSED != 0 {
            return counted;
        }
        // The FIN takes a sequence number of its own. Numbers say nothing of TLS, which has messages of its own.
        // Where answers are followed, those in flight have none if nothing came after the last.
        let is_exact = self.flags & FLAG_EXACT != 0;
        let mark = if is_exact { self.lanes[1].position } else { self.mark };
        let is_heard = if is_exact && self.lanes[1].held_bytes != 0 {
            true
        } else if self.flags & FLAG_DECRYPTED != 0 {
            !is_exact && self.heard != 0
        } else {
            answer_sequence.wrapping_sub(mark) > 1
        };
        if is_heard {
            counted.untimed[Untimed::Unrecognised as usize] = self.queue.forget();
            return counted;
        }
        for _ in 0..MAX_UNANSWERED {
            match self.queue.answer() {
                Answered::Since(began_ns, method) => {
                    observe(&mut self.stats, method, CLASS_NONE, end_ns.saturating_sub(began_ns))
                }
                _ => break,
            }
        }
        counted.untimed[Untimed::Pipelined as usize] = self.queue.forget();
        counted
    }

    /// Changes with every request that is counted here, and, of HTTP/2, with every byte that a call moved.
    #[inline(always)]
    #[must_use]
    pub fn mark(&self) -> u64 {
        let [requests, answers] = &self.lanes;
        let moved = requests.position.wrapping_add(answers.position) as u64;
        moved.wrapping_add(self.stats.total_ns())
    }

    /// Whether this end asks by sending.
    #[inline(always)]
    #[must_use]
    pub fn asks_outgoing(&self) -> bool {
        self.is_request(true)
    }
}

/// Requests without an answer that are timed at a connection's end.
const MAX_UNANSWERED: u32 = 16;
const HTTP1: u8 = Protocol::Http1 as u8;
const HTTP2: u8 = Protocol::Http2 as u8;
const POSTGRES: u8 = Protocol::Postgres as u8;
const MYSQL: u8 = Protocol::Mysql as u8;
const REDIS: u8 = Protocol::Redis as u8;
const DNS: u8 = Protocol::Dns as u8;
