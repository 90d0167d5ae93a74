//! Every kind of request has its exact answer, and bad ones cost nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

use quoll_conformance::now_ms;
use quoll_conformance::scorer::{Labels, Scorer, V1, request};
use quoll_conformance::shop::shop;
use quoll_prometheus_protocol::snappy;

const SMALL: &str = "ingest: { limits: { compressed_bytes: 20000, series_per_request: 50 } }\n";

/// What it is, headers, body, expected status, and what the answer says.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<u8>, u16, &'a str);

fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    pairs.iter().map(|&(name, value)| (name, value.to_owned())).collect()
}

/// What a snappy request holds, as a zstd frame of one raw block that declares its size (RFC 8878, 3.1.1).
fn stored_zstd(request: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::new();
    let body = snappy::decompress(request, &mut buffer, 1 << 20).unwrap();
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    frame.extend(&(u32::try_from(body.len()).unwrap() << 3 | 1).to_le_bytes()[..3]);
    frame.extend(body);
    frame
}

#[test]
fn each_request_gets_the_status_that_the_specification_asks_for() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Scorer::start(directory.path(), None, SMALL);
    let now = now_ms();
    let good = request(&shop(1, now));
    let one = |pairs: &[(&'static str, &str)], at: i64| request(&[(labels(pairs), at, 1.0)]);
    let encoding = ("Content-Encoding", "snappy");
    let typed = |value: &'static str| vec![("Content-Type", value), encoding];
    let many: Vec<_> = (0..51).map(|i| (labels(&[("__name__", "x"), ("i", &i.to_string())]), now, 1.0)).collect();

    let cases: Vec<Case<'_>> = vec![
        ("a good request", V1.to_vec(), good.clone(), 204, ""),
        ("the message named", typed("application/x-protobuf;proto=prometheus.WriteRequest"), good.clone(), 204, ""),
        ("no headers at all", vec![], good.clone(), 204, ""),
        ("no series", V1.to_vec(), snappy::compress(&[]).unwrap(), 204, ""),
        ("zstd that is none", vec![V1[0], ("Content-Encoding", "zstd")], good.clone(), 400, "zstd"),
        ("zstd", vec![V1[0], ("Content-Encoding", "zstd")], stored_zstd(&good), 204, ""),
        ("another message", typed("application/x-protobuf;proto=a.B"), good.clone(), 415, "a.B"),
        ("JSON", typed("application/json"), good.clone(), 415, "application/json"),
        ("gzip", vec![V1[0], ("Content-Encoding", "gzip")], good.clone(), 415, "gzip"),
        ("an empty body", V1.to_vec(), vec![], 400, "snappy"),
        ("not snappy", V1.to_vec(), b"nonsense, surely".to_vec(), 400, "snappy"),
        ("not protobuf", V1.to_vec(), snappy::compress(b"\x0a\xff").unwrap(), 400, "malformed"),
        ("no metric name", V1.to_vec(), one(&[("a", "b")], now), 400, "1 no_metric_name"),
        ("a label twice", V1.to_vec(), one(&[("__name__", "x"), ("a", "1"), ("a", "2")], now), 400, "duplicate"),
        (
            "the future",
            V1.to_vec(),
            one(&[("__name__", "quoll_memory_working_set_bytes"), ("service_name", "a")], now + 3_600_000),
            400,
            "1 too_far_in_future",
        ),
        ("too long", V1.to_vec(), vec![0; 20_001], 413, "20000"),
        ("too many series", V1.to_vec(), request(&many), 413, "50"),
        ("a bad tenant", [&V1[..], &[("X-Scope-OrgID", "a/b")]].concat(), good.clone(), 400, "X-Scope-OrgID"),
        ("a good tenant", [&V1[..], &[("X-Scope-OrgID", "team-a")]].concat(), good.clone(), 204, ""),
    ];
    for (what, headers, body, status, reason) in cases {
        let (found, answer) = scorer.post(&headers, &body);
        assert_eq!(found, status, "{what}: {answer}");
        assert!(answer.contains(reason), "{what}: {answer:?} does not say {reason:?}");
    }
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    assert_eq!(agent.get(&scorer.url("/api/v1/write")).call().unwrap().status().as_u16(), 405);
    assert_eq!(agent.get(&scorer.url("/api/v1/nothing")).call().unwrap().status().as_u16(), 404);
    assert_eq!(agent.get(&scorer.url("/api/v1/graph?tenant=nobody")).call().unwrap().status().as_u16(), 404);
    let foreign = agent.post(&scorer.url("/-/reload")).header("Origin", "http://evil.example").send_empty();
    assert_eq!(foreign.unwrap().status().as_u16(), 403);
}

#[test]
fn bombs_are_refused_within_a_mebibyte_and_good_requests_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Scorer::start(directory.path(), None, "");
    let good = request(&shop(1, now_ms()));
    // 4 GiB - 1, beyond the limit; 31 MiB, within it but more than 47 bytes can hold.
    for (declared, status) in [(&[0xff, 0xff, 0xff, 0xff, 0x0f][..], 413), (&[0x80, 0x80, 0x80, 0x0f][..], 400)] {
        let mut bomb = declared.to_vec();
        bomb.resize(47, 0xfe);
        for _ in 0..20 {
            assert_eq!(scorer.post(&V1, &bomb).0, status);
        }
        let before = scorer.resident_kib();
        for _ in 0..100 {
            assert_eq!(scorer.post(&V1, &bomb).0, status);
        }
        let growth = scorer.resident_kib().saturating_sub(before);
        assert!(growth < 1024, "grew by {growth} KiB");
        assert_eq!(scorer.post(&V1, &good).0, 204);
    }
}

#[test]
fn the_scorers_own_metrics_are_clean() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Scorer::start(directory.path(), Some(1), "");
    let metrics = directory.path().join("metrics");
    std::fs::write(&metrics, scorer.get("/metrics").unwrap()).unwrap();
    let checked = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&metrics).unwrap())
        .output()
        .unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", String::from_utf8_lossy(&checked.stderr));
}
