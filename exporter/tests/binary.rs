//! The binary from outside: its pages, its privileges, its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Page, ask, can_load, connect, loopback, serve};

/// A running exporter; killed if the test ends early.
struct Running {
    child: Child,
    address: SocketAddr,
    log: Vec<String>,
    stderr: BufReader<std::process::ChildStderr>,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts a copy of the binary that any user may run, by `prefix` (such as setpriv) if given.
    fn start(prefix: &[&str], arguments: &[&str], services: &str) -> Self {
        let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let binary = folder.path().join("quoll-exporter");
        std::fs::copy(env!("CARGO_BIN_EXE_quoll-exporter"), &binary).unwrap();
        let rules = folder.path().join("services.yaml");
        std::fs::write(&rules, services).unwrap();
        let binary = binary.to_str().unwrap().to_owned();
        let mut words: Vec<&str> = prefix.to_vec();
        words.extend([binary.as_str(), "--listen", "127.0.0.1:0", "--services", rules.to_str().unwrap()]);
        words.extend(arguments);
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = Vec::new();
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended: {log:?}");
            log.push(line.trim().to_owned());
            if let Some((_, rest)) = line.split_once("serving http://") {
                break rest.trim().trim_end_matches("/metrics").parse().unwrap();
            }
        };
        Self { child, address, log, stderr, _folder: folder }
    }

    /// By HTTP/1.0, which has no chunks.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn metrics(&self) -> String {
        let text = self.get("/metrics");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.split(' ').nth(1) == Some("200"), "{head}");
        assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
        body.to_owned()
    }

    /// Asks it to stop; gives the rest of its log.
    fn stop(mut self) -> Vec<String> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                let mut rest = String::new();
                self.stderr.read_to_string(&mut rest).unwrap();
                return self.log.iter().cloned().chain(rest.lines().map(str::to_owned)).collect();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not stop within 5 seconds");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn two_services(test: u8) -> String {
    format!(
        "services:\n  - {{name: web, match: [{{address: {}}}]}}\n  - {{name: 'a\"p\\i', match: [{{address: {}}}]}}\n",
        loopback(test, 1),
        loopback(test, 2)
    )
}

