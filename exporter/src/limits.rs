//! How many series there may be, how long label values may be, and which metrics are shown.
//!
//! A metric that has more series than it may is folded: label sets that were there first stay, the others
//! are summed under `other` (`client`, `server` and `service_name`; their namespaces and ports are left
//! out, the other labels stay). A label set keeps its side as long as it exists. Counters and histograms
//! of `other` take up what each of its label sets grows by, so they do not fall when one ends. What has no
//! sum (`_info`, start times) is left out beyond the cap. Each label set that is folded or left out counts
//! once, in `quoll_exporter_series_limited_total`. Nothing is remembered of a metric within its cap.
//!
//! Values longer than the limit are cut, and end with `~` and 16 hexadecimal digits of a hash of the whole
//! value: two values that begin alike stay two.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};

use crate::edges::MAX_EDGES;
use crate::exposition::{Labels, Page, Samples, Value};

/// Least cap of a metric: `other` and a few label sets must have room.
const LEAST_SERIES: usize = 500;
/// Least length of a value.
const LEAST_BYTES: usize = 32;
/// Bounds on what is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Edges, once per reporter; further ones go to `other`.
    pub max_edges: usize,
    /// Series of any one metric, all buckets of histograms counted.
    pub series_per_metric: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
    /// Metrics to show, by name or with `*` at the end; empty for all.
    pub allow_metrics: Vec<String>,
    /// Metrics not to show, of those allowed.
    pub deny_metrics: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_edges: MAX_EDGES,
            series_per_metric: 100_000,
            label_value_bytes: 128,
            allow_metrics: Vec::new(),
            deny_metrics: Vec::new(),
        }
    }
}

/// A limit that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// Too low a number.
    #[error("{name} is {value}, must be at least {least}")]
    TooLow {
        /// Setting.
        name: &'static str,
        /// Its value.
        value: usize,
        /// What it must be.
        least: usize,
    },
    /// A pattern that means no metric.
    #[error("there is no metric '{0}'; --print-metrics lists them, and a name may end with *")]
    NoMetric(String),
}

impl Limits {
    /// Checks numbers and names.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn check(&self) -> Result<(), LimitsError> {
        for (name, value, least) in [
            ("max_edges", self.max_edges, 1),
            ("series_per_metric", self.series_per_metric, LEAST_SERIES),
            ("label_value_bytes", self.label_value_bytes, LEAST_BYTES),
        ] {
            if value < least {
                return Err(LimitsError::TooLow { name, value, least });
            }
        }
        let names = crate::args::metric_names();
        let is_known = |pattern: &String| names.iter().any(|name| matches(pattern, name));
        match self.allow_metrics.iter().chain(&self.deny_metrics).find(|pattern| !is_known(pattern)) {
            Some(pattern) => Err(LimitsError::NoMetric(pattern.clone())),
            None => Ok(()),
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// Which metrics are shown; all, by default.
#[derive(Debug, Default)]
pub struct Shown {
    allow: Vec<String>,
    deny: Vec<String>,
}

impl Shown {
    /// By the lists of `limits`.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { allow: limits.allow_metrics.clone(), deny: limits.deny_metrics.clone() }
    }

    /// Whether a metric is.
    #[must_use]
    pub fn shows(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }
}

/// What is remembered of a metric beyond its cap; label sets by hash.
#[derive(Debug, Default)]
struct Folded {
    kept: HashSet<u64>,
    /// With the value that `other` has of it.
    beyond: HashMap<u64, Value>,
    others: BTreeMap<Labels, Value>,
}

/// Holds pages within the limits.
#[derive(Debug)]
pub struct Limiter {
    series_per_metric: usize,
    label_value_bytes: usize,
    hasher: RandomState,
    folded: HashMap<&'static str, Folded>,
    limited: BTreeMap<&'static str, u64>,
}

impl Limiter {
    /// With these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            series_per_metric: limits.series_per_metric,
            label_value_bytes: limits.label_value_bytes,
            hasher: RandomState::new(),
            folded: HashMap::new(),
            limited: BTreeMap::new(),
        }
    }

    /// Other limits from now on.
    pub fn set(&mut self, limits: &Limits) {
        self.series_per_metric = limits.series_per_metric;
        self.label_value_bytes = limits.label_value_bytes;
    }

    /// Label sets of a metric that found no room so far.
    #[must_use]
    pub fn limited(&self, metric: &str) -> u64 {
        self.limited.get(metric).copied().unwrap_or(0)
    }

    /// Brings a page within the limits.
    pub fn apply(&mut self, page: &mut Page) {
        for family in page.families_mut() {
            for (labels, _) in &mut family.samples {
                // The text is longer than any value in it.
                let limit = self.label_value_bytes;
                if labels.as_str().len() > limit && labels.longest_value() > limit {
                    *labels = shortened(labels, self.label_value_bytes);
                }
            }
            self.fold(family);
        }
    }

    fn fold(&mut self, family: &mut Samples) {
        let name = family.metric.name;
        let capacity = self.series_per_metric / family.metric.series();
        if family.samples.len() <= capacity && !self.folded.contains_key(name) {
            return;
        }
        // As many as `other` may have: reporters by reasons, resources, or systems or methods and statuses.
        let sums: HashSet<Labels> = family.samples.iter().map(|(labels, _)| others(labels)).collect();
        let room = capacity.saturating_sub(sums.len()).max(1);
        let has_sum = !name.ends_with("_info") && !name.ends_with("_time_seconds");
        let is_gauge = matches!(family.metric.kind, crate::exposition::Kind::Gauge);
        let state = self.folded.entry(name).or_default();
        let hashes: Vec<u64> = family.samples.iter().map(|(labels, _)| self.hasher.hash_one(labels.as_str())).collect();
        let present: HashSet<u64> = hashes.iter().copied().collect();
        state.kept.retain(|hash| present.contains(hash));
        state.beyond.retain(|hash, _| present.contains(hash));
        if is_gauge {
            state.others.clear();
        }
        state.others.retain(|labels, _| sums.contains(labels));
        let mut kept = Vec::with_capacity(capacity);
        for ((labels, value), hash) in std::mem::take(&mut family.samples).into_iter().zip(hashes) {
            let is_beyond = state.beyond.contains_key(&hash);
            let is_kept = state.kept.contains(&hash) || (!is_beyond && state.kept.len() < room);
            if is_kept && kept.len() < room {
                state.kept.insert(hash);
                kept.push((labels, value));
                continue;
            }
            state.kept.remove(&hash);
            if !is_beyond {
                *self.limited.entry(name).or_default() += 1;
            }
            if has_sum {
                let before = if is_gauge { None } else { state.beyond.get(&hash) };
                add(state.others.entry(others(&labels)).or_insert_with(|| nothing(&value)), &value, before);
            }
            state.beyond.insert(hash, value);
        }
        if state.beyond.is_empty() {
            self.folded.remove(name);
        } else {
            kept.extend(state.others.iter().map(|(labels, value)| (labels.clone(), value.clone())));
        }
        family.samples = kept;
    }
}

