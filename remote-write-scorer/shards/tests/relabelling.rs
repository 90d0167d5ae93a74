//! The relabellings that the repository ships keep together what belongs together: for each preset, several
//! leaves and a root have what one process has of the same scrapes, to the bit.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quoll_features::{ClosedStep, FeatureSet, Limits, ScopeWindows, ServiceStep};
use quoll_identity::Scope;
use quoll_shards::{Assembled, Assembly, LeavesConfig, ModelState, Report, report};
use regex_lite::Regex;
use serde::{Deserialize, Deserializer};

const STEP_MS: i64 = 15_000;
const START_MS: i64 = 1_700_000_000_000 / STEP_MS * STEP_MS;
const LEAVES: [&str; 4] = ["a", "b", "c", "d"];

type Labels = BTreeMap<String, String>;

/// One rule, of the one action that they use, with Prometheus' defaults
/// (<https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    source_labels: Vec<String>,
    #[serde(default = "semicolon")]
    separator: String,
    #[serde(deserialize_with = "anchored")]
    regex: Regex,
    #[serde(default = "first_group")]
    replacement: String,
    target_label: String,
}

fn anchored<'de, D: Deserializer<'de>>(from: D) -> Result<Regex, D::Error> {
    let regex = format!("^(?:{})$", String::deserialize(from)?);
    Regex::new(&regex).map_err(serde::de::Error::custom)
}

fn semicolon() -> String {
    ";".to_owned()
}

fn first_group() -> String {
    "$1".to_owned()
}

