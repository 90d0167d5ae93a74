//! The exporter as a process: its pages, what it takes, and what its programs take in the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quoll_bench::process::{cpu_seconds, status_bytes};

const SCRAPE_EVERY: Duration = Duration::from_secs(5);
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// A running exporter; ended when this is dropped.
pub struct Exporter {
    child: Child,
    /// Where it serves.
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

/// What the kernel counts of a hook's programs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Runs {
    /// Time in them.
    pub ns: f64,
    /// How often they ran; for an iterator, elements it was shown.
    pub count: f64,
    /// How often the kernel left it out, as it would have interrupted itself.
    pub left_out: f64,
}

impl Runs {
    /// Nanoseconds of one run.
    pub fn mean_ns(self) -> f64 {
        self.ns / self.count
    }
}

/// Programs by what they are attached to.
#[derive(Debug, Clone, Default)]
pub struct Hooks(BTreeMap<String, Runs>);

impl Hooks {
    /// What was added since `before`, hook by hook.
    pub fn since(&self, before: &Self) -> Self {
        let grown = |(hook, now): (&String, &Runs)| {
            let before = before.of(hook);
            (
                hook.clone(),
                Runs {
                    ns: now.ns - before.ns,
                    count: now.count - before.count,
                    left_out: now.left_out - before.left_out,
                },
            )
        };
        Self(self.0.iter().map(grown).collect())
    }

    /// Of one hook.
    pub fn of(&self, hook: &str) -> Runs {
        self.0.get(hook).copied().unwrap_or_default()
    }

    /// All that ran.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Runs)> {
        self.0.iter().filter(|(_, runs)| runs.count > 0.0).map(|(hook, runs)| (hook.as_str(), *runs))
    }

    /// Time in all of them but iterators, which run only at scrapes.
    pub fn ns_of_events(&self) -> f64 {
        self.iter().filter(|(hook, _)| !hook.starts_with("iterator ")).map(|(_, runs)| runs.ns).sum()
    }
}

impl Exporter {
    /// Starts `binary`; it has made a page when this returns.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(binary: &Path, source: &str, rules: &str, more: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let services = folder.path().join("services.yaml");
        fs::write(&services, rules)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(binary)
            .args(["--source", source, "--listen", &address.to_string(), "--plain-processes", "none", "--services"])
            .arg(&services)
            .args(more)
            .env("RUST_LOG", "warn")
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let mut exporter = Self { child, address, _folder: folder };
        while TcpStream::connect(address).is_err() {
            ensure!(exporter.child.try_wait()?.is_none(), "the exporter ended");
            thread::sleep(Duration::from_millis(20));
        }
        exporter.scrape()?;
        Ok(exporter)
    }

    /// Processor time so far.
    ///
    /// # Errors
    /// Where it ended.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.child.id())
    }

    /// A line of `/proc/PID/status`, in bytes.
    ///
    /// # Errors
    /// Where it ended.
    pub fn memory(&self, field: &str) -> anyhow::Result<f64> {
        status_bytes(self.child.id(), field)
    }

    /// One page in text form.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn scrape(&self) -> anyhow::Result<String> {
        scrape(self.address)
    }

    /// Memory of its maps as the kernel counts it (`memlock` in `/proc/PID/fdinfo`).
    pub fn map_bytes(&self) -> f64 {
        let number = |text: &str, name| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        let of_map = |text: String| Some((number(&text, "map_id:")?, number(&text, "memlock:")?));
        // One map may have several descriptors.
        let maps: BTreeMap<u64, u64> = self.descriptors().filter_map(of_map).collect();
        maps.values().sum::<u64>() as f64
    }

    /// What the kernel says of each of its descriptors.
    fn descriptors(&self) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(format!("/proc/{}/fdinfo", self.child.id())).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::read_to_string(entry.path()).ok())
    }

    /// Its programs as the kernel counts them, while [`Counting`] lasts: a descriptor of a link says what it is
    /// attached to and which program it runs, that of a program how often and how long that ran.
    pub fn hooks(&self) -> Hooks {
        let (mut programs, mut links) = (BTreeMap::new(), BTreeMap::new());
        for text in self.descriptors() {
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
            let number = |name: &str| field(name)?.parse::<u64>().ok();
            let Some(program) = number("prog_id:") else { continue };
            if let (Some(ns), Some(count)) = (number("run_time_ns:"), number("run_cnt:")) {
                let left_out = number("recursion_misses:").unwrap_or(0) as f64;
                programs.insert(program, Runs { ns: ns as f64, count: count as f64, left_out });
            } else if let Some(kind) = field("link_type:") {
                let hook = match (field("tp_name:"), field("target_name:")) {
                    (Some(tracepoint), _) => tracepoint.to_owned(),
                    // Two of them walk over maps; the one that was loaded first, over that of connections.
                    (None, Some(target)) => format!("iterator {target} of program {program}"),
                    (None, None) => kind.to_owned(),
                };
                links.insert(program, hook);
            }
        }
        let mut hooks = Hooks::default();
        for (program, runs) in programs {
            let hook = links.remove(&program).unwrap_or_else(|| "detached".to_owned());
            let sum = hooks.0.entry(hook).or_default();
            *sum = Runs { ns: sum.ns + runs.ns, count: sum.count + runs.count, left_out: sum.left_out + runs.left_out };
        }
        hooks
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the kernel count the runs of programs, as long as it lives.
pub struct Counting(String);

impl Counting {
    /// # Errors
    /// Where the setting cannot be changed.
    pub fn start() -> anyhow::Result<Self> {
        let before = fs::read_to_string(STATS)?;
        fs::write(STATS, "1")?;
        Ok(Self(before))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = fs::write(STATS, self.0.trim());
    }
}

fn scrape(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: bench\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).context("no page")
}

/// Sum of a metric over all its series.
pub fn sum(page: &str, metric: &str) -> f64 {
    let lines = page.lines().filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Connections of the load by the ends of one kind; others of this machine do not count.
pub fn counted(page: &str, reporter: &str) -> f64 {
    let reporter = format!("reporter=\"{reporter}\"");
    let lines = page.lines().filter(|line| line.starts_with("quoll_tcp_connects_total{client=\"service-"));
    lines.filter(|line| line.contains(&reporter)).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Scrapes every five seconds for as long as it lives, as a Prometheus would.
pub struct Scraper {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU32>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Scraper {
    /// Begins, with the first scrape after five seconds.
    pub fn start(exporter: &Exporter) -> Self {
        let (stop, count, address) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)), exporter.address);
        let (stopped, done) = (stop.clone(), count.clone());
        let work = move || {
            let mut due = Instant::now() + SCRAPE_EVERY;
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
                if Instant::now() >= due {
                    due += SCRAPE_EVERY;
                    if scrape(address).is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        Self { stop, count, thread: Some(thread::spawn(work)) }
    }

    /// Ends; gives how many pages there were.
    pub fn stop(mut self) -> f64 {
        self.end();
        f64::from(self.count.load(Ordering::Relaxed))
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.end();
    }
}