fn traffic(test: u8) {
    let listener = TcpListener::bind((loopback(test, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = serve(listener, 1);
    let mut client = connect(loopback(test, 1), address).unwrap();
    ask(&mut client, 200);
    ask(&mut client, 500);
    drop(client);
    server.join().unwrap();
    let _ = connect(loopback(test, 1), address);
}

#[test]
fn promtool_finds_nothing_wrong_with_a_real_page() {
    if !can_load() {
        return;
    }
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("skipped: there is no promtool; it comes with Prometheus");
        return;
    }
    let exporter = Running::start(&[], &["--source", "ebpf", "--show-self"], &two_services(21));
    traffic(21);
    let page = exporter.metrics();
    assert!(
        page.contains("quoll_http_request_duration_seconds_bucket{client=\"web\",server=\"a\\\"p\\\\i\""),
        "{page}"
    );
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    exporter.stop();
}

#[test]
fn it_answers_and_stops_on_a_signal() {
    let exporter = Running::start(&[], &["--source", "procfs"], "services: []\n");
    assert!(exporter.get("/-/healthy").ends_with("healthy\n"));
    assert!(exporter.get("/-/ready").ends_with("ready\n"));
    assert!(exporter.get("/nothing").contains(" 404 Not Found\r\n"));
    assert!(exporter.get("/").contains("/metrics"));
    let log = exporter.stop();
    assert!(log.last().unwrap().contains("stopping"), "{log:?}");
}

#[test]
fn without_any_privilege_it_falls_back_to_procfs_and_says_so() {
    if !can_load() {
        return;
    }
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let exporter = Running::start(&nobody, &["--source", "auto"], &two_services(22));
    let page = Page::parse(&exporter.metrics());
    assert_eq!(page.get("exporter_build_info{version=\"0.1.0\",source=\"procfs\"}"), 1.0);
    let log = exporter.stop();
    let lines = log.iter().filter(|line| line.contains("falling back to --source procfs")).count();
    assert_eq!(lines, 1, "{log:?}");
}

/// What `--print-capabilities` says that all collectors together need with eBPF: to start, and for life.
fn printed_capabilities() -> [Vec<String>; 2] {
    let output = Command::new(env!("CARGO_BIN_EXE_quoll-exporter")).arg("--print-capabilities").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.trim().starts_with("together")).unwrap();
    let (start, life) = line.split_once("to start: ").unwrap().1.split_once("; for life: ").unwrap();
    [start, life].map(|words| words.split(' ').filter(|word| *word != "-").map(str::to_owned).collect())
}

/// Bits of `CapEff` and its sisters, `include/uapi/linux/capability.h`.
fn bits(capabilities: &[String]) -> u64 {
    let bit = |name: &String| match name.as_str() {
        "CAP_DAC_READ_SEARCH" => 2,
        "CAP_SYS_PTRACE" => 19,
        "CAP_PERFMON" => 38,
        "CAP_BPF" => 39,
        other => panic!("{other}"),
    };
    capabilities.iter().map(|name| 1 << bit(name)).sum()
}

#[test]
fn with_exactly_the_printed_capabilities_it_sees_others_and_keeps_less() {
    if !can_load() {
        return;
    }
    let [start, life] = printed_capabilities();
    let needed = start.iter().chain(&life).map(|name| name.trim_start_matches("CAP_").to_lowercase());
    let set = needed.fold("-all".to_owned(), |set, name| set + ",+" + &name);
    let sets = [format!("--inh-caps={set}"), format!("--ambient-caps={set}"), format!("--bounding-set={set}")];
    let mut prefix = vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    prefix.extend(sets.iter().map(String::as_str));
    let exporter = Running::start(&prefix, &["--source", "ebpf", "--show-self"], &two_services(23));
    for thread in std::fs::read_dir(format!("/proc/{}/task", exporter.child.id())).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        for field in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            let has = u64::from_str_radix(line.trim(), 16).unwrap();
            let may_have = if field.starts_with("CapInh") || field.starts_with("CapAmb") { 0 } else { bits(&life) };
            assert_eq!(has, may_have, "{field}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
    // These sockets are another user's. Everything is still seen by an exporter that gave up what it loaded with.
    traffic(23);
    let page = Page::parse(&exporter.metrics());
    let labels = "{client=\"web\",server=\"a\\\"p\\\\i\",reporter=\"client\"";
    assert_eq!(page.get(&format!("tcp_connects_total{labels}}}")), 2.0);
    assert_eq!(page.get(&format!("http_request_duration_seconds_count{labels},status_class=\"5xx\"}}")), 1.0);
    for collector in ["source", "tcp", "http", "listeners", "resources"] {
        let success = page.get(&format!("exporter_collector_success{{collector=\"{collector}\"}}"));
        assert_eq!(success, 1.0, "{collector}");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 40 * 1024, "{peak} KiB, the reading of the kernel's types included");
    exporter.stop();
}

#[test]
fn a_missing_capability_is_named_in_one_line() {
    if !can_load() {
        return;
    }
    let nobody =
        ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+bpf", "--ambient-caps=-all,+bpf"];
    let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let binary = folder.path().join("quoll-exporter");
    std::fs::copy(env!("CARGO_BIN_EXE_quoll-exporter"), &binary).unwrap();
    let output = Command::new("setpriv")
        .args(nobody)
        .arg(&binary)
        .args(["--listen", "127.0.0.1:0", "--source", "ebpf"])
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("eBPF cannot be used (missing: CAP_PERFMON)"), "{said}");
}

#[test]
fn a_wrong_services_file_is_explained_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("services.yaml");
    std::fs::write(&path, "services:\n  - nmae: cart\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_quoll-exporter"))
        .args(["--listen", "127.0.0.1:0", "--source", "procfs", "--services", path.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("unknown key 'nmae' in services[0]; did you mean 'name'?"), "{said}");
}
