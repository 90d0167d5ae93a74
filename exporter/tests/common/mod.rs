//! What the kernel tests share: pages as maps, traffic with known sizes, network namespaces.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod latency;
pub mod nginx;
pub mod witness;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use quoll_exporter::agent::{self, AgentConfig, AgentHandle, SourceChoice};
use quoll_exporter::collectors::requests::BOUNDS;
use quoll_exporter::config::Config;
use quoll_exporter::kernel::Settings;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// How long anything is waited for that comes within milliseconds: a machine may be slow or busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the condition holds, and fails after [`PATIENCE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether eBPF can be tested here; says why not.
pub fn can_load() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: loading eBPF programs needs root");
        return false;
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        eprintln!("skipped: this kernel has no BTF");
        return false;
    }
    true
}

/// A loopback address of this process and test alone, so that tests of several runs do not meet.
pub fn loopback(test: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 100 + (std::process::id() % 100) as u8, test, host)
}

/// An agent with the given services file; everything stops when it is dropped.
pub struct Agent {
    handle: Option<AgentHandle>,
    thread: Option<JoinHandle<()>>,
    pub services: PathBuf,
    _folder: tempfile::TempDir,
}

impl Agent {
    pub fn start(source: SourceChoice, services: &str) -> Self {
        Self::start_with(source, services, Settings::default())
    }

    pub fn start_with(source: SourceChoice, services: &str, settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("services.yaml");
        std::fs::write(&path, services).unwrap();
        let services_file = Some(path.clone());
        let config = Config { source, services_file, show_self: true, ..Config::default() };
        let config = AgentConfig { settings, ..config.agent() };
        let (handle, thread) = agent::start(config).unwrap();
        Self { handle: Some(handle), thread: Some(thread), services: path, _folder: folder }
    }

    pub fn handle(&self) -> AgentHandle {
        self.handle.clone().unwrap()
    }

    pub fn text(&self) -> String {
        self.handle().scrape().unwrap().blocking_recv().unwrap().into_text()
    }

    pub fn page(&self) -> Page {
        Page::parse(&self.text())
    }

    /// See [`Self::page_at_last`].
    pub fn page_when(&self, condition: impl Fn(&Page) -> bool) -> Page {
        self.page_at_last(condition)
    }

    /// The first page that satisfies the condition, else the last one within [`PATIENCE`]: the two ends of a connection
    /// close one after the other.
    pub fn page_at_last(&self, condition: impl Fn(&Page) -> bool) -> Page {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = self.page();
            if condition(&page) || Instant::now() > deadline {
                return page;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.handle = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A scraped page: series by their text.
pub struct Page(BTreeMap<String, f64>);

impl Page {
    /// One without any series.
    pub fn empty() -> Self {
        Self(BTreeMap::new())
    }

    pub fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        Self(series.collect())
    }

    /// Value of a series without the prefix, such as `x_total{a="b"}`; 0 where it is absent.
    pub fn get(&self, series: &str) -> f64 {
        self.0.get(&format!("quoll_{series}")).copied().unwrap_or(0.0)
    }

    /// Sum over the series of a metric that have all of some labels, each written as in the text.
    pub fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        let start = format!("quoll_{metric}{{");
        let is_one = |series: &str| series.starts_with(&start) && labels.iter().all(|label| series.contains(label));
        self.0.iter().filter(|(series, _)| is_one(series)).map(|(_, value)| value).sum()
    }

    /// By how much such a sum grew since `before`.
    pub fn grown(&self, before: &Self, metric: &str, labels: &[&str]) -> f64 {
        self.sum(metric, labels) - before.sum(metric, labels)
    }

    /// Index of the bucket that a quantile of requests falls into: of those with these labels that came since `before`.
    pub fn bucket_of_quantile(&self, before: &Self, metric: &str, labels: &[&str], quantile: f64) -> usize {
        let grown = |name: &str, labels: &[&str]| self.grown(before, &format!("{metric}_{name}"), labels);
        let wanted = quantile * grown("count", labels);
        let below = |bound: &f64| grown("bucket", &[labels, &[format!("le=\"{bound}\"").as_str()]].concat());
        BOUNDS.iter().position(|bound| below(bound) >= wanted).unwrap_or(BOUNDS.len())
    }

    pub fn has(&self, series: &str) -> bool {
        self.0.contains_key(&format!("quoll_{series}"))
    }

    /// Value of a metric of one edge.
    pub fn edge(&self, metric: &str, edge: (&str, &str), reporter: &str) -> f64 {
        self.edge_with(metric, edge, reporter, "")
    }

    /// The same with further labels, such as `,reason="refused"`.
    pub fn edge_with(&self, metric: &str, (client, server): (&str, &str), reporter: &str, more: &str) -> f64 {
        self.get(&format!("{metric}{{client=\"{client}\",server=\"{server}\",reporter=\"{reporter}\"{more}}}"))
    }

    /// Requests of one class.
    pub fn requests(&self, edge: (&str, &str), reporter: &str, class: &str) -> f64 {
        let label = format!(",status_class=\"{class}\"");
        self.edge_with("http_request_duration_seconds_count", edge, reporter, &label)
    }
}

/// Index of the bucket that so many seconds fall into.
pub fn bucket_of(seconds: f64) -> usize {
    BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())
}

/// Connects from a chosen source address.
pub fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
    rustix::net::connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// Reads one message head and `body` bytes after it; `None` at the end of the stream.
pub fn read_message(stream: &mut TcpStream, body: usize) -> Option<usize> {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        seen.extend_from_slice(&chunk[..count]);
        if let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n")
            && seen.len() >= end + 4 + body
        {
            return Some(seen.len());
        }
    }
}

