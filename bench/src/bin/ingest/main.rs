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
//! Beside it, a stream [`capture`]d from a real Prometheus.
//!
//! Peers, in the same run: owned decoding ([`decoders`]), a hash look-up of the label set, and the same windows. They
//! write no log and check nothing, which is to their advantage. Whole processes, over HTTP: [`peers`].

mod capture;
mod decoders;
mod peers;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Parser;
use quoll_bench::Report;
use quoll_bench::allocation::{COUNTING, CountingAllocator, count};
use quoll_bench::process;
use quoll_features::FeatureSet;
use quoll_ingest::table::{Binding, BlockHasher, SeriesTable};
use quoll_ingest::{Format, IngestConfig, Receiver, SharedReceiver};
use quoll_prometheus_protocol::encode::WriteRequestEncoder;
use quoll_prometheus_protocol::{decode, snappy};
use rustix::time::{ClockId, clock_gettime};

use capture::Captured;
use stream::{INTERVAL_MS, Labels, Made, SCRAPES, SERIES, START_MS, Stream, all_labels, widened};

#[global_allocator]
static ALLOCATOR: &CountingAllocator = COUNTING;

/// Least time over which each figure is measured.
const MEASURE: Duration = Duration::from_secs(3);
fn feature_set() -> anyhow::Result<Arc<FeatureSet>> {
    Ok(Arc::new(FeatureSet::preset("quoll")?))
}

fn open(set: Arc<FeatureSet>, directory: &Path, step_ms: i64) -> anyhow::Result<SharedReceiver> {
    let mut config = IngestConfig { past_limit_ms: i64::MAX, future_limit_ms: i64::MAX, ..Default::default() };
    config.log.max_bytes = 1 << 30;
    Ok(SharedReceiver::new(Receiver::open(config, set, step_ms, directory, |_| ())?))
}

