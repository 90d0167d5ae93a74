//! How often a service's score crosses its threshold, against the budget, and what follows from it.
//!
//! Held-out data tell the threshold for the day the model was made; load and noise drift afterwards. Each
//! hour of crossing raises the threshold of that service by [`RAISE`] (in logarithms), each hour of
//! observation lowers it by the budgeted share of [`LOWER`], so that in the long run crossings come at a rate near
//! the one asked for, whatever the distribution (adaptive conformal inference: Gibbs & Candès, NeurIPS 2021, eq. 2).
//! As crossings of faults teach, too, with equal steps alarms without a fault would come too seldom.
//!
//! A fault must not teach its way to normal: of one episode at most [`TAUGHT_HOURS`] count, a second one
//! begins only after [`QUIET_HOURS`] below the threshold, and the threshold stays within a factor of [`BOUNDS`],
//! so that not even many faults in a row hide the next. A model whose threshold is an extrapolation adapts nothing.

use serde::{Deserialize, Serialize};

/// Change of the logarithm of the threshold per hour of crossing.
const RAISE: f64 = 0.09;

/// The same, downward, per crossing asked for. Their ratio is the rate that is held if no crossing is a fault's.
const LOWER: f64 = 0.11;

/// Hours of one episode that teach.
const TAUGHT_HOURS: u32 = 2;

/// Hours below the threshold that end an episode.
const QUIET_HOURS: f64 = 6.0;

/// Least and largest logarithm of the factor: 0.6 and 1.65.
const BOUNDS: (f64, f64) = (-0.5, 0.5);

/// Milliseconds of an hour.
const HOUR_MS: f64 = 3_600_000.0;

/// One service's crossings. 40 bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rate {
    /// Logarithm of what the threshold is multiplied by.
    shift: f64,
    /// Hours since the last crossing; `None` before the first.
    quiet_hours: Option<f64>,
    /// Hours since the last crossing that was counted.
    since_counted: f64,
    /// Crossings of the episode that were counted.
    taught: u32,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// Below the threshold.
    No,
    /// Above it, in an hour that is counted already.
    Same,
    /// Above it, the first time in an hour.
    New,
}

impl Rate {
    /// What the calibrated threshold is multiplied by.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.shift.exp()
    }

    /// Takes in whether the score of a step was past the threshold; `adapt` where the threshold is known
    /// well enough to be improved on.
    pub fn push(&mut self, crossed: bool, step_ms: i64, budget_per_day: f64, adapt: bool) -> Crossing {
        let hours = step_ms.max(1) as f64 / HOUR_MS;
        self.since_counted += hours;
        let quiet = self.quiet_hours.map_or(f64::INFINITY, |quiet| quiet + hours);
        if quiet > QUIET_HOURS {
            self.taught = 0;
        }
        let mut crossing = Crossing::No;
        let mut lesson = -LOWER * hours * budget_per_day / 24.0;
        if crossed {
            let counted = self.quiet_hours.is_some() && self.since_counted < 1.0;
            crossing = if counted { Crossing::Same } else { Crossing::New };
            if crossing == Crossing::New {
                self.since_counted = 0.0;
                self.taught += 1;
                if self.taught <= TAUGHT_HOURS {
                    lesson += RAISE;
                }
            }
            self.quiet_hours = Some(0.0);
        } else {
            self.quiet_hours = self.quiet_hours.map(|_| quiet);
        }
        // While an episode stands, time does not count as quiet either.
        if adapt && (!crossed || crossing == Crossing::New) {
            self.shift = (self.shift + lesson).clamp(BOUNDS.0, BOUNDS.1);
        }
        crossing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_MS: i64 = 300_000;

    /// Deterministic scores: exponential, independent.
    fn scores(n: usize) -> impl Iterator<Item = f64> {
        let mut state = 7_u64;
        (0..n).map(move |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            -(((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64).ln()
        })
    }

    #[test]
    fn a_threshold_off_by_a_factor_comes_to_the_rate_asked_for() {
        // One crossing a day of 288 steps is at ln 288 = 5.7.
        for threshold in [4.5, 8.0] {
            let mut rate = Rate::default();
            let mut late = 0;
            for (i, score) in scores(288 * 120).enumerate() {
                let crossed = score > threshold * rate.factor();
                let new = rate.push(crossed, STEP_MS, 1.0, true) == Crossing::New;
                late += u32::from(new && i >= 288 * 60);
            }
            assert!((30..=120).contains(&late), "threshold {threshold}: {late} crossings in 60 days");
        }
    }

    #[test]
    fn a_standing_fault_teaches_two_hours_and_no_more() {
        let mut rate = Rate::default();
        for _ in 0..288 * 7 {
            rate.push(true, STEP_MS, 1.0, true);
        }
        assert!(rate.factor() < 1.3, "{}", rate.factor());
    }

    #[test]
    fn not_even_many_faults_in_a_row_hide_the_next() {
        let mut rate = Rate::default();
        let mut factors = Vec::new();
        for step in 0..288 * 60 {
            // Two hours of fault, ten of peace.
            rate.push(step % 144 < 24, STEP_MS, 1.0, true);
            factors.push(rate.factor());
        }
        let most = factors.iter().copied().fold(0.0, f64::max);
        assert!(most > 1.5 && most <= BOUNDS.1.exp(), "{most}");
    }

    #[test]
    fn a_guessed_threshold_is_not_improved_on() {
        let mut rate = Rate::default();
        assert_eq!(rate.push(true, STEP_MS, 1.0, false), Crossing::New);
        assert_eq!(rate.push(true, STEP_MS, 1.0, false), Crossing::Same);
        assert_eq!(rate.push(false, STEP_MS, 1.0, false), Crossing::No);
        assert_eq!(rate.factor(), 1.0);
    }
}
