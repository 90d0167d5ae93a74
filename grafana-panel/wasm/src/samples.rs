//! Samples as Prometheus gives them, chosen down to one scope, one replica and one series each.
//!
//! The packed form crosses into WASM in one call: samples are separated by `RECORD`, the label names
//! and values of one sample alternate and are separated by `UNIT`.
//!
//! Whatever cannot be used is counted and said, never guessed: several scopes in one query show the
//! first and name the others, and of several replicas the one with the newest tick is taken.

use std::collections::{BTreeMap, BTreeSet};

use crate::notes::Note;

/// Separates samples (ASCII record separator: no Prometheus label is likely to hold it, and one that does only splits).
pub const RECORD: char = '\u{1e}';
/// Separates label names and values (ASCII unit separator).
pub const UNIT: char = '\u{1f}';

/// Labels that say what a sample is about.
const SUBJECT: &[&str] = &[
    "service_name",
    "service_namespace",
    "client",
    "client_service_namespace",
    "server",
    "server_service_namespace",
    "incident",
    "root_service",
    "root_service_namespace",
    "alias_of",
    "engine_version",
    "config_hash",
    "feature",
];
/// The scorer's default partition label.
const USUAL_SCOPE: &str = "cluster";
/// Labels that say who scraped or sent: never part of a scope.
const TRANSPORT: &[&str] = &["__name__", "job", "instance", "replica", "prometheus_replica", "__replica__"];
/// All metrics of ours.
const PREFIX: &str = "quoll_";
const REPLICA: &[&str] = &["replica", "prometheus_replica", "__replica__"];

/// The time of the last complete tick, by which replicas are chosen; its value is in seconds.
pub const TICK: &str = "quoll_inference_tick_timestamp_seconds";

/// The exporter's: read where it was scraped, it lacks the labels that sending adds to all that the scorer sees.
const STARTED: &str = "quoll_service_start_time_seconds";

/// One sample: its labels by name, and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// `__name__`; empty where the query dropped it.
    pub metric: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    /// As written.
    pub value: f64,
}

impl<'a> Sample<'a> {
    /// The value of a label, `None` where absent or empty (Prometheus holds the two to be equal).
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.get(name).copied().filter(|v| !v.is_empty())
    }

    /// The values of the labels that tell scopes apart.
    fn scope(&self, names: &BTreeSet<&str>) -> Vec<(&'a str, &'a str)> {
        self.labels.iter().filter(|(n, v)| names.contains(*n) && !v.is_empty()).map(|(n, v)| (*n, *v)).collect()
    }

    fn replica(&self) -> String {
        REPLICA.iter().filter_map(|n| self.label(n)).collect::<Vec<_>>().join("/")
    }
}

/// The samples of one scope and one replica, and what was left out to get there.
#[derive(Debug, Default)]
pub struct Selection<'a> {
    /// In the order given.
    pub samples: Vec<Sample<'a>>,
    /// What was left out.
    pub notes: Vec<Note>,
}

/// Labels that tell scopes apart: they are copied to every output, so those of the outputs about no service
/// in particular (the tick, the leak) tell, as does the usual one, and any other label, known or not, is about
/// its subject. Where there are no such outputs, labels that every sample has.
fn scope_labels<'a>(samples: &[Sample<'a>]) -> BTreeSet<&'a str> {
    let outside = |name: &str| !SUBJECT.contains(&name) && !TRANSPORT.contains(&name);
    let names = |s: &Sample<'a>| s.labels.keys().copied().filter(|n| outside(n)).collect::<BTreeSet<&str>>();
    let about_all = |s: &&Sample<'a>| s.metric == TICK || s.metric == "quoll_leak_probability";
    if samples.iter().any(|s| about_all(&s)) {
        return samples.iter().filter(about_all).flat_map(names).chain([USUAL_SCOPE]).collect();
    }
    let mut all = samples.iter().map(names);
    let first = all.next().unwrap_or_default();
    let common = all.fold(first, |common, names| common.intersection(&names).copied().collect());
    common.into_iter().chain([USUAL_SCOPE]).collect()
}

