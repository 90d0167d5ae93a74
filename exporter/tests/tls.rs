//! TLS against independent witnesses: nginx and PostgreSQL write down what they answered, wrk counts on its side, and
//! none of them knows of the exporter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::latency::{HELD_BACK, PATHS, assert_wrk_agrees};
use common::nginx::{LATE, Nginx, PATIENCE, Wrk, tls_client};
use common::{Agent, Page, can_load, loopback};
use quoll_exporter::agent::SourceChoice;
use quoll_exporter::kernel::Settings;
use quoll_exporter::tls::TlsChoice;

const CONNECTIONS: usize = 4;
const DURATION: &str = "http_request_duration_seconds";

fn start_nginx(address: SocketAddr) -> Nginx {
    let body = "x".repeat(3000);
    let server = format!(
        "location / {{ return 200 '{body}'; }} location /no {{ return 503 'no'; }} \
         location /last {{ keepalive_timeout 0; return 410; }} {LATE}"
    );
    Nginx::start_tls(address, "", &server)
}

fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|_| panic!("{program} is missing: scripts/setup installs it"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn wrk(address: SocketAddr, path: &str, more: &[&str]) -> Wrk {
    Wrk::run(CONNECTIONS, &[&["-d1s"], more].concat(), &format!("https://{address}{path}"))
}

fn server(test: u8) -> (SocketAddr, String) {
    let listener = TcpListener::bind((loopback(test, 2), 0)).unwrap();
    let services = format!("services:\n  - {{name: server, match: [{{address: {}}}]}}\n", loopback(test, 2));
    (listener.local_addr().unwrap(), services)
}

fn start(services: &str, settings: Settings) -> Agent {
    Agent::start_with(SourceChoice::Ebpf, services, Settings { tls: TlsChoice::True, ..settings })
}

/// The first page that satisfies the condition, else the last one.
fn page_when(agent: &Agent, condition: impl Fn(&Page) -> bool) -> Page {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = agent.page();
        if condition(&page) || Instant::now() > deadline {
            return page;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn requests(page: &Page, reporter: &str, class: &str) -> f64 {
    let labels = ["server=\"server\"", &format!("reporter=\"{reporter}\""), &format!("status_class=\"{class}\"")];
    page.sum("http_request_duration_seconds_count", &labels)
}

/// Libraries that are looked into, at whatever cost.
fn watched(page: &Page) -> f64 {
    ["watched", "watched_slowly"]
        .map(|state| page.get(&format!("exporter_tls_libraries{{state=\"{state}\"}}")))
        .iter()
        .sum()
}

fn encrypted(page: &Page) -> f64 {
    page.sum("exporter_connections_unparsed_total", &["reason=\"encrypted\""])
}

/// Within 0.1 %, or what two loads left under way.
fn are_near(counted: f64, witnessed: f64) -> bool {
    (counted - witnessed).abs() <= (witnessed * 0.001).max(2.0 * CONNECTIONS as f64)
}

/// Load on a web server with TLS: its log, what wrk counted, and what the exporter says of both ends.
fn agree_with_nginx(test: u8, settings: Settings) {
    let (address, services) = server(test);
    let nginx = start_nginx(address);
    let agent = start(&services, settings);
    assert!(watched(&agent.page()) >= 1.0, "no library is looked into");
    let loads: [(&str, &[&str], &str, &str); 4] = [
        ("/", &[], "2xx", "200"),
        ("/no", &[], "5xx", "503"),
        // One connection per request, closed by the client's wish or by the server's.
        ("/no", &["-H", "Connection: close"], "5xx", "503"),
        ("/last", &[], "4xx", "410"),
    ];
    let mut said = BTreeMap::new();
    for (path, more, class, status) in loads {
        *said.entry((class, status)).or_insert(0.0) += wrk(address, path, more).requests;
    }
    assert_counts(&nginx, &agent, &said);
    let before = agent.page();
    let late = wrk(address, PATHS[1], &["--latency"]);
    let refused = ["server=\"server\"", "status_class=\"4xx\""];
    assert_wrk_agrees(&agent, &before, DURATION, &refused, &late, HELD_BACK[1]);
}

fn assert_counts(nginx: &Nginx, agent: &Agent, said: &BTreeMap<(&str, &str), f64>) {
    for ((class, status), wrk) in said {
        let wrk = *wrk;
        let answered = nginx.answered_with(status);
        assert!(answered >= 10.0, "{answered} of {status}");
        assert!(are_near(wrk, answered), "the witnesses differ: {answered} and {wrk}");
        for reporter in ["client", "server"] {
            let page = page_when(agent, |page| are_near(requests(page, reporter, class), answered));
            let counted = requests(&page, reporter, class);
            println!("{reporter} {class}: exporter {counted}, nginx {answered}, wrk {wrk}");
            assert!(are_near(counted, answered), "{reporter} {class}: {counted} of {answered}");
        }
    }
}

#[test]
fn requests_within_tls_are_what_nginx_and_wrk_counted() {
    if can_load() {
        agree_with_nginx(61, Settings::default());
    }
}

#[test]
fn so_they_are_where_probes_are_set_as_on_older_kernels() {
    if can_load() {
        agree_with_nginx(62, Settings { tls_by_perf: true, ..Settings::default() });
    }
}

#[test]
fn so_they_are_where_nothing_but_what_a_library_exports_is_probed() {
    if can_load() {
        agree_with_nginx(66, Settings { tls_exported_only: true, ..Settings::default() });
    }
}

#[test]
fn a_process_that_starts_later_is_seen_from_its_first_call() {
    if !can_load() {
        return;
    }
    let (address, services) = server(63);
    let agent = start(&services, Settings::default());
    let _nginx = start_nginx(address);
    run("curl", &["-sk", "-o", "/dev/null", &format!("https://{address}/"), &format!("https://{address}/no")]);
    let counts =
        |page: &Page| ["client", "server"].map(|reporter| ["2xx", "5xx"].map(|class| requests(page, reporter, class)));
    let page = page_when(&agent, |page| counts(page) == [[1.0; 2]; 2]);
    assert_eq!(counts(&page), [[1.0; 2]; 2]);
}

#[test]
fn a_copy_of_the_library_that_nobody_knew_is_found_and_its_upgrade_too() {
    if !can_load() {
        return;
    }
    let (address, services) = server(64);
    let nginx = start_nginx(address);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("libssl.so.3");
    let agent = start(&services, Settings::default());
    let mut known = watched(&agent.page());
    let mut asked = 0.0;
    // The second time, the file is another of the same name.
    for _ in 0..2 {
        let new = folder.path().join("new");
        fs::copy(nginx.libssl(), &new).unwrap();
        fs::rename(&new, &copy).unwrap();
        let mut client = tls_client(address, folder.path());
        let page = page_when(&agent, |page| watched(page) > known);
        assert_eq!(watched(&page), known + 1.0);
        known += 1.0;
        use std::io::Write;
        let mut stdin = client.stdin.take().unwrap();
        stdin.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        asked += 1.0;
        let page = page_when(&agent, |page| requests(page, "client", "2xx") == asked);
        assert_eq!(requests(&page, "client", "2xx"), asked);
        drop(stdin);
        let _ = client.kill();
        let _ = client.wait();
    }
}

#[test]
fn what_is_not_looked_into_counts_as_encrypted() {
    if !can_load() {
        return;
    }
    let (address, services) = server(65);
    let _nginx = start_nginx(address);
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let before = encrypted(&agent.page());
    for _ in 0..10 {
        run("curl", &["-sk", "-o", "/dev/null", &format!("https://{address}/")]);
    }
    let page = page_when(&agent, |page| encrypted(page) >= before + 20.0);
    // Both ends of each; whatever else this machine says within TLS is counted, too.
    assert!(encrypted(&page) >= before + 20.0, "{} of 20", encrypted(&page) - before);
    assert_eq!(requests(&page, "server", "2xx"), 0.0);
}
