//! `make demo`: the whole stack on loopback, one fault, one verdict.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Parser;
use quoll_e2e::clients::{Fault, Topology};
use quoll_e2e::drive::Drive;
use quoll_e2e::narrator::Narrator;
use quoll_e2e::plan::{KINDS, check_service, parse_fault};
use quoll_e2e::ports::Ports;
use quoll_e2e::session::{WorkFolder, interrupt_flag, relevant_logs};
use quoll_e2e::stack::{Options, Stack};
use quoll_e2e::summary::Summary;
use quoll_e2e::verdict::Outcome;
use quoll_e2e::{Error, process};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Starts microsim, exporter, Prometheus, scorer and Alertmanager, learns what normal is, breaks one
/// service and checks that the notification names it.
#[derive(Debug, Parser)]
struct Arguments {
    /// End with a verdict this many seconds after all processes are ready, at least 200; without it, go on until
    /// Ctrl-C
    #[arg(long, env = "DEMO_SECONDS", value_parser = parse_seconds)]
    seconds: Option<u64>,
    /// The fault, as service:kind (kinds: latency, errors, cpu, memory, crash, hang, slow-accept)
    #[arg(long, env = "DEMO_FAULT", value_parser = parse_fault, value_name = "SERVICE:KIND")]
    fault: Option<(String, String)>,
    /// Seed of the load and of the fault's draw
    #[arg(long, env = "DEMO_SEED")]
    seed: Option<u64>,
    /// Folder for configuration, data and logs, which stays
    #[arg(long, env = "DEMO_DIR")]
    dir: Option<PathBuf>,
    /// Added to every port
    #[arg(long, env = "DEMO_PORT_OFFSET", default_value_t = 0)]
    port_offset: u16,
    /// Where the exporter gets its events
    #[arg(long, env = "DEMO_SOURCE", default_value = "auto", value_parser = ["auto", "ebpf", "procfs"])]
    source: String,
}

/// Scrape interval and step of the demo, in seconds.
const STEP_SECONDS: u32 = 1;
/// What learning takes, in seconds: two periods of the load's rhythm are better, but nobody waits for them.
const LEARN_SECONDS: (u64, u64) = (90, 150);
/// The healthy control.
const CONTROL: Duration = Duration::from_secs(30);
/// Time for training, and then each for the fault, its repair and the end, where `--seconds` sets no less.
const TRAINING: Duration = Duration::from_secs(60);
const FAULT: Duration = Duration::from_secs(90);
const RECOVERY: Duration = Duration::from_secs(90);
/// Kept for the summary and the teardown.
const RESERVE: Duration = Duration::from_secs(3);
/// Seconds of a bounded run that are not for learning.
const AFTER_LEARNING_SECONDS: u64 = 170;

fn main() -> ExitCode {
    process::become_child_if_asked();
    let arguments = Arguments::parse();
    let mut narrator = Narrator::new();
    match run(&arguments, &mut narrator) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, narrator: &mut Narrator) -> anyhow::Result<bool> {
    let interrupted = interrupt_flag()?;
    let mut folder = WorkFolder::new(arguments.dir.clone())?;
    let path = folder.path().to_path_buf();
    let result = run_in(arguments, narrator, &interrupted, path.clone());
    let logs_help = match &result {
        Ok(success) => !success,
        Err(error) => error.has_logs(),
    };
    if logs_help {
        folder.keep();
        print!("{}", relevant_logs(&path, result.as_ref().err()));
        println!("all logs and configuration: {}", path.display());
    }
    Ok(result?)
}

fn run_in(
    arguments: &Arguments,
    narrator: &mut Narrator,
    interrupted: &Arc<AtomicBool>,
    folder: PathBuf,
) -> Result<bool, Error> {
    let seed = arguments.seed.unwrap_or_else(seed_of_the_moment);
    narrator.say(format!("work folder {}; seed {seed} (DEMO_SEED={seed} repeats this run)", folder.display()));
    let options = Options {
        folder,
        ports: Ports::with_offset(arguments.port_offset)?,
        step_seconds: STEP_SECONDS,
        seed,
        source: arguments.source.clone(),
        grafana: true,
        launcher: std::env::current_exe().map_err(Error::file("/proc/self/exe"))?,
    };
    let mut stack = Stack::start(options, &mut |line| narrator.say(line))?;
    let result = act(arguments, narrator, interrupted, &mut stack, seed);
    narrator.say("ending all processes");
    stack.stop();
    result
}

