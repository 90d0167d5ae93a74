//! The provisioning files, checked by the programs that will read them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use quoll_e2e::config::{self, Document};
use quoll_e2e::ports::Ports;
use support::{files, is_known, known_metrics, metrics_of, printed_metrics, root, succeeds};

#[test]
fn promtool_accepts_the_configuration_and_the_rules() {
    for file in ["provisioning/prometheus/prometheus.yml", "provisioning/sharding/prometheus.yml"] {
        succeeds("promtool", &["check", "config", file]);
    }
    for rules in files("provisioning/prometheus/rules", ".rules.yml") {
        succeeds("promtool", &["check", "rules", &rules]);
    }
}

#[test]
fn the_rules_pass_their_promtool_tests() {
    for test in files("provisioning/prometheus/tests", ".test.yml") {
        succeeds("promtool", &["test", "rules", &test]);
    }
}

#[test]
fn amtool_accepts_the_route_and_routes_causes_and_symptoms_by_incident() {
    succeeds("amtool", &["check-config", "provisioning/alertmanager/alertmanager.yml"]);
    let file = "--config.file=provisioning/alertmanager/alertmanager.yml";
    for alert in ["QuollRootCause", "QuollServiceAnomalous"] {
        let label = format!("alertname={alert}");
        let routes = succeeds("amtool", &["config", "routes", "test", "--tree", file, &label, "incident=7"]);
        assert!(routes.contains(alert) && routes.contains("quoll"), "{routes}");
    }
}

#[test]
fn the_demos_copies_are_accepted_too() {
    let folder = tempfile::tempdir().unwrap();
    let provisioning = root().join("provisioning");
    let ports = Ports::with_offset(10_000).unwrap();
    let prometheus = config::prometheus(&provisioning, &ports, 1).unwrap();
    let target = folder.path().join("prometheus.yml");
    config::write(&target, &prometheus.text()).unwrap();
    assert!(!config::copy_rules(&provisioning, folder.path()).unwrap().is_empty());
    succeeds("promtool", &["check", "config", target.to_str().unwrap()]);
    let alertmanager = config::alertmanager(&provisioning, "http://127.0.0.1:1/alerts").unwrap();
    let target = folder.path().join("alertmanager.yml");
    config::write(&target, &alertmanager.text()).unwrap();
    succeeds("amtool", &["check-config", target.to_str().unwrap()]);
    // Intervals, addresses and two links; every other value is the user's file.
    assert_eq!(prometheus.changes().len(), 3 + 4 + 2, "{:?}", prometheus.changes());
    config::write_grafana(&provisioning, folder.path(), &ports, &root().join("dashboards")).unwrap();
}

#[test]
fn the_scorer_accepts_its_file_and_the_demos_copy() {
    let folder = tempfile::tempdir().unwrap();
    let provisioning = root().join("provisioning");
    let copy = config::scorer(&provisioning, &Ports::DEFAULT, 1, folder.path(), None).unwrap();
    assert_eq!(copy.get("/incidents/open_ticks"), Some(&6.into()));
    let slow = config::scorer(&provisioning, &Ports::DEFAULT, 15, folder.path(), None).unwrap();
    assert!(slow.changes().iter().all(|change| change.contains("_dir")), "{:?}", slow.changes());
    let target = folder.path().join("scorer.yaml");
    config::write(&target, &copy.text()).unwrap();
    if let Some(scorer) = support::product("quoll-scorer") {
        let scorer = scorer.to_str().unwrap();
        let sharded = ["provisioning/sharding/leaf.yaml", "provisioning/sharding/root.yaml"];
        for file in ["provisioning/scorer/scorer.yaml", target.to_str().unwrap()].into_iter().chain(sharded) {
            succeeds(scorer, &["check", "--config", file]);
        }
    }
}

/// What the keep rule lets through to the scorer.
fn sent_to_the_scorer() -> BTreeSet<String> {
    kept("prometheus/prometheus.yml", "quoll-scorer")
}

