//! `quoll-microsim`: a shop of small services with faults on command, for testing observability.
//!
//! `run` is the supervisor; it starts this same binary as `service` once for each service and
//! once for the load generator. See `README.md` beside this crate.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod arrivals;
mod histogram;
mod load;
mod meter;
mod process;
mod random;
mod report;
mod say;
mod service;
mod supervisor;
mod topology;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use supervisor::{Isolation, Options, Subnet};

/// A shop of small services that call one another under load, with faults on command
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  quoll-microsim run --topology tests/microsim/topologies/shop.yaml --services-out /tmp/services.yaml
  curl -s 127.0.0.1:9470/stats
  curl -s 127.0.0.1:9470/faults -d '{\"service\": \"cart\", \"kind\": \"latency\", \"seconds\": 60, \"severity\": 300}'
  curl -s -X DELETE 127.0.0.1:9470/faults";

const CONTROL: &str = "\
Control interface (JSON, loopback only):
  GET    /-/ready       200 once every service serves
  GET    /topology      services with address and cgroup; edges
  GET    /stats         what services and load generator counted: the ground truth
  GET    /faults        faults in force and over, and every kind with its severity's unit and range
  POST   /faults        {\"service\": NAME, \"kind\": KIND, \"seconds\": 60, \"severity\": N, \"path\": PATH}
  DELETE /faults/{id}   repair one;  DELETE /faults  repair all

Kinds: latency (ms), errors (share), cpu (share of a core), memory (MiB/s), crash, hang,
slow-accept (seconds between accepts). A fault repairs itself after `seconds`.
With a path, latency and errors are at that endpoint only.

Needs nothing for --isolation none; root for network namespaces and cgroups. Nothing in the root
network namespace is touched. After a kill -9, services end by themselves, and the next run of the
same name, or `quoll-microsim clean`, removes namespaces and cgroups.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the shop in the foreground until Ctrl-C
    #[command(after_help = CONTROL)]
    Run(RunArguments),
    /// Remove what a killed run left behind
    Clean {
        /// Name of that run
        #[arg(long, default_value = "quoll-shop")]
        name: String,
    },
    /// Check a topology file and list its services and edges
    Check {
        /// The file
        topology: PathBuf,
    },
    /// One process of a run; started by `run`
    #[command(hide = true)]
    Service {
        /// Shown in process lists only
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    /// The shop, as YAML [default: the built-in shop of sixteen services]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Seed of all randomness
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Address of the control interface, on loopback; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9470")]
    control: SocketAddr,
    /// Write the exporter's services.yaml here
    #[arg(long, value_name = "FILE")]
    services_out: Option<PathBuf>,
    /// How processes are kept apart
    #[arg(long, value_enum, default_value_t = Isolation::Auto)]
    isolation: Isolation,
    /// Name of the run, of its cgroups and of its namespaces
    #[arg(long, default_value = "quoll-shop")]
    name: String,
    /// A /24 for the addresses [default: 198.18.0.0/24 in namespaces, else 127.77.0.0/24]
    #[arg(long, value_name = "A.B.C.0/24")]
    subnet: Option<Subnet>,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => supervisor::run(&Options {
            topology: arguments.topology,
            seed: arguments.seed,
            control: arguments.control,
            services_out: arguments.services_out,
            isolation: arguments.isolation,
            name: arguments.name,
            subnet: arguments.subnet,
        }),
        Command::Clean { name } => supervisor::clean(&name),
        Command::Check { topology } => check(&topology),
        // The reason went to the supervisor, which tells it.
        Command::Service { .. } => process::run().map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn check(path: &std::path::Path) -> anyhow::Result<()> {
    let topology = supervisor::read_topology(Some(path))?;
    say::line(&format!("{} services, {} requests/s", topology.services.len(), topology.load.rate));
    for (client, server) in topology.edges() {
        say::line(&format!("{client} -> {server}"));
    }
    Ok(())
}
