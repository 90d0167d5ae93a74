//! HTTP/1.1 on one connection.
//!
//! Requests are always followed from message to message. Of answers only the first bytes are looked at as long as
//! requests come one by one, since each answer then begins a call, exactly where answers stood when its request came.
//! Once that does not hold any more (several requests in one call or in flight, an interim response, a cut status
//! line) answers are followed too, until all are here.
//!
//! What does not begin there is part of a body, whatever it looks like.

use super::super::http1::scan::{Scan, Window};
use super::super::http1::{Head, classify, is_cut_request, is_cut_response};
use super::super::method;
use super::super::{Bytes, Lane, Outcome, Steps};
use super::{Call, Counted, Exchange, FLAG_EXACT, FLAG_UNPARSED};
use crate::requests::{Answered, Unparsed, Untimed};

impl Exchange {
    /// Whether the socket's sequence numbers are needed as they are, and not where a FIN counts.
    #[inline(always)]
    #[must_use]
    pub fn counts_bytes(&self) -> bool {
        self.flags & FLAG_EXACT != 0 || !self.lanes[0].is_between()
    }

    /// Whether it matters where the direction stands that a call is not of.
    #[inline(always)]
    #[must_use]
    pub fn compares(&self, is_outgoing: bool) -> bool {
        self.is_request(is_outgoing) || self.queue.is_empty()
    }

    /// Whether a call that does not begin like a message may be left out.
    #[inline(always)]
    pub(super) fn may_miss(&self) -> bool {
        self.flags & FLAG_EXACT == 0 && self.lanes[0].may_miss()
    }

    #[inline(always)]
    pub(super) fn http1<S: Steps, B: Bytes>(&mut self, call: Call<'_, B>, window: &mut Window, counted: &mut Counted) {
        let is_request = self.is_request(call.is_outgoing);
        let (now_ns, answers_at) = (call.now_ns, call.other_position);
        let is_overtaken;
        let began_ns;
        let asked_before;
        if is_request {
            let was_cut = self.lanes[0].is_before_line() && !self.lanes[0].is_between();
            began_ns = if was_cut { self.opened_ns } else { now_ns };
            is_overtaken = !call.is_decrypted && self.lanes[0].wanted == call.position;
            let Some(asked) = self.begin_request::<S, B>(&call, is_overtaken, counted) else { return };
            asked_before = asked;
        } else {
            began_ns = 0;
            asked_before = 0;
            is_overtaken = self.is_overtaken(&call);
            if !self.begin_answer::<S, B>(&call, is_overtaken, counted) {
                return;
            }
        }
        window.clear();
        let [requests, answers] = &mut self.lanes;
        let mut scan = Scan {
            lane: if is_request { requests } else { answers },
            queue: &mut self.queue,
            stats: &mut self.stats,
            window,
            bytes: call.bytes,
            now_ns,
            began_ns,
            asked: asked_before,
            untimed: 0,
            is_request,
            is_overtaken,
            outcome: Outcome::Going,
        };
        S::scan(&mut scan);
        let (outcome, asked, untimed) = (scan.outcome, scan.asked, scan.untimed);
        counted.untimed[Untimed::Pipelined as usize] += untimed;
        match outcome {
            Outcome::Done => {}
            Outcome::Switched => return self.switch(counted),
            Outcome::Tunnel => return self.leave(counted),
            Outcome::Unread => return self.begin_anew(counted),
            // What began like a method was none.
            _ if self.queue.is_untouched() => {
                self.flags |= FLAG_UNPARSED;
                return;
            }
            _ => return self.give_up(Unparsed::Lost, counted),
        }
        if is_request {
            self.opened_ns = began_ns;
            // Several in this call, or one behind the rest of another.
            let is_row = asked > 1 || asked > asked_before && self.queue.is_shared();
            if is_row && !self.queue.is_empty() {
                self.follow_answers(answers_at);
            }
        } else if self.queue.is_empty() && self.lanes[0].is_between() && self.lanes[1].is_between() {
            self.flags &= !FLAG_EXACT;
        }
    }

    /// Looks at a call of requests. Gives how many were found to begin; `None` where it need not be followed.
    #[inline(always)]
    fn begin_request<S: Steps, B: Bytes>(
        &mut self,
        call: &Call<'_, B>,
        is_overtaken: bool,
        counted: &mut Counted,
    ) -> Option<u32> {
        let is_between = self.lanes[0].is_between();
        if is_between || call.is_decrypted {
            self.lanes[0].position = call.position;
        } else if !self.lanes[0].go_on_to(call.position, call.length) {
            self.give_up(Unparsed::Lost, counted);
            return None;
        }
        if !self.lanes[0].is_before_line() {
            return Some(0);
        }
        let head = if is_between { classify(call.head) } else { Head::Other };
        let is_exact = !is_between || self.flags & FLAG_EXACT != 0 || is_cut_request(call.head, call.length);
        if !(matches!(head, Head::Request(_)) || is_exact && S::can()) {
            return None;
        }
        self.expect::<S, B>(call, counted);
        let Head::Request(method) = head else { return Some(0) };
        self.queue.ask_one(call.now_ns, call.bytes.remembered(method), is_overtaken);
        if !S::can() {
            return None;
        }
        self.lanes[0].begin_line();
        Some(1)
    }

