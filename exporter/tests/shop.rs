//! The exporter against microsim, whose processes count at their own sockets what they do: calls and their
//! outcomes, connections, bytes, latency.
//!
//! The shop is broken in several ways, then its entry is taken away, so that all behind it comes to rest: from
//! then on both sides' counts stand still and have to agree, requests within 0.1 %, bytes within 1 %, quantiles
//! within one bucket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Agent, Page, can_load, http, loopback};
use quoll_exporter::agent::SourceChoice;
use quoll_exporter::collectors::requests::BOUNDS;
use serde_json::Value;

/// front calls mid, which calls leaf and shared, and does without either where it fails.
const TOPOLOGY: &str = "
load: {rate: 80, rhythm: {period_seconds: 60, amplitude: 0.1}, noise: 0.05, connection_uses: 5, entries: [{service: front, path: /, weight: 1}]}
services:
  - name: front
    concurrency: 512
    backlog: 512
    call_timeout_ms: 2500
    endpoints: [{path: /, latency: {median_ms: 1}, calls: [{to: mid, path: /, optional: true}]}]
  - name: mid
    concurrency: 512
    backlog: 512
    call_timeout_ms: 1500
    connection_uses: 5
    endpoints:
      - path: /
        latency: {median_ms: 1}
        fan_out: parallel
        calls: [{to: leaf, path: /, optional: true}, {to: shared, path: /, optional: true}]
  - {name: leaf, concurrency: 512, backlog: 512, endpoints: [{path: /, latency: {median_ms: 20}, response_bytes: 2000}]}
  - {name: shared, concurrency: 512, backlog: 512, endpoints: [{path: /, latency: {median_ms: 5}}]}
";
const SERVICES: [&str; 4] = ["front", "mid", "leaf", "shared"];

/// front calls mid, which asks two endpoints of orders and one of cart, and does without any of them.
const ENDPOINTS: &str = "
load: {rate: 100, connection_uses: 20, entries: [{service: front, path: /, weight: 1}]}
services:
  - name: front
    concurrency: 512
    backlog: 512
    endpoints: [{path: /, latency: {median_ms: 1}, calls: [{to: mid, path: /, optional: true}]}]
  - name: mid
    concurrency: 512
    backlog: 512
    connection_uses: 20
    endpoints:
      - path: /
        latency: {median_ms: 1}
        fan_out: parallel
        calls: [{to: orders, path: /list, optional: true}, {to: orders, path: /place, optional: true}, {to: cart, path: /, optional: true}]
  - {name: orders, concurrency: 512, backlog: 512, endpoints: [{path: /list, latency: {median_ms: 1}}, {path: /place, latency: {median_ms: 2}}]}
  - {name: cart, concurrency: 512, backlog: 512, endpoints: [{path: /, latency: {median_ms: 1}}]}
";

/// A running shop; it cleans up after itself when it is asked to end.
struct Shop {
    process: Child,
    control: String,
    _folder: tempfile::TempDir,
}

/// The shop's binary, beside the exporter's own; built anew where its sources changed.
fn microsim() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_quoll-exporter")).with_file_name("quoll-microsim");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "-p", "quoll-microsim"]);
    if binary.parent().unwrap().ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
    binary
}

/// The services by their addresses: in the subnet of `test` these begin at .10, in order.
fn rules(test: u8, services: &[&str]) -> String {
    let rule = |(place, name): (usize, &&str)| {
        format!("  - {{name: {name}, match: [{{address: {}}}]}}\n", loopback(test, 10 + place as u8))
    };
    let rules: String = services.iter().enumerate().map(rule).collect();
    format!("services:\n{rules}")
}

