//! Starts the binary as a user would, asks its control interface, and looks at what it left.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Runs of this test process so far: names and subnets must not meet.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// A running shop; stopped in order when dropped.
pub struct Shop {
    process: Child,
    pub name: String,
    pub subnet: String,
    control: String,
    /// What it printed until it was up.
    pub greeting: String,
}

pub fn small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/small.yaml")
}

pub fn full() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/shop.yaml")
}

/// A name and loopback subnet of this test's own.
pub fn fresh() -> (String, String) {
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    (format!("qmtest-{process}-{run}"), format!("127.{}.{}.0/24", 100 + process % 100, run))
}

pub fn command(topology: &Path, isolation: &str, name: &str, subnet: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoll-microsim"));
    command.arg("run").arg("--topology").arg(topology);
    command.args(["--control", "127.0.0.1:0", "--isolation", isolation, "--name", name, "--subnet", subnet]);
    command
}

impl Shop {
    pub fn start(topology: &Path) -> Self {
        let (name, subnet) = fresh();
        Self::start_as(topology, "none", &name, &subnet, &[])
    }

    pub fn start_as(topology: &Path, isolation: &str, name: &str, subnet: &str, more: &[&str]) -> Self {
        let mut command = command(topology, isolation, name, subnet);
        let mut process = command.args(more).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut greeting = String::new();
        let control = loop {
            let line = lines.next().unwrap_or_else(|| panic!("ended before it was up: {greeting}")).unwrap();
            if let Some(control) = line.strip_prefix("control ") {
                break control.to_owned();
            }
            greeting += &line;
        };
        // Keep reading, or the pipe fills up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, name: name.to_owned(), subnet: subnet.to_owned(), control, greeting }
    }

    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}{path}", self.control);
        let mut response = match (method, body) {
            ("POST", Some(body)) => agent.post(&url).send_json(body).unwrap(),
            ("DELETE", _) => agent.delete(&url).call().unwrap(),
            _ => agent.get(&url).call().unwrap(),
        };
        let status = response.status().as_u16();
        (status, response.body_mut().read_json().unwrap())
    }

    pub fn stats(&self) -> Value {
        self.ask("GET", "/stats", None).1
    }

    pub fn inject(&self, service: &str, kind: &str, severity: f64) -> String {
        let body = json!({ "service": service, "kind": kind, "severity": severity, "seconds": 3000 });
        let (status, fault) = self.ask("POST", "/faults", Some(&body));
        assert_eq!(status, 201, "{fault}");
        fault["id"].as_str().unwrap().to_owned()
    }

    pub fn repair(&self, id: &str) {
        assert_eq!(self.ask("DELETE", &format!("/faults/{id}"), None).0, 200);
    }

    /// What happens within `seconds` from now, or somewhat more where the machine is slow.
    pub fn watch(&self, seconds: f64) -> Change {
        let (before, begun) = (self.stats(), Instant::now());
        std::thread::sleep(Duration::from_secs_f64(seconds));
        let after = self.stats();
        Change { before, after, seconds: begun.elapsed().as_secs_f64() }
    }

    /// Watches for `seconds`, again and again until the claims hold: a machine that was busy with something
    /// else during one look will not be during all of them.
    ///
    /// # Panics
    /// Where they never do, with those of the last look that do not.
    pub fn observe(&self, seconds: f64, claims: impl Fn(&Change) -> Vec<Claim>) -> Change {
        for look in 1.. {
            let change = self.watch(seconds);
            let broken: Vec<String> =
                claims(&change).into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what).collect();
            if broken.is_empty() {
                return change;
            }
            assert!(look < LOOKS, "in none of {LOOKS} looks; in the last one: {}", broken.join("; "));
        }
        unreachable!("the last look panics")
    }

    /// Ids of all processes, the supervisor's excluded.
    pub fn processes(&self) -> Vec<u64> {
        let stats = self.stats();
        let services = stats["services"].as_object().unwrap().values();
        services.chain([&stats["load"]]).filter_map(|service| service["process"].as_u64()).collect()
    }

    pub fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_raw(self.process.id().cast_signed()).unwrap(), signal).unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
        }
    }
}

/// How often [`Shop::observe`] looks.
const LOOKS: u32 = 12;

/// Whether something holds, and what it is, with its figure.
pub type Claim = (bool, String);

/// Two looks at the statistics.
pub struct Change {
    pub before: Value,
    pub after: Value,
    /// Between the two.
    pub seconds: f64,
}

impl Change {
    /// Growth of a counter, by JSON pointer.
    pub fn count(&self, pointer: &str) -> f64 {
        let at = |stats: &Value| stats.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
        at(&self.after) - at(&self.before)
    }

    /// The same per second.
    pub fn rate(&self, pointer: &str) -> f64 {
        self.count(pointer) / self.seconds
    }

    /// Mean milliseconds of the requests that ended in between, by pointer to the service or edge.
    pub fn mean_ms(&self, pointer: &str) -> f64 {
        let read = |stats: &Value, field: &str| {
            stats.pointer(&format!("{pointer}/latency_seconds/{field}")).and_then(Value::as_f64).unwrap_or(0.0)
        };
        let sum = |stats: &Value| read(stats, "count") * read(stats, "mean");
        1000.0 * (sum(&self.after) - sum(&self.before)) / (read(&self.after, "count") - read(&self.before, "count"))
    }

    /// Share of the users' requests that failed.
    pub fn user_errors(&self) -> f64 {
        let failed = self.count("/load/responses/server_error") + self.count("/load/cancelled");
        failed / (failed + self.count("/load/responses/ok"))
    }
}

/// Asserts that `condition` comes true within a minute; where nothing else is to be done, within moments.
pub fn soon(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a process runs; a zombie that nobody has reaped does not.
pub fn runs(id: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Namespaces, cgroups and files of state that bear the run's name.
pub fn leftovers(name: &str) -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from("/run/netns"), PathBuf::from("/run/quoll-microsim")];
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let cgroups = mountinfo.lines().filter(|line| line.contains(" - cgroup"));
    roots.extend(cgroups.filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from));
    let entries = roots.iter().filter_map(|root| std::fs::read_dir(root).ok()).flatten().flatten();
    entries
        .filter(|entry| {
            let file = entry.file_name().to_string_lossy().into_owned();
            file == name || file.starts_with(&format!("{name}."))
        })
        .map(|entry| entry.path())
        .collect()
}

/// Whether this machine lets us make network namespaces.
pub fn namespaces_permitted() -> bool {
    let name = format!("qmtest-probe-{}", std::process::id());
    let ip = |verb: &str| Command::new("ip").args(["netns", verb, &name]).stderr(Stdio::null()).status();
    ip("add").is_ok_and(|status| status.success()) && ip("delete").is_ok_and(|status| status.success())
}