/// Unpacks and chooses. Samples of other metrics than ours, or without a name (the time line's, whose
/// aggregation drops it), are ignored, and so are their scopes.
#[must_use]
pub fn select<'a>(packed: &'a str, values: &[f64]) -> Selection<'a> {
    let mut samples = Vec::with_capacity(values.len());
    for (record, &value) in packed.split(RECORD).zip(values) {
        let mut parts = record.split(UNIT);
        let mut labels = BTreeMap::new();
        while let (Some(name), Some(text)) = (parts.next(), parts.next()) {
            labels.insert(name, text);
        }
        if let Some(metric) = labels.get("__name__").copied().filter(|m| m.starts_with(PREFIX)) {
            samples.push(Sample { metric, labels, value });
        }
    }
    let mut notes = Vec::new();
    let telling = scope_labels(&samples);
    let anywhere = |s: &Sample<'_>| s.metric == STARTED && s.scope(&telling).is_empty();
    let scopes: BTreeSet<_> = samples.iter().filter(|s| !anywhere(s)).map(|s| s.scope(&telling)).collect();
    if scopes.len() > 1 {
        let name = |scope: &Vec<(&str, &str)>| match scope.as_slice() {
            [] => "(no label)".to_owned(),
            labels => labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(","),
        };
        let all: Vec<_> = scopes.iter().map(name).collect();
        let shown = all.first().cloned().unwrap_or_default();
        notes.push(Note::new("scopes").count(all.len()).with("shown", shown));
        let keep = scopes.into_iter().next().unwrap_or_default();
        let keep: Vec<(String, String)> = keep.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        samples.retain(|s| {
            anywhere(s)
                || s.scope(&telling).iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).eq(keep.iter().cloned())
        });
    }
    let outputs = samples.iter().filter(|s| s.metric != STARTED);
    let mut ticks: BTreeMap<String, f64> = outputs.map(|s| (s.replica(), f64::NEG_INFINITY)).collect();
    if ticks.len() > 1 {
        for sample in samples.iter().filter(|s| s.metric == TICK) {
            ticks.insert(sample.replica(), sample.value);
        }
        // The newest tick; of equal ones the first by name, so that a refresh does not alternate.
        let newest = ticks.iter().fold(None::<(&String, f64)>, |best, (name, &tick)| match best {
            Some((_, newest)) if newest >= tick => best,
            _ => Some((name, tick)),
        });
        if let Some((name, _)) = newest {
            samples.retain(|s| s.metric == STARTED || s.replica() == *name);
        }
    }
    Selection { samples, notes }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Packs `metric{label="value",...} value` lines, as the tests of this crate write them.
    pub(crate) fn pack(lines: &[&str]) -> (String, Vec<f64>) {
        let mut records = Vec::new();
        let mut values = Vec::new();
        for line in lines {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (metric, labels) = series.split_once('{').unwrap_or((series, "}"));
            let mut record = format!("__name__{UNIT}{metric}");
            for pair in labels.trim_end_matches('}').split(',').filter(|p| !p.is_empty()) {
                let (name, text) = pair.split_once('=').unwrap();
                record.push_str(&format!("{UNIT}{name}{UNIT}{}", text.trim_matches('"')));
            }
            records.push(record);
            values.push(value.parse().unwrap());
        }
        (records.join(&RECORD.to_string()), values)
    }

    #[test]
    fn reads_labels_and_ignores_series_without_a_name() {
        let (packed, values) =
            pack(&["quoll_anomaly_score{service_name=\"a\",service_namespace=\"\"} 1.5", "{x=\"y\"} 3"]);
        let packed = packed.replace(&format!("__name__{UNIT}{UNIT}"), "");
        let selection = select(&packed, &values);
        assert_eq!(selection.samples.len(), 1);
        assert_eq!(selection.samples[0].label("service_name"), Some("a"));
        assert_eq!(selection.samples[0].label("service_namespace"), None);
        assert_eq!(selection.samples[0].value, 1.5);
    }

    #[test]
    fn shows_one_scope_and_says_which() {
        let (packed, values) =
            pack(&["quoll_m{service_name=a,cluster=west} 1", "quoll_m{service_name=a,cluster=east} 2"]);
        let selection = select(&packed, &values);
        assert_eq!(selection.samples.len(), 1);
        assert_eq!(selection.samples[0].value, 2.0);
        assert_eq!(selection.notes, [Note::new("scopes").count(2).with("shown", "cluster=east")]);
    }

    #[test]
    fn takes_the_replica_with_the_newest_tick() {
        let lines = [
            "quoll_inference_tick_timestamp_seconds{replica=r1} 100",
            "quoll_inference_tick_timestamp_seconds{replica=r2} 101",
            "quoll_m{service_name=a,replica=r1} 1",
            "quoll_m{service_name=a,replica=r2} 2",
            "quoll_service_start_time_seconds{service_name=a} 90",
        ];
        let (packed, values) = pack(&lines);
        let selection = select(&packed, &values);
        assert_eq!(selection.samples.iter().map(|s| s.value).collect::<Vec<_>>(), [101.0, 2.0, 90.0]);
        assert!(selection.notes.is_empty());
    }

    #[test]
    fn a_label_of_some_series_only_is_no_scope() {
        let lines = [
            "quoll_inference_tick_timestamp_seconds{cluster=east} 100",
            "quoll_m{service_name=a,cluster=east} 1",
            "quoll_m{service_name=node-1,kind=host,cluster=east} 2",
        ];
        for lines in [&lines[..], &lines[1..]] {
            let (packed, values) = pack(lines);
            let selection = select(&packed, &values);
            assert_eq!((selection.samples.len(), selection.notes.len()), (lines.len(), 0), "{:?}", selection.notes);
        }
    }

    #[test]
    fn starts_of_services_without_the_labels_of_a_sender_belong_to_the_scope_shown() {
        let lines = [
            "quoll_inference_tick_timestamp_seconds{cluster=east} 100",
            "quoll_inference_tick_timestamp_seconds{cluster=west} 100",
            "quoll_anomaly_score{service_name=a,cluster=east} 1",
            "quoll_anomaly_score{service_name=a,cluster=west} 2",
            "quoll_service_start_time_seconds{service_name=a} 90",
        ];
        let (packed, values) = pack(&lines);
        let selection = select(&packed, &values);
        assert_eq!(selection.samples.iter().map(|s| s.value).collect::<Vec<_>>(), [100.0, 1.0, 90.0]);
        assert_eq!((selection.notes[0].id, selection.notes[0].count), ("scopes", Some(2)));
        let (packed, values) = pack(&[lines[0], lines[2], lines[4]]);
        let selection = select(&packed, &values);
        assert_eq!((selection.samples.len(), selection.notes.len()), (3, 0), "{:?}", selection.notes);
    }

    #[test]
    fn metrics_of_others_do_not_count_as_scopes() {
        let (packed, values) = pack(&["quoll_m{service_name=a} 1", "up{pod=x} 1", "up{pod=y} 1"]);
        let selection = select(&packed, &values);
        assert_eq!((selection.samples.len(), selection.notes.len()), (1, 0));
    }

    #[test]
    fn survives_garbage() {
        assert!(select("", &[]).samples.is_empty());
        assert!(select("\u{1f}\u{1f}\u{1e}a", &[1.0, 2.0, 3.0]).samples.is_empty());
    }
}
