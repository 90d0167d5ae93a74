//! Prometheus remote-write receiver that scores services and finds root causes.

fn main() {}
