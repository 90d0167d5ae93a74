//! Resources are nodes like services: a host is called, as far as the engine knows, by what runs on it.
#![allow(clippy::unwrap_used, reason = "a test")]

use quoll_blast_radius::{CallEdge, CallGraph, blast_radius, single_fault_posterior};

/// Services 0 to 5 in a chain of calls; 6 and 7 are hosts, the one of even and the other of odd services.
fn on_two_hosts() -> CallGraph {
    let calls = (0..5).map(|i| CallEdge { client: i, server: i + 1, strength: 0.5 });
    let placement = (0..6).map(|i| CallEdge { client: i, server: 6 + i % 2, strength: 0.9 });
    CallGraph::new(8, &calls.chain(placement).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_hosts_fault_reaches_all_services_on_it_and_through_them_their_callers() {
    let hits = blast_radius(&on_two_hosts(), &[0.0; 8], 6).unwrap();
    for (service, hit) in (0..).zip(&hits[..6]) {
        if service % 2 == 0 {
            assert!(*hit >= 0.9, "{service}: {hit}");
        } else if service < 5 {
            // Not on this host, but calls a service that is.
            assert!(*hit > 0.4 && *hit < 0.9, "{service}: {hit}");
        }
    }
    // The last of the chain calls nothing, and the other host depends on nobody.
    assert!(hits[5] == 0.0 && hits[7] == 0.0);
    assert!((hits[4] - 0.9).abs() < 1e-15, "on the host, and its one callee is not hit: {}", hits[4]);
}

#[test]
fn services_of_one_host_that_fail_together_point_at_the_host() {
    // A flat graph: nobody calls anybody, three of six services share a host.
    let placement: Vec<CallEdge> = (0..6).map(|i| CallEdge { client: i, server: 6 + i % 2, strength: 0.9 }).collect();
    let graph = CallGraph::new(8, &placement).unwrap();
    let evidence = [6.0, -2.0, 6.0, -2.0, 6.0, -2.0, 0.0, 0.0];
    let posterior = single_fault_posterior(&graph, &[1e-9; 8], 0.992, &[0.001; 8], &evidence).unwrap();
    assert!(posterior.root_cause[6] > 0.99, "{}", posterior.root_cause[6]);
}
