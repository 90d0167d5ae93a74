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

mod agent;
mod churn;
mod https;
mod load;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use agent::{Counting, Exporter, Runs, Scraper, counted, sum};
use anyhow::ensure;
use clap::Parser;
use load::Load;
use quoll_bench::Report;
use quoll_bench::tcp_load::{self, CALLS_PER_CONNECTION, REQUESTED, Shape};

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
    /// Connections only: no requests, no TLS, no `--source procfs`
    #[arg(long)]
    connections_only: bool,
    /// Requests within TLS only
    #[arg(long)]
    tls_only: bool,
    /// What the exporter is started with besides
    #[arg(long = "with", value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
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
        return churn::job(server);
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
    if args.churn {
        churn::run(args.churn_services, &binary)
    } else if args.tls_only {
        let mut report = Report::new("exporter");
        https::run(&binary, args.seconds, &mut report)?;
        report.print();
        Ok(())
    } else {
        under_load(&args, &binary)
    }
}

fn build_exporter() -> anyhow::Result<PathBuf> {
    let built = Command::new("cargo").args(["build", "--release", "--quiet", "-p", "quoll-exporter"]).status()?;
    ensure!(built.success(), "the exporter does not build");
    Ok(std::env::current_exe()?.with_file_name("quoll-exporter"))
}

/// Processes that share the load.
const PARTS: usize = 4;
/// More than any machine can do.
const ALL_IT_CAN: f64 = 1e9;

/// Costs of one run of `connect`.
struct Connected {
    made: f64,
    per_second: f64,
    load_us: f64,
    agent_seconds: f64,
    seconds: f64,
    scrapes: f64,
}

impl Connected {
    fn agent_share(&self) -> f64 {
        self.agent_seconds / self.seconds
    }
}

