//! The scorer's sender into real peers: what the queue says was taken is what they give back, each in the remote
//! write that it understands, and a bad series takes nothing along.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quoll_conformance::http::serve_requests;
use quoll_conformance::peer::{Prometheus, VictoriaMetrics};
use quoll_conformance::security::{PASSWORD, Security, USER};
use quoll_conformance::{now_ms, wait_for};
use quoll_queue::{Credentials, OutSeries, Queue, QueueConfig, Secret};

/// More than one request.
const SERIES: usize = 250;
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

type Stored = Vec<(serde_json::Value, f64)>;

fn value(id: usize) -> f64 {
    // VictoriaMetrics keeps about 15 decimal digits.
    id as f64 / 4.0 - 7.0
}

fn series(name: &str, id: usize, timestamp_ms: i64, value: f64) -> OutSeries {
    let label = |name: &str, value: String| (name.to_owned(), value);
    let labels = vec![
        label("__name__", name.to_owned()),
        label("id", format!("{id:04}")),
        label("text", "é \"quoted\"\n".to_owned()),
    ];
    OutSeries { labels, timestamp_ms, value }
}

/// Sends four batches of gauges, one sample that is out of order in the third, and a stale marker at the end, and
/// compares what is stored; returns the version of remote write that the peer took.
fn values_are_read_back(directory: &Path, url: &str, query: &dyn Fn(&str, i64) -> Stored) -> u8 {
    values_are_read_back_by(config(directory, url), query)
}

fn config(directory: &Path, url: &str) -> QueueConfig {
    let mut config = QueueConfig::new(url, directory.join("queue"));
    config.max_samples_per_request = 100;
    config.backoff = (Duration::from_millis(20), Duration::from_millis(200));
    config
}

fn values_are_read_back_by(mut config: QueueConfig, query: &dyn Fn(&str, i64) -> Stored) -> u8 {
    config.external_labels.push(("site".to_owned(), "eu".to_owned()));
    let queue = Queue::open(config).unwrap();
    let at = now_ms() - 40_000;
    let batch = |name: &str, at: i64, plus: f64| -> Vec<OutSeries> {
        (0..SERIES).map(|id| series(name, id, at, value(id) + plus)).collect()
    };
    queue.append(batch("quoll_sent", at, 0.0)).unwrap();
    queue.append(batch("quoll_sent", at + 10_000, 1.0)).unwrap();
    // Older than what is there, for one series: some peers refuse it, some take it; the others must be stored.
    let mut third = batch("quoll_sent", at + 20_000, 2.0);
    third[40].timestamp_ms = at - 1_800_000;
    queue.append(third).unwrap();
    queue.append(vec![series("quoll_sent", 7, at + 30_000, STALE)]).unwrap();
    wait_for("the queue to drain", || (queue.stats().pending_samples == 0).then_some(()));
    let stats = queue.stats();
    assert_eq!(stats.sent_samples + stats.refused_samples, 3 * SERIES as u64 + 1);
    assert!(stats.refused_samples <= 1, "{stats:?}");
    for (offset, plus) in [(0, 0.0), (10_000, 1.0), (20_000, 2.0)] {
        let stored = wait_for("all series", || {
            let stored = query("quoll_sent", at + offset);
            (stored.len() == SERIES).then_some(stored)
        });
        for (labels, stored) in stored {
            let id: usize = labels["id"].as_str().unwrap().parse().unwrap();
            let expected = value(id) + if id == 40 && offset == 20_000 { 1.0 } else { plus };
            assert_eq!(stored, expected, "{labels} at {offset} ms");
            assert_eq!((&labels["site"], &labels["text"]), (&"eu".into(), &"é \"quoted\"\n".into()));
        }
    }
    let left = wait_for("the end of one series", || {
        let left = query("quoll_sent", at + 30_000);
        (left.len() < SERIES).then_some(left)
    });
    assert_eq!(left.len(), SERIES - 1);
    assert!(!left.iter().any(|(labels, _)| labels["id"] == "0007"), "the stale marker ended it");
    stats.version
}

#[test]
fn the_systems_prometheus_stores_what_it_is_sent_as_1() {
    let directory = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(directory.path(), "scrape_configs: []\n");
    let version =
        values_are_read_back(directory.path(), &prometheus.write_url(), &|query, at| prometheus.query(query, at));
    assert_eq!(version, 1, "it answers 204 to 2.0 and loses it");
}

#[test]
fn the_newest_prometheus_stores_what_it_is_sent_as_2() {
    let directory = tempfile::tempdir().unwrap();
    let Some(prometheus) = Prometheus::start_newest(directory.path(), "scrape_configs: []\n") else { return };
    let version =
        values_are_read_back(directory.path(), &prometheus.write_url(), &|query, at| prometheus.query(query, at));
    assert_eq!(version, 2);
}

#[test]
fn the_newest_victoria_metrics_stores_what_it_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let Some(victoria) = VictoriaMetrics::start_newest(directory.path()) else { return };
    let version = values_are_read_back(directory.path(), &victoria.write_url(), &|query, at| victoria.query(query, at));
    assert_eq!(version, 1, "it does not count what it writes of 2.0");
}