/// The label set that takes up another.
fn others(labels: &Labels) -> Labels {
    labels.pairs().fold(Labels::default(), |others, (name, value)| match name {
        "client" | "server" | "service_name" => others.with(name, "other"),
        "reporter" | "reason" | "method" | "status_class" | "system" | "status" | "resource" => {
            others.with(name, &value)
        }
        _ => others,
    })
}

fn nothing(like: &Value) -> Value {
    match like {
        Value::Number(_) => Value::Number(0.0),
        Value::Histogram(counts, ..) => Value::Histogram(vec![0; counts.len()].into(), 0.0, None),
    }
}

/// Adds what a value grew by since `before`; one that fell began anew.
fn add(sum: &mut Value, value: &Value, before: Option<&Value>) {
    match (sum, value, before) {
        (Value::Number(sum), Value::Number(now), before) => {
            let before = match before {
                Some(Value::Number(before)) if before <= now => *before,
                _ => 0.0,
            };
            *sum += now - before;
        }
        (Value::Histogram(counts, sum, _), Value::Histogram(now, now_sum, _), before) => {
            let before = match before {
                Some(Value::Histogram(before, sum, _)) if before.iter().zip(now).all(|(before, now)| before <= now) => {
                    Some((before, *sum))
                }
                _ => None,
            };
            *sum += now_sum - before.map_or(0.0, |(_, sum)| sum);
            for (index, (count, now)) in counts.iter_mut().zip(now).enumerate() {
                *count += now - before.map_or(0, |(counts, _)| counts[index]);
            }
        }
        _ => {}
    }
}

/// With values of at most `limit` bytes.
fn shortened(labels: &Labels, limit: usize) -> Labels {
    labels.pairs().fold(Labels::default(), |all, (name, value)| {
        if value.len() <= limit {
            return all.with(name, &value);
        }
        let end = value.floor_char_boundary(limit - 17);
        all.with(name, &format!("{}~{:016x}", &value[..end], fnv(&value)))
    })
}

