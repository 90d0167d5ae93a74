//! TCP connections per edge and reporter.
//!
//! Both ends of a connection on one node report it, each from its own socket; take the client's
//! report, else the server's, never the sum.

use crate::collectors::{Collector, World, edge_labels};
use crate::edges::{EdgeTotals, REASONS};
use crate::exposition::{Kind, Labels, Metric, Page};
use crate::privileges::Needs;
use crate::source::SourceKind;
use rustix::thread::CapabilitySet;

/// Handshakes: from within one host to a third repeated SYN (after 1, 3 and 7 s).
pub const CONNECT_BOUNDS: &[f64] = &[0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
/// Lives of connections: from one request to pools that live for hours.
pub const CONNECTION_BOUNDS: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0];
/// Round-trip times.
pub const RTT_BOUNDS: &[f64] = &[0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0];

const EDGE: &str = "client, client_service_namespace, server, server_service_namespace, reporter";

const CONNECTS: Metric = Metric {
    name: "quoll_tcp_connects_total",
    help: "TCP connections made, together with those attempted in vain (client) or accepted (server).",
    kind: Kind::Counter,
    labels: EDGE,
};
const FAILURES: Metric = Metric {
    name: "quoll_tcp_connect_failures_total",
    help: "TCP connections attempted in vain, by reason: refused, timeout, unreachable, reset, other.",
    kind: Kind::Counter,
    labels: "client, client_service_namespace, server, server_service_namespace, reporter, reason",
};
const RESETS: Metric = Metric {
    name: "quoll_tcp_resets_total",
    help: "TCP connections that ended by a reset, sent or received.",
    kind: Kind::Counter,
    labels: EDGE,
};
const CONNECT_DURATION: Metric = Metric {
    name: "quoll_tcp_connect_duration_seconds",
    help: "Time from the SYN to the established connection, as the client sees it.",
    kind: Kind::Histogram(CONNECT_BOUNDS),
    labels: EDGE,
};
const CONNECTION_DURATION: Metric = Metric {
    name: "quoll_tcp_connection_duration_seconds",
    help: "Time from the handshake to the end of connections that ended.",
    kind: Kind::Histogram(CONNECTION_BOUNDS),
    labels: EDGE,
};
const SENT: Metric = Metric {
    name: "quoll_tcp_sent_bytes_total",
    help: "Payload bytes that the reporter sent and the peer acknowledged.",
    kind: Kind::Counter,
    labels: EDGE,
};
const RECEIVED: Metric = Metric {
    name: "quoll_tcp_received_bytes_total",
    help: "Payload bytes that the reporter received.",
    kind: Kind::Counter,
    labels: EDGE,
};
const RETRANSMITS: Metric = Metric {
    name: "quoll_tcp_retransmitted_segments_total",
    help: "Segments that the reporter sent again.",
    kind: Kind::Counter,
    labels: EDGE,
};
const RTT: Metric = Metric {
    name: "quoll_tcp_rtt_seconds",
    help: "Smoothed round-trip time, sampled at each scrape for open connections that moved data since the last, and when they \
           close.",
    kind: Kind::Histogram(RTT_BOUNDS),
    labels: EDGE,
};
const ACTIVE: Metric = Metric {
    name: "quoll_tcp_active_connections",
    help: "Established TCP connections.",
    kind: Kind::Gauge,
    labels: EDGE,
};

/// Reads the totals per edge.
pub struct Tcp;

impl Collector for Tcp {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn needs(&self, source: SourceKind) -> Option<Needs> {
        Some(match source {
            SourceKind::Ebpf => Needs::attaching().and_for_life(
                CapabilitySet::SYS_PTRACE,
                "services that are named by executable or network namespace only if of the same user",
            ),
            SourceKind::Procfs => Needs::NONE.and_for_life(
                CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH),
                "sockets of other users' processes are named by their addresses only",
            ),
        })
    }

    fn metrics(&self) -> &'static [&'static Metric] {
        &[
            &CONNECTS,
            &FAILURES,
            &RESETS,
            &CONNECT_DURATION,
            &CONNECTION_DURATION,
            &SENT,
            &RECEIVED,
            &RETRANSMITS,
            &RTT,
            &ACTIVE,
        ]
    }

    fn collect(&mut self, world: &World<'_>, page: &mut Page) -> anyhow::Result<()> {
        let edges: Vec<(Labels, &EdgeTotals)> = world
            .edges
            .iter()
            .filter(|(_, totals)| totals.has_connections)
            .map(|(key, totals)| (edge_labels(key), totals))
            .collect();
        let mut counter = |metric: &Metric, value: fn(&EdgeTotals) -> Option<u64>| {
            let mut family = page.family(metric);
            for (labels, totals) in &edges {
                if let Some(value) = value(totals) {
                    family.sample(labels, value as f64);
                }
            }
        };
        counter(&CONNECTS, |totals| Some(totals.connects));
        counter(&RESETS, |totals| totals.has_counters.then_some(totals.resets));
        counter(&SENT, |totals| totals.has_counters.then_some(totals.sent_bytes));
        counter(&RECEIVED, |totals| totals.has_counters.then_some(totals.received_bytes));
        counter(&RETRANSMITS, |totals| totals.has_counters.then_some(totals.retransmits));
        counter(&ACTIVE, |totals| Some(totals.active));
        let mut family = page.family(&FAILURES);
        for (labels, totals) in &edges {
            for (failure, reason) in REASONS {
                let count = totals.failures[failure as usize];
                if count > 0 {
                    family.sample(&labels.with("reason", reason), count as f64);
                }
            }
        }
        for (metric, histogram) in [
            (&CONNECT_DURATION, (|totals| &totals.connect_seconds) as fn(&EdgeTotals) -> &_),
            (&CONNECTION_DURATION, |totals| &totals.connection_seconds),
            (&RTT, |totals| &totals.rtt_seconds),
        ] {
            let mut family = page.family(metric);
            for (labels, totals) in &edges {
                histogram(totals).write(&mut family, labels);
            }
        }
        world.source_error.map_or(Ok(()), |error| Err(anyhow::anyhow!("{error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_and_reporter_takes_at_most_sixty_series() {
        let failures = REASONS.len() - 1;
        let series: usize = Tcp.metrics().iter().map(|metric| metric.series()).sum();
        assert!(series + failures <= 60, "{}", series + failures);
    }
}
