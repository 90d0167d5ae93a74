//! The exporter against microsim, whose processes count at their own sockets what they do: calls and their
//! outcomes, connections, bytes, latency.
//!
//! The shop is broken in several ways, then its entry is taken away, so that all behind it comes to rest: from
//! then on both sides' counts stand still and have to agree, requests but for the calls that the shop gives up, bytes within
//! 1 %. Where all requests
//! are answered, what an end times of them contains what the shop holds them back for, and is contained in what their
//! caller takes for them; so are the quantiles, however busy the machine is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::latency::assert_agrees;
use common::{Agent, Page, can_load, http, loopback, wait_until};
use quoll_exporter::agent::SourceChoice;
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
  - {name: leaf, concurrency: 512, backlog: 512, endpoints: [{path: /, latency: {median_ms: 20, sigma: 0}, response_bytes: 2000}]}
  - {name: shared, concurrency: 512, backlog: 512, endpoints: [{path: /, latency: {median_ms: 5, sigma: 0}}]}
";
const SERVICES: [&str; 4] = ["front", "mid", "leaf", "shared"];

/// front calls mid, which asks two endpoints of orders and one of cart, and does without any of them. Nobody gives a call up.
const ENDPOINTS: &str = "
load: {rate: 100, connection_uses: 20, entries: [{service: front, path: /, weight: 1}]}
services:
  - name: front
    concurrency: 512
    backlog: 512
    call_timeout_ms: 60000
    endpoints: [{path: /, latency: {median_ms: 1}, calls: [{to: mid, path: /, optional: true}]}]
  - name: mid
    concurrency: 512
    backlog: 512
    call_timeout_ms: 60000
    connection_uses: 20
    endpoints:
      - path: /
        latency: {median_ms: 1}
        fan_out: parallel
        calls: [{to: orders, path: /list, optional: true}, {to: orders, path: /place, optional: true}, {to: cart, path: /, optional: true}]
  - {name: orders, concurrency: 512, backlog: 512, endpoints: [{path: /list, latency: {median_ms: 5, sigma: 0}}, {path: /place, latency: {median_ms: 5, sigma: 0}}]}
  - {name: cart, concurrency: 512, backlog: 512, endpoints: [{path: /, latency: {median_ms: 20, sigma: 0}}]}
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

    /// What mid counts of its calls, by whom it calls.
    fn edges(&self) -> Value {
        self.ask("GET", "/stats", "")["services"]["mid"]["edges"].clone()
    }

    /// Waits until mid has counted so much of something at its calls of a service.
    fn until(&self, callee: &str, what: &str, count: f64) {
        wait_until(&format!("{count} times {what} of {callee}"), || {
            self.edges()[callee].pointer(what).and_then(Value::as_f64).is_some_and(|counted| counted >= count)
        });
    }

    /// Breaks something while `work` goes on.
    fn broken(&self, fault: &str, work: impl FnOnce()) {
        let fault = self.ask("POST", "/faults", &format!("{{{fault}, \"seconds\": 600}}"));
        work();
        self.ask("DELETE", &format!("/faults/{}", fault["id"].as_str().unwrap()), "");
    }

    /// Takes the users' entry away: by a crash at once, by a hang once what is under way has ended.
    fn close(&self, kind: &str) {
        self.ask("POST", "/faults", &format!("{{\"service\": \"front\", \"kind\": \"{kind}\", \"seconds\": 600}}"));
    }

    /// What mid counts of its calls, once they stand still.
    fn at_rest(&self) -> Value {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut last = self.edges();
        loop {
            // Longer than any call of the shop may take.
            thread::sleep(Duration::from_millis(1700));
            let now = self.edges();
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

#[test]
fn counts_failures_bytes_and_latencies_agree_with_what_the_shop_counts_itself() {
    if !can_load() {
        return;
    }
    let agent = Agent::start(SourceChoice::Ebpf, &rules(51, &SERVICES));
    let shop = Shop::start(51, TOPOLOGY);
    let requests = |count: f64| ["leaf", "shared"].map(|callee| shop.until(callee, "/requests", count));
    requests(150.0);
    let fault = |service: &str, kind: &str| format!("\"service\": \"{service}\", \"kind\": \"{kind}\"");
    shop.broken(&fault("leaf", "errors"), || shop.until("leaf", "/responses/server_error", 50.0));
    shop.broken(&fault("leaf", "crash"), || shop.until("leaf", "/connect_failures", 50.0));
    // For longer than its caller waits.
    shop.broken(&fault("shared", "hang"), || shop.until("shared", "/timeouts", 30.0));
    requests(400.0);
    shop.close("crash");
    let witness = shop.at_rest();

    let mut kinds = [0.0; 3];
    for callee in ["leaf", "shared"] {
        let edge = ("mid", callee);
        let own = |pointer: &str| witness[callee].pointer(pointer).and_then(Value::as_f64).unwrap();
        let responses = |class: &str| own(&format!("/responses/{class}"));
        let answered = responses("ok") + responses("client_error") + responses("server_error");
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
        // A call that the shop gives up may be refused or answered all the same, to the kernel only; or it was never made.
        // What was handed to a connection that broke may not have gone out either: the shop itself cannot tell.
        let given_up = own("/timeouts") + own("/abandoned");
        let between = |what: &str, seen: f64, surely: f64, perhaps: f64| {
            let expected = surely..=surely + perhaps;
            assert!(expected.contains(&seen), "{callee}, {what}: {seen} seen, {expected:?} made");
        };
        let [good, bad, none] = ["2xx", "5xx", "none"].map(|class| page.requests(edge, "client", class));
        between("2xx", good, responses("ok"), given_up);
        between("5xx", bad, responses("server_error"), given_up);
        let unsure = given_up + own("/broken");
        between("requests", good + bad + none, own("/requests") - unsure, unsure);
        let connect_failures = own("/connect_failures");
        between("connects", seen("tcp_connects_total"), own("/connects") + connect_failures, given_up);
        between("refused", reason("refused"), connect_failures, given_up);
        // Nobody reads the answers to these.
        let share = 0.01 + given_up / own("/requests");
        within("bytes sent", seen("tcp_sent_bytes_total"), own("/sent_bytes"), share);
        within("bytes received", seen("tcp_received_bytes_total"), own("/received_bytes"), share);
        kinds[0] += responses("server_error");
        kinds[1] += none;
        kinds[2] += own("/connect_failures");
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
    shop.until("orders", "/requests", 200.0);
    let errors = "\"service\": \"orders\", \"kind\": \"errors\", \"path\": \"/place\", \"severity\": 0.4";
    shop.broken(errors, || shop.until("orders", "/responses/server_error", 100.0));
    shop.close("hang");
    let witness = shop.at_rest();
    for (callee, fails, held_back) in [("orders", true, 0.005), ("cart", false, 0.02)] {
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
            let labels = ["client=\"mid\"", &format!("server=\"{callee}\""), &format!("reporter=\"{reporter}\"")];
            for (quantile, name) in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")] {
                let seen = page.bucket_of_quantile(&Page::empty(), "http_request_duration_seconds", &labels, quantile);
                let witnessed = own(&format!("/latency_seconds/{name}"));
                assert_agrees(&format!("{callee}, {reporter}, {name}"), seen, held_back, witnessed);
            }
        }
    }
}