impl Rule {
    fn apply(&self, labels: &mut Labels) {
        let values: Vec<&str> = self.source_labels.iter().map(|name| labels.get(name).map_or("", |v| v)).collect();
        if let Some(found) = self.regex.captures(&values.join(&self.separator)) {
            let mut value = String::new();
            found.expand(&self.replacement, &mut value);
            labels.insert(self.target_label.clone(), value);
        }
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Those whose labels other series have too come first.
const FIRST: [&str; 3] = ["node-exporter", "cadvisor", "kube-state-metrics"];

/// The rules of these presets, in the order that the guide asks for.
fn rules(presets: &str) -> Vec<Rule> {
    let read = |preset: &str| {
        let path = repository().join(format!("provisioning/sharding/relabel/{preset}.yml"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_saphyr::from_str::<Vec<Rule>>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let mut presets: Vec<&str> = presets.split(',').map(str::trim).collect();
    presets.sort_by_key(|preset| FIRST.iter().position(|first| first == preset).unwrap_or(FIRST.len()));
    presets.into_iter().flat_map(read).collect()
}

/// Labels, whether the series counts, and its value after 1000 seconds.
fn scrape(presets: &str) -> Vec<(Labels, bool, f64)> {
    let mut series = Vec::new();
    for preset in presets.split(',').map(str::trim) {
        let path = repository().join(format!("remote-write-scorer/features/tests/fixtures/{preset}.prom"));
        let mut counts = false;
        for line in std::fs::read_to_string(path).unwrap().lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                counts = !declared.ends_with(" gauge");
            }
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let (name, rest) = line.split_once('{').unwrap();
            let (inside, value) = rest.rsplit_once("} ").unwrap();
            let mut labels = Labels::from([("__name__".to_owned(), name.to_owned())]);
            for pair in inside.split_inclusive("\",").map(|pair| pair.trim_end_matches(',')) {
                let (name, value) = pair.split_once('=').unwrap();
                labels.insert(name.to_owned(), value.trim_matches('"').to_owned());
            }
            series.push((labels, counts, value.parse().unwrap()));
        }
    }
    series
}

fn replay(set: &Arc<FeatureSet>, series: &[&(Labels, bool, f64)]) -> Vec<ClosedStep> {
    let mut windows = ScopeWindows::new(Arc::clone(set), STEP_MS);
    for at in 1..=8 {
        for (labels, counts, value) in series {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            let Some(bound) = windows.bind(&labels) else { continue };
            let seconds = if *counts { f64::from(at) * 15.0 / 1000.0 } else { 1.0 };
            windows.push(bound, START_MS + i64::from(at) * STEP_MS - 700, value * seconds);
        }
    }
    let mut steps = Vec::new();
    windows.close(&mut steps);
    steps
}

/// What one of many hashes makes of an owner: all that matters is that equal owners meet.
fn shard(owner: &str, salt: u8) -> usize {
    let hash = owner
        .bytes()
        .chain([salt])
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // FNV mixes its last bytes little.
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize % LEAVES.len()
}

fn assembled(presets: &str, set: &Arc<FeatureSet>, leaves: &[Vec<ClosedStep>]) -> Vec<Assembled> {
    // A leaf without any series would be waited for.
    let busy = LEAVES.iter().zip(leaves).filter(|(_, steps)| !steps.is_empty()).map(|(name, _)| (*name).to_owned());
    let config = LeavesConfig::new(&busy.collect::<Vec<_>>(), 10 * STEP_MS).unwrap();
    let mut root = Assembly::new(Arc::clone(set), STEP_MS, config, Limits::default());
    let mut out = Vec::new();
    for at in 0..leaves.iter().map(Vec::len).max().unwrap() {
        for (leaf, steps) in LEAVES.into_iter().zip(leaves) {
            let Some(step) = steps.get(at) else { continue };
            let previous_ms = at.checked_sub(1).map(|before| steps[before].end_ms);
            let scope = &Scope::default();
            let whole =
                Report { leaf, process: "p", scope, step, previous_ms, model: ModelState::None, scores: &[], set };
            report(&whole, &mut |labels, value| {
                let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
                let series = root.bind(&labels).unwrap().unwrap();
                root.push(series, step.end_ms, value);
            });
        }
    }
    assert_eq!(root.assembly_stats().conflicts, 0, "{presets}: a service was cut in two");
    root.close(&mut out);
    out
}

/// Numbers as bits: missing ones are equal too.
fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| if value.is_nan() { u64::MAX } else { value.to_bits() }).collect()
}

/// Cuts the scrapes in several ways and compares.
fn check(presets: &str) {
    let (series, rules) = (scrape(presets), rules(presets));
    let set = Arc::new(FeatureSet::preset(presets).unwrap());
    let cut = (0..8).filter(|&salt| check_cut(presets, &set, &series, &rules, salt)).count();
    assert!(cut >= 4, "{presets}: nearly always all of it is at one leaf");
}

/// Whether the cut was one.
fn check_cut(presets: &str, set: &Arc<FeatureSet>, series: &[(Labels, bool, f64)], rules: &[Rule], salt: u8) -> bool {
    let mut parts: Vec<Vec<&(Labels, bool, f64)>> = vec![Vec::new(); LEAVES.len()];
    for one in series {
        let mut labels = one.0.clone();
        rules.iter().for_each(|rule| rule.apply(&mut labels));
        parts[shard(labels.get("quoll_owner").map_or("", |owner| owner), salt)].push(one);
    }
    let whole = replay(set, &series.iter().collect::<Vec<_>>());
    let leaves: Vec<Vec<ClosedStep>> = parts.iter().map(|part| replay(set, part)).collect();
    let found = assembled(presets, set, &leaves);
    assert!(whole.len() >= 6);
    for step in &whole {
        let place = format!("{presets} at {}", step.end_ms - START_MS);
        let Some(root) = found.iter().find(|found| found.step.end_ms == step.end_ms) else {
            // The newest may wait for a leaf without series.
            continue;
        };
        let named = |step: &ServiceStep| ServiceStep { values: Vec::new(), ..step.clone() };
        assert_eq!(root.step.services, step.services.iter().map(named).collect::<Vec<_>>(), "{place}");
        let edges = |step: &ClosedStep| -> Vec<(String, Vec<u64>)> {
            let figures = |edge: &quoll_features::EdgeStep| {
                bits(&[
                    edge.requests_per_second,
                    edge.errors_per_second,
                    edge.connects_per_second,
                    edge.connect_failures_per_second,
                    edge.latency_seconds,
                ])
            };
            step.edges.iter().map(|edge| (format!("{:?}", edge.edge), figures(edge))).collect()
        };
        assert_eq!(edges(&root.step), edges(step), "{place}");
        // The features of a service are all at one leaf, which has what one process has.
        for service in step.services.iter().filter(|service| service.values.iter().any(|value| !value.is_nan())) {
            let of = |steps: &Vec<ClosedStep>| {
                let own = steps.iter().find(|own| own.end_ms == step.end_ms)?;
                let own = own.services.iter().find(|own| own.service == service.service)?;
                own.values.iter().any(|value| !value.is_nan()).then(|| bits(&own.values))
            };
            let told: Vec<Vec<u64>> = leaves.iter().filter_map(of).collect();
            assert_eq!(told, [bits(&service.values)], "{place}: {}", service.service);
        }
    }
    assert!(found.len() >= 4, "{presets}: {} steps", found.len());
    leaves.iter().filter(|steps| !steps.is_empty()).count() > 1
}

#[test]
fn every_relabelling_keeps_services_and_the_edges_into_them_whole() {
    for preset in FeatureSet::preset_names().filter(|preset| *preset != "coroot") {
        check(preset);
    }
}

#[test]
fn relabellings_of_several_presets_go_together() {
    for presets in
        ["istio, cadvisor, kube-state-metrics", "hubble, cadvisor", "quoll, node-exporter", "linkerd, cadvisor"]
    {
        check(presets);
    }
}

#[test]
fn there_is_a_relabelling_for_every_preset_that_can_be_sharded_and_for_no_other() {
    let folder = std::fs::read_dir(repository().join("provisioning/sharding/relabel")).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()
    };
    let mut found: Vec<String> = folder.map(name).collect();
    found.sort();
    // Coroot names servers by addresses that only other services' series tell.
    let mut wanted: Vec<&str> = FeatureSet::preset_names().filter(|preset| *preset != "coroot").collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn the_guide_names_every_series_of_a_report() {
    let guide = std::fs::read_to_string(repository().join("docs/sharding.md")).unwrap();
    for (name, _) in quoll_shards::wire::METRICS {
        assert!(guide.contains(&format!("`{name}`")), "docs/sharding.md does not name {name}");
    }
}
