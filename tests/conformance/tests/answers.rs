//! Every kind of request has its exact answer, and bad ones cost nothing.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::io::{Read, Write};
use std::net::TcpStream;

use prost::Message;
use quoll_conformance::now_ms;
use quoll_conformance::process::free_port;
use quoll_conformance::scorer::{Labels, Scorer, V1, request};
use quoll_conformance::shop::shop;
use quoll_prometheus_protocol::{snappy, v1};

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

fn by_prost(message: &v1::WriteRequest) -> Vec<u8> {
    snappy::compress(&message.encode_to_vec()).unwrap()
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

    let metadata = v1::WriteRequest {
        metadata: vec![v1::MetricMetadata { metric_family_name: "x".into(), ..Default::default() }],
        ..Default::default()
    };
    let label = |name: &str, value: &str| v1::Label { name: name.into(), value: value.into() };
    let exemplar = v1::Exemplar { labels: vec![label("trace_id", "1")], value: 1.0, timestamp: now };
    let with_exemplar = v1::WriteRequest {
        timeseries: vec![v1::TimeSeries {
            labels: vec![label("__name__", "quoll_memory_working_set_bytes"), label("service_name", "a")],
            samples: vec![v1::Sample { value: 1e8, timestamp: now }],
            exemplars: vec![exemplar],
            ..Default::default()
        }],
        ..metadata.clone()
    };
    let cases: Vec<Case<'_>> = vec![
        ("a good request", V1.to_vec(), good.clone(), 204, ""),
        ("the message named", typed("application/x-protobuf;proto=prometheus.WriteRequest"), good.clone(), 204, ""),
        ("no headers at all", vec![], good.clone(), 204, ""),
        ("no series", V1.to_vec(), snappy::compress(&[]).unwrap(), 204, ""),
        ("metadata only", V1.to_vec(), by_prost(&metadata), 204, ""),
        ("an exemplar and metadata beside a sample", V1.to_vec(), by_prost(&with_exemplar), 204, ""),
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

/// A request whose body comes in chunks, without a length (RFC 9112, 7.1).
fn in_chunks(scorer: &Scorer, body: &[u8], size: usize) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", scorer.port)).unwrap();
    let mut head =
        "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n".to_owned();
    for (name, value) in V1 {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    for chunk in body.chunks(size).chain([&b""[..]]) {
        let written = stream
            .write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
            .and_then(|()| stream.write_all(&[chunk, b"\r\n"].concat()));
        if written.is_err() {
            // It was refused before all of it was sent.
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_body_in_chunks_is_taken_and_bounded_as_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Scorer::start(directory.path(), None, SMALL);
    let good = request(&shop(1, now_ms()));
    for size in [1, 7, good.len()] {
        let before = scorer.metric("quoll_scorer_samples_selected_total");
        let answer = in_chunks(&scorer, &good, size);
        assert!(answer.starts_with("HTTP/1.1 204"), "chunks of {size}: {answer}");
        assert_eq!(scorer.metric("quoll_scorer_samples_selected_total") - before, 7.0, "chunks of {size}");
    }
    let large = in_chunks(&scorer, &vec![0; 20_001], 5000);
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    assert_eq!(scorer.post(&V1, &good).0, 204);
}

/// Which routes answer at a port: write, metrics, state-changing calls, what is read.
fn served(port: u16) -> [bool; 4] {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let mut write = agent.post(&at("/api/v1/write"));
    for (name, value) in V1 {
        write = write.header(name, value);
    }
    [
        write.send(&request(&shop(1, now_ms()))[..]).unwrap().status() == 204,
        agent.get(&at("/metrics")).call().unwrap().status() == 200,
        ![404, 405].contains(&agent.post(&at("/-/reload")).send_empty().unwrap().status().as_u16()),
        agent.get(&at("/api/v1/graph")).call().unwrap().status() == 200,
    ]
}

#[test]
fn routes_with_a_listener_of_their_own_are_served_there_and_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port(), free_port()];
    let listeners = format!(
        "listeners: {{ write: '127.0.0.1:{}', metrics: '127.0.0.1:{}', admin: '127.0.0.1:{}' }}\n",
        ports[0], ports[1], ports[2]
    );
    let scorer = Scorer::start(directory.path(), None, &listeners);
    assert_eq!(served(ports[0]), [true, false, false, false]);
    assert_eq!(served(ports[1]), [false, true, false, false]);
    assert_eq!(served(ports[2]), [false, false, true, false]);
    assert_eq!(served(scorer.port), [false, false, false, true]);
    drop(scorer);
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(served(Scorer::start(directory.path(), None, "").port), [true; 4]);
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
        let growth = || {
            let before = scorer.resident_kib();
            for _ in 0..100 {
                assert_eq!(scorer.post(&V1, &bomb).0, status);
            }
            scorer.resident_kib().saturating_sub(before)
        };
        // What else the process does meanwhile may take memory once, not each time.
        let least = (0..5).map(|_| growth()).find(|growth| *growth < 1024);
        assert!(least.is_some(), "100 bombs of {declared:x?} take more than a mebibyte each time");
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
