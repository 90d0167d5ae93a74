//! Requests of one connection: what is in flight, and what was counted.
//!
//! All of it is plain arithmetic on fixed memory, so that it runs in the kernel as it runs in tests.
//!
//! A duration is counted once its answer's status is known. What was asked and answered but cannot be
//! timed is counted by its reason ([`Untimed`]) and is in no histogram: nothing is guessed. The counts are in
//! [`crate::stats`].

use core::hint::black_box;

use crate::protocols::method;
pub use crate::stats::RequestStats;

/// Statuses that a protocol tells apart; what an index means is the protocol's own
/// ([`crate::protocols::Protocol::statuses`]).
pub const CLASSES: usize = 5;
/// Index of the status of requests whose connection ended without any answer, in every protocol.
pub const CLASS_NONE: u8 = 4;

/// Why requests that are known to have been answered are in no histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Untimed {
    /// More were in flight than can be remembered, or an answer came that no request is known for:
    /// those of a ninth call on, or an answer that overtook its request's call.
    Pipelined = 0,
    /// Its answer could not be told from the bytes around it.
    Unrecognised = 1,
    /// No room was left to remember its connection, or to count it in.
    NoRoom = 2,
}

/// Why a connection's requests are not looked at any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Unparsed {
    /// It went on in TLS.
    Encrypted = 0,
    /// Where its messages begin was lost.
    Lost = 1,
    /// It was there before it was looked at, and its messages refer to those before.
    Midway = 2,
    /// What it says came faster than it was read, or took more memory than it gets.
    NoRoom = 3,
}

/// Label values of [`Untimed`], by index.
pub const UNTIMED_NAMES: [&str; 3] = ["pipelined", "unrecognised", "no_room"];
/// Label values of [`Unparsed`], by index.
pub const UNPARSED_NAMES: [&str; 4] = ["encrypted", "lost", "midway", "no_room"];

/// Requests that one call brought.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Batch {
    /// When, `CLOCK_MONOTONIC`.
    pub began_ns: u64,
    /// The methods of HTTP's, four bits each from the lowest: of the first seven one by one, and of all others the eighth's.
    pub methods: u32,
    /// How many.
    pub asked: u16,
    /// How many of them are answered.
    pub answered: u16,
}

impl Batch {
    const NONE: Self = Self { began_ns: 0, methods: 0, asked: 0, answered: 0 };

    /// Where the method of a request is among [`Self::methods`].
    #[inline(always)]
    const fn shift_of(number: u16) -> u32 {
        4 * if number < LAST_METHOD { number } else { LAST_METHOD } as u32
    }

    /// The method of a request.
    #[inline(always)]
    const fn method_of(&self, number: u16) -> u8 {
        (self.methods >> Self::shift_of(number)) as u8 & 0xf
    }
}

const _: () = assert!(method::METHODS <= 1 << 4);

/// From this one on, requests that are remembered together have the same method.
const LAST_METHOD: u16 = 7;

/// Requests of one call that are remembered together.
const MAX_ASKED: u32 = u16::MAX as u32;

/// Calls with requests in flight that are remembered per connection; a power of two.
pub const BATCHES: usize = 8;

/// Requests in flight, in order. One end of a connection writes requests while the other reads answers,
/// perhaps on two processors at once: each field is written by one of the two only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Queue {
    batches: [Batch; BATCHES],
    /// Batches ever begun.
    begun: u32,
    /// Batches ever answered in full.
    done: u32,
    /// Requests that found no room, ever.
    beyond: u32,
    /// Of these, answered.
    beyond_answered: u32,
    /// Answers that came when nothing was in flight, ever.
    early: u32,
    /// Requests that such an answer was for, ever.
    early_claimed: u32,
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A request of this moment, and of this method of HTTP.
    Since(u64, u8),
    /// A request that found no room.
    Beyond,
    /// None that is known.
    Nothing,
}

impl Queue {
    /// Empty.
    pub const NEW: Self = Self {
        batches: [Batch::NONE; BATCHES],
        begun: 0,
        done: 0,
        beyond: 0,
        beyond_answered: 0,
        early: 0,
        early_claimed: 0,
    };