fn connect(load: &mut Load, rate: f64, seconds: f64, agent: Option<&Exporter>) -> anyhow::Result<Connected> {
    let agent_cpu = || agent.map_or(Ok(0.0), Exporter::cpu_seconds);
    let (load_before, agent_before) = (load.cpu_seconds()?, agent_cpu()?);
    let scraper = agent.map(Scraper::start);
    let (made, seconds) = load.tell(&format!("connect {} {seconds}", rate / PARTS as f64))?;
    let scrapes = scraper.map_or(0.0, Scraper::stop);
    Ok(Connected {
        made,
        per_second: made / seconds,
        load_us: 1e6 * (load.cpu_seconds()? - load_before) / made,
        agent_seconds: agent_cpu()? - agent_before,
        seconds,
        scrapes,
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
    let alone = connect(&mut load, args.rate, args.seconds, None)?;
    report.add("connections_per_second_alone", alone.per_second);
    report.add("load_us_per_connection_alone", alone.load_us);

    report.note("with the exporter");
    let flags: Vec<&str> = args.flags.iter().map(String::as_str).collect();
    let exporter = Exporter::start(binary, "ebpf", &rules, &flags)?;
    let (with, made) = with_exporter(args, &mut load, &exporter, &mut report)?;
    page_costs(&exporter, &with, made, &mut report)?;
    report.add("peak_memory_bytes", exporter.memory("VmHWM")?);
    for field in ["VmRSS", "RssAnon", "RssFile", "RssShmem"] {
        report.note(&format!("    {field} {:.1} MiB", exporter.memory(field)? / f64::from(1 << 20)));
    }
    report.add("kernel_map_bytes", exporter.map_bytes());
    drop(exporter);

    report.note("as many connections as the machine can make: alone, and with the exporter, in turn");
    limits(args, &mut load, binary, &rules, &mut report)?;
    if args.connections_only {
        report.print();
        return Ok(());
    }

    report.note("with each protocol alone");
    by_protocol(args, &mut load, binary, &rules, &mut report)?;

    report.note("requests within TLS, with one server, and what they cost it");
    https::run(binary, args.seconds, &mut report)?;

    report.note("with --source procfs");
    let exporter = Exporter::start(binary, "procfs", &rules, &[])?;
    let procfs = connect(&mut load, args.rate, args.seconds, Some(&exporter))?;
    report.add("procfs_connections_per_second", procfs.per_second);
    report.add("procfs_agent_core_share", procfs.agent_share());
    report.add("procfs_load_us_per_connection", procfs.load_us);
    report.add("procfs_peak_memory_bytes", exporter.memory("VmHWM")?);
    report.print();
    Ok(())
}

/// Connections, then requests; gives the first and how many connections there were in all.
fn with_exporter(
    args: &Args,
    load: &mut Load,
    exporter: &Exporter,
    report: &mut Report,
) -> anyhow::Result<(Connected, f64)> {
    let counting = Counting::start()?;
    let before = exporter.hooks();
    let with = connect(load, args.rate, args.seconds, Some(exporter))?;
    let hooks = exporter.hooks().since(&before);
    let (transitions, calls) = (hooks.of("inet_sock_set_state"), hooks.of("sys_exit"));
    ensure!(transitions.count > 0.0, "the exporter's programs saw no connection");
    let transitions_us = transitions.ns / with.made / 1e3;
    let calls_us = if calls.count > 0.0 { CALLS_PER_CONNECTION * calls.mean_ns() / 1e3 } else { 0.0 };
    report.add("connections_per_second", with.per_second);
    report.add("agent_core_share", with.agent_share());
    report.add("kernel_us_per_connection", transitions_us + calls_us);
    report.note(&format!(
        "    of which {transitions_us:.2} us in {:.1} transitions, {calls_us:.2} us in {CALLS_PER_CONNECTION} system calls",
        transitions.count / with.made
    ));
    report.add("load_us_per_connection", with.load_us);
    report.note("    mean of a run of each probe");
    for (hook, runs) in hooks.iter() {
        let Runs { count, left_out, .. } = runs;
        report.note(&format!("    {hook:<44} {:>7.0} ns, {count:.0} runs, {left_out:.0} left out", runs.mean_ns()));
    }

    report.note(&format!("    peak {:.1} MiB", exporter.memory("VmHWM")? / f64::from(1 << 20)));
    let mut extra = 0;
    if !args.connections_only {
        with_requests(args, load, exporter, report)?;
        extra = PARTS * REQUESTED;
        report.note(&format!("    peak {:.1} MiB", exporter.memory("VmHWM")? / f64::from(1 << 20)));
    }
    drop(counting);

    let most = connect(load, ALL_IT_CAN, args.seconds / 4.0, Some(exporter))?;
    let made = with.made + most.made + extra as f64;
    Ok((with, made))
}

/// Leaves the system calls alone.
const NO_REQUESTS: [&str; 8] = ["--disable", "http", "--disable", "rpc", "--disable", "db", "--disable", "dns"];
/// Rounds of [`limits`].
const ROUNDS: usize = 3;

/// The most connections per second, in turn: what was made leaves ports behind that wait for a minute, so whoever comes
/// later has it harder.
fn limits(args: &Args, load: &mut Load, binary: &Path, rules: &str, report: &mut Report) -> anyhow::Result<()> {
    let cases = [("_alone", None), ("", Some(&[][..])), ("_only_none", Some(&NO_REQUESTS[..]))];
    let mut rates = cases.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, flags), rates) in cases.iter().zip(&mut rates) {
            let exporter = flags.map(|flags| Exporter::start(binary, "ebpf", rules, flags)).transpose()?;
            rates.push(connect(load, ALL_IT_CAN, args.seconds / 4.0, exporter.as_ref())?.per_second);
        }
    }
    for ((name, _), rates) in cases.iter().zip(&mut rates) {
        rates.sort_unstable_by(f64::total_cmp);
        report.add(&format!("connections_per_second_limit{name}"), rates[ROUNDS / 2]);
    }
    Ok(())
}

/// Requests, in HTTP/1.1 and HTTP/2.
fn with_requests(args: &Args, load: &mut Load, exporter: &Exporter, report: &mut Report) -> anyhow::Result<()> {
    let plain = requests(args, load, exporter, "request")?;
    report.add("us_per_http_request", plain.kernel_us);
    report.add("http_requests_per_second", plain.per_second);
    report.add("agent_core_share_http", plain.agent_share);
    let streams = requests(args, load, exporter, "request2")?;
    report.add("us_per_http2_request", streams.kernel_us);
    report.add("http2_requests_per_second", streams.per_second);
    report.add("agent_core_share_http2", streams.agent_share);
    report.add("agent_us_per_http2_request", 1e6 * streams.agent_share / streams.per_second);
    Ok(())
}