/// Waits until what was sent last is stored.
fn is_stored(prometheus: &Prometheus, name: &str, at: i64, value: f64) {
    wait_for(name, || prometheus.query(name, at).iter().any(|(_, stored)| *stored == value).then_some(()));
}

#[test]
fn a_secured_prometheus_stores_what_it_is_sent_also_while_passwords_and_certificates_change() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("security");
    let mut prometheus = Prometheus::start_secured(&directory.path().join("prometheus"), Security::new(&files));
    let secured = |name: &str| {
        let mut config = config(&directory.path().join(name), &prometheus.write_url());
        config.tls.ca_file = Some(files.join("ca.crt"));
        config.tls.certificate = Some((files.join("client.crt"), files.join("client.key")));
        let password = Secret::File(files.join("password"));
        config.credentials = Credentials::Basic { username: USER.to_owned(), password };
        config
    };
    // The wrong password first: nothing gets through, and nothing is given up.
    std::fs::write(files.join("password"), "wrong").unwrap();
    let queue = Queue::open(secured("first")).unwrap();
    let at = now_ms();
    queue.append(vec![series("quoll_password", 1, at, 5.0)]).unwrap();
    wait_for("a refusal", || (queue.stats().requests_retried > 0).then_some(()));
    assert!(prometheus.query("quoll_password", at).is_empty());
    std::fs::write(files.join("password"), format!("{PASSWORD}\n")).unwrap();
    is_stored(&prometheus, "quoll_password", at, 5.0);
    // Nobody comes in without a certificate of the authority.
    let mut nobody = secured("nobody");
    nobody.tls.certificate = None;
    let nobody = Queue::open(nobody).unwrap();
    nobody.append(vec![series("quoll_nobody", 1, at, 5.0)]).unwrap();
    wait_for("a refusal of nobody", || (nobody.stats().requests_retried > 1).then_some(()));
    assert!(prometheus.query("quoll_nobody", at).is_empty());
    drop(nobody);

    let version = values_are_read_back_by(secured("values"), &|query, at| prometheus.query(query, at));
    assert_eq!(version, 1);

    // Another authority, and certificates of it for both, in the same files, while both run.
    let before = Security::new(&directory.path().join("before"));
    for name in ["ca.crt", "client.crt", "client.key"] {
        std::fs::copy(files.join(name), before.file(name)).unwrap();
    }
    Security::issue(&files);
    queue.append(vec![series("quoll_rotated", 1, at, 6.0)]).unwrap();
    is_stored(&prometheus, "quoll_rotated", at, 6.0);
    assert!(before.agent(true).get(&prometheus.write_url()).call().is_err(), "the old authority is not trusted");
    // And with no connection of before.
    prometheus.kill_and_restart();
    queue.append(vec![series("quoll_restarted", 1, at, 7.0)]).unwrap();
    is_stored(&prometheus, "quoll_restarted", at, 7.0);
    // It is stored a moment before its answer is counted.
    wait_for("the answers to be counted", || (queue.stats().sent_samples == 3).then_some(()));
    assert_eq!(queue.stats().refused_samples, 0);
}

#[test]
fn a_token_is_taken_from_its_file_also_when_another_one_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(&directory.path().join("prometheus"), "scrape_configs: []\n");
    // Before it a proxy that knows a token, as in front of many receivers.
    let wanted = Arc::new(Mutex::new("Bearer one"));
    let (known, to) = (Arc::clone(&wanted), prometheus.write_url());
    let proxy = serve_requests(move |request| {
        if request.header("authorization") != Some(*known.lock().unwrap()) {
            return (401, String::new());
        }
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut post = agent.post(&to);
        for name in ["Content-Type", "Content-Encoding", "X-Prometheus-Remote-Write-Version"] {
            post = post.header(name, request.header(name).unwrap_or_default());
        }
        let mut answer = post.send(&request.body[..]).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap_or_default())
    });
    let file = directory.path().join("token");
    std::fs::write(&file, "one\n").unwrap();
    let behind = |name: &str| {
        let url = format!("http://127.0.0.1:{proxy}/api/v1/write");
        let mut config = config(&directory.path().join(name), &url);
        config.credentials = Credentials::Token { scheme: "Bearer".to_owned(), token: Secret::File(file.clone()) };
        config
    };
    let version = values_are_read_back_by(behind("values"), &|query, at| prometheus.query(query, at));
    assert_eq!(version, 1);
    let queue = Queue::open(behind("changing")).unwrap();
    *wanted.lock().unwrap() = "Bearer two";
    let at = now_ms();
    queue.append(vec![series("quoll_token", 1, at, 5.0)]).unwrap();
    wait_for("a refusal", || (queue.stats().requests_retried > 0).then_some(()));
    std::fs::write(&file, "two\n").unwrap();
    is_stored(&prometheus, "quoll_token", at, 5.0);
}
