//! What is received: requests in rounds, each round with new values and times for the same series.

use quoll_ingest::Format;
use quoll_prometheus_protocol::encode::WriteRequestEncoder;
use quoll_prometheus_protocol::encode_v2::RequestEncoder;
use quoll_prometheus_protocol::{snappy, v1};

/// Series of the stream made here.
pub const SERIES: usize = 10_000;
/// Time between two samples of one.
pub const INTERVAL_MS: i64 = 15_000;
/// When it begins.
pub const START_MS: i64 = 1_700_000_000_000;
/// Scrapes of a round.
pub const SCRAPES: usize = 40;

/// One round of a stream.
pub struct Round {
    /// Compressed bodies, in the order sent.
    pub requests: Vec<Vec<u8>>,
    /// Samples in all of them.
    pub samples: u64,
}

/// A stream that goes on for ever.
pub trait Stream {
    /// Its round of this number.
    fn round(&self, number: usize, format: Format) -> anyhow::Result<Round>;
    /// Step to close.
    fn interval_ms(&self) -> i64;
    /// When round 0 begins.
    fn start_ms(&self) -> i64;
    /// Event time of a round.
    fn round_ms(&self) -> i64;
}

/// A stream of 10,000 series in requests of `chunk` series.
pub struct Made<'a> {
    /// Labels of the series.
    pub labels: &'a [Labels],
    /// Series in a request.
    pub chunk: usize,
}

impl Stream for Made<'_> {
    fn round(&self, number: usize, format: Format) -> anyhow::Result<Round> {
        let (mut requests, from) = (Vec::new(), number * SCRAPES);
        let mut encoder = WriteRequestEncoder::new();
        for scrape in from..from + SCRAPES {
            let base = START_MS + i64::try_from(scrape)? * INTERVAL_MS;
            for (number, part) in self.labels.chunks(self.chunk).enumerate() {
                let samples = part.iter().enumerate().map(|(offset, labels)| {
                    let series = number * self.chunk + offset;
                    (labels, [(base + series as i64 % 997, value(series, scrape))])
                });
                if format == Format::V2 {
                    let mut encoder = RequestEncoder::new();
                    samples.for_each(|(labels, sample)| encoder.push(labels, &sample, v1::MetricType::Counter));
                    requests.push(snappy::compress(&encoder.finish())?);
                } else {
                    encoder.clear();
                    samples.for_each(|(labels, sample)| encoder.push(labels, &sample));
                    requests.push(snappy::compress(encoder.as_bytes())?);
                }
            }
        }
        Ok(Round { requests, samples: (SCRAPES * self.labels.len()) as u64 })
    }

    fn interval_ms(&self) -> i64 {
        INTERVAL_MS
    }

    fn start_ms(&self) -> i64 {
        START_MS
    }

    fn round_ms(&self) -> i64 {
        SCRAPES as i64 * INTERVAL_MS
    }
}

/// Metrics of the product's preset, and one that nothing selects.
const SELECTED: [&str; 4] = [
    "quoll_cpu_usage_seconds_total",
    "quoll_cpu_throttled_seconds_total",
    "quoll_memory_working_set_bytes",
    "quoll_open_file_descriptors",
];
const IGNORED: &str = "apiserver_request_slo_duration_seconds_bucket";

/// Sorted by name.
pub type Labels = Vec<(&'static str, String)>;

/// Labels of one series: 500 services of 5 instances, 4 metrics.
fn labels(index: usize, ignored: bool, generation: usize) -> Labels {
    let (metric, instance) = (index % 4, index / 4);
    let service = instance % 500;
    vec![
        ("__name__", if ignored { IGNORED } else { SELECTED[metric] }.to_owned()),
        ("instance", format!("10.{generation}.{}.{}:9466", instance / 250, instance % 250)),
        ("job", "quoll-exporter".to_owned()),
        ("node", format!("node-{:03}.eu-central-1.compute.internal", instance % 97)),
        ("service_name", format!("service-{service:04}-backend")),
        ("service_namespace", format!("team-{:02}", service % 20)),
    ]
}

/// All series, so many of ten of a metric that nothing selects; another generation has other instances.
pub fn all_labels(ignored_of_ten: usize, generation: usize) -> Vec<Labels> {
    (0..SERIES).map(|index| labels(index, index / 4 % 10 < ignored_of_ten, generation)).collect()
}

/// The same series with ten labels, as relabelling and external labels make them.
pub fn widened(labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    let more = [("container", "app"), ("cluster", "eu-central-1"), ("region", "eu-central"), ("zone", "eu-central-1a")];
    labels.extend(more.map(|(name, value)| (name, value.to_owned())));
    labels.sort_unstable();
    labels
}

fn value(series: usize, scrape: usize) -> f64 {
    // Counters that grow unevenly, gauges that move: nothing that compresses unusually well.
    let noise = (series * 7919 + scrape * 104_729) % 10_007;
    (scrape * 1000) as f64 + noise as f64 / 10_007.0 * 999.0
}
