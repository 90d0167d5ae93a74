//! What the collectors of requests share: per edge, reporter and status.

use quoll_ebpf_abi::buckets::{BUCKETS, LEAST_POWER, MOST_POWER, classic_of, power_of};
use quoll_ebpf_abi::protocols::{Protocol, method};

use crate::collectors::{Collector, World, edge_labels};
use crate::edges::status_name;
use crate::exposition::{Labels, Metric, Page};
use crate::histogram::{Histogram, Scale};
use crate::privileges::Needs;
use crate::source::SourceKind;

/// The classic buckets, in seconds; the kernel side's are parts of them.
pub const BOUNDS: &[f64] = &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
/// Its native buckets: two to a doubling, from 2^-17 s on.
pub const SCALE: Scale = Scale { schema: 1, zero_threshold: 1.0 / 131_072.0 };

/// Index of the last native bucket of schema 1, which has no bound: the largest number's is 2048.
const UNBOUNDED: i16 = 2049;

/// The classic and the native bucket that each of the kernel side's is part of.
const PLACES: [(u8, Option<i16>); BUCKETS] = {
    let mut places = [(0, None); BUCKETS];
    let mut bucket = 0;
    while bucket < BUCKETS {
        let native = match power_of(bucket) {
            LEAST_POWER => None,
            power if power > MOST_POWER => Some(UNBOUNDED),
            power => Some(power as i16),
        };
        places[bucket] = (classic_of(bucket) as u8, native);
        bucket += 1;
    }
    places
};

/// A histogram of no request.
#[must_use]
pub fn histogram() -> Histogram {
    Histogram::with_scale(BOUNDS, &SCALE)
}

/// Adds requests of one of the kernel side's buckets.
pub fn add(histogram: &mut Histogram, bucket: usize, count: u64) {
    if let Some((classic, native)) = PLACES.get(bucket) {
        histogram.add(usize::from(*classic), *native, count);
    }
}

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
        let labels = RequestLabels { status: "status", with_system: self.with_system, with_method: false };
        collect(world, page, duration, self.protocols, labels)
    }
}

/// The labels of requests.
#[derive(Debug, Clone, Copy)]
pub struct RequestLabels {
    /// Name of the one that holds the status.
    pub status: &'static str,
    /// Whether another says which protocol it is.
    pub with_system: bool,
    /// Whether another says HTTP's method.
    pub with_method: bool,
}

/// Writes the histograms of some protocols.
///
/// # Errors
/// Where the source sees no requests.
pub fn collect(
    world: &World<'_>,
    page: &mut Page,
    metric: &'static Metric,
    protocols: &[Protocol],
    labels: RequestLabels,
) -> anyhow::Result<()> {
    let mut family = page.family(metric);
    for (key, totals) in world.edges.iter() {
        let mut edge: Option<Labels> = None;
        for ((protocol, method, status), histogram) in &totals.requests {
            let Some(status) = status_name(*protocol, *status).filter(|_| protocols.contains(protocol)) else {
                continue;
            };
            let mut own = edge.get_or_insert_with(|| edge_labels(key)).clone();
            if labels.with_system {
                own = own.with("system", protocol.name());
            }
            if labels.with_method {
                own = own.with("method", method::NAMES.get(usize::from(*method)).copied().unwrap_or(method::NAMES[0]));
            }
            histogram.write(&mut family, &own.with(labels.status, status));
        }
    }
    anyhow::ensure!(world.sees_requests, "the source procfs cannot see requests");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edges::{MAX_HISTOGRAMS, MAX_HISTOGRAMS_BY_METHOD};
    use quoll_ebpf_abi::buckets::{CLASSIC_NS, bucket};

    #[test]
    fn the_bounds_are_the_kernel_sides() {
        let kernel: Vec<f64> = CLASSIC_NS.iter().map(|ns| *ns as f64 / 1e9).collect();
        assert_eq!(kernel, BOUNDS);
        assert_eq!(SCALE.zero_threshold, (f64::from(LEAST_POWER) / 2.0).exp2());
    }

    #[test]
    fn a_duration_is_within_its_bucket_of_each_kind() {
        let mut duration_ns = 1_u64;
        while duration_ns < 1 << 60 {
            let seconds = duration_ns as f64 / 1e9;
            let (classic, native) = PLACES[bucket(duration_ns)];
            assert_eq!(usize::from(classic), BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len()));
            match native {
                None => assert!(seconds <= SCALE.zero_threshold, "{seconds}"),
                Some(UNBOUNDED) => assert!(seconds > f64::from(MOST_POWER / 2).exp2(), "{seconds}"),
                Some(index) => {
                    let bound = |index: i16| (f64::from(index) / 2.0).exp2();
                    assert!(bound(index - 1) < seconds && seconds <= bound(index), "{seconds} in {index}");
                }
            }
            duration_ns += duration_ns / 50 + 1;
        }
    }

    #[test]
    fn an_edge_and_reporter_takes_at_most_sixty_series_and_with_methods_four_times_as_many() {
        use crate::collectors::{db, dns, http, rpc};
        for metric in [&http::DURATION, &rpc::DURATION, &db::DURATION, &dns::DURATION] {
            assert!(metric.series() * MAX_HISTOGRAMS <= 60, "{}", metric.name);
            assert!(metric.series() * MAX_HISTOGRAMS_BY_METHOD <= 240, "{}", metric.name);
        }
    }
}
