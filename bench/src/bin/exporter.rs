//! The exporter under load: what it costs the machine, and itself.
//!
//! 200 services call one another over 1,000 edges in network namespaces of their own: 20,000 connections stay
//! open, and as many new ones as two cores allow, up to 10,000 a second. The same load runs alone, with the
//! exporter, and with `--source procfs`, in turn.
//!
//! Costs are processor time, so that a busy machine does not count against anyone: of the agent by its own
//! clock, of the kernel side by the kernel's statistics of our programs (`kernel.bpf_stats_enabled`, itself
//! some 20 ns per run). `sys_exit` runs for every process of the machine: its mean cost is charged for the calls that the
//! load makes, and its cost per request is what it takes beyond its rate without requests.
//!
//! `--churn` instead starts 10,000 services one after the other, each in a cgroup of its own and with one call
//! to a server that stays, and watches the exporter's memory.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use quoll_bench::Report;
use quoll_bench::process::{cpu_seconds, status_bytes};
use quoll_bench::tcp_load::{self, CALLS_PER_CONNECTION, Shape};

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
const SCRAPE_EVERY: Duration = Duration::from_secs(5);
/// Scrapes in a row whose times are judged.
const TIMED_SCRAPES: usize = 40;

#[derive(Parser)]
struct Args {
    /// The exporter's binary; by default the one beside this bench, built now
    #[arg(long)]
    exporter: Option<PathBuf>,
    /// Services
    #[arg(long, default_value_t = 200)]
    services: usize,
    /// Pairs of services that call
    #[arg(long, default_value_t = 1000)]
    edges: usize,
    /// Connections that stay open
    #[arg(long, default_value_t = 20_000)]
    open: usize,
    /// New connections per second to try for
    #[arg(long, default_value_t = 10_000.0)]
    rate: f64,
    /// Length of each part in seconds
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Short-lived services instead
    #[arg(long)]
    churn: bool,
    /// How many of them
    #[arg(long, default_value_t = 10_000)]
    churn_services: usize,
    /// Is the load
    #[arg(long, hide = true)]
    load: bool,
    /// Is this part of the load
    #[arg(long, hide = true, default_value_t = 0)]
    part: usize,
    /// Is a short-lived service that calls this address
    #[arg(long, hide = true)]
    job: Option<SocketAddr>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(server) = args.job {
        TcpStream::connect(server)?.write_all(b"done")?;
        return Ok(());
    }
    if args.load {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        ensure!(up.success(), "cannot raise the loopback of the load's network namespace");
        return tcp_load::run(Shape { services: args.services, edges: args.edges, part: args.part });
    }
    ensure!(rustix::process::geteuid().is_root(), "loading eBPF programs and making network namespaces needs root");
    let binary = match &args.exporter {
        Some(binary) => binary.clone(),
        None => build_exporter()?,
    };
    if args.churn { churn(&args, &binary) } else { under_load(&args, &binary) }
}

fn build_exporter() -> anyhow::Result<PathBuf> {
    let built = Command::new("cargo").args(["build", "--release", "--quiet", "-p", "quoll-exporter"]).status()?;
    ensure!(built.success(), "the exporter does not build");
    Ok(std::env::current_exe()?.with_file_name("quoll-exporter"))
}

/// Processes that share the load.
const PARTS: usize = 4;

/// One of the processes that make the load; see [`tcp_load`].
struct Part {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Part {
    fn start(shape: Shape) -> anyhow::Result<Self> {
        let mut child = Command::new("unshare")
            .arg("--net")
            .arg(std::env::current_exe()?)
            .args(["--load", "--services", &shape.services.to_string(), "--edges", &shape.edges.to_string()])
            .args(["--part", &shape.part.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let input = child.stdin.take().context("no pipe")?;
        let output = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, input, output })
    }

    fn answer(&mut self) -> anyhow::Result<(f64, f64)> {
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        let mut numbers = answer.split_ascii_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(count)), Some(Ok(seconds))) => Ok((count, seconds)),
            _ => bail!("a part of the load ended"),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All of them.
struct Load(Vec<Part>);

impl Load {
    fn start(shapes: &[Shape]) -> anyhow::Result<Self> {
        shapes.iter().map(|shape| Part::start(*shape)).collect::<anyhow::Result<_>>().map(Self)
    }

    /// How many together, and the most seconds that any of them took.
    fn tell(&mut self, line: &str) -> anyhow::Result<(f64, f64)> {
        for part in &mut self.0 {
            writeln!(part.input, "{line}")?;
        }
        let mut total = (0.0, 0.0_f64);
        for part in &mut self.0 {
            let (count, seconds) = part.answer()?;
            total = (total.0 + count, total.1.max(seconds));
        }
        Ok(total)
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.0.iter().map(|part| cpu_seconds(part.child.id())).sum()
    }
}

struct Exporter {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Exporter {
    fn start(binary: &Path, source: &str, rules: &str, more: &[&str]) -> anyhow::Result<Self> {
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
        scrape(address)?;
        Ok(exporter)
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.child.id())
    }

