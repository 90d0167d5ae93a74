//! The binary from outside: its pages, its privileges, its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::nginx::{Nginx, tls_client};
use common::{PATIENCE, Page, ask, can_load, connect, loopback, serve, wait_until};

/// A copy of the binary that any user may run, whatever the umask of who built it.
fn runnable_copy(to: &Path) {
    std::fs::copy(env!("CARGO_BIN_EXE_quoll-exporter"), to).unwrap();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A running exporter; killed if the test ends early.
struct Running {
    child: Child,
    address: SocketAddr,
    log: Vec<String>,
    stderr: BufReader<std::process::ChildStderr>,
    folder: tempfile::TempDir,
}

impl Running {
    /// Starts a copy of the binary that any user may run, by `prefix` (such as setpriv) if given.
    fn start(prefix: &[&str], arguments: &[&str], services: &str) -> Self {
        let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let binary = folder.path().join("quoll-exporter");
        runnable_copy(&binary);
        let rules = folder.path().join("services.yaml");
        std::fs::write(&rules, services).unwrap();
        std::fs::set_permissions(&rules, std::fs::Permissions::from_mode(0o644)).unwrap();
        let binary = binary.to_str().unwrap().to_owned();
        let mut words: Vec<&str> = prefix.to_vec();
        words.extend([binary.as_str(), "--listen", "127.0.0.1:0", "--services", rules.to_str().unwrap()]);
        words.extend(arguments);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("NO_COLOR", "1").stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = loop {
            match command.spawn() {
                Ok(child) => break child,
                // Another test's child was started during the copy, and has it open until it runs itself.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                Err(error) => panic!("{error}"),
            }
        };
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
        Self { child, address, log, stderr, folder }
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
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                let mut rest = String::new();
                self.stderr.read_to_string(&mut rest).unwrap();
                return self.log.iter().cloned().chain(rest.lines().map(str::to_owned)).collect();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not stop within {PATIENCE:?}");
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

/// What is in the kernel: identifiers of programs, maps and links.
#[derive(Debug, Default, PartialEq)]
struct InKernel([BTreeSet<u32>; 3]);

impl InKernel {
    /// All that is there.
    fn all() -> Self {
        let programs = aya::programs::loaded_programs().filter_map(Result::ok).map(|program| program.id());
        let maps = aya::maps::loaded_maps().filter_map(Result::ok).map(|map| map.id());
        let links = aya::programs::loaded_links().filter_map(Result::ok).map(|link| link.id());
        Self([programs.collect(), maps.collect(), links.collect()])
    }

    /// What a process has descriptors of, and the maps of its programs.
    fn held_by(process: u32) -> Self {
        let mut held = Self::default();
        for entry in std::fs::read_dir(format!("/proc/{process}/fdinfo")).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            for (kind, name) in ["prog_id:", "map_id:", "link_id:"].into_iter().enumerate() {
                let ids = text.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
                held.0[kind].extend(ids);
            }
        }
        for program in aya::programs::loaded_programs().filter_map(Result::ok) {
            if held.0[0].contains(&program.id()) {
                held.0[1].extend(program.map_ids().unwrap().unwrap_or_default());
            }
        }
        held
    }

    /// What of it is still there.
    fn left(&self) -> Self {
        let all = Self::all();
        Self(std::array::from_fn(|kind| self.0[kind].intersection(&all.0[kind]).copied().collect()))
    }
}

#[test]
fn nothing_stays_in_the_kernel_however_it_ends() {
    if !can_load() {
        return;
    }
    for is_killed in [false, true] {
        let mut exporter = Running::start(&[], &["--source", "ebpf", "--tls", "true"], &two_services(26));
        let held = InKernel::held_by(exporter.child.id());
        // The hooks, the iterators and the probes of a library; what they work with.
        let [programs, maps, links] = &held.0;
        assert!(programs.len() >= 6 && maps.len() >= 10 && links.len() >= 4, "{held:?}");
        assert_eq!(held.left(), held);
        if is_killed {
            exporter.child.kill().unwrap();
            exporter.child.wait().unwrap();
        } else {
            exporter.stop();
        }
        // The kernel takes it away when nobody runs it any more.
        wait_until("nothing is left in the kernel", || held.left() == InKernel::default());
    }
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
fn printed_capabilities(more: &[&str]) -> [Vec<String>; 2] {
    let output =
        Command::new(env!("CARGO_BIN_EXE_quoll-exporter")).arg("--print-capabilities").args(more).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.trim().starts_with("together")).unwrap();
    let (start, life) = line.split_once("to start: ").unwrap().1.split_once("; for life: ").unwrap();
    [start, life].map(|words| words.split(' ').filter(|word| *word != "-").map(str::to_owned).collect())
}

/// Bits of `CapEff` and its sisters, `include/uapi/linux/capability.h`.
fn bits(capabilities: &[String]) -> u64 {
    let bit = |name: &String| match name.as_str() {
        "CAP_DAC_READ_SEARCH" => 2,
        "CAP_NET_ADMIN" => 12,
        "CAP_SYS_PTRACE" => 19,
        "CAP_SYS_ADMIN" => 21,
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
    let [start, life] = printed_capabilities(&[]);
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

/// The server, the client and the copy of the library are root's, and come when everything else was given up.
#[test]
fn with_exactly_the_printed_capabilities_it_looks_into_tls_of_others() {
    if !can_load() {
        return;
    }
    let tls = ["--tls", "true"];
    let [start, life] = printed_capabilities(&tls);
    let needed = start.iter().chain(&life).map(|name| name.trim_start_matches("CAP_").to_lowercase());
    let set = needed.fold("-all".to_owned(), |set, name| set + ",+" + &name);
    let sets = [format!("--inh-caps={set}"), format!("--ambient-caps={set}"), format!("--bounding-set={set}")];
    let mut prefix = vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    prefix.extend(sets.iter().map(String::as_str));
    let exporter = Running::start(&prefix, &[&["--source", "ebpf"][..], &tls].concat(), &two_services(24));
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    assert_eq!(u64::from_str_radix(line.trim(), 16).unwrap(), bits(&life));

    let address = TcpListener::bind((loopback(24, 2), 0)).unwrap().local_addr().unwrap();
    let nginx = Nginx::start_tls(address, "", "location / { return 404 'no'; }");
    let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    std::fs::copy(nginx.libssl(), folder.path().join("libssl.so.3")).unwrap();
    let page_when = |condition: &dyn Fn(&Page) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = Page::parse(&exporter.metrics());
            if condition(&page) || Instant::now() > deadline {
                return page;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let watched = |page: &Page| {
        let counts = ["watched", "watched_slowly"].map(|state| format!("exporter_tls_libraries{{state=\"{state}\"}}"));
        counts.iter().map(|name| page.get(name)).sum::<f64>()
    };
    let before = watched(&page_when(&|_| true));
    assert!(before >= 1.0);
    let mut client = tls_client(address, folder.path());
    assert!(watched(&page_when(&|page| watched(page) > before)) > before, "a library of another user is not found");
    client.stdin.take().unwrap().write_all(b"GET /no HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let seen = |page: &Page, reporter: &str| {
        let reporter = format!("reporter=\"{reporter}\"");
        page.sum("http_request_duration_seconds_count", &["server=\"a\\\"p\\\\i\"", &reporter, "status_class=\"4xx\""])
    };
    for reporter in ["client", "server"] {
        assert_eq!(seen(&page_when(&|page| seen(page, reporter) == 1.0), reporter), 1.0, "{reporter}");
    }
    let _ = client.kill();
    let _ = client.wait();
    let log = exporter.stop();
    assert!(!log.iter().any(|line| line.contains("WARN")), "{log:?}");
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
    runnable_copy(&binary);
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

#[test]
fn a_flood_of_services_is_held_by_the_limits_and_counted() {
    if !can_load() {
        return;
    }
    let client = |number: u8| loopback(24, number);
    let services: String = (1..=250)
        .map(|number| format!("  - {{name: c{number}, match: [{{address: {}}}]}}\n", client(number)))
        .collect();
    let limits = ["--max-edges", "100", "--max-series-per-metric", "500", "--deny-metrics", "quoll_tcp_rtt_seconds"];
    let arguments = [&["--source", "ebpf", "--show-self", "--disable", "resources"], &limits[..]].concat();
    let exporter = Running::start(&[], &arguments, &format!("services:\n{services}"));
    let listener = TcpListener::bind((client(1), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    for number in 2..=250 {
        let stream = connect(client(number), address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        drop((stream, accepted));
    }
    let deadline = Instant::now() + PATIENCE;
    let (text, connects) = loop {
        let text = exporter.metrics();
        let is_ours = |line: &&str| {
            line.starts_with("quoll_tcp_connects_total{")
                && line.contains("reporter=\"client\"")
                && (line.contains("server=\"c1\"") || line.contains("{client=\"other\",server=\"other\""))
        };
        let values = text.lines().filter(is_ours).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
        let connects = values.sum::<f64>();
        if connects >= 249.0 || Instant::now() > deadline {
            break (text, connects);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // Other connections of this machine may be in `other`, too.
    assert!(connects >= 249.0, "{connects}: {text}");
    // The two ends of a connection end one after the other.
    let duration = "quoll_tcp_connection_duration_seconds";
    let limited = format!("exporter_series_limited_total{{metric=\"{duration}\"}}");
    let text = metrics_when(&exporter, |text| Page::parse(text).get(&limited) > 20.0);
    let page = Page::parse(&text);
    assert!(page.get("exporter_edges_limited_total") >= 2.0 * 249.0 - 100.0, "{text}");
    let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert!(series("quoll_tcp_connects_total{") <= 102, "{text}");
    // Of 500 series, room for 20 histograms is left to `other`.
    assert!((240..=500).contains(&series(duration)), "{}", series(duration));
    assert_eq!(series("quoll_tcp_rtt_seconds"), 0);
    exporter.stop();
}

/// Asks until the page satisfies the condition.
fn metrics_when(exporter: &Running, condition: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = exporter.metrics();
        if condition(&text) {
            return text;
        }
        assert!(Instant::now() < deadline, "{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const RELOADED: &str = "\nquoll_exporter_config_last_reload_success 1\n";
const NOT_RELOADED: &str = "\nquoll_exporter_config_last_reload_success 0\n";

#[test]
fn the_configuration_follows_its_file_and_keeps_the_last_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("exporter.yaml");
    let denied = "source: procfs\nlimits:\n  deny_metrics: [quoll_exporter_build_info]\n";
    std::fs::write(&path, denied).unwrap();
    // The option goes before the file.
    let exporter = Running::start(&[], &["--config", path.to_str().unwrap()], "services: []\n");
    let text = exporter.metrics();
    assert!(text.contains(RELOADED) && !text.contains("build_info"), "{text}");

    std::fs::write(&path, "source: procfs\nlimtis: {}\n").unwrap();
    let text = metrics_when(&exporter, |text| text.contains(NOT_RELOADED));
    assert!(!text.contains("build_info"), "the last good one is in force: {text}");

    std::fs::write(&path, "source: ebpf\n").unwrap();
    let text = metrics_when(&exporter, |text| text.contains(RELOADED));
    assert!(text.contains("build_info{version=\"0.1.0\",source=\"procfs\"}"), "{text}");

    let log = exporter.stop();
    assert!(
        log.iter().any(|line| line.contains("unknown key 'limtis' in the file; did you mean 'limits'?")),
        "{log:?}"
    );
    assert!(log.iter().any(|line| line.contains("setting source comes into force at the next start")), "{log:?}");
}

#[test]
fn it_tells_what_it_takes_itself() {
    let exporter = Running::start(&[], &["--source", "procfs"], "services: []\n");
    let value = |text: &str, name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
    };
    let memory = value(&exporter.metrics(), "quoll_exporter_resident_memory_bytes");
    assert!((1e6..1e9).contains(&memory), "{memory}");
    // Its clock has ticks of 10 ms: each page takes some of one.
    metrics_when(&exporter, |text| value(text, "quoll_exporter_cpu_seconds_total") > 0.0);
    exporter.stop();
}

#[test]
fn a_signal_makes_it_read_its_configuration_again() {
    let exporter = Running::start(&[], &["--source", "procfs"], "services: []\n");
    let rules = exporter.folder.path().join("services.yaml");
    std::fs::remove_file(rules).unwrap();
    assert!(exporter.metrics().contains(RELOADED), "a file that is gone for a moment is being replaced");
    let pid = rustix::process::Pid::from_child(&exporter.child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    metrics_when(&exporter, |text| text.contains(NOT_RELOADED));
    exporter.stop();
}

#[test]
fn check_says_whether_a_configuration_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("exporter.yaml");
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let arguments = ["check", "--config", path.to_str().unwrap()];
        Command::new(env!("CARGO_BIN_EXE_quoll-exporter")).args(arguments).output().unwrap()
    };
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/exporter.example.yaml");
    let good = check(&std::fs::read_to_string(example).unwrap());
    assert!(good.status.success() && String::from_utf8_lossy(&good.stdout).contains("is good"), "{good:?}");
    for (text, part) in [
        ("services: [{name: a, match: [{prot: 1}]}]\n", "did you mean 'port'?"),
        ("limits: {label_value_bytes: 1}\n", "must be at least 32"),
        ("web_config_file: /nowhere/web.yml\n", "/nowhere/web.yml"),
    ] {
        let bad = check(text);
        assert!(!bad.status.success() && String::from_utf8_lossy(&bad.stderr).contains(part), "{bad:?}");
    }
}
