//! HTTP/2 without TLS against independent witnesses: nginx writes down every request that it answered, h2load the time
//! of each, and neither knows of the exporter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::latency::{HELD_BACK, PATHS, Times};
use common::nginx::{LATE, Nginx};
use common::{Agent, Page, can_load, connect, loopback};
use quoll_exporter::agent::SourceChoice;
use quoll_exporter::kernel::Settings;
use quoll_exporter::tls::TlsChoice;
use rustix::process::{Pid, Signal, kill_process};

const DURATION: &str = "http_request_duration_seconds";
const COUNT: &str = "http_request_duration_seconds_count";
const UNPARSED: &str = "exporter_connections_unparsed_total";
const UNTIMED: &str = "exporter_requests_untimed_total";
const HTTP2: &[&str] = &["protocol=\"http2\""];
/// Requests whose times are compared.
const PROBES: usize = 60;

/// A web server at one address for all, and at one that holds requests back and writes nothing down. `folder` has its files.
fn nginx([address, slow]: [SocketAddr; 2], folder: &Path) -> Nginx {
    let root = folder.display();
    let body = "x".repeat(3000);
    fs::write(folder.join("file"), vec![b'y'; 200_000]).unwrap();
    fs::write(folder.join("sent"), vec![b'z'; 40_000]).unwrap();
    let servers = format!(
        "sendfile on; large_client_header_buffers 4 32k;\n\
         server {{ listen {address} http2; root {root};\n\
           location / {{ return 200 '{body}'; }} location /no {{ return 404 'no'; }} location /file {{ }} }}\n\
         server {{ listen {slow} http2; access_log off; location / {{ return 200 '{body}'; }} {LATE} }}\n"
    );
    let plain = TcpListener::bind((loopback(61, 4), 0)).unwrap().local_addr().unwrap();
    Nginx::start(plain, &servers, "")
}

fn h2load(args: &[&str]) {
    let output = Command::new("h2load").args(args).stderr(Stdio::inherit()).output();
    let output = output.expect("h2load is missing: scripts/setup installs it");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
}

fn of(server: &str, reporter: &str, class: &str) -> [String; 3] {
    [format!("server=\"{server}\""), format!("reporter=\"{reporter}\""), format!("status_class=\"{class}\"")]
}

