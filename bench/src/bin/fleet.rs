//! Fleet: what the real `quoll-scorer` takes for 10,000 services at one score a minute, through HTTP, results
//! written back included.
//!
//! Each service has 20 series, spread over 3 pods: CPU, memory and descriptors of each pod (9), requests, errors,
//! latency, connects and retransmits of its one inbound edge as its caller reports them (6), the same requests as
//! it reports them itself (3), and its accept queue (2). Requests of 2,000 series, snappy, remote write 1.0.
//! Every service has a profile of its own in the model; the profiles are those of 64 trained services, under 10,000
//! names. Results go to a receiver of remote write 2.0 in this process, which is not counted.
//!
//! Event time runs as fast as the scorer does: a minute's samples are sent, and its tick and the sending of its
//! results waited for. `fleet_cpu_cores` is the processor time of the scorer's process per simulated second, so
//! that nothing is left out but the waking up of an idle process. Snapshots go by the wall clock: their interval
//! is set so that there are at least as many as in real time (one in 5 minutes), and their number is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Parser;
use prost::Message;
use quoll_bench::Report;
use quoll_bench::process::{Receiver, free_port};
use quoll_features::{FeatureSet, ScopeWindows};
use quoll_prometheus_protocol::encode::WriteRequestEncoder;
use quoll_prometheus_protocol::{snappy, v1, v2};
use quoll_train::{TrainOptions, train};

const MINUTE_MS: i64 = 60_000;
const SERIES_PER_REQUEST: usize = 2_000;
const TRAINED: usize = 64;
const TRAINED_MINUTES: i64 = 240;
/// A tick that is not done so long after its last sample is late.
const LATE: Duration = Duration::from_secs(10);

/// The real scorer over HTTP with a fleet of services, one score a minute, results written back.
#[derive(Debug, Parser)]
struct Args {
    /// Services.
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Simulated minutes before measuring.
    #[arg(long, default_value_t = 20)]
    warm_up: usize,
    /// Simulated minutes measured.
    #[arg(long, default_value_t = 40)]
    minutes: usize,
    /// The scorer; by default the release build beside this program.
    #[arg(long)]
    scorer: Option<PathBuf>,
}

