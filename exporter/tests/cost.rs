//! What the exporter costs; run by hand, since a busy machine would spoil a verdict:
//! `cargo test --release -p quoll-exporter --test cost -- --ignored --nocapture`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Page, ask, can_load, connect, loopback, serve};

const SECONDS: f64 = 10.0;
const CONNECTIONS_PER_SECOND: f64 = 1000.0;
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Run time and runs of every program that a process holds, from its descriptors.
fn programs(pid: u32) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(time), Some(runs)) = (field("run_time_ns:"), field("run_cnt:")) {
            found.push((time, runs));
        }
    }
    found.sort_unstable();
    found
}

fn total(pid: u32) -> (u64, u64) {
    programs(pid).into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn cpu_seconds(pid: u32) -> f64 {
    quoll_exporter::inventory::times(pid).unwrap().cpu_seconds
}

fn scrape(port: u16) -> Page {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Page::parse(text.split_once("\r\n\r\n").unwrap().1)
}

struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "a measurement, run by hand"]
fn cost_of_connections_and_requests() {
    if !can_load() {
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let services = folder.path().join("services.yaml");
    let text = format!(
        "services:\n  - {{name: web, match: [{{address: {}}}]}}\n  - {{name: api, match: [{{address: {}}}]}}\n",
        loopback(31, 1),
        loopback(31, 2)
    );
    fs::write(&services, text).unwrap();
    let exporter = Command::new(env!("CARGO_BIN_EXE_quoll-exporter"))
        .args(["--source", "ebpf", "--show-self", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--services", services.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = exporter.id();
    let _exporter = Exporter(exporter);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    scrape(port);
    let was = fs::read_to_string(STATS).unwrap();
    fs::write(STATS, "1").unwrap();

    // 1. Short connections without requests, at a steady rate, scraped each second.
    let listener = TcpListener::bind((loopback(31, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let count = (SECONDS * CONNECTIONS_PER_SECOND) as usize;
    let server = thread::spawn(move || {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 64]);
        }
    });
    let (before, cpu, began) = (total(pid), cpu_seconds(pid), Instant::now());
    let mut scrapes = 0;
    for index in 0..count {
        let due = began + Duration::from_secs_f64(index as f64 / CONNECTIONS_PER_SECOND);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        connect(loopback(31, 1), address).unwrap().write_all(b"x").unwrap();
        if began.elapsed().as_secs() > scrapes {
            scrapes += 1;
            scrape(port);
        }
    }
    server.join().unwrap();
    let took = began.elapsed().as_secs_f64();
    thread::sleep(Duration::from_millis(300));
    let after = total(pid);
    let page = scrape(port);
    let resident = quoll_exporter::inventory::resident_bytes(pid).unwrap();
    println!("{count} connections in {took:.1} s ({:.0}/s), {scrapes} scrapes", count as f64 / took);
    println!(
        "  counted: client {}, server {}, lost {}",
        page.edge("tcp_connects_total", ("web", "api"), "client"),
        page.edge("tcp_connects_total", ("web", "api"), "server"),
        page.get("exporter_events_dropped_total{event=\"connection_end\"}")
    );
    println!(
        "  agent: {:.2} % of a core, {:.1} MiB resident",
        100.0 * (cpu_seconds(pid) - cpu) / took,
        resident as f64 / 1048576.0
    );
    println!(
        "  kernel side, all system calls of the machine included: {:.2} us per connection (both ends)",
        (after.0 - before.0) as f64 / 1e3 / count as f64
    );

    // 2. Requests on one connection.
    const REQUESTS: usize = 20_000;
    let listener = TcpListener::bind((loopback(31, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = serve(listener, 1);
    let mut client = connect(loopback(31, 1), address).unwrap();
    ask(&mut client, 200);
    let (before, cpu, began) = (total(pid), cpu_seconds(pid), Instant::now());
    for _ in 0..REQUESTS {
        ask(&mut client, 200);
    }
    let took = began.elapsed().as_secs_f64();
    let after = total(pid);
    drop(client);
    server.join().unwrap();
    println!("{REQUESTS} requests in {took:.1} s");
    println!("  agent: {:.2} % of a core", 100.0 * (cpu_seconds(pid) - cpu) / took);
    println!(
        "  kernel side, all system calls of the machine included: {:.2} us per request (both ends)",
        (after.0 - before.0) as f64 / 1e3 / REQUESTS as f64
    );
    println!("programs (ns, runs, mean ns):");
    for (time, runs) in programs(pid) {
        if let Some(mean) = time.checked_div(runs) {
            println!("  {time} {runs} {mean}");
        }
    }
    fs::write(STATS, was).unwrap();
}
