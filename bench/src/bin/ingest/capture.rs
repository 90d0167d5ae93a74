//! A stream captured from a real Prometheus.
//!
//! The Prometheus that `scripts/setup` fetched scrapes itself and a VictoriaMetrics, each under several instance
//! names, and sends what it scrapes to a recorder here, as 1.0 and as 2.0. A round of the stream is the whole
//! capture, with its times moved on by its length and encoded anew, so that series are known and samples are new.
//!
//! A file holds, for each request: version (1 or 2, one byte), length (u32 LE), compressed body.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use prost::Message;
use quoll_bench::Report;
use quoll_bench::process::{Receiver, free_port};
use quoll_features::FeatureSet;
use quoll_ingest::Format;
use quoll_prometheus_protocol::{snappy, v1, v2};

use super::peers;
use super::stream::{Round, Stream};

/// Instances of each target.
const INSTANCES: usize = 6;
/// Scrapes are a second apart; so many seconds of them are kept.
const SECONDS: u64 = 20;
/// Most bytes of a request, decompressed.
const LIMIT: usize = 1 << 26;
/// Terms that one set of features takes.
const TERMS: usize = 1000;

type Requests = Arc<Mutex<[Vec<Vec<u8>>; 2]>>;

/// The capture, decoded.
pub struct Captured {
    first: Vec<v1::WriteRequest>,
    second: Vec<v2::Request>,
    start_ms: i64,
    span_ms: i64,
}

impl Captured {
    /// Captures one now; `None` where there is no Prometheus or VictoriaMetrics to do it with.
    ///
    /// # Errors
    /// Where they do not run, or send nothing.
    pub fn now(report: &Report) -> anyhow::Result<Option<Self>> {
        let (Some(prometheus), Some(victoria)) = (peers::program("prometheus"), peers::program("victoria-metrics"))
        else {
            report.note("no Prometheus and VictoriaMetrics to capture a stream with: its figures are left out");
            return Ok(None);
        };
        report.note(&format!("capturing {SECONDS} s of a real Prometheus' remote writes"));
        let directory = tempfile::tempdir()?;
        let target = peers::victoria_metrics(&victoria, &directory.path().join("target"))?;
        let requests = Requests::default();
        let recorder = record(Arc::clone(&requests))?;
        let sending = sender(&prometheus, &directory.path().join("sender"), target.port(), recorder)?;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(SECONDS) {
            std::thread::sleep(Duration::from_millis(200));
        }
        drop(sending);
        let requests = std::mem::take(&mut *requests.lock().unwrap_or_else(PoisonError::into_inner));
        Self::of(&requests).map(Some)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read or is none.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let (mut rest, mut requests) = (&bytes[..], [Vec::new(), Vec::new()]);
        while let Some((&version, more)) = rest.split_first() {
            let (length, more) = more.split_first_chunk::<4>().context("cut short")?;
            let (body, more) = more.split_at_checked(u32::from_le_bytes(*length) as usize).context("cut short")?;
            let of = usize::from(version).checked_sub(1).and_then(|index| requests.get_mut(index));
            of.context("not a capture")?.push(body.to_vec());
            rest = more;
        }
        Self::of(&requests)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        for (version, format) in [(1, Format::V1), (2, Format::V2)] {
            for request in self.round(0, format)?.requests {
                bytes.push(version);
                bytes.extend(u32::try_from(request.len())?.to_le_bytes());
                bytes.extend(request);
            }
        }
        Ok(std::fs::write(path, bytes)?)
    }

    fn of(requests: &[Vec<Vec<u8>>; 2]) -> anyhow::Result<Self> {
        let mut buffer = Vec::new();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for request in &requests[0] {
            first.push(v1::WriteRequest::decode(snappy::decompress(request, &mut buffer, LIMIT)?)?);
        }
        for request in &requests[1] {
            second.push(v2::Request::decode(snappy::decompress(request, &mut buffer, LIMIT)?)?);
        }
        let times = || first.iter().flat_map(|request: &v1::WriteRequest| &request.timeseries);
        let times = || times().flat_map(|series| &series.samples).map(|sample| sample.timestamp);
        let (Some(start_ms), Some(end_ms)) = (times().min(), times().max()) else { bail!("nothing was captured") };
        ensure!(!second.is_empty(), "nothing was captured of 2.0");
        // Whole intervals, so that the rounds join.
        let span_ms = (end_ms - start_ms) / 1000 * 1000 + 1000;
        Ok(Self { first, second, start_ms, span_ms })
    }

    /// The label sets.
    fn series(&self) -> HashSet<Vec<(&str, &str)>> {
        let series = self.first.iter().flat_map(|request| &request.timeseries);
        series.map(|series| series.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect()).collect()
    }

