//! The exporter against independent witnesses: a load generator and a web server that know nothing of it.
//!
//! nginx writes down every request that it answered, with its bytes; wrk counts on its side. Requests must
//! agree within 0.1 % (those in flight when wrk stops are the witnesses' own difference), bytes within 1 %.
//! Quantiles must lie at most one bucket from those of a client that takes the time of each request: wrk's
//! own are no witness, since it adds requests that it would have liked to send (`stats_correct`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::nginx::Nginx;
use common::{Agent, Page, can_load, connect, loopback};
use quoll_exporter::agent::SourceChoice;
use quoll_exporter::collectors::requests::BOUNDS;

const EDGE: (&str, &str) = ("wrk", "nginx");
const PROBE: (&str, &str) = ("probe", "nginx");
const CONNECTIONS: usize = 4;
const PROBES: usize = 100;

/// What nginx serves: a body at once, or held back by a limit of the rate.
fn nginx(address: SocketAddr) -> Nginx {
    let body = "x".repeat(3000);
    Nginx::start(
        address,
        "limit_req_zone $binary_remote_addr zone=slow:1m rate=50r/s;",
        &format!(
            "location / {{ return 200 '{body}'; }} \
             location /slow {{ limit_req zone=slow burst=100; try_files /none =404; }}"
        ),
    )
}

/// Requests that wrk counted.
fn wrk(address: SocketAddr) -> f64 {
    let connections = CONNECTIONS.to_string();
    let output = Command::new("wrk")
        .args(["-t1", "-c", &connections, "-d", "2s", &format!("http://{address}/")])
        .stderr(Stdio::inherit())
        .output()
        .expect("wrk is missing: scripts/setup installs it");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(" requests in ")).expect(&text);
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Written at once, as clients do.
fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n")
}

/// Seconds of each of some requests, every other one of which nginx holds back for some 20 ms.
fn probe(address: SocketAddr) -> Vec<f64> {
    let mut stream = connect(loopback(41, 1), address).unwrap();
    let mut times = Vec::new();
    let mut answer = vec![0; 8192];
    for number in 0..PROBES {
        let path = if number % 2 == 0 { "/" } else { "/slow" };
        let began = Instant::now();
        stream.write_all(request(path).as_bytes()).unwrap();
        let first = stream.read(&mut answer).unwrap();
        times.push(began.elapsed().as_secs_f64());
        // The rest of it, so that the next answer is the next request's.
        let text = String::from_utf8_lossy(&answer[..first]).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let rest = length.parse::<usize>().unwrap() - body.len();
        stream.read_exact(&mut answer[..rest]).unwrap();
    }
    times.sort_unstable_by(f64::total_cmp);
    times
}

/// Index of the bucket that holds a quantile of the probe's requests between two pages, of all classes.
fn bucket_of_quantile([before, after]: [&Page; 2], reporter: &str, quantile: f64) -> usize {
    let below = |bound: &f64| -> f64 {
        let labels = |class| format!(",status_class=\"{class}\",le=\"{bound}\"");
        let of = |page: &Page, class| {
            page.edge_with("http_request_duration_seconds_bucket", PROBE, reporter, &labels(class))
        };
        ["2xx", "4xx"].into_iter().map(|class| of(after, class) - of(before, class)).sum()
    };
    BOUNDS.iter().position(|bound| below(bound) >= quantile * PROBES as f64).unwrap_or(BOUNDS.len())
}

fn assert_within(name: &str, seen: f64, witnessed: f64, tolerance: f64) {
    let difference = (seen - witnessed).abs() / witnessed;
    assert!(difference <= tolerance, "{name}: {seen} against {witnessed}, {:.4} % apart", 100.0 * difference);
}

#[test]
fn requests_bytes_and_latencies_agree_with_nginx_and_wrk() {
    if !can_load() {
        return;
    }
    let address = TcpListener::bind((loopback(41, 2), 0)).unwrap().local_addr().unwrap();
    let nginx = nginx(address);
    let services = format!(
        "services:\n  - {{name: nginx, match: [{{address: {}}}]}}\n  - {{name: wrk, match: [{{executable: wrk}}]}}\n  \
         - {{name: probe, match: [{{address: {}}}]}}\n",
        address.ip(),
        loopback(41, 1)
    );
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    // As a Prometheus would: a process has to be there at a look to be known by its executable.
    let running = thread::spawn(move || wrk(address));
    while !running.is_finished() {
        agent.page();
        thread::sleep(Duration::from_millis(100));
    }
    let requests = running.join().unwrap();
    let (answered, [sent, received]) = (nginx.answered(2), nginx.bytes());
    assert!(answered > 100.0, "only {answered} requests");
    assert!((requests - answered).abs() <= CONNECTIONS as f64, "the witnesses differ: {requests} {answered}");

    // wrk may be gone before anybody saw that it is wrk; then its end is known by nginx's report only.
    let server = |page: &Page| ["wrk", "unknown"].map(|client| page.requests((client, "nginx"), "server", "2xx"));
    let all = |page: &Page| server(page).iter().sum::<f64>();
    let page = agent.page_when(|page| all(page) >= answered);
    assert_within("requests", all(&page), answered, 0.001);
    let edge = |metric: &str| ["wrk", "unknown"].map(|client| page.edge(metric, (client, "nginx"), "server"));
    assert_within("bytes sent", edge("tcp_sent_bytes_total").iter().sum(), sent, 0.01);
    assert_within("bytes received", edge("tcp_received_bytes_total").iter().sum(), received, 0.01);
    assert_eq!(page.get("exporter_events_dropped_total{event=\"request\"}"), 0.0);
    let client = page.requests(EDGE, "client", "2xx");
    assert_within("requests at the client", client, answered, 0.001);

    // Where the machine is busy, the probe waits for the processor between what it measures and what the kernel
    // does: the measurement is then taken again.
    let mut off = None;
    for round in 1..=5 {
        let before = agent.page();
        let times = probe(address);
        let all = f64::from(round) * (PROBES / 2) as f64;
        let after = agent
            .page_when(|page| ["client", "server"].iter().all(|reporter| page.requests(PROBE, reporter, "4xx") == all));
        off = disagreement([&before, &after], &times);
        if off.is_none() {
            break;
        }
    }
    assert_eq!(off, None);
}

/// Where latencies as the kernel has them are more than a bucket off the probe's.
fn disagreement(pages: [&Page; 2], times: &[f64]) -> Option<String> {
    for quantile in [0.25, 0.4, 0.6, 0.75, 0.9] {
        let witnessed = times[(quantile * PROBES as f64) as usize - 1];
        let bucket = BOUNDS.iter().position(|bound| witnessed <= *bound).unwrap_or(BOUNDS.len());
        for reporter in ["client", "server"] {
            let seen = bucket_of_quantile(pages, reporter, quantile);
            if seen.abs_diff(bucket) > 1 {
                return Some(format!("{reporter}, quantile {quantile}: bucket {seen}, but {witnessed} s"));
            }
        }
    }
    (times[PROBES - 1] <= 10.0 * times[0]).then(|| format!("nothing was held back: {times:?}"))
}