fn sum(page: &Page, metric: &str, labels: &[String]) -> f64 {
    page.sum(metric, &labels.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn counts_classes_and_latencies_agree_with_nginx_and_h2load() {
    if !can_load() {
        return;
    }
    let address = |host| TcpListener::bind((loopback(61, host), 0)).unwrap().local_addr().unwrap();
    let addresses = [address(2), address(3)];
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let nginx = nginx(addresses, folder.path());
    let [fast, slow] = addresses;
    let services = format!(
        "services:\n  - {{name: site, match: [{{address: {}}}]}}\n  - {{name: slow, match: [{{address: {}}}]}}\n",
        fast.ip(),
        slow.ip()
    );
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let url = |path: &str| format!("http://{fast}{path}");
    h2load(&["-n2000", "-c4", "-m10", &url("/")]);
    h2load(&["-n500", "-c2", "-m1", &url("/no")]);
    // Short connections; headers of many pieces, new ones and repeated ones; bodies of both directions.
    h2load(&["-n300", "-c100", "-m3", &url("/")]);
    let long = format!("x-long: {}", "l".repeat(9000));
    h2load(&["-n50", "-c5", "-m5", "-H", &long, "-H", "x-other: something", &url("/")]);
    h2load(&["-n50", "-c2", "-m5", "-d", &path("sent"), &url("/")]);
    h2load(&["-n100", "-c2", "-m5", &url("/file")]);

    let reporters = ["client", "server"];
    let classes = [("2xx", 2), ("4xx", 4)];
    let page = agent.page_at_last(|page| {
        reporters.iter().all(|reporter| {
            classes
                .iter()
                .all(|(class, status)| sum(page, COUNT, &of("site", reporter, class)) >= nginx.answered(*status))
        })
    });
    for (class, status) in classes {
        let answered = nginx.answered(status);
        assert!(answered >= 500.0, "{answered} of {status}xx");
        for reporter in reporters {
            let counted = sum(&page, COUNT, &of("site", reporter, class));
            println!("{reporter} {class}: {counted}, nginx: {answered}");
            assert_eq!(counted, answered, "{reporter} {class}");
        }
    }
    let all = sum(&page, COUNT, &of("site", "server", "")[..2]);
    assert_eq!(all, nginx.answered(2) + nginx.answered(4), "no other classes");

    latencies(&agent, &path("times"), slow);
}

/// One request after the other, by times that h2load writes down.
fn latencies(agent: &Agent, log: &str, address: SocketAddr) {
    let urls = PATHS.map(|path| format!("http://{address}{path}"));
    let before = agent.page();
    h2load(&[&format!("-n{PROBES}"), "-c1", "-m1", "--log-file", log, &urls[0], &urls[1], &urls[2]]);
    let text = fs::read_to_string(log).unwrap();
    let mut times = Times::default();
    for (number, line) in text.lines().enumerate() {
        // When it began, its status, and how long it took.
        let [_, status, microseconds] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let kind = number % PATHS.len();
        assert_eq!(status, if kind == 0 { "200" } else { "401" }, "they are asked in turn: {text}");
        times.add(HELD_BACK[kind], microseconds.parse::<f64>().unwrap() / 1e6);
    }
    times.assert_agree(agent, &before, DURATION, &["server=\"slow\""]);
}

#[test]
fn so_counts_agree_within_tls() {
    if !can_load() {
        return;
    }
    let address = |host| TcpListener::bind((loopback(64, host), 0)).unwrap().local_addr().unwrap();
    let (hidden, plain) = (address(2), address(3));
    let services = format!("services:\n  - {{name: hidden, match: [{{address: {}}}]}}\n", hidden.ip());
    let server = format!(
        "server {{ listen {hidden} ssl http2; ssl_certificate certificate; ssl_certificate_key key;\n\
         location / {{ return 200 '{}'; }} location /no {{ return 404 'no'; }} }}",
        "x".repeat(3000)
    );
    let nginx = Nginx::start_tls(plain, &server, "");
    let agent =
        Agent::start_with(SourceChoice::Ebpf, &services, Settings { tls: TlsChoice::True, ..Settings::default() });
    h2load(&["-n1000", "-c4", "-m10", &format!("https://{hidden}/")]);
    h2load(&["-n200", "-c2", "-m1", &format!("https://{hidden}/no")]);
    let seen = |page: &Page| {
        ["client", "server"].map(|end| ["2xx", "4xx"].map(|class| sum(page, COUNT, &of("hidden", end, class))))
    };
    let page = agent.page_at_last(|page| seen(page) == [[1000.0, 200.0]; 2]);
    println!("{:?}, nginx: {} and {}", seen(&page), nginx.answered(2), nginx.answered(4));
    assert_eq!(seen(&page), [[nginx.answered(2), nginx.answered(4)]; 2]);
}

/// A client that says what it is told to, and hands over all that it reads.
struct Client {
    process: Child,
    read: Vec<u8>,
}

impl Client {
    fn start(from: SocketAddr, to: SocketAddr) -> Self {
        let process = Command::new("openssl")
            .args(["s_client", "-quiet", "-alpn", "h2", "-bind", &from.to_string(), "-connect", &to.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is missing");
        Self { process, read: Vec::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.process.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Waits until this was among what it read.
    fn reads(&mut self, bytes: &[u8]) {
        while !self.read.windows(bytes.len()).any(|window| window == bytes) {
            let mut more = [0; 4096];
            let length = self.process.stdout.as_mut().unwrap().read(&mut more).unwrap();
            assert!(length > 0, "it read no more than {:?}", self.read);
            self.read.extend_from_slice(&more[..length]);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process as i32).unwrap(), signal).unwrap();
}

#[test]
fn an_answer_within_tls_that_was_read_after_the_last_look_is_in_the_next_one() {
    if !can_load() {
        return;
    }
    let address = |host| TcpListener::bind((loopback(66, host), 0)).unwrap().local_addr().unwrap();
    let (asks, late, plain) = (address(1), address(2), address(3));
    // Where an end has no name, all connections are looked at for a while.
    let services = format!(
        "services:\n  - {{name: asks, match: [{{address: {}}}]}}\n  - {{name: late, match: [{{address: {}}}]}}\n",
        asks.ip(),
        late.ip()
    );
    let server = format!(
        "server {{ listen {late} ssl http2; ssl_certificate certificate; ssl_certificate_key key;\n\
         location / {{ return 200 'a late answer'; }} }}"
    );
    let nginx = Nginx::start_tls(plain, &server, "");
    let agent =
        Agent::start_with(SourceChoice::Ebpf, &services, Settings { tls: TlsChoice::True, ..Settings::default() });
    let mut client = Client::start(asks, late);
    client.say(&[PREFACE, &frame(4, 0, 0, &[])].concat());
    client.reads(&frame(4, 1, 0, &[]));
    let answered = |page: &Page, end: &str| sum(page, COUNT, &of("late", end, "2xx"));
    let moved =
        |page: &Page, way: &str, end: &str| sum(page, &format!("tcp_{way}_bytes_total"), &of("late", end, "2xx")[..2]);
    let before = moved(&agent.page(), "sent", "client");
    // It asks while the server is stopped, and is stopped itself when the answer comes.
    signal(nginx.id(), Signal::STOP);
    // GET, https, /, and an authority.
    client.say(&frame(HEADERS, 5, 1, &[0x82, 0x87, 0x84, 0x41, 1, b'x']));
    let page = agent.page_at_last(|page| moved(page, "sent", "client") > before);
    assert!(moved(&page, "sent", "client") > before);
    signal(client.process.id(), Signal::STOP);
    signal(nginx.id(), Signal::CONT);
    // All has come, and been acknowledged; nothing else of this connection will move.
    let has_come = |page: &Page| {
        answered(page, "server") == 1.0 && moved(page, "sent", "server") == moved(page, "received", "client")
    };
    assert!(has_come(&agent.page_at_last(has_come)));
    agent.page();
    assert_eq!(answered(&agent.page(), "client"), 0.0);
    signal(client.process.id(), Signal::CONT);
    client.reads(b"a late answer");
    assert_eq!(answered(&agent.page(), "client"), 1.0);
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

/// Sends some bytes, and reads them at the other end.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    let mut buffer = vec![0; bytes.len()];
    to.read_exact(&mut buffer).unwrap();
}

const HEADERS: u8 = 1;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[test]
fn a_connection_that_was_there_before_is_counted_and_not_guessed_at() {
    if !can_load() {
        return;
    }
    let services = format!("services:\n  - {{name: old, match: [{{address: {}}}]}}\n", loopback(62, 2));
    let listener = TcpListener::bind((loopback(62, 2), 0)).unwrap();
    let mut client = connect(loopback(62, 1), listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    pass(&mut client, &mut server, &[PREFACE, &frame(4, 0, 0, &[])].concat());
    pass(&mut server, &mut client, &frame(4, 0, 0, &[]));
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let before = agent.page().sum(UNPARSED, &["reason=\"midway\""]);
    for stream in [1, 3] {
        pass(&mut client, &mut server, &frame(HEADERS, 5, stream, &[0x82, 0x84, 0x86]));
        pass(&mut server, &mut client, &frame(HEADERS, 5, stream, &[0x88]));
    }
    let page = agent.page();
    // Once at each end; others of this machine may be among them.
    assert!(page.sum(UNPARSED, &["protocol=\"http2\"", "reason=\"midway\""]) >= before + 2.0);
    assert_eq!(page.sum(COUNT, &["server=\"old\""]), 0.0);
}

#[test]
fn what_breaks_within_a_connection_ends_it_and_keeps_what_was_counted() {
    if !can_load() {
        return;
    }
    let services = format!(
        "services:\n  - {{name: asks, match: [{{address: {}}}]}}\n  - {{name: bad, match: [{{address: {}}}]}}\n",
        loopback(63, 1),
        loopback(63, 2)
    );
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let before = agent.page();
    let listener = TcpListener::bind((loopback(63, 2), 0)).unwrap();
    let mut client = connect(loopback(63, 1), listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    // The server may speak before it has read anything.
    pass(&mut server, &mut client, &frame(4, 0, 0, &[]));
    pass(&mut client, &mut server, &[PREFACE, &frame(4, 0, 0, &[])].concat());
    pass(&mut client, &mut server, &frame(HEADERS, 5, 1, &[0x82, 0x84, 0x86]));
    pass(&mut server, &mut client, &frame(HEADERS, 5, 1, &[0x8d]));
    pass(&mut client, &mut server, &frame(HEADERS, 5, 3, &[0x82, 0x84, 0x86]));
    // A reference to a field that there is not.
    pass(&mut server, &mut client, &frame(HEADERS, 5, 3, &[0xfe]));
    pass(&mut server, &mut client, &frame(HEADERS, 5, 3, &[0x88]));
    drop((client, server));
    let grown = |page: &Page, metric: &str| page.sum(metric, HTTP2) - before.sum(metric, HTTP2);
    let page = agent.page_at_last(|page| {
        grown(page, UNPARSED) >= 2.0 && page.sum("tcp_active_connections", &["server=\"bad\""]) == 0.0
    });
    for reporter in ["client", "server"] {
        assert_eq!(page.requests(("asks", "bad"), reporter, "4xx"), 1.0, "{reporter}");
        assert_eq!(sum(&page, COUNT, &of("bad", reporter, "")[..2]), 1.0, "{reporter}");
    }
    assert!(grown(&page, UNTIMED) >= 2.0, "the open request at each end");
}
