//! HTTP/1.1 in all the ways that it may be written, read by the real kernel.
//!
//! Witnesses are conversations written by hand, call by call, of which it is known what each says; nginx, which
//! writes down what it answered; and programs that count for themselves. Counts must be exact, at both ends, and
//! every one of them is of an edge that only this test has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

#[path = "../common/mod.rs"]
mod common;
mod conversations;
mod nginx;
mod pair;
mod programs;
mod rows;
mod upgrades;

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use common::{Agent, Page, loopback};
use quoll_exporter::agent::SourceChoice;

const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "none"];
const DURATION: &str = "http_request_duration_seconds";
const UPGRADED: &str = "http_upgraded_connections_total";

/// A service `web` at the first address of a test, and others by name at the next ones. None is called like its program, as
/// those of others are.
fn agent(test: u8, servers: &[&str]) -> Agent {
    let names = ["web"].iter().chain(servers).zip(1..);
    let service = |(name, host)| format!("  - {{name: {name}, match: [{{address: {}}}]}}\n", loopback(test, host));
    let services = format!("services:\n{}", names.map(service).collect::<String>());
    Agent::start(SourceChoice::Ebpf, &services)
}

fn address(test: u8, host: u8) -> SocketAddr {
    TcpListener::bind((loopback(test, host), 0)).unwrap().local_addr().unwrap()
}

/// Requests by class, of one server as both ends have them.
fn counted(page: &Page, server: &str) -> [[f64; 5]; 2] {
    ["client", "server"].map(|end| CLASSES.map(|class| page.requests(("web", server), end, class)))
}

/// Waits for these counts at both ends.
fn check(agent: &Agent, server: &str, expected: [f64; 5]) {
    let page = agent.page_at_last(|page| counted(page, server) == [expected; 2]);
    assert_eq!(counted(&page, server), [expected; 2], "{server}");
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NONE: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// Output of a program that must succeed.
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} (scripts/setup installs it): {error}"));
    assert!(output.status.success(), "{program} {args:?}");
    String::from_utf8(output.stdout).unwrap()
}
