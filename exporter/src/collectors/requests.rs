//! What the collectors of requests share: per edge, reporter and status.

use quoll_ebpf_abi::protocols::Protocol;

use crate::collectors::{Collector, World, edge_labels};
use crate::exposition::{Labels, Metric, Page};
use crate::privileges::Needs;
use crate::source::SourceKind;

/// The kernel side's buckets, in seconds.
pub const BOUNDS: &[f64] = &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// A collector of nothing but the durations of some protocols' requests.
pub struct Requests {
    /// Its name, as in `--disable`.
    pub name: &'static str,
    /// The histogram that it writes.
    pub duration: &'static [&'static Metric; 1],
    /// Protocols that it shows.
    pub protocols: &'static [Protocol],
    /// Whether a label says which protocol it is.
    pub with_system: bool,
}

impl Collector for Requests {
    fn name(&self) -> &'static str {
        self.name
    }

    fn needs(&self, source: SourceKind) -> Option<Needs> {
        (source == SourceKind::Ebpf).then_some(Needs::attaching())
    }

    fn metrics(&self) -> &'static [&'static Metric] {
        self.duration
    }

    fn collect(&mut self, world: &World<'_>, page: &mut Page) -> anyhow::Result<()> {
        let [duration] = self.duration;
        collect(world, page, duration, self.protocols, "status", self.with_system)
    }
}

/// Writes the histograms of some protocols. `label` is the one that holds the status; with `with_system`,
/// another says which protocol it is.
///
/// # Errors
/// Where the source sees no requests.
pub fn collect(
    world: &World<'_>,
    page: &mut Page,
    metric: &'static Metric,
    protocols: &[Protocol],
    label: &'static str,
    with_system: bool,
) -> anyhow::Result<()> {
    let mut family = page.family(metric);
    for (key, totals) in world.edges.iter() {
        let mut edge: Option<Labels> = None;
        for ((protocol, status), histogram) in &totals.requests {
            let Some(status) = protocol.statuses().get(*status).filter(|_| protocols.contains(protocol)) else {
                continue;
            };
            let edge = edge.get_or_insert_with(|| edge_labels(key));
            let labels = if with_system { edge.with("system", protocol.name()) } else { edge.clone() };
            histogram.write(&mut family, &labels.with(label, status));
        }
    }
    anyhow::ensure!(world.sees_requests, "the source procfs cannot see requests");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edges::MAX_HISTOGRAMS;
    use quoll_ebpf_abi::requests::BOUNDS_NS;

    #[test]
    fn the_bounds_are_the_kernel_sides() {
        let kernel: Vec<f64> = BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).collect();
        assert_eq!(kernel, BOUNDS);
    }

    #[test]
    fn an_edge_and_reporter_takes_at_most_sixty_series() {
        use crate::collectors::{db, dns, http, rpc};
        for metric in [&http::DURATION, &rpc::DURATION, &db::DURATION, &dns::DURATION] {
            assert!(metric.series() * MAX_HISTOGRAMS <= 60, "{}", metric.name);
        }
    }
}