type Labels = Vec<(&'static str, String)>;

/// Labels of the series `index` of a service, and whether it counts.
fn labels(service: usize, index: usize) -> (Labels, bool) {
    let name = format!("service-{service:05}");
    let caller = format!("service-{:05}", service / 2);
    let common = |metric: &str, pod: usize| {
        vec![
            ("__name__", metric.to_owned()),
            ("cluster", "bench".to_owned()),
            ("instance", format!("10.{}.{}.{pod}:9466", service / 250, service % 250)),
            ("job", "quoll-exporter".to_owned()),
            ("node", format!("node-{:03}", (service + pod * 37) % 300)),
        ]
    };
    let mut labels;
    let counter;
    if index < 9 {
        let (metric, counts) = [
            ("quoll_cpu_usage_seconds_total", true),
            ("quoll_memory_working_set_bytes", false),
            ("quoll_open_file_descriptors", false),
        ][index % 3];
        labels = common(metric, index / 3);
        labels.push(("pod", format!("{name}-{}", index / 3)));
        labels.push(("service_name", name));
        labels.push(("service_namespace", "shop".to_owned()));
        counter = counts;
    } else if index < 18 {
        let at = index - 9;
        let metric = [
            "quoll_http_request_duration_seconds_count",
            "quoll_http_request_duration_seconds_count",
            "quoll_http_request_duration_seconds_sum",
            "quoll_tcp_connects_total",
            "quoll_tcp_connect_failures_total",
            "quoll_tcp_retransmitted_segments_total",
            "quoll_http_request_duration_seconds_count",
            "quoll_http_request_duration_seconds_count",
            "quoll_http_request_duration_seconds_sum",
        ][at];
        labels = common(metric, at % 3);
        labels.push(("client", caller));
        labels.push(("client_service_namespace", "shop".to_owned()));
        if at == 4 {
            labels.push(("reason", "refused".to_owned()));
        }
        labels.push(("reporter", if at < 6 { "client" } else { "server" }.to_owned()));
        labels.push(("server", name));
        labels.push(("server_service_namespace", "shop".to_owned()));
        if metric.starts_with("quoll_http") {
            labels.push(("status_class", if at % 3 == 1 { "5xx" } else { "2xx" }.to_owned()));
        }
        counter = true;
    } else {
        let metric = ["quoll_listener_accept_queue_length", "quoll_listener_accept_queue_limit"][index - 18];
        labels = common(metric, 0);
        labels.push(("port", "8080".to_owned()));
        labels.push(("service_name", name));
        labels.push(("service_namespace", "shop".to_owned()));
        counter = false;
    }
    (labels, counter)
}

const SERIES_PER_SERVICE: usize = 20;

/// One series and its last value.
struct Series {
    labels: Labels,
    counter: bool,
    value: f64,
    /// Milliseconds after the full minute at which it is scraped.
    offset_ms: i64,
}

fn fleet(services: usize) -> Vec<Series> {
    let all = (0..services).flat_map(|service| (0..SERIES_PER_SERVICE).map(move |index| (service, index)));
    let series = all.map(|(service, index)| {
        let (labels, counter) = labels(service, index);
        let offset_ms = (service as i64 * 7919 + index as i64 / 3) % MINUTE_MS;
        Series { labels, counter, value: 100.0 + index as f64, offset_ms }
    });
    series.collect()
}

/// A cheap sequence of numbers in [0, 1) (SplitMix64; Steele, Lea & Flood, OOPSLA 2014).
fn random(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The next value of a series: counters grow by about 60 a minute, errors and failures hardly; gauges waver.
fn advance(series: &mut Series, state: &mut u64) {
    let rare = series.labels.iter().any(|(_, value)| value == "5xx" || value == "refused");
    if series.counter {
        series.value += if rare { f64::from(u8::from(random(state) < 0.02)) } else { 55.0 + 10.0 * random(state) };
    } else {
        series.value = 100.0 + 5.0 * random(state);
    }
}

/// A model that knows every service.
fn model(directory: &Path, services: usize) -> anyhow::Result<()> {
    let set = Arc::new(FeatureSet::preset("quoll")?);
    let mut windows = ScopeWindows::new(Arc::clone(&set), MINUTE_MS);
    let (mut some, mut state) = (fleet(TRAINED), 1);
    for minute in 0..TRAINED_MINUTES {
        for series in &mut some {
            advance(series, &mut state);
            let without = series.labels.iter().filter(|(name, _)| *name != "cluster");
            let labels: Vec<(&str, &str)> = without.map(|(name, value)| (*name, &**value)).collect();
            if let Some(bound) = windows.bind(&labels) {
                windows.push(bound, 1_700_000_040_000 + minute * MINUTE_MS + series.offset_ms, series.value);
            }
        }
    }
    let mut steps = Vec::new();
    windows.close(&mut steps);
    let options = TrainOptions { min_updates: 100, max_updates: 100, ..TrainOptions::default() };
    train(&steps, &set, &options, &mut |_| ())?.save(directory)?;
    let path = directory.join("calibration.json");
    let mut calibration: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let known = calibration["services"].as_array().context("no services in the calibration")?.clone();
    ensure!(!known.is_empty(), "no service was trained");
    let all = (0..services).map(|service| {
        let mut profile = known[service % known.len()].clone();
        profile["name"] = format!("service-{service:05}").into();
        profile
    });
    calibration["services"] = all.collect::<Vec<_>>().into();
    std::fs::write(&path, serde_json::to_vec(&calibration)?)?;
    Ok(())
}

/// A receiver that takes everything, and counts as remote write 2.0 asks.
fn receiver(samples: Arc<AtomicU64>) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let samples = Arc::clone(&samples);
            // A connection that breaks is the sender's business.
            std::thread::spawn(move || take(stream, &samples));
        }
    });
    Ok(port)
}

fn take(stream: TcpStream, samples: &AtomicU64) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut buffer = Vec::new();
    loop {
        let (mut length, mut second) = (0, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            second |= line.starts_with("x-prometheus-remote-write-version: 2");
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let bytes = snappy::decompress(&body, &mut buffer, 1 << 28)?;
        let count = if second {
            v2::Request::decode(bytes)?.timeseries.iter().map(|series| series.samples.len()).sum::<usize>()
        } else {
            v1::WriteRequest::decode(bytes)?.timeseries.iter().map(|series| series.samples.len()).sum::<usize>()
        };
        samples.fetch_add(count as u64, Ordering::Relaxed);
        let answer = format!("HTTP/1.1 204 X\r\nX-Prometheus-Remote-Write-Samples-Written: {count}\r\n\r\n");
        reader.get_mut().write_all(answer.as_bytes())?;
    }
}

/// The scorer, which writes back to `peer`.
fn start(program: &Path, directory: &Path, peer: u16) -> anyhow::Result<Receiver> {
    let port = free_port()?;
    let config = directory.join("scorer.yaml");
    let text = format!(
        "listen: 127.0.0.1:{port}\ndata_dir: {0}/data\nstep: 60s\nsnapshot_every: 5s\nmodel_dir: {0}/model\n\
         remote_write:\n  url: http://127.0.0.1:{peer}/api/v1/write\n  max_age: 4h\n",
        directory.display()
    );
    std::fs::write(&config, text)?;
    Receiver::start(program, &["serve".into(), "--config".into(), config.display().to_string()], directory, port)
}