/// Costs of one run of `request`.
struct Requests {
    kernel_us: f64,
    per_second: f64,
    agent_share: f64,
}

fn requests(args: &Args, load: &mut Load, exporter: &Exporter, command: &str) -> anyhow::Result<Requests> {
    // What else this machine does in the meantime calls the kernel, too.
    let (noise, since) = (exporter.hooks(), Instant::now());
    thread::sleep(Duration::from_secs(2));
    let idle = exporter.hooks();
    let idle_rate = idle.since(&noise).ns_of_events() / since.elapsed().as_secs_f64();
    let agent_before = exporter.cpu_seconds()?;
    let (answered, seconds) = load.tell(&format!("{command} {}", args.seconds / 4.0))?;
    let ns = exporter.hooks().since(&idle).ns_of_events() - idle_rate * seconds;
    Ok(Requests {
        kernel_us: ns / answered / 1e3,
        per_second: answered / seconds,
        agent_share: (exporter.cpu_seconds()? - agent_before) / seconds,
    })
}

/// Protocols that are looked at alone. With any but the first, a request over HTTP is what it costs the others'
/// traffic that this one is on.
const ALONE: [&str; 6] = ["http", "http2", "postgresql", "mysql", "redis", "dns"];

/// The same requests with each protocol alone, and with none.
fn by_protocol(args: &Args, load: &mut Load, binary: &Path, rules: &str, report: &mut Report) -> anyhow::Result<()> {
    let counting = Counting::start()?;
    let mut one = |name: &str, flags: &[&str]| -> anyhow::Result<()> {
        let exporter = Exporter::start(binary, "ebpf", rules, flags)?;
        let cost = requests(args, load, &exporter, "request")?;
        report.add(&format!("us_per_http_request_only_{name}"), cost.kernel_us);
        report.add(&format!("kernel_core_share_only_{name}"), cost.kernel_us * cost.per_second / 1e6);
        report.add(&format!("agent_core_share_only_{name}"), cost.agent_share);
        if ["http2", "none"].contains(&name) {
            let cost = requests(args, load, &exporter, "request2")?;
            report.add(&format!("us_per_http2_request_only_{name}"), cost.kernel_us);
        }
        Ok(())
    };
    for protocol in ALONE {
        one(protocol, &["--protocols", protocol])?;
    }
    one("none", &NO_REQUESTS)?;
    // All protocols; beside `us_per_http_request`, which is the same without.
    let exporter = Exporter::start(binary, "ebpf", rules, &["--http-methods", "true"])?;
    report.add("us_per_http_request_methods", requests(args, load, &exporter, "request")?.kernel_us);
    drop(counting);
    Ok(())
}

/// What a page costs, and what a connection costs the agent besides.
fn page_costs(exporter: &Exporter, with: &Connected, made: f64, report: &mut Report) -> anyhow::Result<()> {
    let mut times = Vec::new();
    let before = exporter.cpu_seconds()?;
    for _ in 0..TIMED_SCRAPES {
        let began = Instant::now();
        exporter.scrape()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let per_scrape = (exporter.cpu_seconds()? - before) / TIMED_SCRAPES as f64;
    times.sort_unstable_by(f64::total_cmp);
    let page = exporter.scrape()?;
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let edges = page.lines().filter(|line| line.starts_with("quoll_tcp_active_connections{")).count() as f64 / 2.0;
    report.add("agent_ms_per_scrape", 1e3 * per_scrape);
    report.add("agent_us_per_connection", 1e6 * (with.agent_seconds - with.scrapes * per_scrape) / with.made);
    report.add("events_lost", sum(&page, "quoll_exporter_events_dropped_total"));
    report.add("transitions_unseen", sum(&page, "quoll_exporter_transitions_unseen_total"));
    report.add("connects_counted_ratio_client", counted(&page, "client") / made);
    report.add("connects_counted_ratio_server", counted(&page, "server") / made);
    report.add("edges", edges);
    report.add("series", lines.count() as f64);
    report.add("bytes_per_edge", page.len() as f64 / edges);
    report.add("scrape_ms_p50", times[times.len() / 2]);
    report.add("scrape_ms_p99", times[times.len() * 99 / 100]);
    Ok(())
}
