//! The exporter against independent witnesses: a load generator and a web server that know nothing of it.
//!
//! nginx writes down every request that it answered, with its bytes; wrk counts on its side. Requests must
//! agree within 0.1 %, bytes within 1 %, or within what was under way when wrk stopped: of that nobody can say whether it
//! went. Quantiles must lie at most one bucket from those of wrk, and of a client that takes the time of each request.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::latency::{HELD_BACK, PATHS, Times, assert_wrk_agrees};
use common::nginx::{LATE, Nginx, Wrk};
use common::{Agent, Page, can_load, connect, loopback};
use quoll_exporter::agent::SourceChoice;

const DURATION: &str = "http_request_duration_seconds";
const CONNECTIONS: usize = 4;
/// Requests whose times are compared.
const PROBES: usize = 60;

/// A web server and the rules that name it and its client, which is known by its executable. Others' are called `nginx`.
fn nginx(test: u8) -> (Nginx, SocketAddr, String) {
    let address = TcpListener::bind((loopback(test, 2), 0)).unwrap().local_addr().unwrap();
    let body = "x".repeat(3000);
    let nginx = Nginx::start(address, "", &format!("location / {{ return 200 '{body}'; }} {LATE}"));
    let services = format!(
        "services:\n  - {{name: site, match: [{{address: {}}}]}}\n  - {{name: wrk, match: [{{executable: wrk}}]}}\n",
        address.ip(),
    );
    (nginx, address, services)
}

/// A request of our own, over a connection of its own where there is none; gives it back, and how many seconds the answer
/// took to begin.
fn ask(test: u8, address: SocketAddr, open: Option<TcpStream>, path: &str) -> (TcpStream, f64) {
    let mut stream = open.unwrap_or_else(|| connect(loopback(test, 1), address).unwrap());
    let began = Instant::now();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n").as_bytes()).unwrap();
    let mut answer = vec![0; 8192];
    let mut filled = stream.read(&mut answer).unwrap();
    let seconds = began.elapsed().as_secs_f64();
    // The rest of it, so that the next answer is the next request's.
    loop {
        let text = String::from_utf8_lossy(&answer[..filled]).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return (stream, seconds);
            }
        }
        let read = stream.read(&mut answer[filled..]).unwrap();
        assert!(read > 0, "{text}");
        filled += read;
    }
}

/// Summed over what wrk is called: it may be gone before anybody saw that it is wrk, or have asked before that.
fn of_wrk(page: &Page, metric: &str, reporter: &str, more: &str) -> f64 {
    ["wrk", "unknown"].map(|client| page.edge_with(metric, (client, "site"), reporter, more)).iter().sum()
}

/// `under_way` is what nobody can be sure of.
fn assert_within(name: &str, seen: f64, witnessed: f64, share: f64, under_way: f64) {
    println!("{name}: {seen}, witnessed: {witnessed}");
    let tolerance = (share * witnessed).max(under_way);
    assert!((seen - witnessed).abs() <= tolerance, "{name}: {seen} against {witnessed}, more than {tolerance} apart");
}

#[test]
fn requests_and_bytes_agree_with_nginx_and_wrk_on_connections_kept_or_not() {
    if !can_load() {
        return;
    }
    let (nginx, address, services) = nginx(41);
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let mut requests = 0.0;
    let loads: [&[&str]; 2] = [&["-d2s"], &["-d1s", "-H", "Connection: close"]];
    for more in loads {
        // As a Prometheus would: a process has to be there at a look to be known by its executable.
        let running = thread::spawn(move || Wrk::run(CONNECTIONS, more, &format!("http://{address}/")));
        while !running.is_finished() {
            agent.page();
            thread::sleep(Duration::from_millis(100));
        }
        requests += running.join().unwrap().requests;
    }
    // Once this is answered, so is all that wrk left.
    ask(41, address, None, "/late");
    let (answered, [sent, received]) = (nginx.answered(2), nginx.bytes());
    let under_way = (loads.len() * CONNECTIONS) as f64;
    assert!(answered > 100.0, "only {answered} requests");
    assert_within("requests of nginx and wrk", requests, answered, 0.0, under_way);

    let counted = |page: &Page, reporter| of_wrk(page, &format!("{DURATION}_count"), reporter, ",status_class=\"2xx\"");
    let witnesses = [("server", answered), ("client", requests)];
    let page = agent.page_at_last(|page| {
        let has_ended = |end| of_wrk(page, "tcp_active_connections", end, "") == 0.0;
        witnesses.iter().all(|(end, count)| has_ended(end) && counted(page, end) >= count - under_way)
    });
    for (end, count) in witnesses {
        assert_within(&format!("requests at the {end}"), counted(&page, end), count, 0.001, under_way);
    }
    let each = [sent, received].map(|bytes| under_way * bytes / answered);
    for (end, [out, back]) in [("server", [0, 1]), ("client", [1, 0])] {
        let bytes = |metric: &str| of_wrk(&page, metric, end, "");
        let witnessed = [sent, received];
        let name = format!("bytes sent by the {end}");
        assert_within(&name, bytes("tcp_sent_bytes_total"), witnessed[out], 0.01, each[out]);
        let name = format!("bytes received by the {end}");
        assert_within(&name, bytes("tcp_received_bytes_total"), witnessed[back], 0.01, each[back]);
    }
}

#[test]
fn latencies_agree_with_wrk_and_with_a_client_that_times_each_request() {
    if !can_load() {
        return;
    }
    let (_nginx, address, services) = nginx(42);
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let served = "server=\"site\"";
    let before = agent.page();
    let mut times = Times::default();
    let mut kept = None;
    for number in 0..PROBES {
        let kind = number % PATHS.len();
        // Kept for some, and new for as many.
        let open = if (number / PATHS.len()).is_multiple_of(2) { kept.take() } else { None };
        let (stream, seconds) = ask(42, address, open, PATHS[kind]);
        times.add(HELD_BACK[kind], seconds);
        kept = Some(stream);
    }
    times.assert_agree(&agent, &before, DURATION, &[served]);

    let before = agent.page();
    let wrk = Wrk::run(CONNECTIONS, &["-d1s", "--latency"], &format!("http://{address}{}", PATHS[1]));
    let refused = [served, "status_class=\"4xx\""];
    assert_wrk_agrees(&agent, &before, DURATION, &refused, &wrk, HELD_BACK[1]);
}