    /// A line of `/proc/PID/status`, in bytes.
    fn memory(&self, field: &str) -> anyhow::Result<f64> {
        status_bytes(self.child.id(), field)
    }

    /// Nanoseconds and runs of each program, in the order in which they were loaded.
    fn programs(&self) -> Vec<(f64, f64)> {
        let entries = fs::read_dir(format!("/proc/{}/fdinfo", self.child.id())).into_iter().flatten().flatten();
        let mut programs: Vec<(u64, f64, f64)> = entries
            .filter_map(|entry| {
                let text = fs::read_to_string(entry.path()).ok()?;
                let field =
                    |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
                Some((field("prog_id:")?, field("run_time_ns:")? as f64, field("run_cnt:")? as f64))
            })
            .collect();
        programs.sort_unstable_by_key(|(id, ..)| *id);
        programs.dedup_by_key(|(id, ..)| *id);
        programs.into_iter().map(|(_, time, runs)| (time, runs)).collect()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One page in text form.
fn scrape(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: bench\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).context("no page")
}

fn sum(page: &str, metric: &str) -> f64 {
    let lines = page.lines().filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Scrapes every five seconds for as long as it lives, as a Prometheus would.
struct Scraper {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Scraper {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let work = move || {
            let mut due = Instant::now() + SCRAPE_EVERY;
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
                if Instant::now() >= due {
                    due += SCRAPE_EVERY;
                    let _ = scrape(address);
                }
            }
        };
        Self { stop, thread: Some(thread::spawn(work)) }
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Costs of one run of `connect`.
struct Connected {
    made: f64,
    per_second: f64,
    load_us: f64,
    agent_share: f64,
}

fn connect(load: &mut Load, args: &Args, agent: Option<&Exporter>) -> anyhow::Result<Connected> {
    let agent_cpu = || agent.map_or(Ok(0.0), Exporter::cpu_seconds);
    let (load_before, agent_before) = (load.cpu_seconds()?, agent_cpu()?);
    let scraper = agent.map(|agent| Scraper::start(agent.address));
    let (made, seconds) = load.tell(&format!("connect {} {}", args.rate / PARTS as f64, args.seconds))?;
    drop(scraper);
    Ok(Connected {
        made,
        per_second: made / seconds,
        load_us: 1e6 * (load.cpu_seconds()? - load_before) / made,
        agent_share: (agent_cpu()? - agent_before) / seconds,
    })
}

fn under_load(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let mut report = Report::new("exporter");
    let part = |part| Shape { services: args.services / PARTS, edges: args.edges / PARTS, part };
    let shapes: Vec<Shape> = (0..PARTS).map(part).collect();
    let rules = shapes.iter().fold("services:\n".to_owned(), |text, shape| text + &shape.rules());
    let mut load = Load::start(&shapes)?;
    let (open, _) = load.tell(&format!("open {}", args.open / PARTS))?;
    report.note(&format!("{} services, {} edges, {open} open connections", args.services, args.edges));

    report.note("the load alone");
    let alone = connect(&mut load, args, None)?;
    report.add("connections_per_second_alone", alone.per_second);
    report.add("load_us_per_connection_alone", alone.load_us);

    report.note("with the exporter");
    let exporter = Exporter::start(binary, "ebpf", &rules, &[])?;
    let stats_before = fs::read_to_string(STATS)?;
    fs::write(STATS, "1")?;
    let programs = exporter.programs();
    let with = connect(&mut load, args, Some(&exporter));
    let after = exporter.programs();
    let request = (|| {
        let noise = (exporter.programs(), Instant::now());
        thread::sleep(Duration::from_secs(2));
        let idle = (exporter.programs(), noise.1.elapsed().as_secs_f64());
        let agent_before = exporter.cpu_seconds()?;
        let (answered, seconds) = load.tell(&format!("request {}", args.seconds / 4.0))?;
        let busy = exporter.programs();
        let time = |before: &[(f64, f64)], after: &[(f64, f64)], place: usize| after[place].0 - before[place].0;
        let idle_rate = time(&noise.0, &idle.0, 1) / idle.1;
        let ns = time(&idle.0, &busy, 1) - idle_rate * seconds;
        anyhow::Ok((ns / answered / 1e3, answered / seconds, (exporter.cpu_seconds()? - agent_before) / seconds))
    })();
    fs::write(STATS, stats_before.trim())?;
    let (with, (us_per_request, requests_per_second, agent_share_requests)) = (with?, request?);
    ensure!(programs.len() >= 2 && programs.len() == after.len(), "the exporter holds {} programs", programs.len());
    let delta = |place: usize| (after[place].0 - programs[place].0, after[place].1 - programs[place].1);
    let ((tcp_ns, tcp_runs), (call_ns, calls)) = (delta(0), delta(1));
    let tcp_us = tcp_ns / with.made / 1e3;
    let calls_us = CALLS_PER_CONNECTION * call_ns / calls.max(1.0) / 1e3;

    let mut times = Vec::new();
    for _ in 0..TIMED_SCRAPES {
        let began = Instant::now();
        scrape(exporter.address)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_unstable_by(f64::total_cmp);
    let page = scrape(exporter.address)?;
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let edges = page.lines().filter(|line| line.starts_with("quoll_tcp_active_connections{")).count() as f64 / 2.0;
    let counted = sum(&page, "quoll_tcp_connects_total");

    report.add("connections_per_second", with.per_second);
    report.add("agent_core_share", with.agent_share);
    report.add("kernel_us_per_connection", tcp_us + calls_us);
    report.note(&format!(
        "    of which {tcp_us:.2} us in {:.1} transitions, {calls_us:.2} us in {CALLS_PER_CONNECTION} system calls",
        tcp_runs / with.made
    ));
    report.add("load_us_per_connection", with.load_us);
    report.add("us_per_http_request", us_per_request);
    report.add("http_requests_per_second", requests_per_second);
    report.add("agent_core_share_http", agent_share_requests);
    report.add("peak_memory_bytes", exporter.memory("VmHWM")?);
    report.add("events_lost", sum(&page, "quoll_exporter_events_dropped_total"));
    report.add("connects_counted_ratio", counted / 2.0 / with.made);
    report.add("edges", edges);
    report.add("series", lines.count() as f64);
    report.add("bytes_per_edge", page.len() as f64 / edges);
    report.add("scrape_ms_p50", times[times.len() / 2]);
    report.add("scrape_ms_p99", times[times.len() * 99 / 100]);
    drop(exporter);

    report.note("with --source procfs");
    let exporter = Exporter::start(binary, "procfs", &rules, &[])?;
    let procfs = connect(&mut load, args, Some(&exporter))?;
    report.add("procfs_connections_per_second", procfs.per_second);
    report.add("procfs_agent_core_share", procfs.agent_share);
    report.add("procfs_load_us_per_connection", procfs.load_us);
    report.add("procfs_peak_memory_bytes", exporter.memory("VmHWM")?);
    report.print();
    Ok(())
}

/// A folder below the unified hierarchy, removed with all in it at the end.
struct Jobs(PathBuf);

impl Jobs {
    fn make() -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let root = line.and_then(|line| line.split(' ').nth(1)).context("no unified cgroup hierarchy is mounted")?;
        let folder = Path::new(root).join(format!("quoll-bench-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self(folder))
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(&self.0);
    }
}

fn churn(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let mut report = Report::new("exporter-churn");
    let jobs = Jobs::make()?;
    let server = TcpListener::bind("127.81.0.1:0")?;
    let address = server.local_addr()?;
    thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            let _ = stream.read(&mut [0; 16]);
        }
    });
    let rules = "services:\n  - {name: server, match: [{address: 127.81.0.1}]}\n";
    let lifetimes = ["--gone-after", "10", "--idle-after", "20"];
    let exporter = Exporter::start(binary, "ebpf", rules, &lifetimes)?;
    let me = std::env::current_exe()?;
    let began = (Instant::now(), exporter.cpu_seconds()?);
    let mut seen = 0.0;
    let mut resident = Vec::new();
    for number in 0..args.churn_services {
        let folder = jobs.0.join(format!("job-{number:05}"));
        fs::create_dir(&folder)?;
        let mut job = Command::new("sh")
            .args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$1\" --job \"$2\""])
            .arg(&folder)
            .arg(&me)
            .arg(address.to_string())
            .spawn()?;
        ensure!(job.wait()?.success(), "a job failed");
        // As a service manager does; the sockets are still closing.
        if number >= 20 {
            let _ = fs::remove_dir(jobs.0.join(format!("job-{:05}", number - 20)));
        }
        if (number + 1) % (args.churn_services / 10).max(1) == 0 {
            let page = scrape(exporter.address)?;
            let edges = page.lines().filter(|line| line.starts_with("quoll_tcp_connects_total{")).count();
            resident.push(exporter.memory("VmRSS")?);
            report.note(&format!(
                "{:>6} services after {:>4.0} s: {:.1} MiB resident, {edges} edges on the page",
                number + 1,
                began.0.elapsed().as_secs_f64(),
                exporter.memory("VmRSS")? / 1048576.0
            ));
        } else if number % 200 == 199 {
            seen += scrape(exporter.address)?.lines().filter(|line| line.contains("client=\"job-")).count() as f64;
        }
    }
    ensure!(seen > 0.0, "the exporter saw none of the services");
    let seconds = began.0.elapsed().as_secs_f64();
    let agent_share = (exporter.cpu_seconds()? - began.1) / seconds;
    thread::sleep(Duration::from_secs(25));
    let page = scrape(exporter.address)?;
    let left = page.lines().filter(|line| line.contains("=\"job-")).count() as f64;
    report.add("services", args.churn_services as f64);
    report.add("services_per_second", args.churn_services as f64 / seconds);
    report.add("agent_core_share", agent_share);
    report.add("resident_bytes_early", resident.get(1).copied().unwrap_or(f64::NAN));
    report.add("resident_bytes_end", exporter.memory("VmRSS")?);
    report.add("peak_memory_bytes", exporter.memory("VmHWM")?);
    report.add("series_left", left);
    report.add("events_lost", sum(&page, "quoll_exporter_events_dropped_total"));
    report.print();
    Ok(())
}