    /// What it is, in words.
    pub fn describe(&self) -> String {
        let series = self.series();
        let labels: usize = series.iter().map(Vec::len).sum();
        format!(
            "{} series of {:.1} labels, {} requests in {} s",
            series.len(),
            labels as f64 / series.len() as f64,
            self.first.len(),
            self.span_ms / 1000
        )
    }

    /// Features that select all of it, as far as one set takes so many metrics: sums by instance that mean nothing.
    ///
    /// # Errors
    /// Where the set is not usable.
    pub fn everything(&self) -> anyhow::Result<FeatureSet> {
        let labels = self.series().into_iter().flatten();
        let names: BTreeSet<&str> = labels.filter(|label| label.0 == "__name__").map(|label| label.1).collect();
        let mut yaml = "service_labels:\n  itself: { name: pod }\nfeatures:\n  - name: all\n    unit: none\n    direction: up\n    min_deviation: 1\n    seen_by: itself\n    service: itself\n    value:\n".to_owned();
        for name in names.into_iter().take(TERMS) {
            writeln!(yaml, "      - {{ gauge: {name} }}")?;
        }
        Ok(FeatureSet::from_yaml(&yaml)?)
    }
}

impl Stream for Captured {
    fn round(&self, number: usize, format: Format) -> anyhow::Result<Round> {
        let moved_ms = i64::try_from(number)? * self.span_ms;
        let (mut requests, mut samples) = (Vec::new(), 0);
        if format == Format::V2 {
            for request in &self.second {
                let mut request = request.clone();
                for sample in request.timeseries.iter_mut().flat_map(|series| &mut series.samples) {
                    sample.timestamp += moved_ms;
                    samples += 1;
                }
                requests.push(snappy::compress(&request.encode_to_vec())?);
            }
        } else {
            for request in &self.first {
                let mut request = request.clone();
                for sample in request.timeseries.iter_mut().flat_map(|series| &mut series.samples) {
                    sample.timestamp += moved_ms;
                    samples += 1;
                }
                requests.push(snappy::compress(&request.encode_to_vec())?);
            }
        }
        Ok(Round { requests, samples })
    }

    fn interval_ms(&self) -> i64 {
        1000
    }

    fn start_ms(&self) -> i64 {
        self.start_ms
    }

    fn round_ms(&self) -> i64 {
        self.span_ms
    }
}

/// A Prometheus that scrapes itself and `target`, each as several instances, and sends to `recorder`.
fn sender(program: &Path, directory: &Path, target: u16, recorder: u16) -> anyhow::Result<Receiver> {
    let port = free_port()?;
    std::fs::create_dir_all(directory)?;
    let mut text = "global: { scrape_interval: 1s, external_labels: { cluster: bench } }\nscrape_configs:\n".to_owned();
    for (job, address) in [("prometheus", port), ("victoria-metrics", target)] {
        writeln!(text, "  - job_name: {job}\n    static_configs:")?;
        for instance in 0..INSTANCES {
            writeln!(text, "      - {{ targets: ['127.0.0.1:{address}'], labels: {{ pod: {job}-{instance} }} }}")?;
        }
    }
    text.push_str("remote_write:\n");
    for (path, message) in [("1", "prometheus.WriteRequest"), ("2", "io.prometheus.write.v2.Request")] {
        writeln!(
            text,
            "  - {{ url: 'http://127.0.0.1:{recorder}/{path}', protobuf_message: {message}, \
             queue_config: {{ max_shards: 1, batch_send_deadline: 1s }} }}"
        )?;
    }
    let config = directory.join("prometheus.yml");
    std::fs::write(&config, text)?;
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", directory.join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    Receiver::start(program, &arguments, directory, port)
}

/// A receiver that keeps what it is sent, by version.
fn record(requests: Requests) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let requests = Arc::clone(&requests);
            // A connection that breaks is the sender's business.
            std::thread::spawn(move || keep(stream, &requests));
        }
    });
    Ok(port)
}

fn keep(stream: TcpStream, requests: &Requests) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut buffer = Vec::new();
    loop {
        let (mut length, mut version, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            let line = line.to_ascii_lowercase();
            if line.starts_with("post /2 ") {
                version = 1;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let count = if version == 1 {
            let message = v2::Request::decode(snappy::decompress(&body, &mut buffer, LIMIT)?)?;
            message.timeseries.iter().map(|series| series.samples.len()).sum::<usize>()
        } else {
            0
        };
        // Requests without a sample hold metadata.
        if version == 0 || count > 0 {
            requests.lock().unwrap_or_else(PoisonError::into_inner)[version].push(body);
        }
        let answer = format!("HTTP/1.1 204 X\r\nX-Prometheus-Remote-Write-Samples-Written: {count}\r\n\r\n");
        reader.get_mut().write_all(answer.as_bytes())?;
    }
}
