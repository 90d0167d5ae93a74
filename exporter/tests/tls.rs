//! TLS against independent witnesses: nginx and PostgreSQL write down what they answered, wrk counts on its side, and
//! none of them knows of the exporter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::nginx::{Nginx, PATIENCE, tls_client};
use common::{Agent, Page, can_load, loopback};
use quoll_exporter::agent::SourceChoice;
use quoll_exporter::collectors::requests::BOUNDS;
use quoll_exporter::kernel::Settings;

const CONNECTIONS: usize = 4;
fn start_nginx(address: SocketAddr) -> Nginx {
    let body = "x".repeat(3000);
    let server = format!(
        "location / {{ return 200 '{body}'; }}\n\
         location /no {{ return 404 'no'; }}\n\
         location /slow {{ limit_req zone=slow burst=1000; try_files /none =503; }}"
    );
    Nginx::start_tls(address, "limit_req_zone $binary_remote_addr zone=slow:1m rate=25r/s;", &server)
}

fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|_| panic!("{program} is missing: scripts/setup installs it"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Requests that wrk counted.
fn wrk(address: SocketAddr, path: &str, more: &[&str]) -> usize {
    let connections = CONNECTIONS.to_string();
    let url = format!("https://{address}{path}");
    let output = run("wrk", &[&["-t1", "-c", &connections, "-d", "1s"], more, &[url.as_str()]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(" requests in ")).expect(&text);
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn server(test: u8) -> (SocketAddr, String) {
    let listener = TcpListener::bind((loopback(test, 2), 0)).unwrap();
    let services = format!("services:\n  - {{name: server, match: [{{address: {}}}]}}\n", loopback(test, 2));
    (listener.local_addr().unwrap(), services)
}

fn start(services: &str, settings: Settings) -> Agent {
    Agent::start_with(SourceChoice::Ebpf, services, Settings { tls: true, ..settings })
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

fn encrypted(page: &Page) -> f64 {
    page.sum("exporter_connections_unparsed_total", &["reason=\"encrypted\""])
}

fn are_near(counted: f64, witnessed: usize) -> bool {
    let witnessed = witnessed as f64;
    (counted - witnessed).abs() <= (witnessed * 0.001).max(2.0 * CONNECTIONS as f64)
}

/// Index of the bucket that holds a quantile of a class.
fn bucket_of_quantile(page: &Page, reporter: &str, class: &str, quantile: f64) -> usize {
    let all = requests(page, reporter, class);
    let below = |bound: &f64| {
        let labels = [
            "server=\"server\"",
            &format!("reporter=\"{reporter}\""),
            &format!("status_class=\"{class}\""),
            &format!("le=\"{bound}\""),
        ];
        page.sum("http_request_duration_seconds_bucket", &labels)
    };
    BOUNDS.iter().position(|bound| below(bound) >= quantile * all).unwrap_or(BOUNDS.len())
}

/// Load on a web server with TLS: its log, what wrk counted, and what the exporter says of both ends.
fn agree_with_nginx(test: u8, settings: Settings) {
    let (address, services) = server(test);
    let nginx = start_nginx(address);
    let agent = start(&services, settings);
    let page = agent.page();
    assert!(page.get("exporter_tls_libraries{state=\"watched\"}") >= 1.0, "no library is looked into");
    let loads: [(&str, &[&str], &str, &str); 4] = [
        ("/", &[], "2xx", "200"),
        ("/no", &[], "4xx", "404"),
        // One connection per request.
        ("/no", &["-H", "Connection: close"], "4xx", "404"),
        ("/slow", &[], "5xx", "503"),
    ];
    let mut said = std::collections::BTreeMap::new();
    for (path, more, class, status) in loads {
        *said.entry((class, status)).or_insert(0) += wrk(address, path, more);
    }
    for ((class, status), wrk) in said {
        let answered = nginx.seconds(status);
        assert!(answered.len() >= 10, "{} of {status}", answered.len());
        // Each of the loads leaves some in flight.
        assert!(answered.len().abs_diff(wrk) <= 2 * CONNECTIONS, "the witnesses differ: {} and {wrk}", answered.len());
        for reporter in ["client", "server"] {
            let page = page_when(&agent, |page| are_near(requests(page, reporter, class), answered.len()));
            let counted = requests(&page, reporter, class);
            println!("{reporter} {class}: exporter {counted}, nginx {}, wrk {wrk}", answered.len());
            assert!(are_near(counted, answered.len()), "{reporter} {class}: {counted} of {}", answered.len());
        }
    }
    let page = agent.page();
    // nginx takes the time from when it has read the head; to its resolution of a millisecond.
    let slow = nginx.seconds("503");
    for quantile in [0.25, 0.5, 0.75, 0.9] {
        let witnessed = slow[(quantile * slow.len() as f64) as usize];
        let bucket = BOUNDS.iter().position(|bound| witnessed <= *bound).unwrap_or(BOUNDS.len());
        let [client, server] = ["client", "server"].map(|end| bucket_of_quantile(&page, end, "5xx", quantile));
        assert!(server.abs_diff(bucket) <= 1, "quantile {quantile}: bucket {server}, but {witnessed} s");
        // A client also waits for its turn on the processor.
        assert!(client + 1 >= bucket, "quantile {quantile}: bucket {client} at the client, but {witnessed} s");
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
fn a_process_that_starts_later_is_seen_from_its_first_call() {
    if !can_load() {
        return;
    }
    let (address, services) = server(63);
    let agent = start(&services, Settings::default());
    let _nginx = start_nginx(address);
    run("curl", &["-sk", "-o", "/dev/null", &format!("https://{address}/"), &format!("https://{address}/no")]);
    let counts =
        |page: &Page| ["client", "server"].map(|reporter| ["2xx", "4xx"].map(|class| requests(page, reporter, class)));
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
    let watched = |page: &Page| page.get("exporter_tls_libraries{state=\"watched\"}");
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
