//! What the sender does with each kind of answer, against a scripted peer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::time::Duration;

use common::{Peer, now_ms, series, wait_for};
use quoll_queue::{Credentials, Protocol, Queue, QueueConfig, QueueError, Secret};

fn config(url: &str, dir: &tempfile::TempDir) -> QueueConfig {
    let mut config = QueueConfig::new(url, dir.path());
    config.backoff = (Duration::from_millis(20), Duration::from_millis(200));
    // None of the peers here is slow, the machine may be.
    config.timeout = Duration::from_secs(600);
    config
}

#[test]
fn a_batch_arrives_as_remote_write_2_with_sorted_labels() {
    arrives(Protocol::Auto, "application/x-protobuf;proto=io.prometheus.write.v2.request", "2.0.0");
}

#[test]
fn a_batch_arrives_as_remote_write_1_where_that_is_asked_for() {
    arrives(Protocol::V1, "application/x-protobuf\r\n", "0.1.0");
}

fn arrives(protocol: Protocol, content_type: &str, version: &str) {
    let (peer, dir) = (Peer::scripted(&[]), tempfile::tempdir().unwrap());
    let mut config = config(&peer.url, &dir);
    config.protocol = protocol;
    config.external_labels.push(("site".to_owned(), "eu".to_owned()));
    config.headers.push(("X-Scope-OrgID".to_owned(), "tenant".to_owned()));
    let queue = Queue::open(config).unwrap();
    let at = now_ms();
    let mut unsorted = series("quoll_anomaly_score", 1, at, 1.5);
    unsorted.labels.reverse();
    queue.append(vec![unsorted, series("quoll_anomaly_score", 2, at, f64::NAN)]).unwrap();
    wait_for("the request", || queue.stats().sent_samples == 2);
    let requests = peer.requests();
    let head = requests[0].head.to_ascii_lowercase();
    for line in [
        "post /api/v1/write http/1.1",
        &format!("content-type: {content_type}"),
        "content-encoding: snappy",
        &format!("x-prometheus-remote-write-version: {version}"),
        "x-scope-orgid: tenant",
        "user-agent: quoll-scorer/",
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    let samples = requests[0].samples();
    let mut labels = series("quoll_anomaly_score", 1, at, 0.0).labels;
    labels.push(("site".to_owned(), "eu".to_owned()));
    assert_eq!(samples[0].0, labels);
    assert_eq!((samples[0].1, samples[0].2), (at, 1.5));
    assert!(samples[1].2.is_nan());
    assert_eq!(queue.stats().pending_samples, 0);
}

#[test]
fn retries_send_the_same_bytes_until_the_peer_takes_them_and_nothing_overtakes() {
    let peer =
        Peer::scripted(&[(500, ""), (503, ""), (429, ""), (0, ""), (404, ""), (401, ""), (302, "Location: /x\r\n")]);
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(config(&peer.url, &dir)).unwrap();
    for n in 0..3_i32 {
        queue.append(vec![series("m", 1, now_ms(), f64::from(n))]).unwrap();
    }
    wait_for("all three", || queue.stats().sent_samples == 3);
    let requests = peer.requests();
    assert_eq!(requests.len(), 7 + 3);
    assert!(requests[..8].iter().all(|request| request.body == requests[0].body));
    let values: Vec<f64> = requests[7..].iter().map(|request| request.samples()[0].2).collect();
    assert_eq!(values, [0.0, 1.0, 2.0]);
    assert_eq!(queue.stats().requests_retried, 7);
    assert_eq!(queue.stats().requests_ok, 3);
}

#[test]
fn retry_after_is_respected() {
    let (peer, dir) = (Peer::scripted(&[(503, "Retry-After: 1\r\n")]), tempfile::tempdir().unwrap());
    let queue = Queue::open(config(&peer.url, &dir)).unwrap();
    queue.append(vec![series("m", 1, now_ms(), 1.0)]).unwrap();
    wait_for("the second try", || queue.stats().sent_samples == 1);
    let requests = peer.requests();
    let waited = requests[1].at - requests[0].at;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
}

#[test]
fn a_refusal_is_bisected_to_the_offending_series_and_the_others_go_through() {
    let bad = |id: &str| id == "00013" || id == "00700";
    let peer = Peer::answering(Box::new(move |request| {
        let offends = request.samples().iter().any(|(labels, _, _)| labels.iter().any(|(_, value)| bad(value)));
        if offends { (400, "") } else { (204, "") }
    }));
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(config(&peer.url, &dir)).unwrap();
    let at = now_ms();
    queue.append((0..1000).map(|id| series("m", id, at, 1.0)).collect()).unwrap();
    queue.append(vec![series("m", 0, at + 1, 2.0)]).unwrap();
    wait_for("all but two", || queue.stats().sent_samples == 999);
    let stats = queue.stats();
    assert_eq!((stats.refused_samples, stats.pending_samples), (2, 0));
    let requests = peer.requests();
    assert!(requests.len() < 45, "two series of 1000 cost {} requests", requests.len());
    let taken: usize = requests
        .iter()
        .map(|request| request.samples())
        .filter(|samples| !samples.iter().any(|(labels, _, _)| labels.iter().any(|(_, value)| bad(value))))
        .map(|samples| samples.len())
        .sum();
    assert_eq!(taken, 999, "each exactly once");
}

#[test]
fn what_is_too_old_is_dropped_and_counted_and_never_sent() {
    let (peer, dir) = (Peer::scripted(&[(503, ""); 1000]), tempfile::tempdir().unwrap());
    let mut config = config(&peer.url, &dir);
    config.max_age = Duration::from_secs(3);
    let queue = Queue::open(config).unwrap();
    queue.append(vec![series("old", 1, now_ms() - 6000, 1.0), series("old", 2, now_ms() - 6000, 1.0)]).unwrap();
    wait_for("the drop", || queue.stats().dropped_too_old_samples == 2);
    assert_eq!(peer.requests().len(), 0);
    queue.append(vec![series("ages", 1, now_ms(), 1.0)]).unwrap();
    wait_for("the drop after tries", || queue.stats().dropped_too_old_samples == 3);
    assert!(!peer.requests().is_empty());
    assert_eq!(queue.stats().pending_samples, 0);
}

#[test]
fn what_was_not_taken_is_sent_after_a_restart_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let away = Peer::scripted(&[(503, ""); 10_000]);
    let queue = Queue::open(config(&away.url, &dir)).unwrap();
    let at = now_ms();
    for n in 0..5 {
        queue.append((0..10).map(|id| series("m", id, at + n, 1.0)).collect()).unwrap();
    }
    assert!(matches!(Queue::open(config(&away.url, &dir)), Err(QueueError::Locked { .. })));
    wait_for("a first try", || !away.requests().is_empty());
    queue.shutdown(Duration::from_millis(50));
    let peer = Peer::scripted(&[]);
    let queue = Queue::open(config(&peer.url, &dir)).unwrap();
    wait_for("everything", || queue.stats().sent_samples == 50);
    assert_eq!(peer.requests()[0].body, away.requests()[0].body);
    let times: Vec<i64> = peer.requests().iter().map(|request| request.samples()[0].1).collect();
    assert_eq!(times, (0..5).map(|n| at + n).collect::<Vec<_>>());
    queue.shutdown(Duration::from_secs(60));
    let queue = Queue::open(config(&peer.url, &dir)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(peer.requests().len(), 5, "nothing is sent twice");
    drop(queue);
}

#[test]
fn shutdown_sends_what_it_can_before_the_deadline() {
    let (peer, dir) = (Peer::scripted(&[(500, ""); 3]), tempfile::tempdir().unwrap());
    let queue = Queue::open(config(&peer.url, &dir)).unwrap();
    let at = now_ms();
    for n in 0..100 {
        queue.append(vec![series("m", 1, at + n, 1.0)]).unwrap();
    }
    queue.shutdown(Duration::from_secs(60));
    assert_eq!(peer.requests().len(), 103);
}

#[test]
fn a_peer_that_never_answers_neither_blocks_appending_nor_the_end() {
    // A port that accepts and stays silent.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/v1/write", silent.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(config(&url, &dir)).unwrap();
    let begin = std::time::Instant::now();
    for n in 0..100 {
        queue.append(vec![series("m", 1, now_ms() + n, 1.0)]).unwrap();
    }
    queue.shutdown(Duration::from_millis(100));
    // A tenth of the time after which a silent peer is given up.
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    let queue = Queue::open(config(&url, &dir)).unwrap();
    assert_eq!(queue.stats().pending_samples, 100);
}

/// Versions of the requests in the order in which they came.
fn versions(peer: &Peer) -> Vec<u8> {
    peer.requests().iter().map(|request| if request.is_v2() { 2 } else { 1 }).collect()
}

#[test]
fn a_peer_that_takes_2_without_proof_gets_the_same_samples_as_1_at_once() {
    let (peer, dir) = (Peer::scripted(&[]).without_counts(), tempfile::tempdir().unwrap());
    let mut config = config(&peer.url, &dir);
    config.try_again_after = Duration::from_secs(3600);
    let queue = Queue::open(config).unwrap();
    let at = now_ms();
    queue.append(vec![series("m", 1, at, 1.0), series("m", 2, at, 2.0)]).unwrap();
    wait_for("the first batch", || queue.stats().sent_samples == 2);
    queue.append(vec![series("m", 1, at + 1, 3.0)]).unwrap();
    wait_for("the second batch", || queue.stats().sent_samples == 3);
    assert_eq!(versions(&peer), [2, 1, 1]);
    let requests = peer.requests();
    assert_eq!(requests[0].samples(), requests[1].samples(), "nothing is lost with the answer that proves nothing");
    assert_eq!((queue.stats().fallbacks, queue.stats().version), (1, 1));
}

#[test]
fn a_peer_that_gets_1_is_sent_2_again_after_some_time() {
    let (peer, dir) = (Peer::scripted(&[]).without_counts(), tempfile::tempdir().unwrap());
    let mut config = config(&peer.url, &dir);
    config.try_again_after = Duration::from_millis(100);
    let queue = Queue::open(config).unwrap();
    let mut time = now_ms();
    queue.append(vec![series("m", 1, time, 1.0)]).unwrap();
    wait_for("1.0 in its place", || queue.stats().fallbacks == 1);
    wait_for("2.0 to be tried again", || {
        time += 1;
        queue.append(vec![series("m", 1, time, 4.0)]).unwrap();
        versions(&peer)[1..].contains(&2)
    });
    wait_for("the rest", || queue.stats().pending_samples == 0);
    let taken: usize =
        peer.requests().iter().filter(|request| !request.is_v2()).map(|request| request.samples().len()).sum();
    assert_eq!(queue.stats().sent_samples, taken as u64);
}

#[test]
fn a_peer_that_refuses_2_or_wrote_less_than_was_sent_gets_1() {
    for first in [(415, ""), (400, ""), (200, "X-Prometheus-Remote-Write-Samples-Written: 1\r\n")] {
        let (peer, dir) = (Peer::scripted(&[first]).without_counts(), tempfile::tempdir().unwrap());
        let queue = Queue::open(config(&peer.url, &dir)).unwrap();
        queue.append(vec![series("m", 1, now_ms(), 1.0), series("m", 2, now_ms(), 2.0)]).unwrap();
        wait_for("the batch", || queue.stats().sent_samples == 2);
        assert_eq!(versions(&peer), [2, 1], "{first:?}");
        assert_eq!(queue.stats().refused_samples, 0);
    }
}

#[test]
fn a_peer_that_proved_2_keeps_getting_it_also_after_a_refusal() {
    let (peer, dir) = (Peer::scripted(&[]), tempfile::tempdir().unwrap());
    let queue = Queue::open(config(&peer.url, &dir)).unwrap();
    queue.append(vec![series("m", 1, now_ms(), 1.0)]).unwrap();
    wait_for("the first batch", || queue.stats().sent_samples == 1);
    drop(queue);
    let peer = Peer::answering(Box::new(|request| {
        let bad = request.samples().iter().any(|(labels, _, _)| labels.iter().any(|(_, value)| value == "00007"));
        if bad { (400, "") } else { (204, "") }
    }));
    let queue = Queue::open(config(&peer.url, &dir)).unwrap();
    queue.append(vec![series("m", 1, now_ms(), 1.0)]).unwrap();
    wait_for("the proof", || queue.stats().sent_samples == 1);
    queue.append((0..16).map(|id| series("n", id, now_ms(), 1.0)).collect()).unwrap();
    wait_for("the others", || queue.stats().sent_samples == 16);
    wait_for("the refusal", || queue.stats().refused_samples == 1);
    assert!(versions(&peer).iter().all(|&version| version == 2));
    assert_eq!(queue.stats().fallbacks, 0);
}

#[test]
fn a_token_file_is_read_anew_for_each_request_and_a_password_is_sent_as_basic() {
    let peer = Peer::answering(Box::new(|request| {
        let good = ["Bearer second\r\n", "Basic bWU6aHVzaA==\r\n"].iter().any(|good| request.head.contains(good));
        if good { (204, "") } else { (401, "") }
    }));
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let mut bearer = config(&peer.url, &dir);
    bearer.dir = dir.path().join("queue");
    bearer.credentials = Credentials::Token { scheme: "Bearer".into(), token: Secret::File(token.clone()) };
    let queue = Queue::open(bearer).unwrap();
    queue.append(vec![series("m", 1, now_ms(), 1.0)]).unwrap();
    wait_for("a try without a file", || queue.stats().requests_retried > 0);
    assert!(peer.requests().is_empty(), "nothing goes out without the token");
    std::fs::write(&token, "first\n").unwrap();
    wait_for("the refused token", || !peer.requests().is_empty());
    std::fs::write(&token, "second\n").unwrap();
    wait_for("the sample", || queue.stats().sent_samples == 1);
    drop(queue);
    let requests = peer.requests();
    assert!(requests[0].head.contains("Bearer first\r\n"));
    assert!(requests[requests.len() - 1].head.contains("Bearer second\r\n"));

    let mut basic = config(&peer.url, &dir);
    basic.dir = dir.path().join("queue");
    basic.credentials = Credentials::Basic { username: "me".into(), password: Secret::Text("hush".into()) };
    let queue = Queue::open(basic).unwrap();
    queue.append(vec![series("m", 1, now_ms(), 2.0)]).unwrap();
    wait_for("the sample", || queue.stats().sent_samples == 1);
    assert!(peer.requests().last().unwrap().head.contains("Basic bWU6aHVzaA==\r\n"));
}

#[test]
fn the_wait_between_tries_doubles_and_is_bounded() {
    let (peer, dir) = (Peer::scripted(&[(503, ""); 7]), tempfile::tempdir().unwrap());
    let mut config = config(&peer.url, &dir);
    config.backoff = (Duration::from_millis(40), Duration::from_millis(160));
    let queue = Queue::open(config).unwrap();
    queue.append(vec![series("m", 1, now_ms(), 1.0)]).unwrap();
    wait_for("the sample", || queue.stats().sent_samples == 1);
    let requests = peer.requests();
    let waits: Vec<Duration> = requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    for (wait, least) in waits.iter().zip([20, 40, 80, 80, 80, 80, 80]) {
        assert!(*wait >= Duration::from_millis(least), "{waits:?}");
    }
    assert!(waits[3..].iter().any(|wait| *wait != waits[3]), "jitter spreads them: {waits:?}");
}
