//! Ingest: from compressed bytes to updated windows, on one thread, snappy and inbound log included.
//!
//! The stream is what a Prometheus sends: 10,000 series of 6 labels, one sample each per 15 s, new values and
//! timestamps each time, every request compressed anew. The live code path runs: the shared receiver with
//! its lock, look-ups, checks, the log on disk and the product's own feature windows, which close a step
//! of 500 services with every scrape.
//!
//! Rates are per second of processor time of that one thread, its system calls included, so that a busy machine
//! does not count against anyone; request times are wall time.
//!
//! Peer: prost's owned decoding, a hash look-up of the label set, and the same windows, in the same run. It
//! writes no log and checks nothing, which is to its advantage. Whole processes, over HTTP: [`peers`].

mod peers;

use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Parser;
use hashbrown::HashMap;
use prost::Message;
use quoll_bench::Report;
use quoll_bench::allocation::{COUNTING, CountingAllocator, count};
use quoll_features::{FeatureSet, ScopeWindows, SeriesRef};
use quoll_ingest::table::{Binding, BlockHasher, SeriesTable};
use quoll_ingest::{Format, IngestConfig, Receiver, SharedReceiver};
use quoll_prometheus_protocol::encode::WriteRequestEncoder;
use quoll_prometheus_protocol::encode_v2::RequestEncoder;
use quoll_prometheus_protocol::{decode, snappy, v1};
use rustix::time::{ClockId, clock_gettime};

use quoll_bench::process;

#[global_allocator]
static ALLOCATOR: &CountingAllocator = COUNTING;

const SERIES: usize = 10_000;
const INTERVAL_MS: i64 = 15_000;
const START_MS: i64 = 1_700_000_000_000;
/// Scrapes made beforehand; a round over them is one measurement.
const SCRAPES: usize = 40;
/// Least time over which each figure is measured.
const MEASURE: Duration = Duration::from_secs(3);
/// Metrics of the product's preset, and one that nothing selects.
const SELECTED: [&str; 4] = [
    "quoll_cpu_usage_seconds_total",
    "quoll_cpu_throttled_seconds_total",
    "quoll_memory_working_set_bytes",
    "quoll_open_file_descriptors",
];
const IGNORED: &str = "apiserver_request_slo_duration_seconds_bucket";

