//! HTTP requests, per edge, reporter and status class, if wished also by method.
//!
//! Timed by each end's own reads and writes, those of HTTP/1 in the kernel, those of HTTP/2 by
//! [`quoll_http2`]; see `ebpf/quoll-ebpf/src/syscalls.rs` for what is not seen. The class `none` holds requests whose connection ended without one byte of an answer:
//! the caller gave up, or the server closed or died.

use quoll_ebpf_abi::protocols::Protocol;

use crate::collectors::requests::{self, RequestLabels};
use crate::collectors::{Collector, World, edge_labels};
use crate::exposition::{Kind, Metric, Page};
use crate::privileges::Needs;
use crate::source::SourceKind;

/// Protocols that this collector shows.
pub const PROTOCOLS: &[Protocol] = &[Protocol::Http1, Protocol::Http2];

/// See its help.
pub const DURATION: Metric = Metric {
    name: "quoll_http_request_duration_seconds",
    help: "Time from the first bytes of a request to the first bytes of its response, by status class: 2xx, 3xx, 4xx, \
           5xx, or none where the connection ended without an answer; other (failed) and other_client (3xx, 4xx) where an \
           edge with several protocols has no place for them. With --http-methods also by method: GET, HEAD, POST, PUT, \
           DELETE, PATCH, OPTIONS, CONNECT, TRACE, or other, also where the edge has no place for it.",
    kind: Kind::Histogram(requests::BOUNDS),
    labels: "client, client_service_namespace, server, server_service_namespace, reporter, method, status_class",
};
const UPGRADES: Metric = Metric {
    name: "quoll_http_upgraded_connections_total",
    help: "Connections that left HTTP by a 101 response, as those of WebSocket do.",
    kind: Kind::Counter,
    labels: "client, client_service_namespace, server, server_service_namespace, reporter",
};

/// Reads the totals per edge.
pub struct Http;

impl Collector for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn needs(&self, source: SourceKind) -> Option<Needs> {
        (source == SourceKind::Ebpf).then_some(Needs::attaching())
    }

    fn metrics(&self) -> &'static [&'static Metric] {
        &[&DURATION, &UPGRADES]
    }

    fn collect(&mut self, world: &World<'_>, page: &mut Page) -> anyhow::Result<()> {
        let mut family = page.family(&UPGRADES);
        for (key, totals) in world.edges.iter().filter(|(_, totals)| totals.upgrades > 0) {
            family.sample(&edge_labels(key), totals.upgrades as f64);
        }
        let labels = RequestLabels { status: "status_class", with_system: false, with_method: world.edges.by_method() };
        requests::collect(world, page, &DURATION, PROTOCOLS, labels)
    }
}
