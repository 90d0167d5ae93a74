//! Past the limits of exactness: a typed error, and an answer that says it is approximate.
#![allow(clippy::unwrap_used, reason = "a test")]

use quoll_blast_radius::{
    CallEdge, CallGraph, Inference, InferenceError, Reach, SingleFault, WhatIf, blast_radius, reach, single_fault,
    single_fault_posterior,
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
    assert!(answer.edges_ignored > 0 && answer.callees_kept.is_some_and(|kept| kept >= 1));
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

/// How often a fault at `root` hits each service, in so many draws of which calls carry.
fn sampled(graph: &CallGraph, root: u32, draws: u32) -> Vec<f64> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut chance = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut hits = vec![0.0; graph.services() as usize];
    for _ in 0..draws {
        let mut hit = vec![false; hits.len()];
        hit[root as usize] = true;
        for &service in graph.callees_first() {
            for edge in graph.callees(service) {
                if chance() < edge.strength && hit[edge.server as usize] {
                    hit[service as usize] = true;
                }
            }
        }
        hits.iter_mut().zip(&hit).for_each(|(sum, &hit)| *sum += f64::from(u8::from(hit)) / f64::from(draws));
    }
    hits
}

#[test]
fn no_hit_is_likelier_than_the_bound_past_all_widths() {
    let graph = entangled(400);
    let leak = vec![0.0; 400];
    let Reach::AtMost(bound) = reach(&graph, &leak, 399).unwrap() else { unreachable!("too wide above 399 too") };
    let what_if = WhatIf::new(400, graph.dag_edges(), leak, 1.0, vec![0.0; 400], vec![0.0; 400]);
    assert_eq!(what_if.unwrap().reach(399).unwrap().hits(), bound);
    // Twenty standard errors of 2,000 draws are far above any chance.
    let drawn = sampled(&graph, 399, 2000);
    assert!(bound.iter().zip(&drawn).all(|(bound, drawn)| drawn - bound < 0.22), "{bound:?} {drawn:?}");
    assert!((bound[399] - 1.0).abs() < 1e-15);
    assert!(bound.iter().any(|&hit| hit > 0.01 && hit < 0.99));
}

#[test]
fn the_bound_counts_what_comes_round_a_cycle() {
    let call = |client, server, strength| CallEdge { client, server, strength };
    let mut edges: Vec<CallEdge> = entangled(400).dag_edges().to_vec();
    edges.extend([call(400, 399, 0.5), call(401, 400, 0.8), call(400, 401, 0.25)]);
    let graph = CallGraph::new(402, &edges).unwrap();
    let Reach::AtMost(bound) = reach(&graph, &vec![0.0; 402], 399).unwrap() else { unreachable!("too wide") };
    // One of the two calls between 400 and 401 closes a cycle. A step before, 400 was hit by 0.5 and 401 by 0.4.
    let closing = graph.deferred_edges().iter().find(|edge| edge.client >= 400).copied().unwrap();
    let here = 1.0 - 0.5 * (1.0 - 0.25 * 0.4);
    let there = if closing.client == 400 { 0.8 * here } else { 0.8 * 0.5 };
    assert!((bound[400] - here).abs() < 1e-12 && (bound[401] - there).abs() < 1e-12, "{:?} {closing:?}", &bound[400..]);
}
