//! One hypothesis at a time, on its ancestors: against the exact answer, and where only it is in reach.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "a test")]

use proptest::prelude::*;
use quoll_blast_radius::{
    CallEdge, CallGraph, InferenceError, Reach, SingleFault, blast_radius, reach, restricted_single_fault,
    single_fault, single_fault_posterior,
};

fn graph_and_evidence() -> impl Strategy<Value = (CallGraph, Vec<f64>)> {
    (1u32..10).prop_flat_map(|services| {
        let edge = (0..services, 0..services, prop_oneof![5 => 0.0..=1.0f64, 1 => Just(1.0)]);
        let llr = prop_oneof![8 => -8.0..8.0f64, 1 => Just(f64::INFINITY), 1 => Just(f64::NEG_INFINITY)];
        (prop::collection::vec(edge, 0..25), prop::collection::vec(llr, services as usize)).prop_map(
            move |(edges, llr)| {
                let edges: Vec<CallEdge> = (edges.into_iter())
                    .map(|(client, server, strength)| CallEdge { client, server, strength })
                    .collect();
                (CallGraph::new(services, &edges).unwrap(), llr)
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn without_leaks_it_is_exact((graph, llr) in graph_and_evidence()) {
        let n = llr.len();
        let (prior, none) = (vec![0.05; n], 1.0 - 0.05 * n as f64);
        let restricted = restricted_single_fault(&graph, &vec![0.0; n], none, &prior, &llr);
        match single_fault_posterior(&graph, &vec![0.0; n], none, &prior, &llr) {
            Ok(exact) => {
                let restricted = restricted.unwrap();
                prop_assert!(restricted.is_exact() && restricted.probability_error() == 0.0);
                let posterior = restricted.posterior;
                prop_assert!((posterior.no_fault - exact.no_fault).abs() < 1e-13);
                for (a, b) in posterior.root_cause.iter().zip(&exact.root_cause) {
                    prop_assert!((a - b).abs() < 1e-13);
                }
                for (a, b) in posterior.anomalous.iter().zip(&exact.anomalous) {
                    prop_assert!((a - b).abs() < 1e-13, "{a} {b}");
                }
            }
            Err(error) => prop_assert_eq!(restricted, Err(error)),
        }
    }

    #[test]
    fn with_leaks_the_error_keeps_within_its_bound(
        (graph, llr) in graph_and_evidence(),
        exponent in prop::collection::vec(-14.0..-1.0f64, 10),
    ) {
        let n = llr.len();
        let llr: Vec<f64> = llr.iter().map(|l| l.clamp(-8.0, 8.0)).collect();
        let leak: Vec<f64> = exponent[..n].iter().map(|e| 10f64.powf(*e)).collect();
        let (prior, none) = (vec![0.01; n], 1.0 - 0.01 * n as f64);
        let exact = single_fault_posterior(&graph, &leak, none, &prior, &llr).unwrap();
        let restricted = restricted_single_fault(&graph, &leak, none, &prior, &llr).unwrap();
        let (log_odds_error, limit) = (restricted.log_odds_error, restricted.probability_error());
        let ours = restricted.posterior.root_cause.iter().chain([&restricted.posterior.no_fault]);
        let theirs = exact.root_cause.iter().chain([&exact.no_fault]);
        let shifts: Vec<f64> = ours.clone().zip(theirs.clone()).map(|(a, b)| a.ln() - b.ln()).collect();
        for (a, b) in ours.zip(theirs) {
            prop_assert!((a - b).abs() <= limit + 1e-13, "{a} {b} {limit}");
        }
        for a in &shifts {
            for b in &shifts {
                prop_assert!((a - b).abs() <= log_odds_error + 1e-10, "{a} {b} {log_odds_error}");
            }
        }
    }
}

/// 40 services that call 40 others, each all of them; every other one calls a database of its own.
fn crossed() -> CallGraph {
    let strength = |client: u32, server: u32| 0.3 + 0.005 * f64::from((client * 31 + server * 17) % 100);
    let edges: Vec<CallEdge> = (0..40)
        .flat_map(|client| (40..80).map(move |server| (client, server)))
        .chain((40..80).map(|client| (client, client + 40)))
        .map(|(client, server)| CallEdge { client, server, strength: strength(client, server) })
        .collect();
    CallGraph::new(120, &edges).unwrap()
}

#[test]
fn what_is_too_wide_as_a_whole_is_answered_fault_by_fault() {
    let graph = crossed();
    let (prior, none) = (vec![1e-4; 120], 1.0 - 120e-4);
    let mut llr = vec![-2.0; 120];
    llr[100] = 7.0;
    llr[60] = 7.0;
    let exact = single_fault_posterior(&graph, &[0.0; 120], none, &prior, &llr);
    assert!(matches!(exact, Err(InferenceError::TooWide { .. })));
    let SingleFault::Exact(posterior) = single_fault(&graph, &[0.0; 120], none, &prior, &llr).unwrap() else {
        unreachable!("nothing is left out where no service leaks")
    };
    let mass = posterior.no_fault + posterior.root_cause.iter().sum::<f64>();
    assert!((mass - 1.0).abs() < 1e-12);
    // By hand: the fault at the database reaches service 60, and from there each caller on its own.
    let spared: f64 = graph
        .dag_edges()
        .iter()
        .filter(|e| e.server == 60)
        .map(|e| 1.0 - e.strength + e.strength * (-2f64).exp())
        .product();
    let down = graph.callees(60)[0].strength;
    let database = 7f64.exp() * (1.0 - down + down * 7f64.exp() * spared);
    let ratio = posterior.root_cause[100] / posterior.root_cause[60];
    assert!((ratio / (database / (7f64.exp() * spared)) - 1.0).abs() < 1e-12, "{ratio}");

    let leaks = vec![1e-11; 120];
    let SingleFault::Restricted(answer) = single_fault(&graph, &leaks, none, &prior, &llr).unwrap() else {
        unreachable!("leaks are left out, and that is said")
    };
    assert!(answer.log_odds_error > 0.0 && answer.probability_error() < 1e-3, "{}", answer.probability_error());
}

#[test]
fn the_reach_of_a_fault_is_answered_past_the_width_limit() {
    let graph = crossed();
    let down = graph.callees(60)[0].strength;
    let hits = blast_radius(&graph, &[0.0; 120], 100).unwrap();
    for edge in graph.dag_edges().iter().filter(|edge| edge.server == 60) {
        assert!((hits[edge.client as usize] - down * edge.strength).abs() < 1e-15);
    }
    assert!(hits[100] == 1.0 && (hits[60] - down).abs() < 1e-15 && hits[61] == 0.0);
    let leak = [1e-11; 120];
    assert!(matches!(blast_radius(&graph, &leak, 100), Err(InferenceError::TooWide { .. })));
    let Reach::Restricted(answer) = reach(&graph, &leak, 100).unwrap() else { unreachable!("leaks are left out") };
    assert!(answer.error > 0.0 && answer.error < 120e-11);
    assert!(answer.hits.iter().zip(&hits).all(|(with, without)| (with - without).abs() < 120e-11));
    assert!(reach(&graph, &leak, 120).is_err());
}