    /// Whether nothing is in flight.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.begun == self.done && self.beyond == self.beyond_answered
    }

    /// Whether nothing was ever asked.
    #[inline(always)]
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.begun == 0 && self.beyond == 0
    }

    /// Whether what is asked next is remembered.
    #[inline(always)]
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.begun.wrapping_sub(self.done) < BATCHES as u32 && self.beyond == self.beyond_answered
    }

    /// The method of the oldest request, as it was remembered; [`method::OTHER`] where that is not known.
    #[inline(always)]
    #[must_use]
    pub fn method(&self) -> u8 {
        match self.batches.get(black_box(self.done as usize % BATCHES)) {
            Some(batch) if self.begun != self.done => batch.method_of(batch.answered),
            _ => method::OTHER,
        }
    }

    /// Whether requests of more than one call are in flight.
    #[inline(always)]
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.begun.wrapping_sub(self.done) > 1
    }

    /// Remembers requests. Answers that came before them, since a thread read one before another's call
    /// to write had ended, are theirs; at most `early` of these are believed. Gives how many.
    #[inline(always)]
    pub fn ask(&mut self, began_ns: u64, asked: u32, early: u32) -> u32 {
        let ahead = self.early.wrapping_sub(self.early_claimed);
        self.early_claimed = self.early;
        let theirs = ahead.min(early).min(asked);
        let asked = asked - theirs;
        if asked == 0 {
            return theirs;
        }
        self.begin(began_ns, asked, method::OTHER);
        theirs
    }

    /// Remembers one request, together with those of its moment. If it `is_overtaken`, an answer that came before it is
    /// its own; else no such answer is believed any more.
    #[inline(always)]
    pub fn ask_one(&mut self, began_ns: u64, method: u8, is_overtaken: bool) {
        if !is_overtaken {
            self.early_claimed = self.early;
        } else if self.early != self.early_claimed {
            self.early_claimed = self.early_claimed.wrapping_add(1);
            return;
        }
        let newest = black_box(self.begun.wrapping_sub(1) as usize % BATCHES);
        if self.begun != self.done
            && self.beyond == self.beyond_answered
            && let Some(batch) = self.batches.get_mut(newest)
            && batch.began_ns == began_ns
            && (batch.asked <= LAST_METHOD || batch.method_of(LAST_METHOD) == method)
            && (batch.asked as u32) < MAX_ASKED
        {
            // Before it is counted: whoever reads its answer looks at no method before that.
            batch.methods |= (method as u32) << Batch::shift_of(batch.asked);
            batch.asked += 1;
        } else {
            self.begin(began_ns, 1, method);
        }
    }

    #[inline(always)]
    fn begin(&mut self, began_ns: u64, asked: u32, method: u8) {
        if self.has_room() && asked <= MAX_ASKED {
            let place = black_box(self.begun as usize % BATCHES);
            if let Some(batch) = self.batches.get_mut(place) {
                *batch = Batch { began_ns, methods: method as u32, asked: asked as u16, answered: 0 };
            }
            self.begun = self.begun.wrapping_add(1);
        } else {
            self.beyond = self.beyond.wrapping_add(asked);
        }
    }

    /// Takes the oldest request.
    #[inline(always)]
    pub fn answer(&mut self) -> Answered {
        if self.begun != self.done {
            let place = black_box(self.done as usize % BATCHES);
            let Some(batch) = self.batches.get_mut(place) else { return Answered::Nothing };
            batch.answered = batch.answered.wrapping_add(1);
            let (began_ns, method) = (batch.began_ns, batch.method_of(batch.answered.wrapping_sub(1)));
            if batch.answered >= batch.asked {
                self.done = self.done.wrapping_add(1);
            }
            return Answered::Since(began_ns, method);
        }
        if self.beyond != self.beyond_answered {
            self.beyond_answered = self.beyond_answered.wrapping_add(1);
            return Answered::Beyond;
        }
        self.early = self.early.wrapping_add(1);
        Answered::Nothing
    }

    /// Forgets what is in flight, and says how many requests that were.
    #[inline(always)]
    pub fn forget(&mut self) -> u32 {
        let mut forgotten = self.beyond.wrapping_sub(self.beyond_answered);
        let mut index = 0;
        while index < BATCHES as u32 {
            let number = self.done.wrapping_add(index);
            if index < self.begun.wrapping_sub(self.done)
                && let Some(batch) = self.batches.get(black_box(number as usize % BATCHES))
            {
                forgotten = forgotten.wrapping_add(batch.asked.wrapping_sub(batch.answered) as u32);
            }
            index += 1;
        }
        self.done = self.begun;
        self.beyond_answered = self.beyond;
        self.early_claimed = self.early;
        forgotten
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn answers_take_requests_in_the_order_in_which_they_were_asked() {
        let mut queue = Queue::default();
        queue.ask(10, 2, 0);
        queue.ask(20, 1, 0);
        assert!(queue.is_shared());
        let answers: [Answered; 4] = core::array::from_fn(|_| queue.answer());
        let since = |moment| Answered::Since(moment, method::OTHER);
        assert_eq!(answers, [since(10), since(10), since(20), Answered::Nothing]);
        assert!(queue.is_empty());
    }

    #[test]
    fn requests_of_one_moment_share_a_place_and_each_has_its_method() {
        let mut queue = Queue::default();
        let asked = [(10, method::GET), (10, method::PUT), (10, method::PUT), (20, method::TRACE)];
        for (moment, method) in asked {
            queue.ask_one(moment, method, false);
        }
        assert!(queue.is_shared() && queue.begun == 2);
        let answers: [(u8, Answered); 4] = core::array::from_fn(|_| (queue.method(), queue.answer()));
        assert_eq!(answers, asked.map(|(moment, method)| (method, Answered::Since(moment, method))));
        assert_eq!(queue.method(), method::OTHER);
        for moment in 0..BATCHES as u64 {
            assert!(queue.has_room());
            queue.ask_one(moment, 0, false);
        }
        assert!(!queue.has_room());
    }

    #[test]
    fn early_answers_are_claimed_one_by_one_or_given_up() {
        for (is_overtaken, open) in [(true, 1), (false, 3)] {
            let mut queue = Queue::default();
            assert_eq!([queue.answer(), queue.answer()], [Answered::Nothing; 2]);
            for _ in 0..3 {
                queue.ask_one(10, 0, is_overtaken);
            }
            assert_eq!(queue.forget(), open);
        }
    }

    #[test]
    fn an_answer_that_overtook_its_request_is_taken_for_it() {
        let mut queue = Queue::default();
        assert_eq!(queue.answer(), Answered::Nothing);
        queue.ask(10, 1, u32::MAX);
        assert!(queue.is_empty());
        queue.ask(20, 1, u32::MAX);
        assert_eq!(queue.answer(), Answered::Since(20, method::OTHER));
    }

    /// Against a queue without bounds: whatever finds no room is still answered in its turn.
    #[test]
    fn the_bounded_queue_answers_as_many_as_were_asked_in_any_order_of_events() {
        let mut random = 1_u64;
        for _ in 0..500 {
            let (mut queue, mut model) = (Queue::default(), VecDeque::new());
            let mut timed = 0;
            for now in 1..200 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let draw = random >> 33;
                if draw.is_multiple_of(3) {
                    let asked = 1 + (draw >> 8) as u32 % 5;
                    queue.ask(now, asked, 0);
                    model.extend((0..asked).map(|_| now));
                } else if let Some(since) = model.pop_front() {
                    match queue.answer() {
                        Answered::Since(began, _) => {
                            assert_eq!(began, since);
                            timed += 1;
                        }
                        other => assert_eq!(other, Answered::Beyond),
                    }
                }
                assert_eq!(queue.is_empty(), model.is_empty());
            }
            assert!(timed > 0);
            assert_eq!(queue.forget() as usize, model.len());
            assert!(queue.is_empty());
        }
    }
    /// Rows of any methods and lengths, asked and answered in any order of events: each answer is told the method of its
    /// own request, and as many as eight methods in any order take one place.
    #[test]
    fn each_request_of_a_row_keeps_its_method() {
        let mut random = 1_u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for _ in 0..500 {
            let (mut queue, mut model) = (Queue::default(), VecDeque::new());
            let (mut timed, mut beyond) = (0, 0);
            for now in 1..60 {
                let methods = 1 + draw(method::METHODS as u64);
                for _ in 0..draw(40) {
                    let method = draw(methods) as u8;
                    queue.ask_one(now, method, false);
                    model.push_back((now, method));
                }
                for _ in 0..draw(60) {
                    let Some((since, method)) = model.pop_front() else { break };
                    match queue.answer() {
                        Answered::Since(..) if beyond > 0 => panic!("those without room are the last"),
                        answered @ Answered::Since(..) => {
                            assert_eq!(answered, Answered::Since(since, method));
                            timed += 1;
                        }
                        Answered::Beyond => beyond += 1,
                        Answered::Nothing => panic!("none is left out"),
                    }
                    if queue.is_empty() {
                        beyond = 0;
                    }
                }
                assert_eq!(queue.is_empty(), model.is_empty());
            }
            assert!(timed > 0);
        }
        for methods in 1..=method::METHODS as u8 {
            let mut queue = Queue::default();
            (0..8).for_each(|number| queue.ask_one(5, number % methods, false));
            assert_eq!(queue.begun, 1);
        }
    }
}