/// FNV-1a of 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same in every run.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Kind, Metric};

    const COUNTER: Metric = Metric { name: "quoll_x_total", help: "X.", kind: Kind::Counter, labels: "" };
    const GAUGE: Metric = Metric { name: "quoll_x", help: "X.", kind: Kind::Gauge, labels: "" };
    const HISTOGRAM: Metric =
        Metric { name: "quoll_d_seconds", help: "X.", kind: Kind::Histogram(&[0.1, 1.0]), labels: "" };

    fn labels(number: usize) -> Labels {
        let name = format!("s{number}");
        Labels::new(&[("service_name", Some(&name)), ("service_namespace", Some("n")), ("port", Some("80"))])
    }

    fn limiter() -> Limiter {
        Limiter::new(&Limits { series_per_metric: 500, ..Limits::default() })
    }

    /// Pages of all three kinds with services from a range, each at `value`.
    fn page(services: std::ops::Range<usize>, value: u64) -> Page {
        let mut page = Page::default();
        for metric in [&COUNTER, &GAUGE] {
            let mut family = page.family(metric);
            services.clone().for_each(|number| family.sample(&labels(number), value as f64));
        }
        let mut family = page.family(&HISTOGRAM);
        services.for_each(|number| family.histogram(&labels(number), &[value, 0, 0], 0.5 * value as f64, None));
        page
    }

    fn other(text: &str, series: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{series}{{service_name=\"other\"}} ")));
        line.unwrap_or_else(|| panic!("{series}: {text}")).parse().unwrap()
    }

    #[test]
    fn a_flood_of_services_stays_within_the_cap_and_nothing_is_lost() {
        let mut limiter = limiter();
        let mut flood = page(0..5000, 2);
        limiter.apply(&mut flood);
        assert!(flood.families_mut().iter().all(|family| family.samples.len() * family.metric.series() <= 500));
        let text = flood.into_text();
        assert_eq!(other(&text, "quoll_x_total"), 2.0 * (5000.0 - 499.0));
        assert_eq!(other(&text, "quoll_x"), 2.0 * (5000.0 - 499.0));
        // Five series per label set of this histogram.
        assert_eq!(other(&text, "quoll_d_seconds_count"), 2.0 * (5000.0 - 99.0));
        assert_eq!(other(&text, "quoll_d_seconds_sum"), 5000.0 - 99.0);
        assert_eq!((limiter.limited("quoll_x_total"), limiter.limited("quoll_d_seconds")), (4501, 4901));
        // The next page: the same label sets stay on their sides, and are not counted again.
        let mut next = page(0..5000, 5);
        limiter.apply(&mut next);
        let text = next.into_text();
        assert!(text.contains("quoll_x_total{service_name=\"s0\",service_namespace=\"n\",port=\"80\"} 5\n"));
        assert_eq!(other(&text, "quoll_x_total"), 5.0 * (5000.0 - 499.0));
        assert_eq!(limiter.limited("quoll_x_total"), 4501);
    }

    #[test]
    fn counters_of_other_do_not_fall_when_services_end_and_nothing_is_kept_of_a_calm_metric() {
        let mut limiter = limiter();
        limiter.apply(&mut page(0..600, 7));
        let mut fewer = page(0..550, 7);
        limiter.apply(&mut fewer);
        assert_eq!(other(&fewer.into_text(), "quoll_x_total"), 7.0 * (600.0 - 499.0));
        let mut calm = page(0..5, 7);
        limiter.apply(&mut calm);
        assert!(!calm.into_text().contains("other") && limiter.folded.is_empty());
    }

    #[test]
    fn what_other_takes_up_keeps_what_tells_requests_apart() {
        let named =
            [("client", "web"), ("client_service_namespace", "shop"), ("server", "cart"), ("reporter", "client")];
        let other = [("client", "other"), ("server", "other"), ("reporter", "client")];
        let all = |pairs: &[(&str, &str)], more: &[(&str, &str)]| {
            [pairs, more].concat().iter().fold(Labels::default(), |all, (name, value)| all.with(name, value))
        };
        for more in [[("method", "PUT"), ("status_class", "2xx")], [("system", "redis"), ("status", "ok")]] {
            assert_eq!(others(&all(&named, &more)), all(&other, &more));
        }
    }

    #[test]
    fn long_values_are_cut_and_stay_apart() {
        let mut page = Page::default();
        let mut family = page.family(&GAUGE);
        for end in ["a", "b"] {
            family.sample(&Labels::new(&[("service_name", Some(&("é".repeat(200) + end)))]), 1.0);
        }
        limiter().apply(&mut page);
        let samples = &page.families_mut()[0].samples;
        let values: Vec<String> = samples.iter().map(|(labels, _)| labels.pairs().next().unwrap().1).collect();
        assert!(values.iter().all(|value| (120..=128).contains(&value.len())), "{values:?}");
        assert_ne!(values[0], values[1]);
    }

    #[test]
    fn lists_choose_metrics_and_a_name_that_means_none_is_refused() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let limits = Limits {
            allow_metrics: list(&["quoll_tcp_*", "quoll_exporter_build_info"]),
            deny_metrics: list(&["quoll_tcp_rtt_seconds"]),
            ..Limits::default()
        };
        limits.check().unwrap();
        let shown = Shown::new(&limits);
        assert!(shown.shows("quoll_tcp_connects_total") && shown.shows("quoll_exporter_build_info"));
        assert!(!shown.shows("quoll_tcp_rtt_seconds") && !shown.shows("quoll_oom_kills_total"));
        let wrong = Limits { deny_metrics: list(&["quoll_tpc_*"]), ..Limits::default() };
        assert_eq!(wrong.check(), Err(LimitsError::NoMetric("quoll_tpc_*".to_owned())));
        let low = Limits { series_per_metric: 3, ..Limits::default() };
        assert_eq!(low.check().unwrap_err().to_string(), "series_per_metric is 3, must be at least 500");
    }
}
