//! What a process of the shop counts about itself: the ground truth of `GET /stats`.
//!
//! Counters start at zero with each process. The supervisor adds what a process had counted
//! before a crash fault to what its successor counts, so the sums stay whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

/// Responses by status class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responses {
    /// 2xx.
    pub ok: u64,
    /// 4xx.
    pub client_error: u64,
    /// 5xx.
    pub server_error: u64,
}

impl Responses {
    /// Counts one response.
    pub fn record(&mut self, status: u16) {
        match status {
            500.. => self.server_error += 1,
            400.. => self.client_error += 1,
            _ => self.ok += 1,
        }
    }

    fn merge(&mut self, other: Self) {
        self.ok += other.ok;
        self.client_error += other.client_error;
        self.server_error += other.server_error;
    }
}

/// The server's view of one direction of calls. `requests = responses + cancelled + in flight`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inbound {
    /// Requests whose head was read.
    pub requests: u64,
    /// Responses given.
    pub responses: Responses,
    /// Requests whose caller went away before the response.
    pub cancelled: u64,
}

impl Inbound {
    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.responses.merge(other.responses);
        self.cancelled += other.cancelled;
    }
}

/// The client's view of one edge.
/// `calls = responses + timeouts + connect_failures + broken + abandoned + under way`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outbound {
    /// Calls begun.
    pub calls: u64,
    /// Requests handed to an established connection.
    pub requests: u64,
    /// Responses received in full.
    pub responses: Responses,
    /// Calls given up after the time limit: while connecting, or waiting for the response.
    pub timeouts: u64,
    /// Of these, the ones still connecting.
    pub connect_timeouts: u64,
    /// Calls that failed because the connection was refused or unreachable.
    pub connect_failures: u64,
    /// Calls whose connection broke between request and response.
    pub broken: u64,
    /// Calls given up because the caller's own caller, or a parallel call, had gone wrong.
    pub abandoned: u64,
    /// TCP connections established.
    pub connects: u64,
    /// Bytes written to them.
    pub sent_bytes: u64,
    /// Bytes read from them.
    pub received_bytes: u64,
    /// From the start of a call to the whole response; failed calls count with their duration.
    pub latency: Histogram,
}

impl Outbound {
    /// Calls that ended without a 2xx or 4xx.
    pub fn errors(&self) -> u64 {
        self.responses.server_error + self.timeouts + self.connect_failures + self.broken
    }

    fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.requests += other.requests;
        self.responses.merge(other.responses);
        self.timeouts += other.timeouts;
        self.connect_timeouts += other.connect_timeouts;
        self.connect_failures += other.connect_failures;
        self.broken += other.broken;
        self.abandoned += other.abandoned;
        self.connects += other.connects;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.latency.merge(&other.latency);
    }
}

/// The last ten full seconds, as the process itself saw them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// Seconds covered, at most ten.
    pub seconds: u64,
    /// Requests finished.
    pub finished: u64,
    /// Of these, how many in error (5xx or no response).
    pub errors: u64,
    /// Latency of the finished ones.
    pub latency: Histogram,
}

/// Everything one process counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// All callers together. For the load generator: arrivals, and their ends.
    pub served: Inbound,
    /// By caller's name.
    pub callers: BTreeMap<String, Inbound>,
    /// By callee's name.
    pub edges: BTreeMap<String, Outbound>,
    /// Requests now being handled.
    pub in_flight: u64,
    /// Requests answered 503 because the work queue was full, or arrivals the load generator
    /// did not send because too many were in flight.
    pub shed: u64,
    /// TCP connections accepted.
    pub accepted: u64,
    /// Latency of requests served; for the load generator from the intended time of sending.
    pub latency: Histogram,
    /// The last seconds.
    pub recent: Recent,
    /// CPU time of this process, user and system, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
}

impl Report {
    /// Adds the counters of an earlier process of the same service. What describes the moment
    /// (in flight, recent, memory) stays this process's own.
    pub fn add_predecessor(&mut self, earlier: &Self) {
        self.served.merge(&earlier.served);
        for (caller, inbound) in &earlier.callers {
            self.callers.entry(caller.clone()).or_default().merge(inbound);
        }
        for (callee, outbound) in &earlier.edges {
            self.edges.entry(callee.clone()).or_default().merge(outbound);
        }
        self.shed += earlier.shed;
        self.accepted += earlier.accepted;
        self.latency.merge(&earlier.latency);
        self.cpu_seconds += earlier.cpu_seconds;
    }
}
