//! Bayesian network over a call graph: root-cause posteriors and blast radii, bit-equal natively and in WASM.
