//! Remote write 2.0: every kind of message has its exact status and counts.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use prost::Message;
use quoll_conformance::now_ms;
use quoll_conformance::scorer::{Scorer, V1, V2, request};
use quoll_conformance::shop::shop;
use quoll_prometheus_protocol::v2::{Exemplar, Metadata, Request, Sample, TimeSeries};
use quoll_prometheus_protocol::{snappy, v1};

/// A message of one series of memory of service `a`, for tests to change. Symbols 5 and 6 are spare.
fn message(at: i64) -> Request {
    let symbols = ["", "__name__", "quoll_memory_working_set_bytes", "service_name", "a", "help", "bytes"];
    Request {
        symbols: symbols.map(str::to_owned).to_vec(),
        timeseries: vec![TimeSeries {
            labels_refs: vec![1, 2, 3, 4],
            samples: vec![Sample { value: 1e8, timestamp: at, start_timestamp: 0 }],
            ..Default::default()
        }],
    }
}

fn body(message: &Request) -> Vec<u8> {
    snappy::compress(&message.encode_to_vec()).unwrap()
}

fn changed(at: i64, change: impl FnOnce(&mut Request)) -> Vec<u8> {
    let mut message = message(at);
    change(&mut message);
    body(&message)
}

fn histogram(at: i64) -> v1::Histogram {
    v1::Histogram {
        count: Some(v1::histogram::Count::Int(5)),
        sum: 2.5,
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: Some(v1::histogram::ZeroCount::Int(1)),
        positive_spans: vec![v1::BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![2, 0],
        timestamp: at,
        ..Default::default()
    }
}

/// What it is, body, expected status, what the answer says, and how much it says was written.
type Case = (&'static str, Vec<u8>, u16, &'static str, [u64; 3]);

#[test]
fn each_message_gets_its_status_and_counts() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Scorer::start(directory.path(), None, "ingest: { limits: { symbols_per_request: 100 } }\n");
    let now = now_ms();
    let start = |at: i64| changed(at, |message| message.timeseries[0].samples[0].start_timestamp = at - 60_000);
    let exemplar = Exemplar { labels_refs: vec![5, 6], value: 1.0, timestamp: now };
    let metadata = Metadata { r#type: 2, help_ref: 5, unit_ref: 6 };
    let second = |labels_refs: Vec<u32>, timestamp: i64| TimeSeries {
        labels_refs,
        samples: vec![Sample { value: 1.0, timestamp, start_timestamp: 0 }],
        ..Default::default()
    };
    let with = |series: TimeSeries| changed(now, |message| message.timeseries.push(series));
    let cases: Vec<Case> = vec![
        ("one sample", body(&message(now)), 204, "", [1, 0, 0]),
        ("the same again", body(&message(now)), 204, "", [1, 0, 0]),
        ("an older one", body(&message(now - 1000)), 204, "", [1, 0, 0]),
        ("a start timestamp", start(now + 1), 204, "", [1, 0, 0]),
        (
            "the staleness marker",
            changed(now + 2, |message| {
                message.timeseries[0].samples[0].value = quoll_prometheus_protocol::staleness::stale_marker();
            }),
            204,
            "",
            [1, 0, 0],
        ),
        ("nothing at all", snappy::compress(&[]).unwrap(), 204, "", [0, 0, 0]),
        ("symbols and no series", changed(now, |message| message.timeseries.clear()), 204, "", [0, 0, 0]),
        (
            "metadata only",
            changed(now, |message| {
                message.timeseries[0].samples.clear();
                message.timeseries[0].metadata = Some(metadata);
            }),
            204,
            "",
            [0, 0, 0],
        ),
        (
            "a native histogram",
            changed(now, |message| {
                message.timeseries[0].samples.clear();
                message.timeseries[0].histograms = vec![histogram(now)];
            }),
            204,
            "",
            [0, 1, 0],
        ),
        (
            "all there is",
            changed(now + 3, |message| {
                message.timeseries[0].histograms = vec![histogram(now + 3)];
                message.timeseries[0].exemplars = vec![exemplar.clone(), exemplar];
                message.timeseries[0].metadata = Some(metadata);
            }),
            204,
            "",
            [1, 1, 2],
        ),
        ("a series that nothing selects", changed(now, |message| message.symbols[2] = "x".into()), 204, "", [1, 0, 0]),
        ("one series without a name", with(second(vec![3, 4], now)), 400, "1 no_metric_name; the other 1", [1, 0, 0]),
        ("a reference beyond the table", with(second(vec![1, 99], now)), 400, "1 malformed_label", [1, 0, 0]),
        ("a name without a value", with(second(vec![1, 2, 3], now)), 400, "1 malformed_label", [1, 0, 0]),
        ("an empty name", with(second(vec![1, 2, 0, 4], now)), 400, "1 empty_label_name", [1, 0, 0]),
        ("a label twice", with(second(vec![1, 2, 3, 4, 3, 5], now)), 400, "1 duplicate_label_name", [1, 0, 0]),
        ("the future", with(second(vec![1, 2, 3, 4], now + 3_600_000)), 400, "1 too_far_in_future", [1, 0, 0]),
        ("the first symbol not empty", changed(now, |m| m.symbols[0] = "x".into()), 400, "first symbol", [0, 0, 0]),
        ("too many symbols", changed(now, |m| m.symbols.resize(101, String::new())), 413, "100 symbols", [0, 0, 0]),
        ("a message of 1.0", request(&shop(1, now)), 204, "", [0, 0, 0]),
        ("not protobuf", snappy::compress(b"\x2a\xff").unwrap(), 400, "malformed", [0, 0, 0]),
        ("not snappy", b"nonsense, surely".to_vec(), 400, "snappy", [0, 0, 0]),
    ];
    for (what, body, status, reason, written) in cases {
        let (found, answer, counts) = scorer.post_counted(&V2, &body);
        assert_eq!(found, status, "{what}: {answer}");
        assert!(answer.contains(reason), "{what}: {answer:?} does not say {reason:?}");
        assert_eq!(counts, Some(written), "{what}");
    }
    for (what, body) in [("taken", request(&shop(1, now))), ("refused", b"nonsense, surely".to_vec())] {
        let (_, _, counts) = scorer.post_counted(&V1, &body);
        assert_eq!(counts, None, "1.0 has no counts, {what}");
    }
    let gzip = [V2[0], ("Content-Encoding", "gzip")];
    let (status, _, counts) = scorer.post_counted(&gzip, &body(&message(now)));
    assert_eq!((status, counts), (415, Some([0; 3])));
    assert!(scorer.metric("quoll_scorer_write_requests_v2_total") > 10.0);
    assert_eq!(scorer.metric("quoll_scorer_write_requests_refused_total{reason=\"symbols\"}"), 1.0);
}