/// Seconds and request times of a stream, sent until [`MEASURE`] is over; its requests are made outside of it.
struct Timed {
    samples: u64,
    /// Processor time of this thread.
    seconds: f64,
    request_ms: Vec<f64>,
    /// Seconds per sample of each round.
    rounds: Vec<f64>,
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
    stream: &dyn Stream,
    format: Format,
    mut send: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Timed> {
    let mut timed = Timed { samples: 0, seconds: 0.0, request_ms: Vec::new(), rounds: Vec::new() };
    let mut number = 0;
    while timed.seconds < MEASURE.as_secs_f64() {
        let round = stream.round(number, format)?;
        // The first round shows all series for the first time: it is not timed.
        let (known, before) = (number > 0, timed.seconds);
        for request in &round.requests {
            let (started, processor) = (Instant::now(), processor_seconds());
            send(request)?;
            if known {
                timed.seconds += processor_seconds() - processor;
                timed.request_ms.push(started.elapsed().as_secs_f64() * 1000.0);
            }
        }
        if known {
            timed.samples += round.samples;
            timed.rounds.push((timed.seconds - before) / round.samples as f64);
        }
        number += 1;
    }
    Ok(timed)
}

fn ours(stream: &dyn Stream, set: &Arc<FeatureSet>, format: Format) -> anyhow::Result<Timed> {
    let directory = tempfile::tempdir()?;
    let receiver = open(Arc::clone(set), directory.path(), stream.interval_ms())?;
    let timed = drive(stream, format, |request| {
        receiver.write_at("", format, request, stream.start_ms())?;
        // What the engine's thread would take away.
        drop(receiver.wait_closed(Duration::ZERO));
        Ok(())
    })?;
    ensure!(receiver.stats().rejected_samples.iter().all(|&count| count == 0), "samples were rejected");
    Ok(timed)
}

/// The parts of the way, one added to the other: nanoseconds per sample.
fn parts(stream: &dyn Stream, report: &Report) -> anyhow::Result<()> {
    let (mut buffer, hasher) = (Vec::new(), BlockHasher::random());
    let mut sum = 0;
    let unpack = drive(stream, Format::V1, |request| {
        sum += i64::try_from(snappy::decompress(request, &mut buffer, 1 << 26)?.len())?;
        Ok(())
    })?;
    let decode = drive(stream, Format::V1, |request| {
        for series in decode::series(snappy::decompress(request, &mut buffer, 1 << 26)?) {
            sum += series?.samples().flatten().map(|sample| sample.timestamp_ms).sum::<i64>();
        }
        Ok(())
    })?;
    let mut table = SeriesTable::default();
    let look_up = drive(stream, Format::V1, |request| {
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

/// Series per second, all seen for the first time.
fn first_sight() -> anyhow::Result<f64> {
    let (mut series, mut seconds) = (0, 0.0);
    for generation in 0..12 {
        let directory = tempfile::tempdir()?;
        let receiver = open(feature_set()?, directory.path(), INTERVAL_MS)?;
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
        let receiver = open(feature_set()?, directory.path(), step_ms)?;
        let round = Made { labels: all, chunk: SERIES }.round(0, format)?.requests;
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
    let receiver = open(feature_set()?, directory.path(), INTERVAL_MS)?;
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

/// Processor time of whole processes on the same bodies: ours as a share of theirs.
fn processes(what: &str, stream: &dyn Stream, scorer: &Path, report: &mut Report) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut running = vec![("quoll-scorer", peers::scorer(scorer, &directory.path().join("scorer"))?)];
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
    const ROUNDS: usize = 3;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let first = usize::try_from((now - stream.start_ms()) / stream.round_ms())?.saturating_sub(ROUNDS);
    let (mut before, mut used, mut samples) = (Vec::new(), vec![0.0; running.len()], 0);
    for number in 0..ROUNDS {
        let round = stream.round(first + number, Format::V1)?;
        for request in &round.requests {
            for (name, receiving) in &mut running {
                receiving.write(request).with_context(|| name.to_owned())?;
            }
        }
        let cpu = running.iter().map(|(_, receiving)| receiving.cpu_seconds()).collect::<Result<Vec<_>, _>>()?;
        // The first round shows all series for the first time: it is not counted.
        if number > 0 {
            samples += round.samples;
            used.iter_mut().zip(cpu.iter().zip(&before)).for_each(|(used, (after, before))| *used += after - before);
        }
        before = cpu;
    }
    report.note(&format!(
        "receive without storage (ours) against with, {samples} samples of the {what} stream over HTTP, whole processes:"
    ));
    for ((name, _), seconds) in running.iter().zip(&used) {
        report.note(&format!("  {name}: {seconds:.2} s, {:.2} us per sample", seconds / samples as f64 * 1e6));
    }
    let prefix = if what == "made" { String::new() } else { format!("{what}_") };
    for ((name, _), seconds) in running.iter().zip(&used).skip(1) {
        report.add(&format!("{prefix}cpu_ratio_vs_{}", name.replace('-', "")), used[0] / seconds);
    }
    Ok(())
}

/// The captured stream, all of it selected, and as the product's own preset selects of it.
fn captured(captured: &Captured, report: &mut Report) -> anyhow::Result<()> {
    report.note(&format!("captured from a real Prometheus: {}", captured.describe()));
    let set = Arc::new(captured.everything()?);
    for (name, format) in [("v1", Format::V1), ("v2", Format::V2)] {
        let mut timed = ours(captured, &set, format)?;
        report.add(&format!("captured_{name}_samples_per_second_core"), timed.samples_per_second());
        report.note(&format!("  p99 of its requests: {:.2} ms", percentile(&mut timed.request_ms, 0.99)));
        let unselected = ours(captured, &feature_set()?, format)?;
        report.note(&format!(
            "  under the product's preset, which selects none of it: {:.0}/s",
            unselected.samples_per_second()
        ));
    }
    for decoder in decoders::ALL {
        let timed = decoders::peer(decoder, captured, &set)?;
        report.note(&format!("  {}: {:.0}/s", decoder.name, timed.samples_per_second()));
    }
    Ok(())
}

fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let index = (values.len() as f64 * share) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Samples a second and core, from compressed bytes to updated windows, beside other receivers.
#[derive(Debug, Parser)]
struct Args {
    /// The scorer; by default the release build beside this program.
    #[arg(long)]
    scorer: Option<PathBuf>,
    /// Only the comparison of whole processes.
    #[arg(long)]
    processes_only: bool,
    /// Only the two rates on the made stream, so many times in turn: to profile, or to compare two builds side by side.
    #[arg(long, value_name = "TIMES", conflicts_with = "processes_only")]
    rates_only: Option<usize>,
    /// Only the captured stream.
    #[arg(long, conflicts_with = "processes_only")]
    captured_only: bool,
    /// A captured stream; by default one is captured now, from the Prometheus that scripts/setup fetched.
    #[arg(long)]
    capture: Option<PathBuf>,
    /// Capture a stream into this file and stop.
    #[arg(long)]
    record: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut report = Report::new("ingest");
    if let Some(times) = args.rates_only {
        return rates(times);
    }
    if let Some(path) = &args.record {
        let captured = Captured::now(&report)?.context("no Prometheus to capture from: run scripts/setup")?;
        captured.save(path)?;
        report.note(&format!("{}: {}", path.display(), captured.describe()));
        return Ok(());
    }
    let recorded = match &args.capture {
        Some(path) => Some(Captured::load(path)?),
        None => Captured::now(&report)?,
    };
    let scorer = args.scorer.map_or_else(peers::scorer_program, Ok)?;
    report.note("10,000 series x 6 labels, one sample each per request, one thread, log on disk, 15 s steps");
    let all = all_labels(0, 0);
    let in_parts = Made { labels: &all, chunk: 2000 };
    if !args.processes_only {
        if !args.captured_only {
            made(&all, &mut report)?;
        }
        if let Some(recorded) = &recorded {
            captured(recorded, &mut report)?;
        }
    }
    if !args.captured_only {
        processes("made", &in_parts, &scorer, &mut report)?;
    }
    if let Some(recorded) = &recorded {
        processes("captured", recorded, &scorer, &mut report)?;
    }
    report.print();
    Ok(())
}

/// Nanoseconds per sample of both versions: of the fastest round, and the fastest quarter of them, so that what else the
/// machine does counts least.
fn rates(times: usize) -> anyhow::Result<()> {
    let (all, set) = (all_labels(0, 0), feature_set()?);
    let stream = Made { labels: &all, chunk: SERIES };
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..times {
        for (rounds, format) in rounds.iter_mut().zip([Format::V1, Format::V2]) {
            rounds.extend(ours(&stream, &set, format)?.rounds);
        }
    }
    for (rounds, name) in rounds.iter_mut().zip(["1.0", "2.0"]) {
        let [least, quarter] = [0.0, 0.25].map(|share| percentile(rounds, share) * 1e9);
        println!("{name}: {least:.1} ns per sample, a quarter of the rounds under {quarter:.1}");
    }
    Ok(())
}

fn made(all: &[Labels], report: &mut Report) -> anyhow::Result<()> {
    let set = feature_set()?;
    let stream = Made { labels: all, chunk: SERIES };
    let size = stream.round(0, Format::V1)?.requests.first().context("no request")?.len();
    report.note(&format!("compressed request: {size} bytes, {:.1} per series", size as f64 / SERIES as f64));

    parts(&stream, report)?;
    let mut whole = ours(&stream, &set, Format::V1)?;
    report.add("v1_samples_per_second_core", whole.samples_per_second());
    report.add("p99_request_ms", percentile(&mut whole.request_ms, 0.99));
    let parts = ours(&Made { labels: all, chunk: 2000 }, &set, Format::V1)?;
    report.note(&format!("  in requests of 2,000 series (Prometheus' default): {:.0}/s", parts.samples_per_second()));
    for decoder in decoders::ALL {
        let peer = decoders::peer(decoder, &stream, &set)?;
        report.note(&format!("  {}: {:.0}/s", decoder.name, peer.samples_per_second()));
        report.add(decoder.figure, whole.samples_per_second() / peer.samples_per_second());
    }

    let mut second = ours(&stream, &set, Format::V2)?;
    report.add("v2_samples_per_second_core", second.samples_per_second());
    report.note(&format!("  p99 of its requests: {:.2} ms", percentile(&mut second.request_ms, 0.99)));
    let wide: Vec<Labels> = all.iter().map(widened).collect();
    for (name, format) in [("1.0", Format::V1), ("2.0", Format::V2)] {
        let rate = ours(&Made { labels: &wide, chunk: SERIES }, &set, format)?.samples_per_second();
        report.note(&format!("  10 labels, {name}: {rate:.0}/s"));
    }

    let tenth = all_labels(9, 0);
    let selected = ours(&Made { labels: &tenth, chunk: SERIES }, &set, Format::V1)?;
    report.add("v1_ten_percent_selected_samples_per_second_core", selected.samples_per_second());
    report.add("first_sight_series_per_second", first_sight()?);
    let (known, closing) = allocations(all, Format::V1)?;
    let (known_v2, _) = allocations(all, Format::V2)?;
    report.add("allocations_per_known_series", known.max(known_v2));
    report.note(&format!("  with a step of 500 services closed in each request: {closing:.4} per series"));
    report.add("bomb_growth_bytes", bomb()?);
    Ok(())
}
