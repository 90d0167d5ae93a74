//! The engine against the sum over all states, written down as the model's definition says.
#![allow(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;
use quoll_blast_radius::dynamics::predict;
use quoll_blast_radius::{
    CallEdge, CallGraph, InferenceError, Network, SingleFaultPosterior, blast_radius, single_fault_posterior,
};

/// Reachability by one or more steps.
fn closure(n: usize, edges: impl Iterator<Item = CallEdge>) -> Vec<Vec<bool>> {
    let mut reaches = vec![vec![false; n]; n];
    edges.for_each(|edge| reaches[edge.client as usize][edge.server as usize] = true);
    for via in 0..n {
        for from in 0..n {
            for to in 0..n {
                reaches[from][to] |= reaches[from][via] && reaches[via][to];
            }
        }
    }
    reaches
}

/// The static network that the documentation of `unrolled` defines, written down from the definition.
struct Unrolled {
    services: usize,
    /// Services on cycles. Nodes are the services now, then these a step ago, then what is outside their cycles.
    on_cycles: Vec<usize>,
    /// Per node, its parents with strengths.
    parents: Vec<Vec<(usize, f64)>>,
}

impl Unrolled {
    fn new(graph: &CallGraph) -> Self {
        let n = graph.services() as usize;
        let (dag, deferred) = (graph.dag_edges(), graph.deferred_edges());
        let reaches = closure(n, dag.iter().chain(deferred).copied());
        let together = |a: usize, b: usize| a == b || (reaches[a][b] && reaches[b][a]);
        let within = |edge: &&CallEdge| together(edge.client as usize, edge.server as usize);
        let calls = closure(n, dag.iter().filter(within).copied());
        let leads = |from: usize, to: usize| from == to || calls[from][to];
        let on_cycles: Vec<usize> = (0..n)
            .filter(|&s| {
                deferred.iter().any(|e| leads(e.server as usize, s))
                    && deferred.iter().any(|e| leads(s, e.client as usize))
            })
            .collect();
        let place = |service: usize| on_cycles.iter().position(|&s| s == service);
        let copy = |service: usize| n + place(service).unwrap();
        let outside = |service: usize| copy(service) + on_cycles.len();
        let mut parents = vec![Vec::new(); n + 2 * on_cycles.len()];
        for edge in dag {
            let (client, server) = (edge.client as usize, edge.server as usize);
            if place(client).is_some() && place(server).is_some() && together(client, server) {
                parents[client].push((server, edge.strength));
                parents[copy(client)].push((copy(server), edge.strength));
            } else {
                parents[if place(client).is_some() { outside(client) } else { client }].push((server, edge.strength));
            }
        }
        for edge in deferred {
            parents[edge.client as usize].push((copy(edge.server as usize), edge.strength));
        }
        for &service in &on_cycles {
            parents[service].push((outside(service), 1.0));
            parents[copy(service)].push((outside(service), 1.0));
        }
        Self { services: n, on_cycles, parents }
    }

    /// Weight of all states given which services have a cause of their own; and the same restricted to each
    /// service being anomalous now.
    fn given(&self, own: u32, likelihood: &[[f64; 2]]) -> (f64, Vec<f64>) {
        let mut total = 0.0;
        let mut marginal = vec![0.0; self.services];
        let has_own = |node: usize| {
            let service = match node.checked_sub(self.services) {
                None => (!self.on_cycles.contains(&node)).then_some(node),
                Some(place) => place.checked_sub(self.on_cycles.len()).map(|place| self.on_cycles[place]),
            };
            service.is_some_and(|service| own >> service & 1 == 1)
        };
        let certain: Vec<bool> = (0..self.parents.len()).map(has_own).collect();
        for state in 0..1u32 << self.parents.len() {
            let mut weight = 1.0;
            // The last nodes first: they are the likeliest to be impossible.
            for node in (0..self.parents.len()).rev() {
                let on = state >> node & 1 == 1;
                let parents = self.parents[node].iter().filter(|&&(parent, _)| state >> parent & 1 == 1);
                let spared: f64 = parents.map(|(_, strength)| 1.0 - strength).product();
                let spared = if certain[node] { 0.0 } else { spared };
                weight *= if on { 1.0 - spared } else { spared };
                if node < likelihood.len() {
                    weight *= likelihood[node][usize::from(on)];
                }
                if weight == 0.0 {
                    break;
                }
            }
            total += weight;
            for (service, marginal) in marginal.iter_mut().enumerate() {
                if state >> service & 1 == 1 {
                    *marginal += weight;
                }
            }
        }
        (total, marginal)
    }
}