type Labels = Vec<(&'static str, String)>;

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

fn all_labels(ignored_of_ten: usize, generation: usize) -> Vec<Labels> {
    (0..SERIES).map(|index| labels(index, index / 4 % 10 < ignored_of_ten, generation)).collect()
}

/// The same series with ten labels, as relabelling and external labels make them.
fn widened(labels: &Labels) -> Labels {
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

/// Scrapes `from..from + SCRAPES` as compressed requests of `chunk` series.
fn requests(all: &[Labels], from: usize, chunk: usize, format: Format) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut requests = Vec::new();
    let mut encoder = WriteRequestEncoder::new();
    for scrape in from..from + SCRAPES {
        let base = START_MS + i64::try_from(scrape)? * INTERVAL_MS;
        for (number, part) in all.chunks(chunk).enumerate() {
            let samples = part.iter().enumerate().map(|(offset, labels)| {
                let series = number * chunk + offset;
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
    Ok(requests)
}

fn feature_set() -> anyhow::Result<Arc<FeatureSet>> {
    Ok(Arc::new(FeatureSet::preset("quoll")?))
}

fn open(directory: &Path, step_ms: i64) -> anyhow::Result<SharedReceiver> {
    let mut config = IngestConfig { past_limit_ms: i64::MAX, future_limit_ms: i64::MAX, ..Default::default() };
    config.log.max_bytes = 1 << 30;
    Ok(SharedReceiver::new(Receiver::open(config, feature_set()?, step_ms, directory, |_| ())?))
}

/// Seconds and request times of a stream, sent until [`MEASURE`] is over; its requests are made outside of it.
struct Timed {
    samples: u64,
    /// Processor time of this thread.
    seconds: f64,
    request_ms: Vec<f64>,
}

impl Timed {
    fn samples_per_second(&self) -> f64 {
        self.samples as f64 / self.seconds
    }
}

/// Processor time that this thread has used, in seconds.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn drive(
    all: &[Labels],
    chunk: usize,
    format: Format,
    mut send: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Timed> {
    let mut timed = Timed { samples: 0, seconds: 0.0, request_ms: Vec::new() };
    let mut scrape = 0;
    while timed.seconds < MEASURE.as_secs_f64() {
        let round = requests(all, scrape, chunk, format)?;
        // The first round shows all series for the first time: it is not timed.
        let known = scrape > 0;
        for request in &round {
            let (started, processor) = (Instant::now(), processor_seconds());
            send(request)?;
            if known {
                timed.seconds += processor_seconds() - processor;
                timed.request_ms.push(started.elapsed().as_secs_f64() * 1000.0);
            }
        }
        if known {
            timed.samples += (SCRAPES * all.len()) as u64;
        }
        scrape += SCRAPES;
    }
    Ok(timed)
}

fn ours(all: &[Labels], chunk: usize, format: Format) -> anyhow::Result<Timed> {
    let directory = tempfile::tempdir()?;
    let receiver = open(directory.path(), INTERVAL_MS)?;
    drive(all, chunk, format, |request| {
        receiver.write_at("", format, request, START_MS)?;
        // What the engine's thread would take away.
        drop(receiver.wait_closed(Duration::ZERO));
        Ok(())
    })
}

/// The parts of the way, one added to the other: nanoseconds per sample.
fn parts(all: &[Labels], report: &Report) -> anyhow::Result<()> {
    let (mut buffer, hasher) = (Vec::new(), BlockHasher::random());
    let mut sum = 0;
    let unpack = drive(all, SERIES, Format::V1, |request| {
        sum += i64::try_from(snappy::decompress(request, &mut buffer, 1 << 26)?.len())?;
        Ok(())
    })?;
    let decode = drive(all, SERIES, Format::V1, |request| {
        for series in decode::series(snappy::decompress(request, &mut buffer, 1 << 26)?) {
            sum += series?.samples().flatten().map(|sample| sample.timestamp_ms).sum::<i64>();
        }
        Ok(())
    })?;
    let mut table = SeriesTable::default();
    let look_up = drive(all, SERIES, Format::V1, |request| {
        for series in decode::series(snappy::decompress(request, &mut buffer, 1 << 26)?) {
            let series = series?;
            let key = hasher.key(series.label_block().unwrap_or_default());
            if table.find(key, 0).is_none() {
                table.insert(key, Binding::Ignored, 0);
            }
            sum += series.samples().flatten().map(|sample| sample.timestamp_ms).sum::<i64>();
        }
        Ok(())
    })?;
    std::hint::black_box(sum);
    let nanoseconds = |timed: &Timed| 1e9 / timed.samples_per_second();
    report.note(&format!(
        "  ns per sample: snappy {:.0}, and decoding {:.0}, and look-up {:.0}",
        nanoseconds(&unpack),
        nanoseconds(&decode),
        nanoseconds(&look_up)
    ));
    Ok(())
}

/// Owned decoding by prost, a hash look-up of all labels, and the same windows.
fn prost_peer(all: &[Labels], chunk: usize) -> anyhow::Result<Timed> {
    let mut windows = ScopeWindows::new(feature_set()?, INTERVAL_MS);
    let mut known: HashMap<u64, Option<SeriesRef>> = HashMap::new();
    let state = foldhash::fast::RandomState::default();
    let mut closed = Vec::new();
    drive(all, chunk, Format::V1, |request| {
        let body = snap::raw::Decoder::new().decompress_vec(request)?;
        for series in v1::WriteRequest::decode(&body[..])?.timeseries {
            let mut hasher = state.build_hasher();
            for label in &series.labels {
                hasher.write(label.name.as_bytes());
                hasher.write(label.value.as_bytes());
            }
            let bound = *known.entry(hasher.finish()).or_insert_with(|| {
                let labels: Vec<_> = series.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect();
                windows.bind(&labels)
            });
            if let Some(bound) = bound {
                for sample in &series.samples {
                    windows.push(bound, sample.timestamp, sample.value);
                }
            }
        }
        windows.close(&mut closed);
        closed.clear();
        Ok(())
    })
}

/// Series per second, all seen for the first time.
fn first_sight() -> anyhow::Result<f64> {
    let (mut series, mut seconds) = (0, 0.0);
    for generation in 0..12 {
        let directory = tempfile::tempdir()?;
        let receiver = open(directory.path(), INTERVAL_MS)?;
        let mut encoder = WriteRequestEncoder::new();
        for labels in all_labels(0, generation) {
            encoder.push(&labels, &[(START_MS, 1.0)]);
        }
        let request = snappy::compress(encoder.as_bytes())?;
        let started = processor_seconds();
        receiver.write_at("", Format::V1, &request, START_MS)?;
        seconds += processor_seconds() - started;
        series += SERIES;
    }
    Ok(series as f64 / seconds)
}

/// Allocations per known series, in requests that close no step and in those that do.
fn allocations(all: &[Labels], format: Format) -> anyhow::Result<(f64, f64)> {
    let mut found = [0.0; 2];
    for (figure, step_ms) in [3_600_000, INTERVAL_MS].into_iter().enumerate() {
        let directory = tempfile::tempdir()?;
        let receiver = open(directory.path(), step_ms)?;
        let round = requests(all, 0, SERIES, format)?;
        let (first, later) = round.split_at(SCRAPES / 2);
        for request in first {
            receiver.write_at("", format, request, START_MS)?;
        }
        let (result, allocated) =
            count(|| later.iter().try_for_each(|request| receiver.write_at("", format, request, START_MS).map(drop)));
        result?;
        found[figure] = allocated.blocks as f64 / (later.len() * SERIES) as f64;
    }
    Ok((found[0], found[1]))
}

/// Bytes allocated while 47-byte bombs of every declared size are refused.
fn bomb() -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    let receiver = open(directory.path(), INTERVAL_MS)?;
    let mut most = 0;
    for bits in 11..32 {
        let mut bomb = Vec::new();
        let mut declared = (1_u64 << bits) - 1;
        while declared >= 0x80 {
            bomb.push((declared as u8) | 0x80);
            declared >>= 7;
        }
        bomb.push(declared as u8);
        bomb.resize(47, 0xfe);
        let (result, allocated) = count(|| receiver.write_at("", Format::V1, &bomb, START_MS));
        ensure!(result.is_err(), "a bomb of 2^{bits} bytes was taken");
        most = most.max(allocated.bytes);
    }
    Ok(most as f64)
}

/// Processor time of whole processes on the same bodies, in requests of 2,000 series: ours as a share of theirs.
fn processes(all: &[Labels], scorer: Option<PathBuf>, report: &mut Report) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let scorer = scorer.map_or_else(peers::scorer_program, Ok)?;
    let mut running = vec![("quoll-scorer", peers::scorer(&scorer, &directory.path().join("scorer"))?)];
    for (name, start) in [
        ("prometheus", peers::prometheus as fn(&Path, &Path) -> anyhow::Result<process::Receiver>),
        ("victoria-metrics", peers::victoria_metrics),
    ] {
        match peers::program(name) {
            Some(program) => running.push((name, start(&program, &directory.path().join(name))?)),
            None => report.note(&format!("  {name} is not there: its figure is left out")),
        }
    }
    // Up to now: receivers refuse what is far from their clocks.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let first = (i64::try_from(now)? - START_MS) / INTERVAL_MS - (2 * SCRAPES + 1) as i64;
    let (mut before, mut used) = (Vec::new(), Vec::new());
    for round in 0..2 {
        for request in requests(all, usize::try_from(first)? + round * SCRAPES, 2000, Format::V1)? {
            for (name, receiving) in &mut running {
                receiving.write(&request).with_context(|| name.to_owned())?;
            }
        }
        let cpu = running.iter().map(|(_, receiving)| receiving.cpu_seconds()).collect::<Result<Vec<_>, _>>()?;
        // The first round shows all series for the first time: it is not counted.
        used = std::mem::replace(&mut before, cpu);
    }
    let used: Vec<f64> = before.iter().zip(used).map(|(after, before)| after - before).collect();
    let samples = (SCRAPES * all.len()) as f64;
    report.note(&format!("receive without storage (ours) against with, {samples} samples over HTTP, whole processes:"));
    for ((name, _), seconds) in running.iter().zip(&used) {
        report.note(&format!("  {name}: {seconds:.2} s, {:.2} us per sample", seconds / samples * 1e6));
    }
    for ((name, _), seconds) in running.iter().zip(&used).skip(1) {
        report.add(&format!("cpu_ratio_vs_{}", name.replace('-', "")), used[0] / seconds);
    }
    Ok(())
}

fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let index = (values.len() as f64 * share) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Settings of the bench.
#[derive(Debug, Parser)]
struct Args {
    /// The scorer; by default the release build beside this program.
    #[arg(long)]
    scorer: Option<PathBuf>,
    /// Only the comparison of whole processes.
    #[arg(long)]
    processes_only: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut report = Report::new("ingest");
    report.note("10,000 series x 6 labels, one sample each per request, one thread, log on disk, 15 s steps");
    let all = all_labels(0, 0);
    if args.processes_only {
        processes(&all, args.scorer, &mut report)?;
        report.print();
        return Ok(());
    }
    let size = requests(&all[..], 0, SERIES, Format::V1)?.first().context("no request")?.len();
    report.note(&format!("compressed request: {size} bytes, {:.1} per series", size as f64 / SERIES as f64));

    parts(&all, &report)?;
    let mut whole = ours(&all, SERIES, Format::V1)?;
    report.add("v1_samples_per_second_core", whole.samples_per_second());
    report.add("p99_request_ms", percentile(&mut whole.request_ms, 0.99));
    let parts = ours(&all, 2000, Format::V1)?;
    report.note(&format!("  in requests of 2,000 series (Prometheus' default): {:.0}/s", parts.samples_per_second()));
    let peer = prost_peer(&all, SERIES)?;
    report.note(&format!("  prost + hash look-up + the same windows, no log: {:.0}/s", peer.samples_per_second()));
    report.add("v1_ratio_vs_prost", whole.samples_per_second() / peer.samples_per_second());

    let mut second = ours(&all, SERIES, Format::V2)?;
    report.add("v2_samples_per_second_core", second.samples_per_second());
    report.note(&format!("  p99 of its requests: {:.2} ms", percentile(&mut second.request_ms, 0.99)));
    let wide: Vec<Labels> = all.iter().map(|labels| widened(labels)).collect();
    for (name, format) in [("1.0", Format::V1), ("2.0", Format::V2)] {
        let rate = ours(&wide, SERIES, format)?.samples_per_second();
        report.note(&format!("  10 labels, {name}: {rate:.0}/s"));
    }

    let tenth = all_labels(9, 0);
    let selected = ours(&tenth, SERIES, Format::V1)?;
    report.add("v1_ten_percent_selected_samples_per_second_core", selected.samples_per_second());
    report.add("first_sight_series_per_second", first_sight()?);
    let (known, closing) = allocations(&all, Format::V1)?;
    let (known_v2, _) = allocations(&all, Format::V2)?;
    report.add("allocations_per_known_series", known.max(known_v2));
    report.note(&format!("  with a step of 500 services closed in each request: {closing:.4} per series"));
    report.add("bomb_growth_bytes", bomb()?);
    processes(&all, args.scorer, &mut report)?;
    report.print();
    Ok(())
}
