//! HTTP's requests by method, against nginx, which writes down the method and the status of each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use common::nginx::Nginx;
use common::{Agent, Page, can_load, connect, loopback, read_message, wait_until};
use quoll_exporter::agent::SourceChoice;
use quoll_exporter::kernel::Settings;
use quoll_exporter::tls::TlsChoice;

const COUNT: &str = "http_request_duration_seconds_count";
const SERVER: &str = "location / { return 200; } location /moved { return 301; } location /no { return 404; } \
                      location /oops { return 503; }";
/// Asked in a row: with what is refused, seventeen pairs of method and status class, as many as an edge shows besides the
/// places that it keeps for the classes of what has no pair of its own.
const ROW: [(&str, &str); 20] = [
    ("GET", "/"),
    ("POST", "/"),
    ("HEAD", "/no"),
    ("PUT", "/oops"),
    ("PROPFIND", "/"),
    ("DELETE", "/no"),
    ("GET", "/moved"),
    ("PATCH", "/"),
    ("OPTIONS", "/"),
    ("GET", "/no"),
    ("POST", "/no"),
    ("PUT", "/"),
    ("HEAD", "/no"),
    ("DELETE", "/"),
    ("PROPFIND", "/no"),
    ("POST", "/"),
    ("GET", "/oops"),
    ("PATCH", "/"),
    ("POST", "/"),
    ("GET", "/"),
];
/// nginx answers these by 405, and closes.
const REFUSED: [&str; 2] = ["TRACE", "CONNECT"];

fn settings(by_method: bool) -> Settings {
    let mut settings = Settings { tls: TlsChoice::True, ..Settings::default() };
    settings.protocols.by_method = u32::from(by_method);
    settings
}

fn address(test: u8, host: u8) -> SocketAddr {
    TcpListener::bind((loopback(test, host), 0)).unwrap().local_addr().unwrap()
}

fn agent(test: u8, by_method: bool) -> Agent {
    let services = format!("services:\n  - {{name: site, match: [{{address: {}}}]}}\n", loopback(test, 2));
    Agent::start_with(SourceChoice::Ebpf, &services, settings(by_method))
}

fn request(method: &str, path: &str) -> String {
    let body = if matches!(method, "POST" | "PUT" | "PATCH") { "some body" } else { "" };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n{body}")
}