/// Everything between ready and teardown. `true` is success.
fn act(
    arguments: &Arguments,
    narrator: &mut Narrator,
    interrupted: &Arc<AtomicBool>,
    stack: &mut Stack,
    seed: u64,
) -> Result<bool, Error> {
    let deadline = arguments.seconds.map(|seconds| stack.ready_at() + Duration::from_secs(seconds) - RESERVE);
    let within = |wanted: Duration| match deadline {
        Some(deadline) => wanted.min(deadline.saturating_duration_since(Instant::now())),
        None => wanted,
    };
    introduce(narrator, stack);
    let topology = stack.microsim.topology()?;
    let fault = choose_fault(arguments.fault.as_ref(), &topology, kinds_seen(stack), seed)?;
    let (least, most) = LEARN_SECONDS;
    let learn = arguments.seconds.map_or(most, |s| s.saturating_sub(AFTER_LEARNING_SECONDS).clamp(least, most));

    let mut drive = Drive { stack, narrator, interrupted: Arc::clone(interrupted) };
    drive.narrator.say(format!("learning what normal is, for {learn} s"));
    drive.learn(Duration::from_secs(learn))?;
    drive.narrator.say("training the autoencoder on it, as a niced process");
    let took = drive.train(within(TRAINING))?;
    drive.narrator.say(format!("trained in {took:.1} s; the scorer has loaded the model and scores"));
    let healthy = drive.stay_healthy(CONTROL, "healthy control, nothing may be found")?;
    let calm = healthy.incidents.is_empty() && healthy.notified.is_empty();
    if calm {
        drive.narrator.say(format!("healthy control passed: no incident in {} s", CONTROL.as_secs()));
    }

    drive.narrator.say(format!("breaking {}: {} (DEMO_FAULT={0}:{1} repeats it)", fault.service, fault.kind));
    let outcome = drive.break_and_watch(&fault, topology.namespace_of(&fault.service), within(FAULT))?;
    show(&mut drive, &outcome);
    let closed = drive.repair(within(RECOVERY))?;
    match closed {
        Some(seconds) => drive.narrator.say(format!("repaired; the incident closed after {seconds:.1} s")),
        None => drive.narrator.say("repaired, but the incident did not close"),
    }
    let success = calm && outcome.top1() && closed.is_some();
    let mut reasons: Vec<String> = outcome.failure().into_iter().collect();
    if !calm {
        reasons.push("an incident opened in the healthy control".to_owned());
    }
    if closed.is_none() {
        reasons.push("the incident did not close after the repair".to_owned());
    }
    verdict(drive.narrator, &fault, &outcome, &reasons);
    if arguments.seconds.is_none() {
        invite(&mut drive, &topology)?;
    }
    let summary = Summary::read(drive.stack)?;
    for line in summary.lines() {
        drive.narrator.detail(line);
    }
    Ok(success)
}

/// A bounded run has to have room for all that the demo shows.
fn parse_seconds(text: &str) -> Result<u64, String> {
    let seconds: u64 = text.parse().map_err(|_| "it is a whole number of seconds, such as 300".to_owned())?;
    let least = LEARN_SECONDS.0 + CONTROL.as_secs() + 80;
    if seconds >= least {
        return Ok(seconds);
    }
    Err(format!(
        "it takes at least {least} s to learn what is normal ({}), to show that nothing is found ({}), and to break and \
         repair a service",
        LEARN_SECONDS.0,
        CONTROL.as_secs()
    ))
}

/// Four digits, to be typed again without pain.
fn seed_of_the_moment() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::from(since_epoch.subsec_micros()) % 10_000
}

fn introduce(narrator: &mut Narrator, stack: &Stack) {
    let ports = stack.options().ports;
    narrator.say("everything is ready:");
    for (name, port, path) in [
        ("console", ports.scorer, "/"),
        ("Prometheus", ports.prometheus, "/graph"),
        ("Alertmanager", ports.alertmanager, "/"),
        ("exporter", ports.exporter, "/metrics"),
        ("shop", ports.microsim, "/topology"),
    ] {
        narrator.detail(format!("{name:<13} http://127.0.0.1:{port}{path}"));
    }
    if stack.grafana {
        narrator.detail(format!("{:<13} http://127.0.0.1:{}/d/quoll-overview", "Grafana", ports.grafana));
    }
    if watches_through_ebpf(stack) {
        narrator.detail("the exporter watches connections and requests through eBPF");
    } else if stack.options().source == "procfs" {
        narrator.detail("the exporter reads sock_diag and /proc, as asked");
    } else {
        narrator.detail("eBPF is not permitted here: the exporter reads sock_diag and /proc instead");
    }
}

