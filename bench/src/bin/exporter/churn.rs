//! Short-lived services: each in a cgroup of its own, with one connection to a server that stays.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quoll_bench::Report;

use crate::agent::{Exporter, sum};

/// Services that live at once; each ends when so many more have started, a second or so later.
const ALIVE: usize = 100;
/// A look between two pages, each of which counts what is named.
const PAGE_EVERY: usize = 100;
/// Seconds after which the exporter is told to call a service gone, and an edge idle.
const LIFETIMES: [&str; 4] = ["--gone-after", "10", "--idle-after", "20"];
/// When nothing of them may be left: the longer of both, the next scrape, and some.
const FORGOTTEN: Duration = Duration::from_secs(25);
/// After so long as many are forgotten as come: the shorter of both, and some.
const SETTLED: Duration = Duration::from_secs(15);
/// Memory may grow by so much from then on.
const GROWTH: f64 = 1.10;
const SLACK_BYTES: f64 = 2.0 * 1048576.0;

/// Is a short-lived service: calls, says so, and lives until its standard input ends.
///
/// # Errors
/// Where the server is not there.
pub fn job(server: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(b"done")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
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

    fn start(&self, number: usize, server: SocketAddr) -> anyhow::Result<Job> {
        let folder = self.0.join(format!("job-{number:05}"));
        fs::create_dir(&folder)?;
        let child = Command::new("sh")
            .args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$1\" --job \"$2\""])
            .arg(&folder)
            .arg(std::env::current_exe()?)
            .arg(server.to_string())
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Job { child, folder })
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

struct Job {
    child: Child,
    folder: PathBuf,
}

impl Job {
    /// Lets it end, and removes its cgroup, as a service manager does.
    fn end(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        ensure!(self.child.wait()?.success(), "a job failed");
        fs::remove_dir(&self.folder).with_context(|| self.folder.display().to_string())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names of short-lived services on a page.
fn named(page: &str) -> impl Iterator<Item = usize> {
    let lines = page.lines().filter(|line| line.starts_with("quoll_tcp_connects_total{client=\"job-"));
    lines.filter_map(|line| line.split_once("job-")?.1.get(..5)?.parse().ok())
}

/// Runs `services` of them one after the other and watches the exporter.
///
/// # Errors
/// Where memory grows with the services that are gone, or something of them is left at the end.
pub fn run(services: usize, binary: &Path) -> anyhow::Result<()> {
    let mut report = Report::new("exporter-churn");
    let jobs = Jobs::make()?;
    let server = TcpListener::bind("127.81.0.1:0")?;
    let address = server.local_addr()?;
    thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            thread::spawn(move || while stream.read(&mut [0; 16]).is_ok_and(|count| count > 0) {});
        }
    });
    let rules = "services:\n  - {name: server, match: [{address: 127.81.0.1}]}\n";
    let exporter = Exporter::start(binary, "ebpf", rules, &LIFETIMES)?;
    let (began, cpu_before) = (Instant::now(), exporter.cpu_seconds()?);
    let mut alive: VecDeque<Job> = VecDeque::new();
    let mut seen = vec![false; services];
    let mut resident = Vec::new();
    for number in 0..services {
        alive.push_back(jobs.start(number, address)?);
        if alive.len() > ALIVE
            && let Some(oldest) = alive.pop_front()
        {
            oldest.end()?;
        }
        if (number + 1) % PAGE_EVERY == 0 {
            let page = exporter.scrape()?;
            named(&page).for_each(|number| seen[number] = true);
            if (number + 1) % (services / 10).max(PAGE_EVERY) == 0 {
                let edges = page.lines().filter(|line| line.starts_with("quoll_tcp_connects_total{")).count();
                let bytes = exporter.memory("VmRSS")?;
                if began.elapsed() > SETTLED {
                    resident.push(bytes);
                }
                report.note(&format!(
                    "{:>6} services after {:>4.0} s: {:.1} MiB resident, {edges} edges on the page",
                    number + 1,
                    began.elapsed().as_secs_f64(),
                    bytes / 1048576.0
                ));
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let agent_share = (exporter.cpu_seconds()? - cpu_before) / seconds;
    alive.into_iter().try_for_each(Job::end)?;
    // The last of them is seen once more, then ends.
    exporter.scrape()?;
    thread::sleep(FORGOTTEN);
    let page = exporter.scrape()?;
    let left = page.lines().filter(|line| line.contains("=\"job-")).count() as f64;
    let early = resident.first().copied().with_context(|| {
        format!(
            "memory is judged from {} s on, and {services} services took {seconds:.0} s: ask for more",
            SETTLED.as_secs()
        )
    })?;
    let last = exporter.memory("VmRSS")?;
    let most = resident.iter().copied().fold(last, f64::max);
    report.add("services", services as f64);
    report.add("services_per_second", services as f64 / seconds);
    report.add("named_ratio", seen.iter().filter(|seen| **seen).count() as f64 / services as f64);
    report.add("agent_core_share", agent_share);
    report.add("resident_bytes_early", early);
    report.add("resident_bytes_most", most);
    report.add("resident_bytes_end", last);
    report.add("peak_memory_bytes", exporter.memory("VmHWM")?);
    report.add("series_left", left);
    report.add("events_lost", sum(&page, "quoll_exporter_events_dropped_total"));
    report.print();
    ensure!(left == 0.0, "{left} series of services that are gone are left");
    ensure!(most <= GROWTH * early + SLACK_BYTES, "memory grew from {early} to {most} bytes");
    Ok(())
}