fn run(program: &str, args: &[String]) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|_| panic!("{program} is missing: scripts/setup installs it"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Has curl ask for all of it on one connection.
fn curl(how: &[&str], url: &str, requests: &[(&str, &str)]) {
    let mut args = Vec::new();
    for (method, path) in requests {
        if !args.is_empty() {
            args.push("--next".to_owned());
        }
        let what: &[&str] = match *method {
            "HEAD" => &["-I"],
            // nginx does not wait for a body, and curl takes that for an error of HTTP/2.
            "POST" | "PUT" | "PATCH" if !how.iter().any(|arg| arg.starts_with("--http2")) => {
                &["-X", method, "-d", "some body"]
            }
            _ => &["-X", method],
        };
        let fixed = ["-s", "-o", "/dev/null"];
        args.extend(fixed.iter().chain(how).chain(what).map(|arg| (*arg).to_owned()));
        args.push(format!("{url}{path}"));
    }
    run("curl", &args);
}

/// What nginx wrote down by the labels that it should have.
fn witnessed(nginx: &Nginx) -> BTreeMap<[String; 2], f64> {
    let usual = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE"];
    let mut all = BTreeMap::new();
    for (method, status) in nginx.methods_and_statuses() {
        let method = match method.as_str() {
            // nginx does not name what it takes for a proxy's business.
            "-" => "CONNECT",
            known if usual.contains(&known) => known,
            _ => "other",
        };
        let method = method.to_owned();
        *all.entry([method, format!("{}xx", &status[..1])]).or_insert(0.0) += 1.0;
    }
    all
}

fn counted(page: &Page, reporter: &str, labels: &[String]) -> f64 {
    let fixed = ["server=\"site\"".to_owned(), format!("reporter=\"{reporter}\"")];
    let labels: Vec<&str> = fixed.iter().chain(labels).map(String::as_str).collect();
    page.sum(COUNT, &labels)
}

fn of([method, class]: &[String; 2]) -> [String; 2] {
    [format!("method=\"{method}\""), format!("status_class=\"{class}\"")]
}

/// Once nginx has written down as many requests as were asked, both ends agree with it on each method and status class, and
/// count nothing else.
fn assert_agrees(agent: &Agent, nginx: &Nginx, asked: usize) {
    wait_until("nginx writes down what it answered", || nginx.methods_and_statuses().len() >= asked);
    let (witnessed, all) = (witnessed(nginx), asked as f64);
    assert_eq!(witnessed.values().sum::<f64>(), all, "{witnessed:?}");
    let agrees = |page: &Page, reporter: &str| {
        counted(page, reporter, &[]) == all
            && witnessed.iter().all(|(pair, count)| counted(page, reporter, &of(pair)) == *count)
    };
    let page = agent.page_at_last(|page| ["client", "server"].iter().all(|reporter| agrees(page, reporter)));
    for reporter in ["client", "server"] {
        for (pair, count) in &witnessed {
            println!("{reporter} {pair:?}: {}, nginx: {count}", counted(&page, reporter, &of(pair)));
        }
        assert!(agrees(&page, reporter), "{reporter}: {witnessed:?} of {}", agent.text());
    }
}

/// All at once; the server closes behind the last.
fn ask_in_a_row(stream: &mut TcpStream, requests: &[(&str, &str)]) {
    let row: String = requests.iter().map(|(method, path)| request(method, path)).collect();
    stream.write_all(row.as_bytes()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), requests.len() + 1, "{answers}");
}

#[test]
fn requests_of_http_1_agree_with_nginx_by_method_and_class() {
    if !can_load() {
        return;
    }
    let site = address(65, 2);
    let nginx = Nginx::start(site, "keepalive_timeout 300s;", SERVER);
    let agent = agent(65, true);
    let client = || {
        let stream = connect(loopback(65, 1), site).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    };
    // Heads byte by byte, over a connection that stays open.
    let mut kept = client();
    for (method, path) in ROW.iter().filter(|(method, _)| *method != "PROPFIND") {
        for byte in request(method, path).as_bytes().chunks(1) {
            kept.write_all(byte).unwrap();
        }
        // Without a body as HEAD's, or with the one that its head tells of.
        let mut stream = &kept;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(0);
            stream.read_exact(answer.last_mut().map(std::slice::from_mut).unwrap()).unwrap();
        }
        let head = String::from_utf8(answer).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
        let mut body = vec![0; if *method == "HEAD" { 0 } else { length.parse().unwrap() }];
        stream.read_exact(&mut body).unwrap();
    }
    let mut asked = ROW.len() - 2;
    assert_agrees(&agent, &nginx, asked);
    // All methods in one call, and answers of several in one.
    for _ in 0..5 {
        ask_in_a_row(&mut client(), &ROW);
        asked += ROW.len() + 1;
    }
    let mut alike = [("GET", "/"); 60];
    alike[30] = ("DELETE", "/no");
    ask_in_a_row(&mut client(), &alike);
    for method in REFUSED {
        let mut stream = client();
        stream
            .write_all(
                format!("{method} {} HTTP/1.1\r\nHost: a\r\n\r\n", if method == "TRACE" { "/" } else { "a:443" })
                    .as_bytes(),
            )
            .unwrap();
        stream.read_to_string(&mut String::new()).unwrap();
    }
    let url = format!("http://{site}");
    curl(&["--http1.0"], &url, &ROW[..4]);
    curl(&[], &url, &ROW[5..10]);
    drop(kept);
    asked += alike.len() + 1 + REFUSED.len() + 4 + 5;
    assert_agrees(&agent, &nginx, asked);
    let page = agent.page();
    assert_eq!(page.sum("exporter_requests_untimed_total", &["protocol=\"http\"", "reason=\"no_room\""]), 0.0);
    assert_eq!(page.sum("exporter_requests_untimed_total", &["reason=\"edge_full\""]), 0.0);
    let sums = |labels: &[&str]| page.sum("http_request_duration_seconds_sum", labels);
    assert!(sums(&["server=\"site\"", "method=\"POST\""]) > 0.0);
}

