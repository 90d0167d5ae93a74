//! Whether a service is there, told from its own series and from what happens to its callers.
//!
//! - **Vanished**: it answered callers before; now their attempts fail, and go on. An attempt is a
//!   connect, or a request where callers report no connects. At least nine attempts in ten must fail,
//!   three times since the last success (once suffices where the service's own series have ended too),
//!   so that neither one dead pod of many nor one refused connect makes a service vanish. Own series
//!   that merely end prove nothing while callers are served: their exporter may be gone.
//! - **Idle**: its own series ended, and nobody tried for 15 seconds or two steps: planned.
//! - **Present**: otherwise, also where nothing but calls to it is known.

use serde::{Deserialize, Serialize};

use crate::step::Presence;

/// Share of attempts that must fail.
const FAILING: f64 = 0.9;
/// Failures since the last success that make a service vanish while its own series go on.
const FAILURES: f64 = 3.0;
/// The same where its own series have ended.
const FAILURES_WHEN_ENDED: f64 = 1.0;
/// Callers that tried this long ago still try.
const STILL_TRYING_MS: i64 = 15_000;

/// What one step shows of one service.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signs {
    /// Own series with a value at the step's end.
    pub own_series: u32,
    /// Attempts of callers per second, as callers report them; failed ones included.
    pub attempts_per_second: f64,
    /// Those that failed.
    pub failures_per_second: f64,
    /// Requests that callers saw answered without a server error, per second.
    pub answered_per_second: f64,
}

/// What is remembered of one service from step to step.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Watch {
    had_own_series: bool,
    had_success: bool,
    failures_since_success: f64,
    last_attempt_ms: Option<i64>,
}

impl Watch {
    /// Takes in one step and says what it amounts to.
    pub fn step(&mut self, end_ms: i64, step_ms: i64, signs: Signs) -> Presence {
        #[expect(clippy::cast_precision_loss, reason = "a step in milliseconds fits 53 bits")]
        let seconds = step_ms as f64 / 1000.0;
        self.had_own_series |= signs.own_series > 0;
        let ended = self.had_own_series && signs.own_series == 0;
        let succeeded = (signs.attempts_per_second - signs.failures_per_second).max(0.0) + signs.answered_per_second;
        let tried = signs.failures_per_second + succeeded;
        if tried > 0.0 {
            self.last_attempt_ms = Some(end_ms);
            if signs.failures_per_second >= FAILING * tried {
                self.failures_since_success += signs.failures_per_second * seconds;
            } else {
                self.had_success = true;
                self.failures_since_success = 0.0;
            }
        }
        let still_ms = STILL_TRYING_MS.max(2 * step_ms);
        let trying = self.last_attempt_ms.is_some_and(|last_ms| end_ms - last_ms <= still_ms);
        let enough = if ended { FAILURES_WHEN_ENDED } else { FAILURES };
        if trying && self.had_success && self.failures_since_success >= enough {
            Presence::Vanished
        } else if ended && !trying {
            Presence::Idle
        } else {
            Presence::Present
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(own: u32, attempts: f64, failures: f64) -> Signs {
        Signs {
            own_series: own,
            attempts_per_second: attempts,
            failures_per_second: failures,
            answered_per_second: 0.0,
        }
    }

    #[test]
    fn a_service_whose_callers_all_fail_after_it_worked_has_vanished_until_it_works_again() {
        let mut watch = Watch::default();
        assert_eq!(watch.step(1000, 1000, signs(3, 10.0, 0.0)), Presence::Present);
        assert_eq!(watch.step(2000, 1000, signs(3, 10.0, 10.0)), Presence::Vanished);
        assert_eq!(watch.step(3000, 1000, signs(0, 0.0, 0.0)), Presence::Vanished);
        assert_eq!(watch.step(4000, 1000, signs(3, 10.0, 1.0)), Presence::Present);
    }

    #[test]
    fn one_failed_connect_is_not_enough_while_the_service_reports() {
        let mut watch = Watch::default();
        watch.step(1000, 1000, signs(3, 1.0, 0.0));
        assert_eq!(watch.step(2000, 1000, signs(3, 1.0, 1.0)), Presence::Present);
        assert_eq!(watch.step(3000, 1000, signs(3, 1.0, 1.0)), Presence::Present);
        assert_eq!(watch.step(4000, 1000, signs(3, 1.0, 1.0)), Presence::Vanished);
        let mut watch = Watch::default();
        watch.step(1000, 1000, signs(3, 1.0, 0.0));
        assert_eq!(watch.step(2000, 1000, signs(0, 1.0, 1.0)), Presence::Vanished, "its own series ended too");
    }

    #[test]
    fn one_dead_pod_of_three_leaves_the_service_present() {
        let mut watch = Watch::default();
        for step in 1..20 {
            assert_eq!(watch.step(step * 1000, 1000, signs(2, 9.0, 3.0)), Presence::Present);
        }
    }

    #[test]
    fn own_series_that_end_while_callers_are_served_are_a_dead_exporter() {
        let mut watch = Watch::default();
        watch.step(1000, 1000, signs(3, 10.0, 0.0));
        assert_eq!(watch.step(2000, 1000, signs(0, 10.0, 0.0)), Presence::Present);
    }

    #[test]
    fn gone_with_nobody_calling_is_planned() {
        let mut watch = Watch::default();
        watch.step(1000, 1000, signs(3, 10.0, 0.0));
        for step in 2..=16 {
            assert_eq!(watch.step(step * 1000, 1000, signs(0, 0.0, 0.0)), Presence::Present);
        }
        assert_eq!(watch.step(17_000, 1000, signs(0, 0.0, 0.0)), Presence::Idle);
    }

    #[test]
    fn a_service_that_never_worked_has_not_vanished() {
        let mut watch = Watch::default();
        for step in 1..20 {
            assert_eq!(watch.step(step * 1000, 1000, signs(0, 5.0, 5.0)), Presence::Present);
        }
    }

    #[test]
    fn requests_over_kept_connections_count_as_success() {
        let mut watch = Watch::default();
        let kept = Signs { answered_per_second: 50.0, ..signs(1, 0.0, 0.0) };
        watch.step(1000, 1000, kept);
        let one_refused = Signs { answered_per_second: 50.0, ..signs(1, 4.0, 4.0) };
        assert_eq!(watch.step(2000, 1000, one_refused), Presence::Present);
    }
}
