//! HTTP/1 requests in plain text, per edge, reporter and status class.
//!
//! Timed in the kernel by each end's own reads and writes; see `ebpf/quoll-ebpf/src/http.rs` for what
//! is not seen. The class `none` holds requests whose connection ended without one byte of an answer:
//! the caller gave up, or the server closed or died.

use quoll_ebpf_abi::http::CLASS_NAMES;

use crate::collectors::{Collector, World, edge_labels};
use crate::exposition::{Kind, Metric, Page};
use crate::privileges::Needs;
use crate::source::SourceKind;

/// The kernel side's buckets, in seconds.
pub const BOUNDS: &[f64] = &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

const DURATION: Metric = Metric {
    name: "quoll_http_request_duration_seconds",
    help: "Time from the first bytes of a request to the first bytes of its response, by status class: 2xx, 3xx, 4xx, \
           5xx, or none where the connection ended without an answer.",
    kind: Kind::Histogram(BOUNDS),
    labels: "client, client_service_namespace, server, server_service_namespace, reporter, status_class",
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
        &[&DURATION]
    }

    fn collect(&mut self, world: &World<'_>, page: &mut Page) -> anyhow::Result<()> {
        let mut family = page.family(&DURATION);
        for (key, totals) in world.edges.iter() {
            let labels = edge_labels(key);
            for (histogram, class) in totals.requests.iter().zip(CLASS_NAMES) {
                if let Some(histogram) = histogram {
                    histogram.write(&mut family, &labels.with("status_class", class));
                }
            }
        }
        anyhow::ensure!(world.sees_requests, "the source procfs cannot see requests");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoll_ebpf_abi::http::BOUNDS_NS;

    #[test]
    fn the_bounds_are_the_kernel_sides() {
        let kernel: Vec<f64> = BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).collect();
        assert_eq!(kernel, BOUNDS);
    }

    #[test]
    fn an_edge_and_reporter_takes_at_most_sixty_series() {
        assert!(DURATION.series() * CLASS_NAMES.len() <= 60);
    }
}