/// Z of any hypothesis, and Z restricted to each service being anomalous.
struct Enumeration {
    services: u32,
    /// By the set of services with a cause of their own.
    given: Vec<(f64, Vec<f64>)>,
}

impl Enumeration {
    fn new(graph: &CallGraph, likelihood: &[[f64; 2]]) -> Self {
        let unrolled = Unrolled::new(graph);
        let given = (0..1 << graph.services()).map(|own| unrolled.given(own, likelihood)).collect();
        Self { services: graph.services(), given }
    }

    fn under(&self, faults: u32, leak: &[f64]) -> (f64, Vec<f64>) {
        let (mut total, mut marginal) = (0.0, vec![0.0; self.services as usize]);
        for (own, (value, marginals)) in (0u32..).zip(&self.given) {
            let weight: f64 = (0..self.services)
                .map(|s| (own >> s & 1 == 1, if faults >> s & 1 == 1 { 1.0 } else { leak[s as usize] }))
                .map(|(on, probability)| if on { probability } else { 1.0 - probability })
                .product();
            total += weight * value;
            marginal.iter_mut().zip(marginals).for_each(|(sum, value)| *sum += weight * value);
        }
        (total, marginal)
    }
}

fn enumerate(graph: &CallGraph, leak: &[f64], faults: u32, likelihood: &[[f64; 2]]) -> (f64, Vec<f64>) {
    Enumeration::new(graph, likelihood).under(faults, leak)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-11 * (1.0 + b.abs())
}

#[derive(Debug, Clone)]
struct Case {
    graph: CallGraph,
    prior: Vec<f64>,
    leak: Vec<f64>,
    llr: Vec<f64>,
}

/// Graphs with cycles (up to `cyclic` services) and without (up to `acyclic`).
fn case(cyclic: u32, acyclic: u32) -> impl Strategy<Value = Case> {
    prop_oneof![(1..=cyclic, Just(false)), (1..=acyclic, Just(true))].prop_flat_map(|(n, acyclic)| graph(n, acyclic))
}

