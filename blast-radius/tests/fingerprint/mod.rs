//! A fingerprint of the engine's bits. Tested natively by `tests/bits.rs`, and in WASM by `check-reference`.

use quoll_blast_radius::{CallEdge, CallGraph, Inference, Network};

/// Sizes of the graphs with a known fingerprint.
pub const SIZES: [u32; 3] = [5, 40, 300];
/// The engine's version that has these [`BITS`].
pub const VERSION: &str = "3";
/// The fingerprints of [`SIZES`].
pub const BITS: [u64; 3] = [0xed3d_3a46_e281_2170, 0x5f39_7aa9_2cf6_3d15, 0x9615_a104_5bb2_9c3b];

/// A tree with shared databases, a cycle and uneven strengths; no randomness.
fn edges(services: u32) -> Vec<CallEdge> {
    let strength = |i: u32| 0.35 + 0.006 * f64::from(i * 37 % 101);
    (1..services)
        .flat_map(|i| {
            let tree = CallEdge { client: (i - 1) / 3, server: i, strength: strength(i) };
            let shared = CallEdge { client: i, server: services - 1 - i % 2, strength: strength(i + 50) };
            let back = CallEdge { client: services - 1, server: services / 2, strength: strength(i + 7) };
            [tree, shared, back]
        })
        .collect()
}

/// FNV-1a (Fowler, Noll & Vo) over the bits of every answer about a graph of `services`.
///
/// # Errors
/// A size of which the priors would sum to more than one, or no graph can be made.
pub fn fingerprint(services: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let graph = CallGraph::new(services, &edges(services))?;
    let n = services as usize;
    let evidence: Vec<f64> = (0..services).map(|i| f64::from(i * 7919 % 1100) / 100.0 - 3.0).collect();
    let (prior, leak) = (vec![5.8e-6; n], vec![1e-11; n]);
    let inference = Inference::new(&graph)?;
    let one = inference.single_fault_posterior(&leak, 1.0 - 5.8e-6 * f64::from(services), &prior, &evidence)?;
    let hits = inference.blast_radius(&leak, services.saturating_sub(1))?;
    let network = Network::new(graph, vec![0.01; n], leak)?;
    let likelihood: Vec<[f64; 2]> = evidence.iter().map(|e| [1.0, 4.0 + e]).collect();
    let many = network.posterior(&likelihood)?;
    Ok((one.root_cause.iter().chain(&one.anomalous).chain(&hits).chain(&many.fault).chain(&many.anomalous))
        .chain([&one.no_fault, &many.log_evidence])
        .flat_map(|value| value.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)))
}
