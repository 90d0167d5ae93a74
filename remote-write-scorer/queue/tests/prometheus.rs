//! Against a real Prometheus: what is appended can be read back, and a bad series does not take the
//! others along.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{now_ms, series, wait_for};
use quoll_queue::{Queue, QueueConfig};

struct Prometheus {
    child: Child,
    address: String,
    dir: tempfile::TempDir,
}

/// A port that nobody listens on. It lies below those from which Linux gives outgoing connections theirs (32768
/// to 60999, `ip_local_port_range` in the kernel's Documentation/networking/ip-sysctl), so that nobody takes it
/// while a process is away for a moment.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Several test processes run at once; each looks elsewhere.
    let own = std::process::id().wrapping_mul(97);
    loop {
        let port = 12_000 + (own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Prometheus {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("prometheus.yml"), "scrape_configs: []\n").unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut prometheus = Self { child: Self::spawn(&dir, &address), address, dir };
        prometheus.wait();
        prometheus
    }

    fn spawn(dir: &tempfile::TempDir, address: &str) -> Child {
        Command::new("prometheus")
            .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs Debian's `prometheus` on the PATH (scripts/setup installs it)")
    }

    fn wait(&mut self) {
        let url = format!("http://{}/-/ready", self.address);
        wait_for("Prometheus", || ureq::get(&url).call().is_ok());
    }

    fn restart(&mut self) {
        self.child = Self::spawn(&self.dir, &self.address);
        self.wait();
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// (`id`, value) of every series of this name at an instant, sorted.
    fn query(&self, metric: &str, at_ms: i64) -> Vec<(String, f64)> {
        let url =
            format!("http://{}/api/v1/query?query={metric}&time={}.{:03}", self.address, at_ms / 1000, at_ms % 1000);
        let text = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut all: Vec<(String, f64)> = answer["data"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|series| {
                let value = series["value"][1].as_str().unwrap().parse().unwrap();
                (series["metric"]["id"].as_str().unwrap().to_owned(), value)
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.stop();
    }
}

fn config(prometheus: &Prometheus, dir: &tempfile::TempDir) -> QueueConfig {
    let mut config = QueueConfig::new(prometheus.url(), dir.path());
    config.backoff = (Duration::from_millis(50), Duration::from_millis(500));
    config.max_samples_per_request = 100;
    config
}

fn value(id: usize) -> f64 {
    f64::from(u32::try_from(id).unwrap()) / 3.0
}

#[test]
fn values_are_read_back_equal_also_over_an_outage_of_the_peer() {
    let mut prometheus = Prometheus::start();
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(config(&prometheus, &dir)).unwrap();
    let at = now_ms();
    queue.append((0..250).map(|id| series("quoll_test", id, at, value(id))).collect()).unwrap();
    wait_for("the first batch", || queue.stats().sent_samples == 250);
    prometheus.stop();
    for n in 1..=5_i64 {
        queue.append((0..250).map(|id| series("quoll_test", id, at + n * 10, value(id) + 1.0)).collect()).unwrap();
    }
    wait_for("failing tries", || queue.stats().requests_retried > 0);
    prometheus.restart();
    wait_for("the backlog", || queue.stats().pending_samples == 0);
    let expected = |plus: f64| (0..250).map(|id| (format!("{id:05}"), value(id) + plus)).collect::<Vec<_>>();
    assert_eq!(prometheus.query("quoll_test", at), expected(0.0));
    assert_eq!(prometheus.query("quoll_test", at + 50), expected(1.0));
    let stats = queue.stats();
    assert_eq!((stats.sent_samples, stats.refused_samples), (1500, 0));
}

#[test]
fn one_out_of_order_series_is_refused_and_the_others_are_stored() {
    let prometheus = Prometheus::start();
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(config(&prometheus, &dir)).unwrap();
    let at = now_ms();
    queue.append(vec![series("quoll_test", 40, at, 1.0)]).unwrap();
    // Older than what the peer has of it.
    let batch = (0..100).map(|id| series("quoll_test", id, if id == 40 { at - 5000 } else { at }, value(id)));
    queue.append(batch.collect()).unwrap();
    queue.append(vec![series("quoll_test", 100, at, value(100))]).unwrap();
    wait_for("the end", || queue.stats().pending_samples == 0);
    let expected: Vec<(String, f64)> =
        (0..=100).map(|id| (format!("{id:05}"), if id == 40 { 1.0 } else { value(id) })).collect();
    assert_eq!(prometheus.query("quoll_test", at), expected);
    assert_eq!(queue.stats().refused_samples, 1);
}

#[test]
fn a_stale_marker_ends_a_series_at_the_peer() {
    let prometheus = Prometheus::start();
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(config(&prometheus, &dir)).unwrap();
    let at = now_ms();
    queue.append(vec![series("quoll_test", 1, at - 1000, 5.0)]).unwrap();
    queue.append(vec![series("quoll_test", 1, at, f64::from_bits(0x7ff0_0000_0000_0002))]).unwrap();
    wait_for("both", || queue.stats().sent_samples == 2);
    assert_eq!(prometheus.query("quoll_test", at - 500).len(), 1);
    assert_eq!(prometheus.query("quoll_test", at + 500).len(), 0);
}