    /// A request begins. If another is in flight, either its answer was not recognised, or there is none yet.
    #[inline(always)]
    fn expect<S: Steps, B: Bytes>(&mut self, call: &Call<'_, B>, counted: &mut Counted) {
        if !self.queue.is_empty() && self.flags & FLAG_EXACT == 0 && S::can() {
            let is_heard = if call.is_decrypted { self.heard != 0 } else { call.other_position != self.mark };
            if is_heard {
                counted.untimed[Untimed::Unrecognised as usize] += self.queue.forget();
            } else {
                self.follow_answers(call.other_position);
            }
        }
        self.mark = call.other_position;
    }

    /// From now on, answers are followed, of which the next begins there.
    #[inline(always)]
    fn follow_answers(&mut self, position: u32) {
        if self.flags & FLAG_EXACT == 0 {
            self.flags |= FLAG_EXACT;
            self.lanes[1] = Lane { position, ..Lane::NEW };
        }
    }

    /// Whether an answer may be that of a request whose call has not ended yet: more was written than is known of.
    #[inline(always)]
    fn is_overtaken<B: Bytes>(&mut self, call: &Call<'_, B>) -> bool {
        if call.is_decrypted || !self.queue.is_empty() {
            return false;
        }
        let unseen = call.other_position.wrapping_sub(self.lanes[0].position);
        let is_overtaken = (unseen as i32) > 0 && unseen as u64 > self.lanes[0].body();
        if is_overtaken {
            self.lanes[0].wanted = call.other_position;
        }
        is_overtaken
    }

    /// Looks at a call of answers, and counts what begins it. Gives whether it is to be followed.
    #[inline(always)]
    fn begin_answer<S: Steps, B: Bytes>(
        &mut self,
        call: &Call<'_, B>,
        is_overtaken: bool,
        counted: &mut Counted,
    ) -> bool {
        if self.flags & FLAG_EXACT != 0 {
            if !call.is_decrypted && !self.lanes[1].go_on_to(call.position, call.length) {
                self.give_up(Unparsed::Lost, counted);
                return false;
            }
            return true;
        }
        let begins = if call.is_decrypted {
            self.heard == 0
        } else {
            // A FIN that was read with it counts one.
            call.position.wrapping_sub(call.length).wrapping_sub(self.mark) <= 1
        };
        let is_awaited = !self.queue.is_empty() && (begins || !S::can());
        match classify(call.head) {
            Head::Response(class, _) if is_awaited || is_overtaken => {
                let method = self.queue.method();
                self.answer(&call.bytes, class, call.now_ns, counted);
                if method == method::CONNECT && class == 0 {
                    self.leave(counted);
                }
                false
            }
            Head::Switching if is_awaited => {
                self.switch(counted);
                false
            }
            Head::Interim if is_awaited && S::can() => {
                self.follow_answers(call.position);
                true
            }
            Head::Other if is_awaited && S::can() && is_cut_response(call.head, call.length) => {
                self.follow_answers(call.position);
                true
            }
            _ => false,
        }
    }

    /// Where messages are is not known any more; the next that begins a call is.
    #[inline(always)]
    fn begin_anew(&mut self, counted: &mut Counted) {
        if self.flags & FLAG_EXACT != 0 {
            counted.untimed[Untimed::Unrecognised as usize] += self.queue.forget();
            self.flags &= !FLAG_EXACT;
        }
        let position = self.lanes[0].position;
        self.lanes = [Lane { position, ..Lane::NEW }, Lane::NEW];
    }

    /// What follows is another protocol, which the oldest request asked for.
    #[inline(always)]
    fn switch(&mut self, counted: &mut Counted) {
        if !matches!(self.queue.answer(), Answered::Nothing) {
            self.stats.upgraded = 1;
        }
        self.leave(counted);
    }

    /// What follows is not looked at.
    #[inline(always)]
    fn leave(&mut self, counted: &mut Counted) {
        counted.untimed[Untimed::Unrecognised as usize] += self.queue.forget();
        self.flags = self.flags & !FLAG_EXACT | FLAG_UNPARSED;
    }
}