/// Status codes are asked for by path; every response has a body of this size.
pub const BODY: usize = 1000;

/// The text of a request for a status.
pub fn request(status: u16) -> String {
    format!("GET /{status} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// The text of the response.
pub fn response(status: u16) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {BODY}\r\n\r\n{}", "x".repeat(BODY))
}

/// Serves keep-alive connections until each ends; status 0 closes without an answer.
pub fn serve(listener: TcpListener, connections: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        let threads: Vec<_> = (0..connections)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                thread::spawn(move || {
                    let mut chunk = [0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut chunk) {
                        let text = String::from_utf8_lossy(&chunk[..count]);
                        let status: u16 = text.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
                        if status == 0 {
                            return;
                        }
                        stream.write_all(response(status).as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    })
}

/// One request and its whole response.
pub fn ask(stream: &mut TcpStream, status: u16) {
    stream.write_all(request(status).as_bytes()).unwrap();
    read_message(stream, BODY).unwrap();
}

/// Body of the answer to a request by HTTP/1.0, which has no chunks; any status but 2xx fails the test.
pub fn http(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json");
    stream.write_all(format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.split(' ').nth(1).unwrap().starts_with('2'), "{method} {path}: {text}");
    body.to_owned()
}

/// Runs a command that must succeed.
pub fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Two network namespaces joined by a cable, with the addresses 198.19.x.1 (server) and .2 (client), and another x for each
/// tag.
pub struct Namespaces {
    names: [String; 2],
    pub addresses: [IpAddr; 2],
}

impl Namespaces {
    pub fn make(tag: &str) -> Self {
        let pid = std::process::id();
        let names = [format!("qx{pid}{tag}s"), format!("qx{pid}{tag}c")];
        let octet = (pid + 10 * u32::from(tag.as_bytes()[0])) % 250;
        let made = Self {
            addresses: [1, 2].map(|host| format!("198.19.{octet}.{host}").parse().unwrap()),
            names: names.clone(),
        };
        for name in &names {
            // What a process of the same number left behind when it was killed.
            if Path::new(&format!("/run/netns/{name}")).exists() {
                run(&format!("ip netns del {name}"));
            }
            run(&format!("ip netns add {name}"));
        }
        let [server, client] = &names;
        run(&format!("ip -n {server} link add eth0 type veth peer name eth0 netns {client}"));
        for (name, address) in names.iter().zip(&made.addresses) {
            run(&format!("ip -n {name} addr add {address}/24 dev eth0"));
            run(&format!("ip -n {name} link set eth0 up"));
            run(&format!("ip -n {name} link set lo up"));
        }
        made
    }

    /// Inode of the server's (0) or the client's (1) namespace.
    pub fn inode(&self, end: usize) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(self.path(end)).unwrap().ino()
    }

    /// Runs something on a thread of its own in one of the namespaces: sockets made there stay there.
    pub fn inside<T: Send + 'static>(&self, end: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        use std::os::fd::AsFd;
        let file = std::fs::File::open(self.path(end)).unwrap();
        let enter = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        thread::spawn(enter).join().unwrap()
    }

    /// A process that does nothing but live in a namespace, through which `/proc` shows it.
    pub fn inhabitant(&self, end: usize) -> Inhabitant {
        let path = format!("--net={}", self.path(end));
        let child = Command::new("nsenter").args([path.as_str(), "sleep", "3600"]).spawn().unwrap();
        let namespace = format!("net:[{}]", self.inode(end));
        let link = format!("/proc/{}/ns/net", child.id());
        wait_until("a process in the namespace", || {
            std::fs::read_link(&link).is_ok_and(|inode| inode.as_os_str() == namespace.as_str())
        });
        Inhabitant(child)
    }

    /// Length and limit of a listener's queue as `ss` has them from sock_diag.
    pub fn sock_diag(&self, end: usize, port: u16) -> (f64, f64) {
        let text = self.ss(end, &["--listening", "--numeric", &format!("sport = :{port}")]);
        let mut numbers = text.split_whitespace().skip(1).map(|word| word.parse().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    /// Connects of a namespace that had to ask again.
    pub fn asked_again(&self, end: usize) -> usize {
        let text = self.ss(end, &["--options", "state", "syn-sent"]);
        // timer:(on,2.4sec,1), the last of which is how often.
        let has_asked = |line: &&str| !line.contains(",0)") && line.contains("timer:(on,");
        text.lines().filter(has_asked).count()
    }

    /// What `ss` says of the TCP sockets of a namespace.
    pub fn ss(&self, end: usize, arguments: &[&str]) -> String {
        let output = Command::new("nsenter")
            .arg(format!("--net={}", self.path(end)))
            .args(["ss", "--no-header", "--tcp"])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `ip` with some arguments in one of the namespaces.
    pub fn ip(&self, end: usize, arguments: &str) {
        run(&format!("ip -n {} {arguments}", self.names[end]));
    }

    /// Has `nft` read rules in one of the namespaces.
    pub fn nft(&self, end: usize, rules: &str) {
        let path = format!("--net={}", self.path(end));
        let mut nft =
            Command::new("nsenter").args([path.as_str(), "nft", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "nft (scripts/setup installs it) does not take: {rules}");
    }

    fn path(&self, end: usize) -> String {
        format!("/run/netns/{}", self.names[end])
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// See [`Namespaces::inhabitant`].
pub struct Inhabitant(std::process::Child);

impl Drop for Inhabitant {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
