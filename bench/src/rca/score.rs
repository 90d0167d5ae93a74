//! A service's score from normal operation, for data too coarse for a model: how far latency and failures
//! lie above both what they were for long and what they were just before, in robust units, with the tail
//! fitted as the scorer fits it.
//!
//! Normal operation is cut into windows like those of incidents, a first step that is "just before" and the
//! steps after it, so that what is calibrated is what is asked.

use quoll_detect::ServiceScore;
use quoll_detect::stats::{quantile, sorted_finite};
use quoll_detect::tail::Tail;
use quoll_identity::Service;

use super::dataset::Columns;

/// Least spread of the logarithm of a latency that is believed, and least deviation that is anybody's business:
/// that of the scorer's own latency feature.
const LATENCY_FLOOR: f64 = 0.05;
const LATENCY_DEVIATION_SECONDS: f64 = 0.005;
/// Samples of normal operation without which nothing is said.
const LEAST_SAMPLES: usize = 20;
/// Deviance, as a number of standard deviations, above which failures were out of the ordinary already.
const ODD_BEFORE: f64 = 3.0;

/// Median, and median absolute deviation as a standard deviation.
#[derive(Debug, Clone, Copy)]
struct Robust {
    centre: f64,
    spread: f64,
}

impl Robust {
    fn of(values: impl Iterator<Item = f64>, floor: f64) -> Option<Self> {
        let sorted = sorted_finite(values);
        if sorted.len() < LEAST_SAMPLES {
            return None;
        }
        let centre = quantile(&sorted, 0.5);
        let distances = sorted_finite(sorted.iter().map(|value| (value - centre).abs()));
        Some(Self { centre, spread: (1.4826 * quantile(&distances, 0.5)).max(floor) })
    }

    fn above(self, value: f64) -> f64 {
        ((value - self.centre) / self.spread).max(0.0)
    }
}

/// Latency, by its logarithm, against the long past and against just before; the lesser counts.
#[derive(Debug, Clone, Copy)]
struct Latency {
    long: Robust,
    change: Robust,
}

impl Latency {
    fn of(windows: &[Vec<f64>]) -> Option<Self> {
        let long = Robust::of(windows.iter().flatten().copied(), LATENCY_FLOOR)?;
        let changes = windows.iter().flat_map(|window| {
            let before = window.first().copied().unwrap_or(f64::NAN);
            window.iter().skip(1).map(move |value| value - before)
        });
        let change = Robust::of(changes, LATENCY_FLOOR).unwrap_or(Robust { centre: 0.0, spread: long.spread });
        Some(Self { long, change })
    }

    fn raw(&self, value: f64, before: Option<f64>) -> f64 {
        let seconds_above = |reference: f64| value.exp() - reference.exp();
        let long =
            if seconds_above(self.long.centre) < LATENCY_DEVIATION_SECONDS { 0.0 } else { self.long.above(value) };
        match before.filter(|before| before.is_finite()) {
            Some(before) if seconds_above(before) < LATENCY_DEVIATION_SECONDS => 0.0,
            Some(before) => long.min(self.change.above(value - before)),
            None => long,
        }
    }
}

/// Failures among requests against the ratio of the past, or, where just-before was odd already, against that.
#[derive(Debug, Clone, Copy)]
struct Failures {
    ratio: f64,
}

impl Failures {
    fn of(windows: &[Vec<(f64, f64)>]) -> Option<Self> {
        let all: Vec<&(f64, f64)> = windows.iter().flatten().filter(|(requests, _)| *requests > 0.0).collect();
        let (requests, failures) = all.iter().fold((0.0, 0.0), |(n, k), step| (n + step.0, k + step.1));
        (all.len() >= LEAST_SAMPLES).then(|| Self { ratio: (failures + 0.5) / (requests + 1.0) })
    }

    /// Square root of the binomial deviance, where the ratio is above.
    fn above(requests: f64, failures: f64, ratio: f64) -> f64 {
        let seen = failures / requests;
        if seen <= ratio {
            return 0.0;
        }
        let term = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
        (2.0 * requests * (term(seen, ratio) + term(1.0 - seen, 1.0 - ratio))).max(0.0).sqrt()
    }

