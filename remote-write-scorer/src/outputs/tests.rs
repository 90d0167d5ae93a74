//! Names, labels, times and values of what is written back.

use std::sync::Arc;

use quoll_detect::{Basis, FeatureScore};
use quoll_incidents::{BlastRadius, EdgeDiagnosis, ServiceDiagnosis};
use quoll_prometheus_protocol::staleness::is_stale;

use super::*;

fn service(name: &str) -> Service {
    Service::new(Some("shop"), name).unwrap()
}

fn diagnosis(incident: bool) -> Diagnosis {
    let id = incident.then(|| "1-a".to_owned());
    let one = |name: &str| ServiceDiagnosis {
        service: service(name),
        log_likelihood_ratio: 8.0,
        fault_prior: 1e-6,
        incident: id.clone(),
        root_cause_probability: incident.then_some(0.9),
        suspicion: None,
        anomaly_probability: 0.99,
    };
    let open = IncidentDiagnosis {
        id: "1-a".into(),
        opened_ms: 1000,
        no_fault_prior: 0.5,
        no_fault_probability: 0.01,
        exact: true,
        roots: vec![(service("cart"), 0.9), (service("front"), 0.09)],
        blast_radius: vec![BlastRadius { root: service("cart"), hits: vec![(service("front"), 0.8)] }],
        symptoms: vec![service("front")],
        account: quoll_incidents::Account::default(),
        explanation: vec!["because".into()],
    };
    Diagnosis {
        end_ms: 60_000,
        engine_version: "1",
        config_hash: "abc".into(),
        leak: 1e-12,
        services: vec![one("cart"), one("front")],
        edges: vec![EdgeDiagnosis {
            edge: Edge { client: service("front"), server: service("cart") },
            strength: 0.95,
            requests_per_second: 10.0,
            error_ratio: 0.0,
        }],
        aliases: vec![(service("cart.example"), service("cart"))],
        incidents: if incident { vec![open] } else { Vec::new() },
        closed: Vec::new(),
    }
}

fn score(name: &str) -> ServiceScore {
    ServiceScore {
        service: service(name),
        score: 2.0,
        tail_probability: 1e-5,
        anomaly_probability: 0.97,
        provisional: false,
        coverage: 1.0,
        calibration_samples: 500,
        features: vec![FeatureScore {
            feature: 0,
            score: 3.0,
            value: f64::NAN,
            expected: 0.2,
            basis: Basis::HourOfDay,
        }],
    }
}

fn tick(outputs: &mut Outputs, scores: Option<&[ServiceScore]>, incident: bool, at: i64) -> Vec<OutSeries> {
    let scope = Scope { tenant: Arc::from(""), partition: vec![(Arc::from("cluster"), Arc::from("eu"))].into() };
    let set = FeatureSet::preset("quoll").unwrap();
    let mut written = Vec::new();
    outputs.tick(&scope, &set, scores, &diagnosis(incident), at, &mut |series| written.push(series));
    written
}

/// `name{label="value"} value` of every series that is not stale.
fn shown(series: &[OutSeries]) -> Vec<String> {
    let alive = series.iter().filter(|series| !is_stale(series.value));
    let show = |series: &OutSeries| {
        let name = &series.labels.iter().find(|(name, _)| name == "__name__").unwrap().1;
        let labels = series.labels.iter().filter(|(name, _)| name != "__name__");
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
        format!("{name} {} {}", labels.join(","), series.value)
    };
    alive.map(show).collect()
}

