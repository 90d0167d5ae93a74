//! The accuracy metrics of `bench accuracy`.
//!
//! - [`vus_pr`]: volume under the precision-recall surface (Paparrizos et al., "Volume under the surface",
//!   VLDB 2022), the form with existence reward over buffers of 0 to `window` samples.
//! - [`average_precision`]: area under the precision-recall steps, ties taken together.
//! - [`best_f1`]: best point-wise F1 over all thresholds, without point adjustment.
//! - [`event_counts`] and [`recall_at_budget`]: events found at a budget of false-alarm episodes per day
//!   and entity; an episode counts once per started hour, and samples of an event and the half hour after
//!   it are exempt.
//!
//! Labels are 0 or 1, scores finite, both of equal length. Checked against `fixtures/metric_vectors.json`.

/// Largest buffer, in samples.
const MAX_WINDOW: usize = 300;

/// Buffer where the series has no dominant period.
const DEFAULT_WINDOW: usize = 125;

/// Points on the threshold axis of the surface.
const THRESHOLDS: usize = 250;

/// Runs of ones, as (first, last) index.
#[must_use]
pub fn segments(labels: &[bool]) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut start = None;
    for (i, on) in labels.iter().enumerate() {
        match (on, start) {
            (true, None) => start = Some(i),
            (false, Some(first)) => {
                runs.push((first, i - 1));
                start = None;
            }
            _ => {}
        }
    }
    if let Some(first) = start {
        runs.push((first, labels.len() - 1));
    }
    runs
}

/// The buffer for a series: its first dominant autocorrelation lag, at most 300 samples.
#[must_use]
pub fn dominant_lag(series: &[f32]) -> usize {
    let series = &series[..series.len().min(20_000)];
    let n = series.len();
    if n < 8 {
        return DEFAULT_WINDOW;
    }
    let mean = series.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
    let x: Vec<f64> = series.iter().map(|v| f64::from(*v) - mean).collect();
    let energy: f64 = x.iter().map(|v| v * v).sum();
    if (energy / n as f64).sqrt() < 1e-12 {
        return DEFAULT_WINDOW;
    }
    const BASE: usize = 3;
    let lags = 401.min(n);
    let correlation: Vec<f64> =
        (BASE..lags).map(|lag| x[..n - lag].iter().zip(&x[lag..]).map(|(a, b)| a * b).sum::<f64>() / energy).collect();
    let mut best: Option<usize> = None;
    for i in 1..correlation.len().saturating_sub(1) {
        let peak = correlation[i] > correlation[i - 1] && correlation[i] > correlation[i + 1];
        if peak && best.is_none_or(|b| correlation[i] > correlation[b]) {
            best = Some(i);
        }
    }
    match best {
        Some(lag) if (3..=MAX_WINDOW).contains(&lag) => lag + BASE,
        _ => DEFAULT_WINDOW,
    }
}

/// Indices by falling score, stable.
fn falling(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order
}

/// Volume under the precision-recall surface for buffers of 0 to `window` samples; 0 without events.
#[must_use]
pub fn vus_pr(labels: &[bool], scores: &[f64], window: usize) -> f64 {
    let n = labels.len();
    let events = segments(labels);
    if events.is_empty() || n < 2 {
        return 0.0;
    }
    let positives = labels.iter().filter(|l| **l).count() as f64;
    let order = falling(scores);
    let thresholds: Vec<f64> = (0..THRESHOLDS)
        .map(|i| scores[order[(i as f64 * (n - 1) as f64 / (THRESHOLDS - 1) as f64) as usize]])
        .collect();
    // How many samples reach each threshold.
    let reached: Vec<usize> = thresholds.iter().map(|t| order.partition_point(|i| scores[*i] >= *t)).collect();
    let running = |values: &dyn Fn(usize) -> f64| -> Vec<f64> {
        let mut sum = 0.0;
        let sums: Vec<f64> = order
            .iter()
            .map(|i| {
                sum += values(*i);
                sum
            })
            .collect();
        reached.iter().map(|count| sums[count - 1]).collect()
    };
    let base = running(&|i| f64::from(u8::from(labels[i])));
    let mut buffered = vec![0.0_f64; n];
    let mut total = 0.0;
    for w in 0..=window {
        let half = w / 2;
        for (slot, label) in buffered.iter_mut().zip(labels) {
            *slot = f64::from(u8::from(*label));
        }
        if w > 0 {
            for (first, last) in &events {
                for (i, slot) in buffered.iter_mut().enumerate().take(n.min(last + half + 1)).skip(last + 1) {
                    *slot += (1.0 - (i - last) as f64 / w as f64).sqrt();
                }
                for (i, slot) in buffered.iter_mut().enumerate().take(*first).skip(first.saturating_sub(half)) {
                    *slot += (1.0 - (first - i) as f64 / w as f64).sqrt();
                }
            }
            for slot in &mut buffered {
                *slot = slot.min(1.0);
            }
        }
        let extra = running(&|i| buffered[i] - f64::from(u8::from(labels[i])));
        let maxima = merged_maxima(&events, scores, half);
        let mut before = 0.0;
        for (k, threshold) in thresholds.iter().enumerate() {
            let exists = maxima.iter().filter(|m| *m >= threshold).count() as f64 / maxima.len() as f64;
            let hits = base[k] + extra[k];
            let size = (positives + positives + extra[k]) / 2.0;
            let recall = (hits / size).min(1.0) * exists;
            total += (recall - before) * hits / reached[k] as f64;
            before = recall;
        }
    }
    total / (window + 1) as f64
}