/// Duplicates, self-calls, certain edges; leaks and evidence from none to strong.
fn graph(services: u32, acyclic: bool) -> impl Strategy<Value = Case> {
    {
        let strength = prop_oneof![3 => 0.0..=1.0f64, 1 => Just(1.0), 1 => Just(0.0)];
        let edge = (0..services, 0..services, strength).prop_map(|(client, server, strength)| CallEdge {
            client,
            server,
            strength,
        });
        let size = services as usize;
        let leak = prop_oneof![Just(0.0), Just(1e-13), 0.0..0.2f64];
        let prior = prop_oneof![1 => Just(0.0), 4 => 1e-6..0.5f64];
        let llr = prop_oneof![2 => Just(0.0), 5 => -8.0..8.0f64];
        (
            prop::collection::vec(edge, 0..3 * size),
            prop::collection::vec(prior, size),
            prop::collection::vec(leak, size),
            prop::collection::vec(llr, size),
        )
            .prop_map(move |(edges, prior, leak, llr)| {
                let edges: Vec<CallEdge> =
                    edges.into_iter().filter(|edge| !acyclic || edge.client < edge.server).collect();
                let graph = CallGraph::new(services, &edges).unwrap();
                Case { graph, prior, leak, llr }
            })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn many_faults_agree_with_enumeration(case in case(4, 6)) {
        let Case { graph, prior, leak, llr } = case;
        let likelihood: Vec<[f64; 2]> = llr.iter().map(|l| [1.0, l.exp()]).collect();
        let services = graph.services();
        let enumeration = Enumeration::new(&graph, &likelihood);
        let (mut total, mut fault) = (0.0, vec![0.0; services as usize]);
        let mut anomalous = vec![0.0; services as usize];
        for faults in 0..1u32 << services {
            let weight: f64 = (0..services as usize)
                .map(|s| if faults >> s & 1 == 1 { prior[s] } else { 1.0 - prior[s] })
                .product();
            let (z, marginal) = enumeration.under(faults, &leak);
            total += weight * z;
            for s in 0..services as usize {
                anomalous[s] += weight * marginal[s];
                if faults >> s & 1 == 1 {
                    fault[s] += weight * z;
                }
            }
        }
        let network = Network::new(graph, prior, leak).unwrap();
        let posterior = network.posterior(&likelihood).unwrap();
        prop_assert!(close(posterior.log_evidence, total.ln()));
        for s in 0..services as usize {
            prop_assert!(close(posterior.fault[s], fault[s] / total));
            prop_assert!(close(posterior.anomalous[s], anomalous[s] / total));
        }
    }

    #[test]
    fn one_fault_agrees_with_enumeration(case in case(4, 8), no_fault in 0.0..1.0f64) {
        let Case { graph, prior, leak, llr } = case;
        let sum: f64 = prior.iter().sum();
        prop_assume!(sum > 0.0);
        let fault_prior: Vec<f64> = prior.iter().map(|p| p / sum * (1.0 - no_fault)).collect();
        let likelihood: Vec<[f64; 2]> = llr.iter().map(|l| [1.0, l.exp()]).collect();
        let services = graph.services() as usize;
        let enumeration = Enumeration::new(&graph, &likelihood);
        let (none, mut anomalous) = enumeration.under(0, &leak);
        for a in &mut anomalous {
            *a *= no_fault;
        }
        let mut weights = vec![0.0; services];
        for k in 0..services {
            let (z, marginal) = enumeration.under(1 << k, &leak);
            weights[k] = fault_prior[k] * z;
            for s in 0..services {
                anomalous[s] += fault_prior[k] * marginal[s];
            }
        }
        let total = no_fault * none + weights.iter().sum::<f64>();
        let posterior = single_fault_posterior(&graph, &leak, no_fault, &fault_prior, &llr).unwrap();
        prop_assert!(close(posterior.no_fault, no_fault * none / total));
        for s in 0..services {
            prop_assert!(close(posterior.root_cause[s], weights[s] / total));
            prop_assert!(close(posterior.anomalous[s], anomalous[s] / total));
        }
        let mass: f64 = posterior.no_fault + posterior.root_cause.iter().sum::<f64>();
        prop_assert!((mass - 1.0).abs() < 1e-14);
    }

    #[test]
    fn blast_radius_agrees_with_enumeration(case in case(4, 8), root in 0u32..8) {
        let root = root % case.graph.services();
        let neutral = vec![[1.0; 2]; case.graph.services() as usize];
        let (total, marginal) = enumerate(&case.graph, &case.leak, 1 << root, &neutral);
        let hits = blast_radius(&case.graph, &case.leak, root).unwrap();
        prop_assert!((total - 1.0).abs() < 1e-12);
        for (ours, theirs) in hits.iter().zip(&marginal) {
            prop_assert!(close(*ours, *theirs));
        }
    }

    /// Filtering step by step is the same as summing over all hidden histories at once.
    #[test]
    fn filtering_agrees_with_the_unrolled_chain(
        case in case(4, 4),
        more in prop::collection::vec(prop::collection::vec(-6.0..6.0f64, 4), 1..4),
        recovery in 0.0..0.5f64,
    ) {
        let Case { graph, mut leak, .. } = case;
        leak.iter_mut().for_each(|l| *l = l.min(0.1));
        let services = graph.services() as usize;
        let hazard: Vec<f64> = (0..services).map(|s| 0.01 * (s + 1) as f64).collect();
        let emission = |state: usize, llr: &[f64]| {
            let likelihood: Vec<[f64; 2]> = llr.iter().map(|l| [1.0, l.exp()]).collect();
            enumerate(&graph, &leak, if state == 0 { 0 } else { 1 << (state - 1) }, &likelihood).0
        };
        let total_hazard: f64 = hazard.iter().sum();
        // States: 0 no fault, k + 1 fault at k. From a fault: stay, or recover and then behave as "no fault".
        let transition = |from: usize, to: usize| {
            let fresh = if to == 0 { 1.0 - total_hazard } else { hazard[to - 1] };
            if from == 0 {
                fresh
            } else {
                recovery * fresh + if from == to { 1.0 - recovery } else { 0.0 }
            }
        };
        // Unrolled: the weight of every history, by brute force.
        let mut histories = vec![(0usize, 1.0f64)];
        let mut filtered =
            SingleFaultPosterior { no_fault: 1.0, root_cause: vec![0.0; services], anomalous: vec![0.0; services] };
        for llr in &more {
            let llr = &llr[..services];
            histories = (histories.iter())
                .flat_map(|&(from, weight)| {
                    (0..=services).map(move |to| (from, to, weight))
                })
                .map(|(from, to, weight)| (to, weight * transition(from, to) * emission(to, llr)))
                .collect();
            let prior = predict(&filtered, &hazard, recovery).unwrap();
            filtered = single_fault_posterior(&graph, &leak, prior.no_fault, &prior.fault, llr).unwrap();
        }
        let total: f64 = histories.iter().map(|h| h.1).sum();
        for state in 0..=services {
            let weight: f64 = histories.iter().filter(|h| h.0 == state).map(|h| h.1).sum();
            let ours = if state == 0 { filtered.no_fault } else { filtered.root_cause[state - 1] };
            prop_assert!(close(ours, weight / total), "{state}: {ours} {}", weight / total);
        }
    }

    /// Nothing that can be passed in panics.
    #[test]
    fn any_numbers_give_an_answer_or_an_error(
        services in 0u32..5,
        edges in prop::collection::vec((0u32..6, 0u32..6, prop::num::f64::ANY), 0..8),
        numbers in prop::collection::vec(prop_oneof![prop::num::f64::ANY, 0.0..1.0f64, Just(f64::INFINITY)], 12),
    ) {
        let edges: Vec<CallEdge> =
            edges.into_iter().map(|(client, server, strength)| CallEdge { client, server, strength }).collect();
        if let Ok(graph) = CallGraph::new(services, &edges) {
            let n = services as usize;
            let _ = single_fault_posterior(&graph, &numbers[..n], numbers[11], &numbers[4..4 + n], &numbers[7..7 + n]);
            let rest = (1.0 - numbers[..n].iter().sum::<f64>()).abs();
            let _ = single_fault_posterior(&graph, &vec![0.0; n], rest, &numbers[..n], &numbers[7..7 + n]);
            let _ = blast_radius(&graph, &numbers[..n], numbers[0] as u32);
            let _ = Network::new(graph, numbers[..n].to_vec(), numbers[5..5 + n].to_vec());
        }
    }
}

fn edge(client: u32, server: u32, strength: f64) -> CallEdge {
    CallEdge { client, server, strength }
}

/// 0 calls 1 calls 2 calls 0, the last most weakly; 3 calls 0, and 2 calls 4.
fn ring() -> CallGraph {
    let edges = [edge(0, 1, 0.9), edge(1, 2, 0.8), edge(2, 0, 0.5), edge(3, 0, 0.7), edge(2, 4, 0.6)];
    CallGraph::new(5, &edges).unwrap()
}

#[test]
fn a_fault_reaches_round_a_cycle_through_the_previous_step() {
    let graph = ring();
    assert_eq!(graph.deferred_edges(), &[edge(2, 0, 0.5)]);
    let hits = blast_radius(&graph, &[0.0; 5], 0).unwrap();
    // 0 is at fault: it was anomalous a step ago, which reaches 2 now, and 1 through 2.
    assert!((hits[2] - 0.5).abs() < 1e-15 && (hits[1] - 0.5 * 0.8).abs() < 1e-15, "{hits:?}");
    // From 1 it takes two steps to 2: to 0 a step ago, to 2 now. 4 calls nobody.
    let hits = blast_radius(&graph, &[0.0; 5], 1).unwrap();
    assert!((hits[2] - 0.9 * 0.5).abs() < 1e-15 && hits[4] == 0.0, "{hits:?}");
    // From 4: all of the ring. 2 is hit from outside, or not at all.
    let hits = blast_radius(&graph, &[0.0; 5], 4).unwrap();
    assert!((hits[2] - 0.6).abs() < 1e-15 && (hits[3] - 0.6 * 0.8 * 0.9 * 0.7).abs() < 1e-15, "{hits:?}");
}

#[test]
fn evidence_round_a_cycle_points_at_its_origin() {
    // Without the deferred call, 2 and 1 being anomalous could not come from 0.
    let posterior = single_fault_posterior(&ring(), &[1e-9; 5], 0.95, &[0.01; 5], &[6.0, 4.0, 4.0, 5.0, -6.0]).unwrap();
    let acyclic = CallGraph::new(5, ring().dag_edges()).unwrap();
    let without = single_fault_posterior(&acyclic, &[1e-9; 5], 0.95, &[0.01; 5], &[6.0, 4.0, 4.0, 5.0, -6.0]).unwrap();
    assert!(posterior.root_cause[0] > 100.0 * without.root_cause[0], "{posterior:?} {without:?}");
}

#[test]
fn the_order_of_edges_changes_no_bit() {
    let mut edges: Vec<CallEdge> = (0..7u32)
        .flat_map(|i| {
            [edge(i, (i + 1) % 7, 0.4 + 0.07 * f64::from(i)), edge(i, (i * 3 + 2) % 7, 0.9 - 0.1 * f64::from(i))]
        })
        .collect();
    let answer = |edges: &[CallEdge]| {
        let graph = CallGraph::new(7, edges).unwrap();
        assert!(!graph.deferred_edges().is_empty());
        single_fault_posterior(&graph, &[1e-6; 7], 0.93, &[0.01; 7], &[3.0, -1.0, 4.0, 1.0, -5.0, 2.0, 6.0]).unwrap()
    };
    let first = answer(&edges);
    for turn in 0..edges.len() {
        edges.rotate_left(5);
        edges.swap(turn, 3);
        assert_eq!(answer(&edges), first);
    }
}

#[test]
fn a_hub_with_hundreds_of_callers_and_one_with_hundreds_of_callees_stay_exact() {
    let n = 601;
    // Service 0 calls 1..=300; 301..=600 call service 0.
    let edges: Vec<CallEdge> = (1..=300).map(|s| edge(0, s, 0.4)).chain((301..=600).map(|s| edge(s, 0, 0.9))).collect();
    let graph = CallGraph::new(n, &edges).unwrap();
    let mut llr = vec![-12.0; n as usize];
    llr[0] = 8.0;
    llr[301..].fill(8.0);
    let fault = 1e-6;
    let none = 1.0 - fault * f64::from(n);
    let posterior =
        single_fault_posterior(&graph, &vec![1e-12; n as usize], none, &vec![fault; n as usize], &llr).unwrap();
    assert!(posterior.root_cause[0] > 0.99, "{}", posterior.root_cause[0]);
    let hits = blast_radius(&graph, &vec![0.0; n as usize], 7).unwrap();
    assert!((hits[0] - 0.4).abs() < 1e-15 && (hits[400] - 0.36).abs() < 1e-15);
}

#[test]
fn certain_and_contradictory_evidence() {
    let graph = CallGraph::new(2, &[edge(0, 1, 1.0)]).unwrap();
    // The caller is certainly anomalous, its callee certainly not.
    let certain = [f64::INFINITY, f64::NEG_INFINITY];
    let posterior = single_fault_posterior(&graph, &[0.0; 2], 0.8, &[0.1, 0.1], &certain).unwrap();
    assert!((posterior.root_cause[0] - 1.0).abs() < 1e-15);
    // Without a prior for the caller nothing explains it.
    let impossible = single_fault_posterior(&graph, &[0.0; 2], 0.9, &[0.0, 0.1], &certain);
    assert_eq!(impossible, Err(InferenceError::ContradictoryEvidence));
}

#[test]
fn empty_and_disconnected_graphs() {
    let empty = CallGraph::new(0, &[]).unwrap();
    assert!((single_fault_posterior(&empty, &[], 1.0, &[], &[]).unwrap().no_fault - 1.0).abs() < 1e-15);
    let apart = CallGraph::new(3, &[]).unwrap();
    let posterior = single_fault_posterior(&apart, &[0.0; 3], 0.7, &[0.1; 3], &[5.0, 0.0, -5.0]).unwrap();
    let z = 0.7 + 0.1 * (5f64.exp() + 1.0 + (-5f64).exp());
    assert!(close(posterior.root_cause[0], 0.1 * 5f64.exp() / z));
}
