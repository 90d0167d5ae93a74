//! The provisioning files, checked by the programs that will read them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use quoll_e2e::clients::Http;
use quoll_e2e::config::{self, Document};
use quoll_e2e::ports::Ports;
use quoll_e2e::process::{Program, Supervisor};
use serde_json::Value;
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

/// Alerts that a real Alertmanager tells of when all of `sets` fire, each set in a cluster of its own.
fn told(sets: &[&[&str]]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let file = folder.path().join("alertmanager.yml");
    let provisioning = root().join("provisioning");
    config::write(&file, &config::alertmanager(&provisioning, "http://127.0.0.1:1/alerts").unwrap().text()).unwrap();
    let program = Program::new(
        "alertmanager",
        quoll_e2e::checkout::system_program(&["prometheus-alertmanager", "alertmanager"]).unwrap(),
        [
            format!("--config.file={}", file.display()),
            format!("--storage.path={}/data", folder.path().display()),
            "--cluster.listen-address=".to_owned(),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
    );
    let mut supervisor = Supervisor::new(env!("CARGO_BIN_EXE_demo").into(), folder.path().to_path_buf());
    supervisor.start(&program).unwrap();
    let alertmanager = Http::local(port);
    supervisor.wait_ready(Duration::from_secs(60), || alertmanager.get("/-/ready", &[]).map(drop)).unwrap();
    let fire = |cluster: usize, alerts: &[&str]| {
        let alerts: Vec<Value> = alerts
            .iter()
            .map(|alert| {
                let mut labels = serde_json::json!({ "cluster": cluster.to_string(), "told": alert });
                let (name, rest) = alert.split_once(' ').unwrap_or((alert, ""));
                labels["alertname"] = name.into();
                rest.split_whitespace().filter_map(|pair| pair.split_once('=')).for_each(|(key, value)| {
                    labels[key] = value.into();
                });
                serde_json::json!({ "labels": labels })
            })
            .collect();
        alertmanager.post("/api/v2/alerts", Some(&alerts)).unwrap();
    };
    sets.iter().enumerate().for_each(|(cluster, alerts)| fire(cluster, alerts));
    // Alerts are taken in order: where the last of these is held back, all before have been seen.
    let last = sets.len();
    fire(last, &["QuollRootCause incident=1", "QuollServiceAnomalous incident=1"]);
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let alerts: Vec<Value> = alertmanager.get_json("/api/v2/alerts", &[]).unwrap();
        let mut told = vec![BTreeSet::new(); sets.len() + 1];
        for alert in alerts.iter().filter(|alert| alert["status"]["inhibitedBy"].as_array().is_some_and(Vec::is_empty))
        {
            let cluster: usize = alert["labels"]["cluster"].as_str().unwrap().parse().unwrap();
            told[cluster].insert(alert["labels"]["told"].as_str().unwrap().to_owned());
        }
        if told.pop().is_some_and(|last| last.len() == 1) {
            return told.into_iter().map(|told| told.into_iter().collect()).collect();
        }
        assert!(Instant::now() < until, "nothing is held back: {alerts:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_real_alertmanager_tells_of_the_cause_and_of_nothing_that_follows_from_it() {
    const DOWN: &str = "QuollTargetDown job=quoll-scorer instance=a";
    const EXPORTER_DOWN: &str = "QuollTargetDown job=quoll-exporter instance=e";
    const NOT_RECEIVING: &str = "QuollScorerNotReceiving instance=a";
    const NO_EXPORTERS: &str = "QuollTargetMissing job=quoll-exporter";
    const SILENT: &str = "QuollLeafSilent instance=root leaf=a";
    let cases: [(&[&str], &[&str]); 10] = [
        // What fires, and of these what is held back.
        (
            &[DOWN, "QuollScorerLate instance=a", "QuollScorerQueueStuck instance=a", "QuollScorerLate instance=b"],
            &["QuollScorerLate instance=a", "QuollScorerQueueStuck instance=a"],
        ),
        (
            &[
                EXPORTER_DOWN,
                "QuollExporterEventsDropped instance=e",
                "QuollExporterEventsDropped instance=f",
                "QuollScorerNoModel instance=a",
                NOT_RECEIVING,
            ],
            &["QuollExporterEventsDropped instance=e"],
        ),
        (&[NOT_RECEIVING, "QuollScorerLate instance=a"], &["QuollScorerLate instance=a"]),
        (&[NO_EXPORTERS, NOT_RECEIVING, "QuollScorerLate instance=a"], &[NOT_RECEIVING, "QuollScorerLate instance=a"]),
        (
            &["QuollScorerResultsLost instance=a", "QuollScorerQueueStuck instance=a"],
            &["QuollScorerQueueStuck instance=a"],
        ),
        (
            &["QuollScorerModelRefused instance=a", "QuollScorerNoModel instance=a", "QuollScorerNoModel instance=b"],
            &["QuollScorerNoModel instance=a"],
        ),
        (&[DOWN, SILENT], &[SILENT]),
        (&[EXPORTER_DOWN, SILENT], &[]),
        (&["QuollScorerFailing instance=a", "QuollScorerLate instance=a"], &["QuollScorerLate instance=a"]),
        // Quoll's own troubles never hold back what it says of others.
        (&[DOWN, NO_EXPORTERS, "QuollRootCause incident=7", "QuollServiceAnomalous incident=8"], &[]),
    ];
    let sets: Vec<&[&str]> = cases.iter().map(|(firing, _)| *firing).collect();
    for (told, (firing, held_back)) in told(&sets).iter().zip(cases) {
        let wanted: BTreeSet<&str> = firing.iter().copied().filter(|alert| !held_back.contains(alert)).collect();
        assert_eq!(told.iter().map(String::as_str).collect::<BTreeSet<_>>(), wanted, "of {firing:?}");
    }
}

#[test]
fn whatever_holds_back_alerts_names_alerts_that_exist() {
    let mut known = BTreeSet::new();
    for path in files("provisioning/prometheus/rules", ".rules.yml") {
        let document = Document::parse(&path, &std::fs::read_to_string(&path).unwrap()).unwrap();
        for group in document.get("/groups").and_then(|groups| groups.as_array()).unwrap() {
            known.extend(
                group["rules"].as_array().unwrap().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()),
            );
        }
    }
    let document = Document::read(&root().join("provisioning"), "alertmanager/alertmanager.yml").unwrap();
    let mut seen = 0;
    for rule in document.get("/inhibit_rules").and_then(|rules| rules.as_array()).unwrap() {
        for matcher in ["source_matchers", "target_matchers"].iter().flat_map(|side| rule[side].as_array().unwrap()) {
            let words = matcher.as_str().unwrap().split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '*');
            for name in words.filter(|word| word.starts_with("Quoll")) {
                let exists = match name.strip_suffix(".*") {
                    Some(begin) => known.iter().any(|known| known.starts_with(begin)),
                    None => known.contains(name),
                };
                assert!(exists, "{name}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 14, "{seen}");
}
