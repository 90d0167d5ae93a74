//! The incremental engine against answers from scratch, over random sequences of changes and questions.
#![allow(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;
use quoll_blast_radius::{
    CallEdge, CallGraph, GraphError, Inference, InferenceError, WhatIf, WhatIfError, blast_radius,
    single_fault_posterior,
};

const SERVICES: u32 = 9;

#[derive(Debug, Clone)]
enum Step {
    SetEvidence(u32, f64),
    ClearEvidence(u32),
    SetEdge(CallEdge),
    CutEdge(u32, u32),
    Drain(u32),
    AssumeFailed(u32),
    AssumeHealthy(u32),
    ClearAssumption(u32),
    Posterior,
    BlastRadius(u32),
}

fn edge() -> impl Strategy<Value = CallEdge> {
    let strength = prop_oneof![6 => 0.01..=1.0f64, 1 => Just(1.0), 1 => Just(0.0)];
    (0..SERVICES, 0..SERVICES, strength).prop_map(|(client, server, strength)| CallEdge { client, server, strength })
}

fn step() -> impl Strategy<Value = Step> {
    let evidence = prop_oneof![6 => -8.0..8.0f64, 1 => Just(f64::INFINITY), 1 => Just(f64::NEG_INFINITY)];
    prop_oneof![
        4 => (0..SERVICES, evidence).prop_map(|(service, value)| Step::SetEvidence(service, value)),
        1 => (0..SERVICES).prop_map(Step::ClearEvidence),
        3 => edge().prop_map(Step::SetEdge),
        2 => (0..SERVICES, 0..SERVICES).prop_map(|(client, server)| Step::CutEdge(client, server)),
        1 => (0..SERVICES).prop_map(Step::Drain),
        1 => (0..SERVICES).prop_map(Step::AssumeFailed),
        1 => (0..SERVICES).prop_map(Step::AssumeHealthy),
        1 => (0..SERVICES).prop_map(Step::ClearAssumption),
        5 => Just(Step::Posterior),
        3 => (0..SERVICES).prop_map(Step::BlastRadius),
    ]
}

/// The obvious implementation: lists, and every answer from scratch.
struct Model {
    edges: Vec<CallEdge>,
    evidence: Vec<f64>,
    failed: Option<u32>,
    healthy: [bool; SERVICES as usize],
}

