//! Equal [`ENGINE_VERSION`]s promise equal bits. This pins the bits of one version: if this test fails, the
//! change to the engine needs a new version, and the constant below with it.
#![allow(clippy::unwrap_used, reason = "a test")]

use quoll_blast_radius::{CallEdge, CallGraph, ENGINE_VERSION, Inference, Network};

/// A tree with shared databases, a cycle and uneven strengths; no randomness.
fn graph(services: u32) -> CallGraph {
    let strength = |i: u32| 0.35 + 0.006 * f64::from(i * 37 % 101);
    let edges: Vec<CallEdge> = (1..services)
        .flat_map(|i| {
            let tree = CallEdge { client: (i - 1) / 3, server: i, strength: strength(i) };
            let shared = CallEdge { client: i, server: services - 1 - i % 2, strength: strength(i + 50) };
            let back = CallEdge { client: services - 1, server: services / 2, strength: strength(i + 7) };
            [tree, shared, back]
        })
        .collect();
    CallGraph::new(services, &edges).unwrap()
}

/// FNV-1a over the bits of every answer (Fowler, Noll & Vo).
fn fingerprint(services: u32) -> u64 {
    let graph = graph(services);
    let n = services as usize;
    let evidence: Vec<f64> = (0..services).map(|i| f64::from(i * 7919 % 1100) / 100.0 - 3.0).collect();
    let (prior, leak) = (vec![5.8e-6; n], vec![1e-11; n]);
    let inference = Inference::new(&graph).unwrap();
    let one = inference.single_fault_posterior(&leak, 1.0 - 5.8e-6 * f64::from(services), &prior, &evidence).unwrap();
    let hits = inference.blast_radius(&leak, services - 1).unwrap();
    let network = Network::new(graph, vec![0.01; n], leak).unwrap();
    let likelihood: Vec<[f64; 2]> = evidence.iter().map(|e| [1.0, 4.0 + e]).collect();
    let many = network.posterior(&likelihood).unwrap();
    (one.root_cause.iter().chain(&one.anomalous).chain(&hits).chain(&many.fault).chain(&many.anomalous))
        .chain([&one.no_fault, &many.log_evidence])
        .flat_map(|value| value.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[test]
fn the_bits_of_this_engine_version() {
    let bits = [5, 40, 300].map(|services| format!("{:016x}", fingerprint(services)));
    assert_eq!((ENGINE_VERSION, bits.join(" ").as_str()), ("1", "fce74edcffc45559 d3815b67c19e8703 2d08ea4221b50784"));
}