/// The highest score within each event widened by `half` on both sides; events that then touch are one.
fn merged_maxima(events: &[(usize, usize)], scores: &[f64], half: usize) -> Vec<f64> {
    let n = scores.len();
    let mut maxima = Vec::new();
    let mut first = events[0].0.saturating_sub(half);
    for (i, (_, last)) in events.iter().enumerate() {
        let apart = events.get(i + 1).is_none_or(|next| last + 2 * half < next.0);
        if apart {
            let end = (last + half).min(n - 1);
            maxima.push(scores[first..=end].iter().copied().fold(f64::NEG_INFINITY, f64::max));
            if let Some(next) = events.get(i + 1) {
                first = next.0.saturating_sub(half);
            }
        }
    }
    maxima
}

/// Precision and recall at every distinct score, by falling score.
fn curve(labels: &[bool], scores: &[f64]) -> Vec<(f64, f64)> {
    let positives = labels.iter().filter(|l| **l).count() as f64;
    let order = falling(scores);
    let (mut hits, mut points) = (0.0, Vec::new());
    for (rank, i) in order.iter().enumerate() {
        hits += f64::from(u8::from(labels[*i]));
        if order.get(rank + 1).is_none_or(|next| scores[*next] < scores[*i]) {
            points.push((hits / (rank + 1) as f64, if positives > 0.0 { hits / positives } else { 0.0 }));
        }
    }
    points
}

/// Area under the precision-recall steps.
#[must_use]
pub fn average_precision(labels: &[bool], scores: &[f64]) -> f64 {
    let (mut area, mut before) = (0.0, 0.0);
    for (precision, recall) in curve(labels, scores) {
        area += (recall - before) * precision;
        before = recall;
    }
    area
}

/// Best point-wise F1 over all thresholds.
#[must_use]
pub fn best_f1(labels: &[bool], scores: &[f64]) -> f64 {
    curve(labels, scores).into_iter().map(|(p, r)| 2.0 * p * r / (p + r + 1e-12)).fold(0.0, f64::max)
}

/// How alarms are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counting {
    /// Gaps of at most this many samples do not split an episode.
    pub hold: usize,
    /// An alarm up to this many samples after an event still finds it.
    pub slack: usize,
    /// Samples per hour: an episode counts once per started hour.
    pub hour: usize,
    /// Samples after an event that are exempt from false alarms.
    pub exempt: usize,
}

impl Counting {
    /// For samples `step_seconds` apart: episodes joined over gaps of five, no slack, half an hour exempt.
    #[must_use]
    pub fn every(step_seconds: f64) -> Self {
        Self {
            hold: 5,
            slack: 0,
            hour: ((3600.0 / step_seconds) as usize).max(1),
            exempt: (1800.0 / step_seconds) as usize,
        }
    }
}

/// Events found and false alarms at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events with a sample above the threshold.
    pub hit: usize,
    /// Events.
    pub events: usize,
    /// False-alarm episodes, each once per started hour.
    pub false_alarms: usize,
}

/// Counts at one threshold.
#[must_use]
pub fn event_counts(labels: &[bool], scores: &[f64], threshold: f64, counting: Counting) -> Counts {
    let n = labels.len();
    let events = segments(labels);
    let mut masked = vec![false; n];
    for (first, last) in &events {
        masked[*first..n.min(last + 1 + counting.exempt)].fill(true);
    }
    let false_on: Vec<bool> = scores.iter().zip(&masked).map(|(s, m)| *s > threshold && !m).collect();
    let mut episodes: Vec<(usize, usize)> = Vec::new();
    for (first, last) in segments(&false_on) {
        match episodes.last_mut() {
            Some(previous) if first - previous.1 <= counting.hold => previous.1 = last,
            _ => episodes.push((first, last)),
        }
    }
    let false_alarms = episodes.iter().map(|(first, last)| (last - first + 1).div_ceil(counting.hour)).sum();
    let found = |(first, last): &(usize, usize)| {
        scores[*first..n.min(last + 1 + counting.slack)].iter().any(|s| *s > threshold)
    };
    Counts { hit: events.iter().filter(|e| found(e)).count(), events: events.len(), false_alarms }
}

