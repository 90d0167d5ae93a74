//! Receives one stream over and over, for a profiler to look at:
//!
//! ```text
//! cargo build --release -p quoll-ingest --example receive
//! perf record -g target/release/examples/receive v2 20
//! ```
//! 10,000 series of 6 labels, one sample each per request, all selected; `cargo xtask bench ingest` compares with
//! peers.

use std::sync::Arc;
use std::time::Duration;

use quoll_features::FeatureSet;
use quoll_ingest::{Format, IngestConfig, Receiver, SharedReceiver};
use quoll_prometheus_protocol::encode::WriteRequestEncoder;
use quoll_prometheus_protocol::encode_v2::RequestEncoder;
use quoll_prometheus_protocol::{snappy, v1};

const SERIES: usize = 10_000;
const INTERVAL_MS: i64 = 15_000;
const START_MS: i64 = 1_700_000_000_000;
const METRICS: [&str; 4] = [
    "quoll_cpu_usage_seconds_total",
    "quoll_cpu_throttled_seconds_total",
    "quoll_memory_working_set_bytes",
    "quoll_open_file_descriptors",
];

type Labels = Vec<(&'static str, String)>;
type Failure = Box<dyn std::error::Error>;

fn labels(index: usize) -> Labels {
    let instance = index / 4;
    let service = instance % 500;
    vec![
        ("__name__", METRICS[index % 4].to_owned()),
        ("instance", format!("10.0.{}.{}:9466", instance / 250, instance % 250)),
        ("job", "quoll-exporter".to_owned()),
        ("node", format!("node-{:03}.eu-central-1.compute.internal", instance % 97)),
        ("service_name", format!("service-{service:04}-backend")),
        ("service_namespace", format!("team-{:02}", service % 20)),
    ]
}

fn request(all: &[Labels], scrape: i64, format: Format) -> Result<Vec<u8>, Failure> {
    let sample = |series: usize| {
        let noise = (series * 7919 + scrape as usize * 104_729) % 10_007;
        [(START_MS + scrape * INTERVAL_MS + series as i64 % 997, scrape as f64 * 1e3 + noise as f64 / 10_007.0 * 999.0)]
    };
    let body = if format == Format::V2 {
        let mut encoder = RequestEncoder::new();
        for (series, labels) in all.iter().enumerate() {
            encoder.push(labels, &sample(series), v1::MetricType::Counter);
        }
        encoder.finish()
    } else {
        let mut encoder = WriteRequestEncoder::new();
        for (series, labels) in all.iter().enumerate() {
            encoder.push(labels, &sample(series));
        }
        encoder.finish()
    };
    Ok(snappy::compress(&body)?)
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let format = if arguments.next().as_deref() == Some("v2") { Format::V2 } else { Format::V1 };
    let rounds: i64 = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let config = IngestConfig { past_limit_ms: i64::MAX, future_limit_ms: i64::MAX, ..Default::default() };
    let set = Arc::new(FeatureSet::preset("quoll")?);
    let receiver = SharedReceiver::new(Receiver::open(config, set, INTERVAL_MS, directory.path(), |_| ())?);
    let all: Vec<Labels> = (0..SERIES).map(labels).collect();
    let (mut seconds, mut samples) = (0.0, 0);
    for round in 0..rounds {
        let requests: Vec<Vec<u8>> =
            (0..40).map(|scrape| request(&all, round * 40 + scrape, format)).collect::<Result<_, _>>()?;
        let started = std::time::Instant::now();
        for request in &requests {
            receiver.write_at("", format, request, START_MS)?;
            drop(receiver.wait_closed(Duration::ZERO));
        }
        // The first round shows all series for the first time.
        if round > 0 {
            seconds += started.elapsed().as_secs_f64();
            samples += requests.len() * SERIES;
        }
    }
    println!("{samples} samples, {:.0} a second (wall time)", samples as f64 / seconds);
    Ok(())
}
