//! eBPF agent: TCP connections, requests, accept queues and resources per service, for Prometheus.

fn main() {}
