//! A real Prometheus that scrapes protobuf and keeps classic and native histograms of the same observations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{ask, can_load, connect, http, loopback, read_message, serve};
use serde_json::Value;

const CONNECTIONS: usize = 25;
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed at the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The newest Prometheus, which `scripts/toolchains/peers` unpacks; `None` only where the network is declared absent.
fn newest_prometheus() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let toolchains = std::env::var_os("QUOLL_TOOLCHAINS").map_or(repository.join("target/toolchains"), PathBuf::from);
    let path = toolchains.join("peers/prometheus");
    if !path.is_file() {
        if std::env::var("QUOLL_OFFLINE").is_ok_and(|value| value == "1") {
            eprintln!("left out, as QUOLL_OFFLINE=1 and {} is missing", path.display());
            return None;
        }
        let fetched = Command::new(repository.join("scripts/toolchains/peers")).status();
        assert!(fetched.is_ok_and(|status| status.success()) && path.is_file(), "{} is missing", path.display());
    }
    Some(path)
}

fn exporter(folder: &Path, test: u8) -> (Running, String) {
    let services = folder.join("services.yaml");
    let [web, api] = [1, 2].map(|host| loopback(test, host));
    let rules = format!(
        "services:\n  - {{name: web, match: [{{address: {web}}}]}}\n  - {{name: api, match: [{{address: {api}}}]}}\n"
    );
    std::fs::write(&services, rules).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_quoll-exporter"))
        .args(["--source", "ebpf", "--show-self", "--listen", "127.0.0.1:0", "--services"])
        .arg(&services)
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().expect("it ended").unwrap();
        if let Some((_, rest)) = line.split_once("serving http://") {
            break rest.trim_end_matches("/metrics").to_owned();
        }
    };
    thread::spawn(move || lines.for_each(drop));
    (Running(child), address)
}

fn prometheus(program: &Path, folder: &Path, target: &str) -> (Running, String) {
    let file = folder.join("prometheus.yml");
    let configuration = format!(
        "global: {{scrape_interval: 500ms}}\nscrape_configs:\n  - job_name: quoll\n    scrape_protocols: \
         [PrometheusProto]\n    always_scrape_classic_histograms: true\n    static_configs: [{{targets: \
         ['{target}']}}]\n"
    );
    std::fs::write(&file, configuration).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let child = Command::new(program)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .args(["--enable-feature=native-histograms", "--log.level=error"])
        .arg(format!("--web.listen-address={address}"))
        .spawn()
        .unwrap();
    let running = Running(child);
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(Instant::now() < deadline, "Prometheus does not listen");
        thread::sleep(Duration::from_millis(50));
    }
    (running, address)
}

/// The one value of an instant query, if there is one yet.
fn query(address: &str, query: &str) -> Option<f64> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer: Value =
        serde_json::from_str(&http(address, "GET", &format!("/api/v1/query?query={encoded}"), "")).unwrap();
    let result = answer["data"]["result"].as_array().unwrap();
    assert!(result.len() <= 1, "{query}: {answer}");
    result.first()?["value"][1].as_str()?.parse().ok()
}

#[test]
fn prometheus_keeps_classic_and_native_histograms_of_one_scrape() {
    if !can_load() {
        return;
    }
    let Some(program) = newest_prometheus() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_exporter, target) = exporter(folder.path(), 61);
    let (_prometheus, address) = prometheus(&program, folder.path(), &target);
    let listener = TcpListener::bind((loopback(61, 2), 0)).unwrap();
    let server = listener.local_addr().unwrap();
    let serving = serve(listener, CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut client = connect(loopback(61, 1), server).unwrap();
        ask(&mut client, 200);
    }
    serving.join().unwrap();

    let edge = "client=\"web\",server=\"api\",reporter=\"client\"";
    let connections = CONNECTIONS as f64;
    for (family, labels, expected) in [
        ("quoll_tcp_connect_duration_seconds", edge.to_owned(), connections),
        ("quoll_tcp_connection_duration_seconds", edge.to_owned(), connections),
    ] {
        let deadline = Instant::now() + PATIENCE;
        let ask = |text: String| query(&address, &text);
        while ask(format!("{family}_count{{{labels}}}")) != Some(expected) {
            assert!(
                Instant::now() < deadline,
                "{family}{{{labels}}}: {:?}",
                ask(format!("{family}_count{{{labels}}}"))
            );
            thread::sleep(Duration::from_millis(100));
        }
        // The same number, as each kind of histogram has it.
        let native = format!("{family}{{{labels}}}");
        assert_eq!(ask(format!("histogram_count({native})")), Some(expected), "{native}");
        assert_eq!(ask(format!("{family}_bucket{{{labels},le=\"+Inf\"}}")), Some(expected), "{native}");
        let sums = [format!("histogram_sum({native})"), format!("{family}_sum{{{labels}}}")].map(ask);
        assert!(sums[0].is_some() && sums[0] == sums[1], "{native}: {sums:?}");
        // And the same observations: both say that all of them were shorter than a minute, none shorter than nothing.
        let shares = ask(format!("histogram_fraction(0, 64, {native})")).unwrap();
        assert!((shares - 1.0).abs() < 1e-9, "{native}: {shares}");
        let [classic, fine] = [
            format!("histogram_quantile(0.5, {family}_bucket{{{labels}}})"),
            format!("histogram_quantile(0.5, {native})"),
        ]
        .map(|text| ask(text).unwrap());
        // Classic buckets are up to half-decades, native ones quarters of a doubling.
        assert!(fine <= classic * 3.4 && classic <= fine.max(0.0005) * 3.4, "{native}: median {classic} or {fine}");
    }
}

