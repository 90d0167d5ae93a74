//! Agreement with exact posteriors that another implementation computed (`fixtures/README.md`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot read its fixture must fail"
)]

use std::io::Read;

use quoll_blast_radius::{CallEdge, CallGraph, Network};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn edges(value: &Value) -> Vec<CallEdge> {
    (value.as_array().unwrap().iter())
        .map(|edge| CallEdge {
            client: edge[0].as_u64().unwrap() as u32,
            server: edge[1].as_u64().unwrap() as u32,
            strength: edge[2].as_f64().unwrap(),
        })
        .collect()
}

fn largest_difference(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn every_reference_network_agrees_to_1e_12() {
    let packed: &[u8] = include_bytes!("../fixtures/noisy_or_reference.jsonl.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    let (mut networks, mut blasts) = (0, 0);
    for line in text.lines() {
        let reference: Value = serde_json::from_str(line).unwrap();
        let id = &reference["id"];
        let services = reference["n"].as_u64().unwrap() as u32;
        let graph = CallGraph::new(services, &edges(&reference["dag_edges"])).unwrap();
        assert!(graph.deferred_edges().is_empty(), "{id}: an acyclic graph has nothing to defer");
        let all = CallGraph::new(services, &edges(&reference["edges"])).unwrap();
        assert_eq!(all.dag_edges(), graph.dag_edges(), "{id}: the weakest edge of a cycle waits, here as there");
        let network = Network::new(graph, numbers(&reference["prior"]), numbers(&reference["leak"])).unwrap();
        let likelihood: Vec<[f64; 2]> = (reference["lik"].as_array().unwrap().iter())
            .map(|pair| [pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap()])
            .collect();
        let posterior = network.posterior(&likelihood).unwrap();
        let fault = largest_difference(&posterior.fault, &numbers(&reference["post_F"]));
        let anomalous = largest_difference(&posterior.anomalous, &numbers(&reference["post_A"]));
        assert!(fault < 1e-12, "{id}: post_F differs by {fault}");
        assert!(anomalous < 1e-12, "{id}: post_A differs by {anomalous}");
        // The larger networks carry neither evidence nor blast radii.
        if let Some(evidence) = reference["log_evidence"].as_f64() {
            let difference = (posterior.log_evidence - evidence).abs();
            assert!(difference < 1e-12, "{id}: log_evidence differs by {difference}");
        }
        for (root, hits) in reference["blast"].as_array().into_iter().flatten().enumerate() {
            let blast = largest_difference(&network.blast_radius(root as u32).unwrap(), &numbers(hits));
            assert!(blast < 1e-12, "{id}: blast of {root} differs by {blast}");
            blasts += 1;
        }
        networks += 1;
    }
    assert_eq!(networks, 120);
    assert!(blasts >= 400, "{blasts}");
}
