//! Reports as the JSON of `GET /stats`. Latencies in seconds, counters since the start of the run.

use serde_json::{Value, json};

use crate::report::{Inbound, Outbound, Report};

/// The JSON of one process's counters.
pub fn json(report: &Report) -> Value {
    let edges: serde_json::Map<String, Value> =
        report.edges.iter().map(|(callee, edge)| (callee.clone(), outbound(edge))).collect();
    let callers: serde_json::Map<String, Value> =
        report.callers.iter().map(|(caller, calls)| (caller.clone(), inbound(calls))).collect();
    let recent = &report.recent;
    let seconds = recent.seconds.max(1) as f64;
    let mut all = inbound(&report.served);
    let more = json!({
        "in_flight": report.in_flight,
        "shed": report.shed,
        "connections_accepted": report.accepted,
        "cpu_seconds": report.cpu_seconds,
        "resident_bytes": report.resident_bytes,
        "latency_seconds": report.latency.quantiles(),
        "recent": {
            "seconds": recent.seconds,
            "requests_per_second": recent.finished as f64 / seconds,
            "error_ratio": if recent.finished == 0 { 0.0 } else { recent.errors as f64 / recent.finished as f64 },
            "latency_seconds": recent.latency.quantiles(),
        },
        "edges": edges,
        "callers": callers,
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}

fn inbound(calls: &Inbound) -> Value {
    json!({ "requests": calls.requests, "responses": calls.responses, "cancelled": calls.cancelled })
}

fn outbound(edge: &Outbound) -> Value {
    json!({
        "calls": edge.calls,
        "requests": edge.requests,
        "responses": edge.responses,
        "errors": edge.errors(),
        "timeouts": edge.timeouts,
        "connect_timeouts": edge.connect_timeouts,
        "connect_failures": edge.connect_failures,
        "broken": edge.broken,
        "abandoned": edge.abandoned,
        "connects": edge.connects,
        "sent_bytes": edge.sent_bytes,
        "received_bytes": edge.received_bytes,
        "latency_seconds": edge.latency.quantiles(),
    })
}