/// How long answers are held back, each so often, in milliseconds.
const HELD_BACK: [(u64, usize); 5] = [(0, 20), (3, 20), (7, 20), (25, 10), (110, 5)];

/// Asks for each of [`HELD_BACK`]; gives how long each answer took at least and at most, in seconds.
fn timed_requests(test: u8) -> [Vec<f64>; 2] {
    let listener = TcpListener::bind((loopback(test, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let held_back = || HELD_BACK.into_iter().flat_map(|(milliseconds, count)| std::iter::repeat_n(milliseconds, count));
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let answers = held_back().map(|milliseconds| {
            read_message(&mut stream, 0).unwrap();
            thread::sleep(Duration::from_millis(milliseconds));
            let answered = Instant::now();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            answered
        });
        answers.collect::<Vec<Instant>>()
    });
    let mut client = connect(loopback(test, 1), address).unwrap();
    let requests = held_back().map(|_| {
        let began = Instant::now();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let asked = Instant::now();
        read_message(&mut client, 0).unwrap();
        (asked, began.elapsed().as_secs_f64())
    });
    let (asked, mut most): (Vec<Instant>, Vec<f64>) = requests.unzip();
    drop(client);
    let answered = server.join().unwrap();
    // From the end of the call that asks to the beginning of the one that answers.
    let least = asked.iter().zip(answered).map(|(asked, answered)| answered.saturating_duration_since(*asked));
    let mut least: Vec<f64> = least.map(|least| least.as_secs_f64()).collect();
    least.sort_by(f64::total_cmp);
    most.sort_by(f64::total_cmp);
    [least, most]
}

#[test]
fn quantiles_of_requests_are_those_of_the_known_durations() {
    if !can_load() {
        return;
    }
    let Some(program) = newest_prometheus() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_exporter, target) = exporter(folder.path(), 62);
    let (_prometheus, address) = prometheus(&program, folder.path(), &target);
    let [least, most] = timed_requests(62);
    let requests = most.len();
    let family = "quoll_http_request_duration_seconds";
    let labels = "client=\"web\",server=\"api\",reporter=\"client\",status_class=\"2xx\"";
    let ask = |text: String| query(&address, &text);
    let deadline = Instant::now() + PATIENCE;
    while ask(format!("histogram_count({family}{{{labels}}})")) != Some(requests as f64) {
        assert!(Instant::now() < deadline, "{:?}", ask(format!("histogram_count({family}{{{labels}}})")));
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(ask(format!("{family}_count{{{labels}}}")), Some(requests as f64));
    let sums = [format!("histogram_sum({family}{{{labels}}})"), format!("{family}_sum{{{labels}}}")].map(ask);
    assert!(sums[0] == sums[1] && sums[0].is_some_and(|sum| sum >= least.iter().sum::<f64>()), "{sums:?}");
    for quantile in [0.1, 0.4, 0.6, 0.9, 0.99] {
        // The quantile is in the bucket of the observation of this rank.
        let rank = (quantile * requests as f64).ceil() as usize - 1;
        // Half a doubling by native buckets, half a decade by classic ones; those below 1 ms are one classic bucket.
        for (text, factor, floor) in [
            (format!("histogram_quantile({quantile}, {family}{{{labels}}})"), std::f64::consts::SQRT_2, 0.0),
            (format!("histogram_quantile({quantile}, {family}_bucket{{{labels}}})"), 10.0 / 3.0, 0.001),
        ] {
            let found = ask(text.clone()).unwrap();
            let (lowest, highest) = (least[rank] / factor, most[rank].max(floor) * factor);
            assert!(
                (lowest..=highest).contains(&found.max(floor)),
                "{text}: {found} of {} to {}",
                least[rank],
                most[rank]
            );
        }
    }
}
