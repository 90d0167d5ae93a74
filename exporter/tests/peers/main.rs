//! Servers, clients and proxies of others, each of which counts for itself. They take packages that the other tests do
//! without (`golang-go`, `golang-google-grpc-dev`, `default-jdk-headless`, `haproxy`, `apache2-bin`), so these run only
//! when asked for: `scripts/soak peers`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

#[path = "../common/mod.rs"]
mod common;
mod proxies;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Agent, Page, can_load, loopback};
use quoll_ebpf_abi::protocols::http2::GRPC_STATUSES;
use quoll_exporter::agent::SourceChoice;

const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "none"];
/// Where Debian puts the libraries of Go.
const GO_LIBRARIES: &str = "/usr/share/gocode";

/// An agent that calls what is at the addresses of a test, from the first on, by these names. Whoever asks is known by its
/// program, and that only once it was looked at; so nothing here depends on it.
fn agent(test: u8, services: &[&str]) -> Agent {
    let address = |host| loopback(test, host);
    let service = |(name, host)| format!("  - {{name: {name}, match: [{{address: {}}}]}}\n", address(host));
    let services = services.iter().zip(1..).map(service).collect::<String>();
    Agent::start(SourceChoice::Ebpf, &format!("services:\n{services}"))
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// What a program says, which must succeed.
fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} (scripts/soak peers installs it): {error}"));
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Builds a program, in a folder that outlives it.
fn go(name: &str) -> (tempfile::TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("peers");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(source(name));
    output(build.env("GO111MODULE", "off").env("GOPATH", GO_LIBRARIES).env("GOCACHE", folder.path().join("cache")));
    (folder, Command::new(program))
}

/// Lines of a name and what was counted of it.
fn counts(said: &str) -> BTreeMap<&str, Vec<f64>> {
    said.lines()
        .map(|line| {
            let (name, counts) = line.split_once(' ').unwrap();
            (name, counts.split(' ').map(|count| count.parse().unwrap()).collect())
        })
        .collect()
}

/// Requests by class and upgraded connections that one end has of a server, whoever asks.
fn seen(page: &Page, server: &str, end: &str) -> Vec<f64> {
    let labels = [format!("server=\"{server}\""), format!("reporter=\"{end}\"")];
    let sum = |metric: &str, more: &str| page.sum(metric, &[&labels[0], &labels[1], more]);
    let class = |class| sum("http_request_duration_seconds_count", &format!("status_class=\"{class}\""));
    let mut seen: Vec<f64> = CLASSES.iter().map(class).collect();
    seen.push(sum("http_upgraded_connections_total", ""));
    seen
}

/// Waits until both ends have what was counted.
fn check(agent: &Agent, server: &str, expected: &[f64]) {
    let both = |page: &Page| ["client", "server"].map(|end| seen(page, server, end));
    let page = agent.page_at_last(|page| both(page) == [expected, expected]);
    assert_eq!(both(&page), [expected, expected], "{server}: {}", agent.text());
    println!("{server}: {expected:?}");
}

#[test]
#[ignore = "takes Go: scripts/soak peers"]
fn go_counts_exactly_over_http() {
    if !can_load() {
        return;
    }
    let (_folder, mut peers) = go("peers.go");
    let agent = agent(91, &["web", "direct", "front", "behind"]);
    let said = output(peers.args([1, 2, 3, 4].map(|host| loopback(91, host).to_string())));
    let counts = counts(&said);
    for server in ["direct", "front", "behind"] {
        check(&agent, server, &counts[server]);
    }
}

#[test]
#[ignore = "takes Go and its libraries: scripts/soak peers"]
fn go_counts_exactly_over_http2_and_grpc() {
    if !can_load() {
        return;
    }
    let (_folder, mut peers) = go("peers_http2.go");
    let agent = agent(92, &["web", "http2", "calls"]);
    let said = output(peers.args([1, 2, 3].map(|host| loopback(92, host).to_string())));
    let (grpc, http2) = said.lines().partition::<Vec<_>, _>(|line| line.starts_with("grpc"));
    check(&agent, "http2", &counts(http2[0])["http2"]);
    // Each status of gRPC has come; an edge tells apart two of those that are not good, and of all whether they failed.
    assert_eq!(grpc.len(), 17, "{said}");
    let mut expected = [0.0; 3];
    for line in grpc {
        let [_, status, count] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let class = match status {
            "OK" => 0,
            "Unknown" | "DeadlineExceeded" | "Unimplemented" | "Internal" | "Unavailable" | "DataLoss" => 1,
            _ => 2,
        };
        expected[class] += count.parse::<f64>().unwrap();
    }
    let both = |page: &Page| {
        ["client", "server"].map(|end| {
            let mut seen = [0.0; 3];
            for status in GRPC_STATUSES.into_iter().chain(["other", "other_client"]) {
                let label = format!(",system=\"grpc\",status=\"{status}\"");
                let class = match status {
                    "OK" => 0,
                    "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
                    | "other" => 1,
                    _ => 2,
                };
                seen[class] += page.edge_with("rpc_request_duration_seconds_count", ("web", "calls"), end, &label);
            }
            seen
        })
    };
    let page = agent.page_at_last(|page| both(page).iter().all(|seen| *seen == expected));
    println!("{expected:?}");
    assert_eq!(both(&page), [expected; 2], "{}", agent.text());
}

#[test]
#[ignore = "takes a JDK: scripts/soak peers"]
fn java_counts_exactly_and_its_wish_for_http2_is_a_request_like_any_other() {
    if !can_load() {
        return;
    }
    let agent = agent(93, &["direct"]);
    let said = output(Command::new("java").arg(source("Peers.java")).arg(loopback(93, 1).to_string()));
    check(&agent, "direct", &counts(&said)["direct"]);
}