#[test]
fn a_tick_has_the_documented_names_and_labels() {
    let scores = [score("cart")];
    let found = shown(&tick(&mut Outputs::default(), Some(&scores), true, 60_000));
    let cart = "cluster=eu,service_name=cart,service_namespace=shop";
    let front = "service_name=front,service_namespace=shop";
    for expected in [
        format!("quoll_anomaly_score {cart} 2"),
        format!("quoll_anomaly_probability {cart} 0.97"),
        format!("quoll_anomaly_probability cluster=eu,{front} 0.99"),
        format!("quoll_feature_coverage_ratio {cart} 1"),
        format!("quoll_calibration_samples {cart} 500"),
        "quoll_feature_anomaly_score cluster=eu,feature=cpu_cores,service_name=cart,service_namespace=shop 3".into(),
        "quoll_feature_expected cluster=eu,feature=cpu_cores,service_name=cart,service_namespace=shop 0.2".into(),
        "quoll_edge_strength client=front,client_service_namespace=shop,cluster=eu,server=cart,server_service_namespace=shop 0.95".into(),
        format!("quoll_evidence_log_likelihood_ratio {cart} 8"),
        format!("quoll_fault_prior_probability {cart} 0.000001"),
        "quoll_no_fault_prior_probability cluster=eu,incident=1-a 0.5".into(),
        "quoll_no_fault_probability cluster=eu,incident=1-a 0.01".into(),
        "quoll_root_cause_probability cluster=eu,incident=1-a,service_name=cart,service_namespace=shop 0.9".into(),
        format!("quoll_blast_radius_probability cluster=eu,root_service=cart,root_service_namespace=shop,{front} 0.8"),
        format!("quoll_symptom cluster=eu,incident=1-a,root_service=cart,root_service_namespace=shop,{front} 1"),
        "quoll_leak_probability cluster=eu 0.000000000001".into(),
        "quoll_inference_info cluster=eu,config_hash=abc,engine_version=1 1".into(),
        "quoll_inference_tick_timestamp_seconds cluster=eu 60".into(),
    ] {
        assert!(found.contains(&expected), "{expected} is missing from\n{}", found.join("\n"));
    }
    // A value that is not a number is left out rather than written.
    assert!(!found.iter().any(|series| series.starts_with("quoll_feature_value")));
}

#[test]
fn one_time_sorted_labels_and_no_label_set_twice() {
    let scores = [score("cart"), score("front")];
    let series = tick(&mut Outputs::default(), Some(&scores), true, 60_000);
    let mut seen = BTreeSet::new();
    for series in &series {
        assert_eq!(series.timestamp_ms, 60_000);
        assert!(series.labels.is_sorted_by(|a, b| a.0 < b.0), "{:?}", series.labels);
        assert!(series.labels.iter().all(|(_, value)| !value.is_empty()));
        assert!(seen.insert(series.labels.clone()), "{:?} twice", series.labels);
    }
}

#[test]
fn another_name_is_told_with_what_it_is_a_name_of() {
    let found = shown(&tick(&mut Outputs::default(), None, true, 60_000));
    let told: Vec<&String> = found.iter().filter(|series| series.starts_with("quoll_service_alias_info")).collect();
    assert_eq!(
        told,
        ["quoll_service_alias_info alias_of=cart,alias_of_namespace=shop,cluster=eu,service_name=cart.example,\
          service_namespace=shop 1"]
    );
}

#[test]
fn without_a_model_there_is_the_graph_alone() {
    let found = shown(&tick(&mut Outputs::default(), None, true, 60_000));
    let graph = ["quoll_edge_", "quoll_leak_", "quoll_inference_", "quoll_service_alias_"];
    assert!(found.iter().all(|series| graph.iter().any(|name| series.starts_with(name))), "{found:?}");
    assert!(found.iter().any(|series| series.starts_with("quoll_edge_requests_per_second")));
}

#[test]
fn series_of_a_closed_incident_end_with_one_staleness_marker() {
    let (mut outputs, scores) = (Outputs::default(), [score("cart")]);
    let stale = |series: &[OutSeries]| series.iter().filter(|series| is_stale(series.value)).count();
    assert_eq!(stale(&tick(&mut outputs, Some(&scores), true, 60_000)), 0);
    // Two priors and posteriors of "no fault", two root causes, one hit, one symptom.
    assert_eq!(stale(&tick(&mut outputs, Some(&scores), false, 61_000)), 6);
    assert_eq!(stale(&tick(&mut outputs, Some(&scores), false, 62_000)), 0);
}

#[test]
fn every_output_is_one_that_the_features_refuse_as_input() {
    let scores = [score("cart"), score("front")];
    for series in tick(&mut Outputs::default(), Some(&scores), true, 60_000) {
        let name = &series.labels.iter().find(|(name, _)| name == "__name__").unwrap().1;
        assert!(quoll_features::is_own_output(name), "{name} could be fed back");
    }
}