#[test]
fn requests_within_tls_agree_with_nginx_by_method_and_class() {
    if !can_load() {
        return;
    }
    let site = address(66, 2);
    let nginx = Nginx::start_tls(site, "", SERVER);
    let agent = agent(66, true);
    assert!(agent.page().get("exporter_tls_libraries{state=\"watched\"}") >= 1.0, "no library is looked into");
    let usual: Vec<_> = ROW.into_iter().filter(|(method, _)| *method != "PROPFIND").collect();
    for how in [&["-k", "--http1.1"][..], &["-k", "--http1.1", "-H", "Connection: close"]] {
        curl(how, &format!("https://{site}"), &usual);
    }
    assert_agrees(&agent, &nginx, 2 * usual.len());
}

#[test]
fn streams_of_http_2_agree_with_nginx_by_method_and_class() {
    if !can_load() {
        return;
    }
    let [plain, within_tls] = [address(67, 2), address(67, 2)];
    let server = format!(
        "server {{ listen {plain} http2; {SERVER} }}\n\
         server {{ listen {within_tls} ssl http2; ssl_certificate certificate; ssl_certificate_key key; {SERVER} }}"
    );
    let nginx = Nginx::start_with(address(67, 3), &server, "", common::nginx::certificate);
    let agent = agent(67, true);
    let url = format!("http://{plain}");
    // This curl cannot use a connection twice that it began so.
    ROW.iter().for_each(|request| curl(&["--http2-prior-knowledge"], &url, std::slice::from_ref(request)));
    curl(&["-k", "--http2"], &format!("https://{within_tls}"), &ROW);
    for (method, path) in [("GET", "/"), ("DELETE", "/no"), ("PUT", "/oops"), ("PROPFIND", "/"), ("HEAD", "/no")] {
        let args = ["-n100", "-c2", "-m7", "-H"].map(str::to_owned);
        run("h2load", &[&args[..], &[format!(":method: {method}"), format!("{url}{path}")]].concat());
    }
    assert_agrees(&agent, &nginx, 2 * ROW.len() + 500);
}

#[test]
fn without_being_asked_for_there_is_no_method() {
    if !can_load() {
        return;
    }
    let site = address(68, 2);
    let nginx = Nginx::start(site, "", SERVER);
    let agent = agent(68, false);
    ask_in_a_row(&mut connect(loopback(68, 1), site).unwrap(), &ROW);
    let mut kept = connect(loopback(68, 1), site).unwrap();
    for (method, path) in [("GET", "/"), ("DELETE", "/")] {
        kept.write_all(request(method, path).as_bytes()).unwrap();
        read_message(&mut kept, 0).unwrap();
    }
    let classes = ["2xx", "3xx", "4xx", "5xx"];
    wait_until("nginx writes down what it answered", || nginx.methods_and_statuses().len() == ROW.len() + 3);
    let witnessed = classes.map(|class| nginx.answered(u16::from(class.as_bytes()[0] - b'0')));
    let counts = |page: &Page, reporter: &str| {
        classes.map(|class| counted(page, reporter, &[format!("status_class=\"{class}\"")]))
    };
    let page = agent.page_at_last(|page| ["client", "server"].iter().all(|end| counts(page, end) == witnessed));
    for reporter in ["client", "server"] {
        assert_eq!(counts(&page, reporter), witnessed, "{reporter}");
    }
    assert_eq!(page.sum(COUNT, &["method="]), 0.0);
    assert!(!agent.text().contains("method=\""), "{}", agent.text());
}
