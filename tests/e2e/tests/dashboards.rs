//! The dashboards: valid, of metrics that exist, of expressions that a real Prometheus can read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::{Oracle, files, is_known, known_metrics, metrics_of, printed_metrics};

/// The panel's frames, as its own tests use them.
const QUERY_A: &str = r#"{__name__=~"quoll_anomaly_score|quoll_anomaly_probability|quoll_edge_strength|quoll_edge_requests_per_second|quoll_edge_error_ratio|quoll_service_alias_info|quoll_evidence_log_likelihood_ratio|quoll_fault_prior_probability|quoll_no_fault_prior_probability|quoll_root_cause_probability|quoll_no_fault_probability|quoll_blast_radius_probability|quoll_symptom|quoll_leak_probability|quoll_inference_info|quoll_inference_tick_timestamp_seconds|quoll_service_start_time_seconds"}"#;
const QUERIES_B: [&str; 2] = [
    "topk(20, max without (replica) (quoll_root_cause_probability))",
    "topk(20, max without (replica) (quoll_anomaly_score))",
];

fn dashboards() -> Vec<(String, Value)> {
    let read = |path: String| {
        let text = std::fs::read_to_string(&path).unwrap();
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        (path, value)
    };
    files("dashboards", ".json").into_iter().map(read).collect()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

/// Every expression with where it stands: panels, annotations, variables.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((panel["title"].to_string(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        found.push((annotation["name"].to_string(), annotation["expr"].as_str().unwrap().to_owned()));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let definition = variable["definition"].as_str().and_then(|text| text.strip_prefix("label_values("));
        if let Some((expression, _label)) = definition.and_then(|text| text.rsplit_once(',')) {
            found.push((variable["name"].to_string(), expression.to_owned()));
        }
    }
    found
}

#[test]
fn panels_have_unique_ids_lie_side_by_side_and_say_what_they_show() {
    for (path, dashboard) in dashboards() {
        let ids: BTreeSet<i64> = panels(&dashboard).iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len(), panels(&dashboard).len(), "{path}");
        let mut taken = BTreeSet::new();
        for panel in panels(&dashboard) {
            let at = |key: &str| panel["gridPos"][key].as_i64().unwrap();
            for x in at("x")..at("x") + at("w") {
                assert!(x < 24, "{path}: {} is too wide", panel["title"]);
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{path}: {} overlaps", panel["title"]);
                }
            }
            assert!(panel["type"] == "row" || panel["description"].is_string(), "{path}: {}", panel["title"]);
        }
    }
}

#[test]
fn every_query_goes_to_the_data_source_variable() {
    for (path, dashboard) in dashboards() {
        for panel in panels(&dashboard).iter().filter(|panel| panel["type"] != "row") {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{path}: {}", panel["title"]);
        }
    }
}

#[test]
fn every_metric_exists() {
    let known = known_metrics();
    let scorer_is_built = printed_metrics("quoll-scorer").is_some();
    for (path, dashboard) in dashboards() {
        for (place, expression) in expressions(&dashboard) {
            for used in metrics_of(&expression) {
                // The scorer's own tests have the list of these, and look at this folder.
                let unknowable = used.starts_with("quoll_scorer_") && !scorer_is_built;
                assert!(unknowable || is_known(&known, &used), "{path}: {place}: {used}");
            }
        }
    }
}

#[test]
fn a_real_prometheus_reads_every_expression() {
    let oracle = Oracle::start();
    assert!(oracle.refuses("sum(").is_some(), "the oracle takes anything");
    for (path, dashboard) in dashboards() {
        for (place, expression) in expressions(&dashboard) {
            let filled =
                expression.replace("$namespace", ".*").replace("$service", "cart").replace("$__rate_interval", "1m");
            assert!(!filled.contains('$'), "{path}: {place}: a variable that does not exist in {expression}");
            if let Some(problem) = oracle.refuses(&filled) {
                panic!("{path}: {place}: {problem}");
            }
        }
    }
}

#[test]
fn the_overview_gives_the_panel_its_frames() {
    let (_, dashboard) = dashboards().into_iter().find(|(path, _)| path.ends_with("quoll-overview.json")).unwrap();
    let panel = panels(&dashboard).iter().find(|panel| panel["type"] == "quoll-blastradius-panel").unwrap();
    let targets = panel["targets"].as_array().unwrap();
    assert_eq!((&targets[0]["refId"], &targets[0]["expr"]), (&"A".into(), &QUERY_A.into()));
    assert_eq!((&targets[0]["instant"], &targets[0]["range"]), (&true.into(), &false.into()));
    for (target, expected) in targets[1..].iter().zip(QUERIES_B) {
        assert_eq!(target["expr"], expected);
        assert_eq!((&target["instant"], &target["range"]), (&false.into(), &true.into()));
    }
    assert_eq!(targets.len(), 3);
}