#[test]
fn leaves_are_sent_what_the_scorer_is_sent_by_the_rules_that_say_whose_it_is() {
    let rules = std::fs::read_to_string(root().join("provisioning/sharding/relabel/quoll.yml")).unwrap();
    let rules: Vec<&str> = rules.lines().filter(|line| !line.starts_with('#')).collect();
    let file = std::fs::read_to_string(root().join("provisioning/sharding/prometheus.yml")).unwrap();
    let inside: String = file.lines().map(|line| format!("{}\n", line.trim_start_matches("      "))).collect();
    assert_eq!(
        inside.matches(&rules.join("\n")).count(),
        2,
        "both leaves have provisioning/sharding/relabel/quoll.yml"
    );
    for leaf in ["quoll-leaf-a", "quoll-leaf-b"] {
        assert_eq!(kept("sharding/prometheus.yml", leaf), sent_to_the_scorer(), "{leaf}");
    }
}

/// What the keep rule of one `remote_write` lets through.
fn kept(file: &str, name: &str) -> BTreeSet<String> {
    let document = Document::read(&root().join("provisioning"), file).unwrap();
    let index = document.index_of("/remote_write", "name", name).unwrap();
    let rules = format!("/remote_write/{index}/write_relabel_configs");
    let keep = document.index_of(&rules, "action", "keep").unwrap();
    let regex = document.get(&format!("{rules}/{keep}/regex")).and_then(|regex| regex.as_str()).unwrap();
    // A list of names, so that no regular expression has to be understood to know what it keeps.
    assert!(regex.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '|'), "{regex}");
    regex.split('|').map(str::to_owned).collect()
}

#[test]
fn the_scorer_is_sent_exactly_what_its_preset_selects() {
    let preset = std::fs::read_to_string(root().join("remote-write-scorer/features/presets/quoll.yaml")).unwrap();
    let without_comments: String =
        preset.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert_eq!(sent_to_the_scorer(), metrics_of(&without_comments));
}

#[test]
fn the_scorer_is_never_sent_its_own_outputs() {
    let sent = sent_to_the_scorer();
    let mut outputs: BTreeSet<String> = support::SCORER_OUTPUTS.iter().map(|name| (*name).to_owned()).collect();
    outputs.extend(printed_metrics("quoll-scorer").into_iter().flatten());
    assert_eq!(sent.intersection(&outputs).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn the_rules_use_only_metrics_that_exist() {
    let known = known_metrics();
    let scorer_is_built = printed_metrics("quoll-scorer").is_some();
    for path in files("provisioning/prometheus/rules", ".rules.yml") {
        let text = std::fs::read_to_string(&path).unwrap();
        let document = Document::parse(&path, &text).unwrap();
        for group in document.get("/groups").and_then(|groups| groups.as_array()).unwrap() {
            for rule in group["rules"].as_array().unwrap() {
                for used in metrics_of(rule["expr"].as_str().unwrap()) {
                    // The scorer's own health is named by its binary alone.
                    let unknowable = used.starts_with("quoll_scorer_") && !scorer_is_built;
                    assert!(unknowable || is_known(&known, &used), "{}: {used}", rule["alert"]);
                }
            }
        }
    }
}

/// Labels that our relabelling makes.
const LABELS: [&str; 4] = ["quoll_owner", "quoll_shard", "quoll_console_url", "quoll_grafana_url"];

#[test]
fn every_metric_that_the_guides_name_exists() {
    let known = known_metrics();
    let reports: String = files("remote-write-scorer/shards/src", ".rs")
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let beside = ["README.md", "grafana-panel/README.md", "provisioning/README.md"].map(|path| root().join(path));
    for path in files("docs", ".md").into_iter().map(Into::into).chain(beside) {
        for used in metrics_of(&std::fs::read_to_string(&path).unwrap()) {
            let exists = LABELS.contains(&used.as_str())
                // Checked by the scorer's own tests, which have the list.
                || used.starts_with("quoll_scorer_")
                || (used.starts_with("quoll_leaf_") && reports.contains(&used))
                // `quoll_feature_*`.
                || (used.ends_with('_') && known.iter().any(|name| name.starts_with(&used)))
                || is_known(&known, &used);
            assert!(exists, "{}: {used}", path.display());
        }
    }
}
