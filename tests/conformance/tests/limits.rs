//! Every limit has an exact answer and a counter, and what comes after it is taken as before.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::io::{Read, Write};
use std::net::TcpStream;

use quoll_conformance::now_ms;
use quoll_conformance::scorer::{Labels, Scorer, V1, request};
use quoll_prometheus_protocol::encode::WriteRequestEncoder;

const CONFIGURATION: &str = "\
web: { limits: { connections_per_address: 20 } }
ingest:
  future_limit_ms: 600000
  past_limit_ms: 600000
  limits:
    compressed_bytes: 20000
    decoded_bytes: 40000
    body_seconds: 5
    series_per_request: 50
    samples_per_request: 60
    labels_per_series: 5
    label_name_bytes: 20
    label_value_bytes: 40
    series_per_tenant: 97
    tenants: 4
    samples_per_second_per_tenant: 10
    scopes: 3
";

fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    pairs.iter().map(|&(name, value)| (name, value.to_owned())).collect()
}

#[test]
fn each_limit_has_its_answer_and_its_counter() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Scorer::start(directory.path(), None, CONFIGURATION);
    let now = now_ms();
    const NAME: (&str, &str) = ("__name__", "quoll_memory_working_set_bytes");
    let one = |pairs: &[(&'static str, &str)]| request(&[(labels(pairs), now, 1.0)]);
    let at = |at: i64| request(&[(labels(&[NAME, ("service_name", "a")]), at, 1.0)]);
    let many = |count: usize, name: &str| -> Vec<_> {
        (0..count).map(|i| (labels(&[("__name__", name), ("service_name", &i.to_string())]), now, 1.0)).collect()
    };
    let zeros = quoll_prometheus_protocol::snappy::compress(&vec![0; 40_001]).unwrap();
    let long = "v".repeat(41);
    let mut backfill = WriteRequestEncoder::new();
    let old: Vec<(i64, f64)> = (0..61).map(|second| (now - 61 + second, 1.0)).collect();
    backfill.push(&labels(&[NAME, ("service_name", "a")]), &old);
    let backfill = quoll_prometheus_protocol::snappy::compress(backfill.as_bytes()).unwrap();
    let rejected = "quoll_scorer_samples_rejected_total";
    let refused = "quoll_scorer_write_requests_refused_total";
    // Status, body, the tenant, and the counter that must have grown.
    let cases: Vec<(u16, Vec<u8>, &str, &str, &str)> = vec![
        (413, vec![0; 20_001], "", refused, "compressed_bytes"),
        (413, zeros, "", refused, "decoded_bytes"),
        (413, request(&many(51, "x")), "", refused, "series"),
        (413, backfill, "", refused, "samples"),
        (
            400,
            one(&[NAME, ("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]),
            "",
            rejected,
            "too_many_labels",
        ),
        (400, one(&[NAME, ("a_name_that_is_much_too_long", "1")]), "", rejected, "label_name_too_long"),
        (400, one(&[NAME, ("a", &long)]), "", rejected, "label_value_too_long"),
        (400, at(now + 1_200_000), "", rejected, "too_far_in_future"),
        (400, at(now - 1_200_000), "", rejected, "too_old"),
        (400, one(&[NAME, ("cluster", "4")]), "", rejected, "scope_limit"),
        (400, request(&many(49, "y")), "many", rejected, "tenant_series_limit"),
        (400, one(&[NAME]), "five", refused, "tenants"),
        (400, one(&[NAME]), "a/b", refused, "tenant_name"),
    ];
    for cluster in ["1", "2"] {
        assert_eq!(scorer.post(&V1, &one(&[NAME, ("cluster", cluster), ("service_name", "a")])).0, 204);
    }
    assert_eq!(scorer.post(&V1, &at(now)).0, 204);
    for (tenant, body) in [("many", request(&many(49, "x"))), ("three", request(&many(1, "z"))), ("four", request(&[]))]
    {
        assert_eq!(scorer.post(&[&V1[..], &[("X-Scope-OrgID", tenant)]].concat(), &body).0, 204, "{tenant}");
    }
    for (status, body, tenant, counter, reason) in cases {
        let name = format!("{counter}{{reason=\"{reason}\"}}");
        let before = scorer.metric(&name);
        let headers = [&V1[..], &[("X-Scope-OrgID", tenant)][..]].concat();
        let (found, answer) = scorer.post(if tenant.is_empty() { &V1 } else { &headers }, &body);
        assert_eq!(found, status, "{reason}: {answer}");
        assert!(scorer.metric(&name) > before, "{reason} is not counted");
        assert_eq!(scorer.post(&V1, &at(now)).0, 204, "after {reason}");
    }

    // A tenant that sends faster than it may: asked to wait, not refused for good.
    let tenant = [&V1[..], &[("X-Scope-OrgID", "three")]].concat();
    let body = request(&many(49, "z"));
    let statuses: Vec<u16> = (0..20).map(|_| scorer.post(&tenant, &body).0).collect();
    assert!(statuses.starts_with(&[204]) && statuses.contains(&503), "{statuses:?}");
    assert!(scorer.metric(&format!("{refused}{{reason=\"tenant_rate\"}}")) >= 1.0);

    // A body that does not arrive.
    let mut slow = TcpStream::connect(("127.0.0.1", scorer.port)).unwrap();
    slow.write_all(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\nxx")
        .unwrap();
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after"), "{answer}");
    assert_eq!(scorer.metric(&format!("{refused}{{reason=\"timeout\"}}")), 1.0);

    // Connections beyond those allowed. Each one held has been answered once, so it is known to be open.
    let mut open = Vec::new();
    let last = loop {
        let mut connection = TcpStream::connect(("127.0.0.1", scorer.port)).unwrap();
        connection.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut start = [0; 12];
        connection.read_exact(&mut start).unwrap();
        if start.ends_with(b"503") {
            break open.len();
        }
        open.push(connection);
        assert!(open.len() <= 20, "no limit is kept");
    };
    assert!(last <= 20);
    drop(open);
    let counted = quoll_conformance::wait_for("a free connection", || scorer.get("/metrics"));
    assert!(!counted.contains("quoll_scorer_web_connections_refused_total 0\n"));
    assert_eq!(scorer.post(&V1, &at(now)).0, 204);
}