/// One entity's labels and scores.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// Whether each sample is anomalous.
    pub labels: Vec<bool>,
    /// Its score.
    pub scores: Vec<f64>,
}

/// Share of events found with one threshold for all entities, the best one that keeps to `per_day` false
/// alarms per entity and day.
#[must_use]
pub fn recall_at_budget(entities: &[Labelled], per_day: f64, step_seconds: f64) -> f64 {
    best_at_budget(entities, per_day, step_seconds).0
}

/// As [`recall_at_budget`], with the threshold; infinite where none keeps to the budget.
#[must_use]
pub fn best_at_budget(entities: &[Labelled], per_day: f64, step_seconds: f64) -> (f64, f64) {
    let counting = Counting::every(step_seconds);
    let days: f64 = entities.iter().map(|e| e.labels.len() as f64 * step_seconds / 86_400.0).sum();
    let mut all: Vec<f64> = entities.iter().flat_map(|e| e.scores.iter().copied()).collect();
    all.sort_unstable_by(f64::total_cmp);
    let mut best = (0.0_f64, f64::INFINITY);
    for i in 0..60 {
        let share = 10_f64.powf(-5.0 + (5.0 - 0.3) * f64::from(i) / 59.0);
        let threshold = quoll_detect::stats::quantile(&all, 1.0 - share);
        let mut sum = Counts::default();
        for entity in entities {
            let counts = event_counts(&entity.labels, &entity.scores, threshold, counting);
            sum.hit += counts.hit;
            sum.events += counts.events;
            sum.false_alarms += counts.false_alarms;
        }
        if sum.events > 0 && sum.false_alarms as f64 <= per_day * days {
            let recall = sum.hit as f64 / sum.events as f64;
            if recall > best.0 {
                best = (recall, threshold);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_metric_agrees_with_the_reference_vectors() {
        let text = include_str!("../../fixtures/metric_vectors.json");
        let vectors: Vec<Value> = serde_json::from_str(text).unwrap();
        for vector in vectors {
            let labels: Vec<bool> = vector["labels"].as_array().unwrap().iter().map(|l| l == 1).collect();
            let scores: Vec<f64> = vector["scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
            let close = |name: &str, ours: f64| {
                let theirs = vector[name].as_f64().unwrap();
                assert!((ours - theirs).abs() < 1e-9, "{name}: {ours} {theirs}");
            };
            close("vus_pr", vus_pr(&labels, &scores, vector["window"].as_u64().unwrap() as usize));
            close("auc_pr", average_precision(&labels, &scores));
            close("best_f1", best_f1(&labels, &scores));
            let events = &vector["events"];
            let number = |name: &str| events[name].as_u64().unwrap() as usize;
            let counting = Counting {
                hold: number("hold"),
                slack: number("slack"),
                hour: number("hour_samples"),
                exempt: number("exempt_samples"),
            };
            let counts = event_counts(&labels, &scores, events["threshold"].as_f64().unwrap(), counting);
            let expected =
                Counts { hit: number("hit"), events: number("events"), false_alarms: number("false_alarms") };
            assert_eq!(counts, expected);
        }
    }

    #[test]
    fn a_perfect_score_has_full_recall_at_any_budget_and_a_useless_one_little() {
        let labels: Vec<bool> = (0..5000).map(|i| i % 1000 > 950).collect();
        let perfect: Vec<f64> =
            labels.iter().enumerate().map(|(i, l)| if *l { 2.0 } else { (i % 7) as f64 * 0.1 }).collect();
        let entity = Labelled { labels: labels.clone(), scores: perfect };
        assert_eq!(recall_at_budget(&[entity], 0.1, 60.0), 1.0);
        let useless: Vec<f64> = (0..5000).map(|i| ((i * 7919) % 5000) as f64).collect();
        assert!(recall_at_budget(&[Labelled { labels, scores: useless }], 0.1, 60.0) < 0.5);
    }

    #[test]
    fn the_lag_of_a_wave_is_its_period() {
        let wave: Vec<f32> = (0..4000).map(|i| (i as f32 * std::f32::consts::TAU / 48.0).sin()).collect();
        assert!((46..=50).contains(&dominant_lag(&wave)), "{}", dominant_lag(&wave));
        assert_eq!(dominant_lag(&[1.0; 500]), DEFAULT_WINDOW);
    }
}