fn watches_through_ebpf(stack: &Stack) -> bool {
    stack.exporter.get("/metrics", &[]).is_ok_and(|text| text.contains("source=\"ebpf\""))
}

/// Kinds of faults to draw from. Without eBPF there are neither requests nor refused connects to be seen,
/// only resources and accept queues, and of a full queue the caller is easily blamed.
fn kinds_seen(stack: &Stack) -> &'static [&'static str] {
    if watches_through_ebpf(stack) { &["latency", "errors", "crash"] } else { &["cpu"] }
}

/// The fault asked for, or one drawn from those that can hardly be overlooked.
fn choose_fault(
    asked: Option<&(String, String)>,
    topology: &Topology,
    kinds: &[&str],
    seed: u64,
) -> Result<Fault, Error> {
    let (service, kind) = if let Some((service, kind)) = asked {
        check_service(topology, service)?;
        (service.clone(), kind.clone())
    } else {
        let mut draw = StdRng::seed_from_u64(seed);
        let called: Vec<&str> = topology
            .breakable()
            .map(|service| service.name.as_str())
            .filter(|name| topology.edges.iter().any(|edge| edge.server == *name))
            .collect();
        let service = called.choose(&mut draw).ok_or_else(|| Error::Usage("the shop has no calls".to_owned()))?;
        let kind = kinds.choose(&mut draw).unwrap_or(&"crash");
        ((*service).to_owned(), (*kind).to_owned())
    };
    // Longer than anybody watches: the demo repairs it.
    Ok(Fault { service, kind, seconds: 600.0, severity: None })
}

fn show(drive: &mut Drive<'_>, outcome: &Outcome) {
    if let (Some(cause), Some(seconds)) = (&outcome.named, outcome.seconds_to_notification) {
        let Outcome { fault, .. } = outcome;
        let right = if outcome.top1() { "right" } else { "wrong" };
        drive.narrator.say(format!(
            "Alertmanager notified after {seconds:.1} s: the cause is {} ({:.1} %) - {right}, {} was broken",
            cause.service,
            cause.probability * 100.0,
            fault.service
        ));
    } else {
        drive.narrator.say("no notification named a cause");
    }
    if let Ok(graph) = drive.stack.scorer.graph() {
        drive.explain(&graph);
    }
}

fn verdict(narrator: &mut Narrator, fault: &Fault, outcome: &Outcome, reasons: &[String]) {
    let seconds = |value: Option<f64>| value.map_or("never".to_owned(), |v| format!("{v:.1} s"));
    let word = if reasons.is_empty() { "SUCCESS" } else { "FAILURE" };
    narrator.say(format!("{word}: {}:{}", fault.service, fault.kind));
    narrator.detail(format!(
        "to score {}, to diagnosis {}, to notification {}",
        seconds(outcome.seconds_to_score),
        seconds(outcome.seconds_to_diagnosis),
        seconds(outcome.seconds_to_notification)
    ));
    for reason in reasons {
        narrator.detail(reason);
    }
}

/// Leaves the stack to the user until Ctrl-C.
fn invite(drive: &mut Drive<'_>, topology: &Topology) -> Result<(), Error> {
    let base = drive.stack.microsim.0.base().to_owned();
    let names: Vec<&str> = topology.breakable().map(|service| service.name.as_str()).collect();
    let example = names.last().copied().unwrap_or("cart");
    drive.narrator.say("now it is yours, until Ctrl-C. Break something, and repair it:");
    let body = format!(r#"{{"service":"{example}","kind":"latency","seconds":60}}"#);
    drive.narrator.detail(format!("curl -H 'Content-Type: application/json' -d '{body}' {base}/faults"));
    drive.narrator.detail(format!("curl -X DELETE {base}/faults"));
    drive.narrator.detail(format!("kinds: {}", KINDS.join(", ")));
    drive.narrator.detail(format!("services: {}", names.join(", ")));
    drive.go_on()
}