    fn raw(&self, (requests, failures): (f64, f64), before: Option<(f64, f64)>) -> f64 {
        let long = Self::above(requests, failures, self.ratio);
        match before.filter(|before| before.0 > 0.0) {
            Some((n, k)) if Self::above(n, k, self.ratio) > ODD_BEFORE => {
                long.min(Self::above(requests, failures, (k + 0.5) / (n + 1.0)))
            }
            _ => long,
        }
    }
}

/// What is normal for one service.
#[derive(Debug, Clone)]
pub struct Calibration {
    latency: Option<Latency>,
    failures: Option<Failures>,
    tail: Tail,
    just_before: bool,
    /// Tail probability that is exceeded once a day.
    budget: f64,
}

fn latencies(columns: &Columns) -> Vec<f64> {
    columns.latency.iter().map(|value| if *value > 0.0 { value.ln() } else { f64::NAN }).collect()
}

/// Requests and failures; no requests where either is unknown.
fn failures(columns: &Columns) -> Vec<(f64, f64)> {
    let counts = |(&available, &requests): (&f64, &f64)| {
        if requests > 0.0 && available.is_finite() {
            (requests, requests * (1.0 - available / 100.0).clamp(0.0, 1.0))
        } else {
            (0.0, 0.0)
        }
    };
    columns.availability.iter().zip(&columns.requests).map(counts).collect()
}

impl Calibration {
    /// From normal operation in one or several pieces; `window` is the number of steps of an incident.
    pub fn fit(pieces: &[Columns], window: usize, step_seconds: f64, just_before: bool) -> Self {
        let mut latency_windows: Vec<Vec<f64>> = Vec::new();
        let mut failure_windows: Vec<Vec<(f64, f64)>> = Vec::new();
        for piece in pieces {
            latency_windows.extend(latencies(piece).chunks(window).map(<[f64]>::to_vec));
            failure_windows.extend(failures(piece).chunks(window).map(<[_]>::to_vec));
        }
        let mut calibration = Self {
            latency: Latency::of(&latency_windows),
            failures: Failures::of(&failure_windows),
            tail: Tail::fit([]),
            just_before,
            budget: step_seconds / 86_400.0,
        };
        let raws = latency_windows.iter().zip(&failure_windows).flat_map(|(latency, failures)| {
            (1..latency.len()).filter_map(|at| calibration.raw(latency, failures, at)).collect::<Vec<_>>()
        });
        calibration.tail = Tail::fit(raws.collect::<Vec<_>>());
        calibration
    }

    fn raw(&self, latency: &[f64], failures: &[(f64, f64)], at: usize) -> Option<f64> {
        if at == 0 && self.just_before {
            return None;
        }
        let slow = self.latency.zip(latency.get(at).copied().filter(|value| value.is_finite()));
        let failed = self.failures.zip(failures.get(at).copied().filter(|(requests, _)| *requests > 0.0));
        let (latency_before, failures_before) =
            if self.just_before { (latency.first().copied(), failures.first().copied()) } else { (None, None) };
        let slow = slow.map(|(feature, value)| feature.raw(value, latency_before));
        let failed = failed.map(|(feature, value)| feature.raw(value, failures_before));
        match (slow, failed) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        }
    }

    /// The score at step `at` of a window; `None` where nothing was measured then or too little ever was.
    pub fn score(&self, service: &Service, window: &Columns, at: usize) -> Option<ServiceScore> {
        if self.tail.samples < LEAST_SAMPLES as u64 {
            return None;
        }
        let raw = self.raw(&latencies(window), &failures(window), at)?;
        let p = self.tail.probability(raw);
        Some(ServiceScore {
            service: service.clone(),
            score: p.ln() / self.budget.ln(),
            tail_probability: p,
            anomaly_probability: quoll_detect::detector::anomaly_probability(p),
            provisional: false,
            coverage: 1.0,
            calibration_samples: self.tail.samples,
            features: Vec::new(),
        })
    }
}