fn metric(metrics: &str, name: &str) -> anyhow::Result<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no metric {name}"))?.trim().parse()?)
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut report = Report::new("fleet");
    let program = match &args.scorer {
        Some(path) => path.clone(),
        None => {
            report.note("building quoll-scorer");
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let built = Command::new(cargo).args(["build", "--quiet", "--release", "-p", "quoll-scorer"]).status()?;
            ensure!(built.success(), "cannot build quoll-scorer");
            std::env::current_exe()?.with_file_name("quoll-scorer")
        }
    };
    let directory = tempfile::tempdir()?;
    report.note("training a model");
    model(&directory.path().join("model"), args.services)?;
    let written = Arc::new(AtomicU64::new(0));
    let mut scorer = start(&program, directory.path(), receiver(Arc::clone(&written))?)?;
    let mut all = fleet(args.services);
    report.note(&format!("{} services, {} series", args.services, all.len()));

    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let total = args.warm_up + args.minutes;
    let start_ms = (now_ms / MINUTE_MS - i64::try_from(total)? - 2) * MINUTE_MS;
    ensure!(total < 110, "the scorer takes nothing older than two hours: at most 110 minutes in all");
    let (mut state, mut ticks, mut late) = (7, Vec::new(), 0_u64);
    let (mut cpu_before, mut snapshots_before, mut written_before) = (0.0, 0.0, 0);
    for minute in 0..total {
        if minute == args.warm_up {
            cpu_before = scorer.cpu_seconds()?;
            snapshots_before = metric(&scorer.metrics()?, "quoll_scorer_snapshots_total")?;
            written_before = written.load(Ordering::Relaxed);
        }
        for chunk in all.chunks_mut(SERIES_PER_REQUEST) {
            let mut encoder = WriteRequestEncoder::new();
            for series in chunk {
                advance(series, &mut state);
                let at_ms = start_ms + minute as i64 * MINUTE_MS + series.offset_ms;
                encoder.push(&series.labels, &[(at_ms, series.value)]);
            }
            scorer.write(&snappy::compress(encoder.as_bytes())?)?;
        }
        // The first minute closes no step.
        let sent = Instant::now();
        let tick_seconds = (start_ms + minute as i64 * MINUTE_MS) as f64 / 1000.0;
        if minute == 0 {
            continue;
        }
        loop {
            let metrics = scorer.metrics()?;
            let done = metric(&metrics, "quoll_scorer_last_tick_timestamp_seconds")? >= tick_seconds
                && metric(&metrics, "quoll_scorer_queue_samples")? == 0.0;
            if done {
                if minute >= args.warm_up {
                    ticks.push(metric(&metrics, "quoll_scorer_tick_duration_seconds")? * 1000.0);
                    late += u64::from(sent.elapsed() > LATE);
                }
                break;
            }
            ensure!(sent.elapsed() < Duration::from_secs(120), "minute {minute} was not scored in two minutes");
            std::thread::sleep(Duration::from_millis(20));
        }
        if minute % 5 == 4 {
            let resident = scorer.status_bytes("VmRSS")? / f64::from(1 << 20);
            report.note(&format!(
                "minute {}: {resident:.0} MiB resident, last tick {:.0} ms",
                minute + 1,
                ticks.last().copied().unwrap_or(f64::NAN)
            ));
        }
    }
    let metrics = scorer.metrics()?;
    let simulated_seconds = args.minutes as f64 * 60.0;
    let cpu = scorer.cpu_seconds()? - cpu_before;
    let peak = scorer.status_bytes("VmHWM")?;
    let snapshots = metric(&metrics, "quoll_scorer_snapshots_total")? - snapshots_before;
    let results = (written.load(Ordering::Relaxed) - written_before) as f64 / args.minutes as f64;
    let scores = metric(&metrics, "quoll_scorer_scores_total")? / total as f64;
    ensure!(scores > 0.0, "nothing was scored: is the scorer of the same commit as this program?");
    report.note(&format!(
        "{results:.0} results written and {scores:.0} services scored a minute, {snapshots} snapshots in {} minutes",
        args.minutes
    ));
    ticks.sort_by(f64::total_cmp);
    let p99 = ticks.get((ticks.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN);
    report.add("fleet_cpu_cores", cpu / simulated_seconds);
    report.add("fleet_peak_memory_bytes", peak);
    report.add("bytes_per_series", peak / all.len() as f64);
    report.add("tick_p99_ms", p99);
    report.add("late_ticks", late as f64);
    report.print();
    Ok(())
}