impl Model {
    /// Priors of no fault and of the faults, conditioned on what is assumed.
    fn priors(&self, none: f64, prior: &[f64]) -> (f64, Vec<f64>) {
        if self.failed.is_none() && !self.healthy.contains(&true) {
            return (none, prior.to_vec());
        }
        let mut weights = vec![0.0; prior.len()];
        for service in 0..prior.len() {
            let possible = self.failed.map_or(!self.healthy[service], |failed| failed as usize == service);
            weights[service] = if possible { prior[service] } else { 0.0 };
        }
        let none = if self.failed.is_some() { 0.0 } else { none };
        let sum = weights.iter().fold(none, |sum, weight| sum + weight);
        (none / sum, weights.iter().map(|weight| weight / sum).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_has_the_bits_of_one_from_scratch(
        edges in prop::collection::vec(edge(), 0..20),
        leak in prop::collection::vec(prop_oneof![Just(0.0), 0.0..0.1f64], SERVICES as usize),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut unique: Vec<CallEdge> = Vec::new();
        for edge in edges {
            if !unique.iter().any(|e| (e.client, e.server) == (edge.client, edge.server)) {
                unique.push(edge);
            }
        }
        let n = SERVICES as usize;
        let (prior, none) = (vec![0.01; n], 1.0 - 0.01 * f64::from(SERVICES));
        let mut model = Model { edges: unique, evidence: vec![0.0; n], failed: None, healthy: [false; 9] };
        let mut what_if =
            WhatIf::new(SERVICES, &model.edges, leak.clone(), none, prior.clone(), model.evidence.clone()).unwrap();
        for step in steps {
            let graph = || CallGraph::new(SERVICES, &model.edges).unwrap();
            match step {
                Step::SetEvidence(service, value) => {
                    what_if.set_evidence(service, value).unwrap();
                    model.evidence[service as usize] = value;
                }
                Step::ClearEvidence(service) => {
                    what_if.clear_evidence(service).unwrap();
                    model.evidence[service as usize] = 0.0;
                }
                Step::SetEdge(edge) => {
                    what_if.set_edge(edge).unwrap();
                    model.edges.retain(|e| (e.client, e.server) != (edge.client, edge.server));
                    model.edges.push(edge);
                }
                Step::CutEdge(client, server) => {
                    let before = model.edges.len();
                    model.edges.retain(|e| (e.client, e.server) != (client, server));
                    prop_assert_eq!(what_if.cut_edge(client, server), model.edges.len() < before);
                }
                Step::Drain(service) => {
                    let before = model.edges.len();
                    model.edges.retain(|e| e.server != service);
                    prop_assert_eq!(what_if.drain(service).unwrap(), before - model.edges.len());
                }
                Step::AssumeFailed(service) => {
                    what_if.assume_failed(service).unwrap();
                    model.failed = Some(service);
                    model.healthy[service as usize] = false;
                }
                Step::AssumeHealthy(service) => {
                    what_if.assume_healthy(service).unwrap();
                    model.failed = model.failed.filter(|&failed| failed != service);
                    model.healthy[service as usize] = true;
                }
                Step::ClearAssumption(service) => {
                    what_if.clear_assumption(service).unwrap();
                    model.failed = model.failed.filter(|&failed| failed != service);
                    model.healthy[service as usize] = false;
                }
                Step::Posterior => {
                    let (none, prior) = model.priors(none, &prior);
                    let scratch = single_fault_posterior(&graph(), &leak, none, &prior, &model.evidence);
                    prop_assert_eq!(what_if.posterior(), scratch.map_err(WhatIfError::Inference));
                }
                Step::BlastRadius(root) => {
                    prop_assert_eq!(what_if.blast_radius(root).unwrap(), blast_radius(&graph(), &leak, root).unwrap());
                }
            }
        }
    }
}

/// 20 chains of 10 services each, none connected to another.
fn chains() -> WhatIf {
    let edges: Vec<CallEdge> = (0..200)
        .filter(|i| i % 10 != 9)
        .map(|i| CallEdge { client: i, server: i + 1, strength: 0.5 + f64::from(i % 7) * 0.05 })
        .collect();
    WhatIf::new(200, &edges, vec![1e-9; 200], 0.98, vec![1e-4; 200], vec![-1.0; 200]).unwrap()
}

#[test]
fn what_did_not_change_is_not_computed_again() {
    let mut what_if = chains();
    what_if.posterior().unwrap();
    let first = what_if.work();
    assert!(first.planned && first.repeated == first.operations, "{first:?}");
    what_if.posterior().unwrap();
    assert_eq!((what_if.work().planned, what_if.work().repeated), (false, 0));
    what_if.set_evidence(57, 6.0).unwrap();
    what_if.posterior().unwrap();
    let second = what_if.work();
    assert!(!second.planned && second.repeated < second.operations, "{second:?}");
    what_if.set_edge(CallEdge { client: 3, server: 4, strength: 0.9 }).unwrap();
    what_if.posterior().unwrap();
    assert!(!what_if.work().planned, "another strength needs no other order");
    assert!(what_if.cut_edge(3, 4));
    what_if.posterior().unwrap();
    assert!(what_if.work().planned, "another graph needs another order");
}

#[test]
fn a_drained_service_reaches_nobody_and_still_depends_on_what_it_calls() {
    let mut what_if = chains();
    assert!(what_if.blast_radius(5).unwrap()[4] > 0.5);
    assert_eq!(what_if.drain(5), Ok(1));
    let hits = what_if.blast_radius(5).unwrap();
    assert!((hits[5] - 1.0).abs() < 1e-15 && hits[4] < 1e-6);
    let below = what_if.blast_radius(6).unwrap();
    assert!(below[5] > 0.5 && below[4] < 1e-6);
}

#[test]
fn an_assumption_rules_hypotheses_out_until_it_is_taken_back() {
    let mut what_if = chains();
    what_if.set_evidence(4, 8.0).unwrap();
    what_if.set_evidence(5, 8.0).unwrap();
    let before = what_if.posterior().unwrap();
    what_if.assume_healthy(5).unwrap();
    let without = what_if.posterior().unwrap();
    assert!(before.root_cause[5] > 0.5 && without.root_cause[5] == 0.0);
    // Not at fault, yet anomalous through what it calls.
    assert!(without.root_cause[6] > before.root_cause[6] && without.anomalous[5] > 0.9);
    what_if.assume_failed(9).unwrap();
    assert!((what_if.posterior().unwrap().root_cause[9] - 1.0).abs() < 1e-15);
    what_if.assume_failed(5).unwrap();
    assert!((what_if.posterior().unwrap().root_cause[5] - 1.0).abs() < 1e-15, "one fault at most: the later counts");
    what_if.clear_assumption(5).unwrap();
    assert_eq!(what_if.posterior().unwrap(), before);
    // Nothing is left that could be: no fault has no prior, and the only suspect is cleared.
    let mut one = WhatIf::new(1, &[], vec![0.0], 0.0, vec![1.0], vec![0.0]).unwrap();
    one.assume_healthy(0).unwrap();
    assert_eq!(one.posterior(), Err(WhatIfError::Inference(InferenceError::ContradictoryEvidence)));
}

#[test]
fn a_refused_change_changes_nothing() {
    let mut what_if = chains();
    let before = what_if.posterior();
    let outside = what_if.set_evidence(200, 1.0);
    assert_eq!(outside, Err(WhatIfError::Inference(InferenceError::UnknownService { service: 200, services: 200 })));
    assert!(what_if.set_evidence(0, f64::NAN).is_err());
    let edge = CallEdge { client: 1, server: 2, strength: 1.5 };
    let strength = GraphError::StrengthOutOfRange { client: 1, server: 2, strength: 1.5 };
    assert_eq!(what_if.set_edge(edge), Err(WhatIfError::Graph(strength)));
    assert!(what_if.assume_failed(200).is_err() && what_if.assume_healthy(200).is_err());
    assert!(what_if.drain(200).is_err() && !what_if.cut_edge(0, 199));
    assert_eq!(what_if.posterior(), before);
}

#[test]
fn several_blast_radii_have_the_bits_of_single_ones() {
    let edges: Vec<CallEdge> = chains().edges().collect();
    let inference = Inference::new(&CallGraph::new(200, &edges).unwrap()).unwrap();
    let leak = vec![1e-9; 200];
    let together = inference.blast_radii(&leak, &[7, 99, 7]).unwrap();
    for (hits, root) in together.iter().zip([7, 99, 7]) {
        assert_eq!(*hits, inference.blast_radius(&leak, root).unwrap());
    }
}
