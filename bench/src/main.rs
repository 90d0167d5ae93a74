//! Benchmarks with their peers, side by side.

fn main() {}
