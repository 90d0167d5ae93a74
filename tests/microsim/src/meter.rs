//! Counting while a process runs; [`Meter::report`] takes stock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::histogram::Histogram;
use crate::report::{Outbound, Recent, Report};

/// Full seconds kept for [`Recent`].
const RECENT_SECONDS: u64 = 10;

/// The counters of one process.
#[derive(Debug)]
pub struct Meter {
    started: Instant,
    counters: RefCell<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    report: Report,
    slots: VecDeque<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    second: u64,
    finished: u64,
    errors: u64,
    latency: Histogram,
}

/// A request being handled. Dropped without an end, it counts as cancelled.
#[derive(Debug)]
pub struct InFlight {
    meter: Rc<Meter>,
    caller: Rc<str>,
    since: Instant,
    ended: bool,
}

impl Meter {
    /// All zero.
    pub fn new() -> Rc<Self> {
        Rc::new(Self { started: Instant::now(), counters: RefCell::default() })
    }

    /// Counts a request of `caller` whose latency runs from `since`.
    pub fn begin(self: &Rc<Self>, caller: &Rc<str>, since: Instant) -> InFlight {
        let report = &mut self.counters.borrow_mut().report;
        report.served.requests += 1;
        report.callers.entry(caller.to_string()).or_default().requests += 1;
        report.in_flight += 1;
        InFlight { meter: Rc::clone(self), caller: Rc::clone(caller), since, ended: false }
    }

    /// Changes the counters of the edge to `callee`.
    pub fn edge(&self, callee: &str, change: impl FnOnce(&mut Outbound)) {
        change(self.counters.borrow_mut().report.edges.entry(callee.to_owned()).or_default());
    }

    /// Counts one accepted connection.
    pub fn accepted(&self) {
        self.counters.borrow_mut().report.accepted += 1;
    }

    /// Counts one request turned away for lack of room.
    pub fn shed(&self) {
        self.counters.borrow_mut().report.shed += 1;
    }

    /// Requests now being handled.
    pub fn in_flight(&self) -> u64 {
        self.counters.borrow().report.in_flight
    }

    /// All counters as of now.
    pub fn report(&self) -> Report {
        let counters = self.counters.borrow();
        let mut report = counters.report.clone();
        let now = self.started.elapsed().as_secs();
        let from = now.saturating_sub(RECENT_SECONDS);
        report.recent = Recent { seconds: now - from, ..Recent::default() };
        for slot in counters.slots.iter().filter(|slot| (from..now).contains(&slot.second)) {
            report.recent.finished += slot.finished;
            report.recent.errors += slot.errors;
            report.recent.latency.merge(&slot.latency);
        }
        report.cpu_seconds = cpu_time(ClockId::ProcessCPUTime).as_secs_f64();
        report.resident_bytes = resident_bytes();
        report
    }
}

impl InFlight {
    /// The response was given.
    pub fn finish(mut self, status: u16) {
        self.end(Some(status), true);
    }

    /// No response came; its latency counts all the same.
    pub fn fail(mut self) {
        self.end(None, true);
    }

    fn end(&mut self, status: Option<u16>, timed: bool) {
        self.ended = true;
        let latency = self.since.elapsed();
        let mut counters = self.meter.counters.borrow_mut();
        let Counters { report, slots } = &mut *counters;
        report.in_flight -= 1;
        let caller = report.callers.entry(self.caller.to_string()).or_default();
        for inbound in [&mut report.served, caller] {
            match status {
                Some(status) => inbound.responses.record(status),
                None => inbound.cancelled += 1,
            }
        }
        let second = self.meter.started.elapsed().as_secs();
        if slots.back().is_none_or(|slot| slot.second != second) {
            slots.push_back(Slot { second, ..Slot::default() });
        }
        while slots.front().is_some_and(|slot| slot.second + RECENT_SECONDS < second) {
            slots.pop_front();
        }
        let Some(slot) = slots.back_mut() else { return };
        slot.finished += 1;
        slot.errors += u64::from(status.is_none_or(|status| status >= 500));
        if timed {
            report.latency.record(latency);
            slot.latency.record(latency);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.ended {
            self.end(None, false);
        }
    }
}

/// Time on a CPU clock.
pub fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// `VmRSS` of `/proc/self/status` (proc_pid_status(5)); 0 where there is no procfs.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0_u64) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Inbound;

    #[test]
    fn requests_equal_responses_cancelled_and_in_flight() {
        let meter = Meter::new();
        let caller: Rc<str> = "cart".into();
        let open = meter.begin(&caller, Instant::now());
        meter.begin(&caller, Instant::now()).finish(200);
        meter.begin(&caller, Instant::now()).finish(503);
        drop(meter.begin(&caller, Instant::now()));
        let report = meter.report();
        let Inbound { requests, responses, cancelled } = report.callers["cart"];
        assert_eq!(report.served, report.callers["cart"]);
        assert_eq!((requests, responses.ok, responses.server_error, cancelled), (4, 1, 1, 1));
        assert_eq!(report.in_flight, 1);
        assert_eq!(report.latency.count(), 2, "a cancelled request has no latency");
        drop(open);
        assert_eq!(meter.report().in_flight, 0);
    }
}