impl Shop {
    fn start(test: u8, services: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let topology = folder.path().join("topology.yaml");
        std::fs::write(&topology, services).unwrap();
        let mut process = Command::new(microsim())
            .args(["run", "--isolation", "none", "--control", "127.0.0.1:0", "--topology"])
            .arg(&topology)
            .args(["--name", &format!("qxshop-{}-{test}", std::process::id())])
            .args(["--subnet", &format!("{}/24", loopback(test, 0))])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let control = loop {
            let line = lines.next().expect("it ended").unwrap();
            if let Some(control) = line.strip_prefix("control http://") {
                break control.trim_end_matches('/').to_owned();
            }
        };
        thread::spawn(move || lines.for_each(drop));
        Self { process, control, _folder: folder }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let body = http(&self.control, method, path, body);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// Breaks a service for some time.
    fn broken(&self, service: &str, kind: &str, seconds: f64) {
        self.broken_with(&format!("\"service\": \"{service}\", \"kind\": \"{kind}\""), seconds);
    }

    fn broken_with(&self, fault: &str, seconds: f64) {
        let fault = self.ask("POST", "/faults", &format!("{{{fault}, \"seconds\": 60}}"));
        thread::sleep(Duration::from_secs_f64(seconds));
        self.ask("DELETE", &format!("/faults/{}", fault["id"].as_str().unwrap()), "");
    }

    /// Takes the users' entry away: by a crash at once, by a hang once what is under way has ended.
    fn close(&self, kind: &str) {
        self.ask("POST", "/faults", &format!("{{\"service\": \"front\", \"kind\": \"{kind}\", \"seconds\": 600}}"));
    }

    /// What mid counts of its calls, once they stand still.
    fn at_rest(&self) -> Value {
        let deadline = Instant::now() + Duration::from_secs(120);
        let edges = || self.ask("GET", "/stats", "")["services"]["mid"]["edges"].clone();
        let mut last = edges();
        loop {
            // Longer than any call of the shop may take.
            thread::sleep(Duration::from_millis(1700));
            let now = edges();
            if now == last {
                return now;
            }
            assert!(Instant::now() < deadline, "it does not come to rest");
            last = now;
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// Index of the bucket that holds a quantile of an edge's requests, of all classes.
fn bucket_of_quantile(page: &Page, edge: (&str, &str), quantile: f64) -> usize {
    let count = |bound: &str| -> f64 {
        let labels = |class| format!(",status_class=\"{class}\",le=\"{bound}\"");
        let of = |class| page.edge_with("http_request_duration_seconds_bucket", edge, "client", &labels(class));
        ["2xx", "4xx", "5xx", "none"].into_iter().map(of).sum()
    };
    let wanted = quantile * count("+Inf");
    BOUNDS.iter().position(|bound| count(&bound.to_string()) >= wanted).unwrap_or(BOUNDS.len())
}

#[test]
fn counts_failures_bytes_and_latencies_agree_with_what_the_shop_counts_itself() {
    if !can_load() {
        return;
    }
    let agent = Agent::start(SourceChoice::Ebpf, &rules(51, &SERVICES));
    let shop = Shop::start(51, TOPOLOGY);
    thread::sleep(Duration::from_secs(2));
    shop.broken("leaf", "errors", 1.0);
    shop.broken("leaf", "crash", 1.0);
    shop.broken("shared", "hang", 1.0);
    thread::sleep(Duration::from_secs(1));
    shop.close("crash");
    let witness = shop.at_rest();

    let mut kinds = [0.0; 3];
    for callee in ["leaf", "shared"] {
        let edge = ("mid", callee);
        let own = |pointer: &str| witness[callee].pointer(pointer).and_then(Value::as_f64).unwrap();
        let responses = |class: &str| own(&format!("/responses/{class}"));
        let answered = responses("ok") + responses("client_error") + responses("server_error");
        let unanswered = own("/requests") - answered;
        let failed = own("/connect_failures") + own("/connect_timeouts");
        let page = agent.page_when(|page| page.requests(edge, "client", "2xx") >= responses("ok"));
        let seen = |metric: &str| page.edge(metric, edge, "client");
        let reason = |reason: &str| {
            page.edge_with("tcp_connect_failures_total", edge, "client", &format!(",reason=\"{reason}\""))
        };
        let within = |what: &str, seen: f64, witnessed: f64, share: f64| {
            let difference = (seen - witnessed).abs();
            assert!(difference <= share * witnessed, "{callee}, {what}: {seen} seen, {witnessed} made");
        };
        assert!(answered > 100.0, "{callee}: only {answered} requests");
        let [good, bad] = ["2xx", "5xx"].map(|class| page.requests(edge, "client", class));
        // An answer that comes while the shop gives its call up is one to the kernel only. It is a rare one.
        let late = (good + bad - responses("ok") - responses("server_error")).max(0.0);
        assert!(late <= 2.0 + 0.05 * unanswered, "{callee}: {late} answers of {unanswered} unanswered calls");
        within("2xx", good, responses("ok"), 0.001 + late / answered);
        within("5xx", bad, responses("server_error"), 0.001 + late / responses("server_error").max(1.0));
        // What was handed to a connection that broke may not have gone out: the shop itself cannot tell.
        let none = page.requests(edge, "client", "none");
        let surely = unanswered - own("/broken") - late;
        assert!(
            (surely..=unanswered).contains(&none),
            "{callee}, unanswered: {none} seen, {surely} to {unanswered} made"
        );
        within("connects", seen("tcp_connects_total"), own("/connects") + failed, 0.001);
        within("refused", reason("refused"), own("/connect_failures"), 0.001);
        within("timed out", reason("timeout"), own("/connect_timeouts"), 0.001);
        within("bytes sent", seen("tcp_sent_bytes_total"), own("/sent_bytes"), 0.01);
        within("bytes received", seen("tcp_received_bytes_total"), own("/received_bytes"), 0.01);
        for (quantile, name) in [(0.5, "p50"), (0.9, "p90")] {
            let witnessed = own(&format!("/latency_seconds/{name}"));
            let bucket = BOUNDS.iter().position(|bound| witnessed <= *bound).unwrap_or(BOUNDS.len());
            let seen = bucket_of_quantile(&page, edge, quantile);
            assert!(seen.abs_diff(bucket) <= 1, "{callee}, {name}: bucket {seen}, but {witnessed} s");
        }
        kinds[0] += responses("server_error");
        kinds[1] += unanswered;
        kinds[2] += own("/connect_failures");
        assert_eq!(page.get("exporter_events_dropped_total{event=\"connection_end\"}"), 0.0);
    }
    assert!(kinds.iter().all(|count| *count > 0.0), "not every fault was felt: {kinds:?}");
}

#[test]
fn errors_of_one_endpoint_are_the_error_ratio_of_its_edge_and_of_no_other() {
    if !can_load() {
        return;
    }
    let agent = Agent::start(SourceChoice::Ebpf, &rules(55, &["front", "mid", "orders", "cart"]));
    let shop = Shop::start(55, ENDPOINTS);
    thread::sleep(Duration::from_secs(1));
    let errors = "\"service\": \"orders\", \"kind\": \"errors\", \"path\": \"/place\", \"severity\": 0.4";
    shop.broken_with(errors, 3.0);
    shop.close("hang");
    let witness = shop.at_rest();
    for (callee, fails) in [("orders", true), ("cart", false)] {
        let own = |pointer: &str| witness[callee].pointer(pointer).and_then(Value::as_f64).unwrap();
        let (requests, failed) = (own("/requests"), own("/responses/server_error"));
        assert!(requests > 100.0 && (failed > 10.0) == fails, "{callee}: {failed} of {requests}");
        let edge = ("mid", callee);
        for reporter in ["client", "server"] {
            let all = |page: &Page| -> f64 {
                ["2xx", "3xx", "4xx", "5xx", "none"].iter().map(|class| page.requests(edge, reporter, class)).sum()
            };
            let page = agent.page_when(|page| all(page) >= requests);
            assert!((all(&page) - requests).abs() <= 0.001 * requests, "{callee}, {reporter}: {requests} requests");
            let (seen, made) = (page.requests(edge, reporter, "5xx") / all(&page), failed / requests);
            assert!((seen - made).abs() <= 0.001, "{callee}, {reporter}: error ratio {seen} seen, {made} made");
        }
    }
}
