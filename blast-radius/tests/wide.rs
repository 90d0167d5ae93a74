//! Past the limits of exactness: a typed error, and an answer that says it is approximate.
#![allow(clippy::unwrap_used, reason = "a test")]

use quoll_blast_radius::{
    CallEdge, CallGraph, Inference, InferenceError, SingleFault, blast_radius, single_fault, single_fault_posterior,
};

/// Every service calls eight of those after it, far and near: no exact method can follow.
fn entangled(services: u32) -> CallGraph {
    let edges: Vec<CallEdge> = (0..services)
        .flat_map(|client| {
            (1..=8u32).map(move |k| {
                let server = client + 1 + (client * 7919 + k * 104_729) % (services - client).max(1);
                CallEdge { client, server, strength: 0.35 + 0.06 * f64::from(k) }
            })
        })
        .filter(|edge| edge.server < services)
        .collect();
    CallGraph::new(services, &edges).unwrap()
}

#[test]
fn what_is_too_wide_is_refused_or_marked_as_approximate() {
    let graph = entangled(400);
    assert!(matches!(Inference::new(&graph), Err(InferenceError::TooWide { .. })));
    let leak = vec![1e-12; 400];
    assert!(matches!(blast_radius(&graph, &leak, 399), Err(InferenceError::TooWide { .. })));
    let mut evidence = vec![-3.0; 400];
    evidence[399] = 8.0;
    let prior = vec![1e-6; 400];
    let exact = single_fault_posterior(&graph, &leak, 1.0 - 4e-4, &prior, &evidence);
    assert!(matches!(exact, Err(InferenceError::TooWide { .. })));
    let SingleFault::Approximate(answer) = single_fault(&graph, &leak, 1.0 - 4e-4, &prior, &evidence).unwrap() else {
        unreachable!("the exact answer was refused above")
    };
    assert!(answer.edges_ignored > 0 && answer.callees_kept >= 1);
    let sum: f64 = answer.posterior.no_fault + answer.posterior.root_cause.iter().sum::<f64>();
    assert!((sum - 1.0).abs() < 1e-12);
}

#[test]
fn where_exact_is_in_reach_both_ways_give_the_same_bits() {
    let graph = entangled(12);
    let (leak, prior) = (vec![1e-12; 12], vec![1e-3; 12]);
    let evidence: Vec<f64> = (0..12).map(|i| f64::from(i * 5 % 11) - 3.0).collect();
    let none = 1.0 - 12e-3;
    let exact = single_fault_posterior(&graph, &leak, none, &prior, &evidence).unwrap();
    assert_eq!(single_fault(&graph, &leak, none, &prior, &evidence).unwrap(), SingleFault::Exact(exact));
}
