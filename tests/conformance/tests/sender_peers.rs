//! The scorer's sender into real peers: what the queue says was taken is what they give back, each in the remote
//! write that it understands, and a bad series takes nothing along.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::path::Path;
use std::time::Duration;

use quoll_conformance::peer::{Prometheus, VictoriaMetrics};
use quoll_conformance::{now_ms, wait_for};
use quoll_queue::{OutSeries, Queue, QueueConfig};

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
    let mut config = QueueConfig::new(url, directory.join("queue"));
    config.max_samples_per_request = 100;
    config.backoff = (Duration::from_millis(20), Duration::from_millis(200));
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
    wait_for("the queue to drain", Duration::from_secs(30), || (queue.stats().pending_samples == 0).then_some(()));
    let stats = queue.stats();
    assert_eq!(stats.sent_samples + stats.refused_samples, 3 * SERIES as u64 + 1);
    assert!(stats.refused_samples <= 1, "{stats:?}");
    for (offset, plus) in [(0, 0.0), (10_000, 1.0), (20_000, 2.0)] {
        let stored = wait_for("all series", Duration::from_secs(20), || {
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
    let left = wait_for("the end of one series", Duration::from_secs(20), || {
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
