//! `cargo xtask campaign [PLAN]`: one stack, one model, many faults, one report.
//!
//! The report's last line is `{"bench": "campaign", "figures": {...}}`; a fault that was not notified
//! counts with its whole length in the times, and as a miss.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use quoll_e2e::clients::Topology;
use quoll_e2e::drive::Drive;
use quoll_e2e::narrator::Narrator;
use quoll_e2e::plan::Plan;
use quoll_e2e::ports::Ports;
use quoll_e2e::report::{Exposure, Report};
use quoll_e2e::session::{WorkFolder, interrupt_flag, relevant_logs};
use quoll_e2e::stack::{Options, Stack};
use quoll_e2e::summary::Summary;
use quoll_e2e::verdict::Tally;
use quoll_e2e::{Error, checkout, process};

/// Injects the faults of a plan one after another and reports how each was found.
#[derive(Debug, Parser)]
struct Arguments {
    /// The plan [default: tests/e2e/plans/smoke.yaml]
    plan: Option<PathBuf>,
    /// Seed of the load
    #[arg(long, env = "DEMO_SEED", default_value_t = 1)]
    seed: u64,
    /// Folder for configuration, data and logs, which stays
    #[arg(long, env = "DEMO_DIR")]
    dir: Option<PathBuf>,
    /// Added to every port
    #[arg(long, env = "DEMO_PORT_OFFSET", default_value_t = 0)]
    port_offset: u16,
    /// Where the exporter gets its events
    #[arg(long, env = "DEMO_SOURCE", default_value = "auto", value_parser = ["auto", "ebpf", "procfs"])]
    source: String,
    /// Print the account of each incident as it was when its notification arrived
    #[arg(long)]
    explain: bool,
    /// Fail unless at least this share of the faults was named first at the notification
    #[arg(long, default_value_t = 0.0)]
    require_top1: f64,
}

fn main() -> ExitCode {
    process::become_child_if_asked();
    let arguments = Arguments::parse();
    let mut narrator = Narrator::new();
    match run(&arguments, &mut narrator) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("campaign: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, narrator: &mut Narrator) -> anyhow::Result<bool> {
    let path = arguments.plan.clone().unwrap_or_else(|| checkout::root().join("tests/e2e/plans/smoke.yaml"));
    let plan = Plan::read(&path)?;
    narrator.say(format!(
        "{}: {} faults, at most {:.0} s and training",
        path.display(),
        plan.faults.len(),
        plan.longest_seconds()
    ));
    let interrupted = interrupt_flag()?;
    let mut folder = WorkFolder::new(arguments.dir.clone())?;
    let path = folder.path().to_path_buf();
    let report = match run_in(arguments, &plan, narrator, &interrupted, path.clone()) {
        Ok(report) => report,
        Err(error) => {
            if error.has_logs() {
                folder.keep();
                print!("{}", relevant_logs(&path, Some(&error)));
                println!("all logs and configuration: {}", path.display());
            }
            return Err(error.into());
        }
    };
    for line in report.lines() {
        println!("{line}");
    }
    let good = report.top1_share() >= arguments.require_top1;
    if !good {
        folder.keep();
        println!("top-1 is below the {} asked for; all logs: {}", arguments.require_top1, path.display());
    }
    println!("{}", report.json());
    Ok(good)
}

fn run_in(
    arguments: &Arguments,
    plan: &Plan,
    narrator: &mut Narrator,
    interrupted: &Arc<AtomicBool>,
    folder: PathBuf,
) -> Result<Report, Error> {
    let options = Options {
        folder,
        ports: Ports::with_offset(arguments.port_offset)?,
        step_seconds: plan.step_seconds,
        seed: arguments.seed,
        source: arguments.source.clone(),
        grafana: false,
        launcher: std::env::current_exe().map_err(Error::file("/proc/self/exe"))?,
    };
    let mut stack = Stack::start(options, &mut |line| narrator.say(line))?;
    let topology = stack.microsim.topology()?;
    plan.check_against(&topology)?;
    let mut drive = Drive { stack: &mut stack, narrator, interrupted: Arc::clone(interrupted) };
    let report = inject_all(plan, &mut drive, &topology, arguments.explain);
    stack.stop();
    report
}

fn inject_all(plan: &Plan, drive: &mut Drive<'_>, topology: &Topology, explain: bool) -> Result<Report, Error> {
    let seconds = Duration::from_secs;
    drive.narrator.say(format!("learning what normal is, for {} s", plan.learn_seconds));
    drive.learn(seconds(plan.learn_seconds))?;
    let took = drive.train(seconds(900))?;
    drive.narrator.say(format!("trained in {took:.1} s"));

    let mut report = Report {
        exposure: Exposure { services: topology.breakable().count(), ..Exposure::default() },
        ..Report::default()
    };
    let healthy = drive.stay_healthy(seconds(plan.control_seconds), "healthy control")?;
    report.exposure.add(plan.control_seconds, &healthy);
    for (number, fault) in plan.faults.iter().enumerate() {
        drive.narrator.say(format!(
            "fault {} of {}: {}:{} for at most {:.0} s",
            number + 1,
            plan.faults.len(),
            fault.service,
            fault.kind,
            fault.seconds
        ));
        let first = drive.stack.webhook().count();
        let outcome = drive.break_and_watch(
            fault,
            topology.namespace_of(&fault.service),
            Duration::from_secs_f64(fault.seconds),
        )?;
        if explain {
            let graph = drive.stack.scorer.graph()?;
            drive.explain(&graph);
        }
        let closed = drive.repair(seconds(plan.recovery_seconds))?;
        // A notification about the end of this incident is not one of the healthy time after it.
        let tally = Tally::of(&drive.stack.webhook().since(first));
        report.notifications += tally.notifications;
        report.notified_incidents += tally.incidents.len();
        drive.narrator.say(outcome.failure().unwrap_or_else(|| "found".to_owned()));
        if closed.is_none() {
            drive.narrator.say(format!("not closed {} s after its repair", plan.recovery_seconds));
        }
        report.outcomes.push(outcome);
        let healthy = drive.stay_healthy(seconds(plan.pause_seconds), "pause")?;
        if closed.is_some() {
            // An incident that is still open is the fault's, and its time no healthy one.
            report.exposure.add(plan.pause_seconds, &healthy);
        }
    }
    report.details = Summary::read(drive.stack)?.lines();
    Ok(report)
}
