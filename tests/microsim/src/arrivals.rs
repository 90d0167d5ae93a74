//! When requests arrive: an inhomogeneous Poisson process.
//!
//! The rate is the mean rate, times a slow sinusoid (the rhythm of the day, shortened), times a
//! log-normal factor drawn anew each second (noise). Arrivals do not depend on responses: this is
//! what makes the load open-loop. The sequence is a function of the seed alone, not of the clock.
//!
//! Method: time rescaling. Unit-mean exponentials are consumed along the integral of the rate,
//! which is constant within slots of 100 ms, so the inversion is exact within a slot.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::random::Stream;
use crate::topology::Load;

/// Slots within which the rate is constant, per second.
const SLOTS_PER_SECOND: u64 = 10;

/// Intended arrival times since the start, without end.
#[derive(Debug)]
pub struct Arrivals {
    stream: Stream,
    noise_stream: Stream,
    load: Load,
    /// Current time in slots (fractional).
    now_slots: f64,
    slot: u64,
    rate_per_slot: f64,
    noise: f64,
}

impl Arrivals {
    /// The arrivals of `load` under `seed`.
    pub fn new(load: &Load, seed: u64) -> Self {
        let mut arrivals = Self {
            stream: Stream::new(seed, "arrivals"),
            noise_stream: Stream::new(seed, "rate-noise"),
            load: load.clone(),
            now_slots: 0.0,
            slot: 0,
            rate_per_slot: 0.0,
            noise: 1.0,
        };
        arrivals.enter_slot();
        arrivals
    }

    fn enter_slot(&mut self) {
        if self.slot.is_multiple_of(SLOTS_PER_SECOND) {
            let sigma = self.load.noise;
            // Median chosen so that the mean of the factor is 1.
            self.noise = self.noise_stream.log_normal((-sigma * sigma / 2.0).exp(), sigma);
        }
        let seconds = (self.slot as f64 + 0.5) / SLOTS_PER_SECOND as f64;
        let rhythm = 1.0 + self.load.rhythm.amplitude * (TAU * seconds / self.load.rhythm.period_seconds).sin();
        self.rate_per_slot = self.load.rate * rhythm * self.noise / SLOTS_PER_SECOND as f64;
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let mut hazard = self.stream.exponential();
        loop {
            let slot_end = (self.slot + 1) as f64;
            let available = (slot_end - self.now_slots) * self.rate_per_slot;
            if hazard < available {
                self.now_slots += hazard / self.rate_per_slot;
                return Some(Duration::from_secs_f64(self.now_slots / SLOTS_PER_SECOND as f64));
            }
            hazard -= available;
            self.now_slots = slot_end;
            self.slot += 1;
            self.enter_slot();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Rhythm;

    fn load(rate: f64, amplitude: f64, noise: f64) -> Load {
        Load {
            rate,
            rhythm: Rhythm { period_seconds: 100.0, amplitude },
            noise,
            timeout_ms: 1000,
            connection_uses: 10.0,
            entries: Vec::new(),
        }
    }

    fn seconds(load: &Load, seed: u64, until: f64) -> Vec<f64> {
        Arrivals::new(load, seed).map(|at| at.as_secs_f64()).take_while(|&at| at < until).collect()
    }

    #[test]
    fn same_seed_same_arrivals_and_times_never_go_back() {
        let first = seconds(&load(50.0, 0.3, 0.2), 3, 60.0);
        assert_eq!(first, seconds(&load(50.0, 0.3, 0.2), 3, 60.0));
        assert_ne!(first, seconds(&load(50.0, 0.3, 0.2), 4, 60.0));
        assert!(first.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn without_rhythm_and_noise_gaps_are_exponential_at_the_rate() {
        let at = seconds(&load(100.0, 0.0, 0.0), 5, 400.0);
        let gaps: Vec<f64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n;
        assert!((mean * 100.0 - 1.0).abs() < 0.02, "mean gap {mean}");
        // An exponential's standard deviation equals its mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "ratio {}", variance.sqrt() / mean);
    }

    #[test]
    fn counts_per_second_of_a_poisson_process_have_variance_equal_to_their_mean() {
        let mut counts = vec![0.0; 1000];
        for at in seconds(&load(60.0, 0.0, 0.0), 6, 1000.0) {
            counts[at as usize] += 1.0;
        }
        let mean = counts.iter().sum::<f64>() / 1000.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!((variance / mean - 1.0).abs() < 0.15, "dispersion {}", variance / mean);
    }

    #[test]
    fn rhythm_moves_the_rate_and_noise_keeps_the_mean() {
        let at = seconds(&load(100.0, 0.5, 0.3), 7, 1000.0);
        let crest = at.iter().filter(|&&t| t % 100.0 < 50.0).count() as f64;
        let trough = at.len() as f64 - crest;
        // Half-wave means of 1 ± 0.5 sin are 1 ± 1/pi: a ratio of 1.93.
        assert!((crest / trough - 1.93).abs() < 0.2, "ratio {}", crest / trough);
        assert!((at.len() as f64 / 1e5 - 1.0).abs() < 0.05, "mean rate {}", at.len() as f64 / 1000.0);
    }
}
