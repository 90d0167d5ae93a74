//! Prometheus remote-write receiver that scores services and finds root causes.
//!
//! The binary only wires the libraries: requests enter the windows on the HTTP threads, one engine thread
//! scores the steps that close and infers, and the outbound queue's thread writes back.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod check;
mod config;
mod engine;
mod history;
mod incident_log;
mod journal;
mod listeners;
mod metrics;
mod outputs;
mod remote_write;
mod serve;
mod sharding;
mod snapshot;
mod view;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, parse_duration_ms};
use crate::sharding::Role;

/// From nothing to scores.
const EXAMPLES: &str = "\
Examples:
  quoll-scorer serve --remote-write-url http://127.0.0.1:9090/api/v1/write --model-dir model
  quoll-scorer train --prometheus http://127.0.0.1:9090 --range 1d --out model
  quoll-scorer check --config /etc/quoll/scorer.yaml
  curl -X POST http://127.0.0.1:9467/-/reload

A running scorer takes over a model that changed in its directory. Each command has a --help of its own.";

/// Receives Prometheus remote write, scores every service and finds the root cause.
#[derive(Debug, Parser)]
#[command(name = "quoll-scorer", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    /// Print every metric of the scorer itself with its help text, and stop.
    #[arg(long)]
    print_metrics: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive, score, infer and write back, until SIGTERM or SIGINT.
    Serve(ServeArgs),
    /// Train a model on what a Prometheus holds.
    Train(quoll_train::TrainArgs),
    /// Check a configuration file and those it names, and say what it means.
    Check {
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// Settings of `serve`; each overrides the configuration file.
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Configuration file (YAML); what the command line says goes before it.
    #[arg(long, env = "QUOLL_SCORER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// What this process does: everything, score a share of the services, or infer from what leaves report.
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Of a leaf: its name.
    #[arg(long, value_name = "NAME")]
    leaf: Option<String>,
    /// Of a leaf: where it reports, such as http://ROOT:9467/api/v1/write.
    #[arg(long, value_name = "URL")]
    root_url: Option<String>,
    /// Of a root: the names of its leaves.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    leaves: Option<Vec<String>>,
    /// Address to listen on [default: 127.0.0.1:9467].
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = quoll_web_config::parse_address)]
    listen: Option<SocketAddr>,
    /// TLS and users, in the format of Prometheus' file of that name.
    #[arg(long, alias = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// Directory for the logs and the state [default: quoll-scorer-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to write results, such as http://127.0.0.1:9090/api/v1/write [default: nowhere].
    #[arg(long, value_name = "URL")]
    remote_write_url: Option<String>,
    /// Length of a step, such as 15s; that of the scrapes, or longer [default: 15s].
    #[arg(long, value_parser = parse_duration_ms, value_name = "DURATION")]
    step: Option<i64>,
    /// Directory of the model that `train` writes; without one there are no scores.
    #[arg(long, value_name = "DIR")]
    model_dir: Option<PathBuf>,
    /// Directory of the console's files, as grafana-panel/build makes it (grafana-panel/dist-console).
    #[arg(long, value_name = "DIR")]
    console_dir: Option<PathBuf>,
    /// ONNX Runtime library [default: ORT_DYLIB_PATH, else the libonnxruntime.so that the system finds].
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

impl ServeArgs {
    /// The configuration file, if any, under these settings.
    fn into_config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        config.role = self.role.unwrap_or(config.role);
        config.sharding.leaf = self.leaf.or(config.sharding.leaf);
        config.sharding.root.url = self.root_url.or(config.sharding.root.url);
        config.sharding.leaves = self.leaves.unwrap_or(config.sharding.leaves);
        config.listen = self.listen.unwrap_or(config.listen);
        config.web.config_file = self.web_config_file.or(config.web.config_file);
        config.data_dir = self.data_dir.unwrap_or(config.data_dir);
        config.step_ms = self.step.unwrap_or(config.step_ms);
        config.remote_write.url = self.remote_write_url.or(config.remote_write.url);
        config.model_dir = self.model_dir.or(config.model_dir);
        config.console_dir = self.console_dir.or(config.console_dir);
        config.onnxruntime = self.onnxruntime.or(config.onnxruntime);
        config.check()?;
        Ok(config)
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quoll-scorer: {}", whole(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, each told once: most of ours tell theirs themselves.
fn whole(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

fn run(cli: Cli) -> anyhow::Result<()> {
    if cli.print_metrics {
        print!("{}", metrics::reference());
        return Ok(());
    }
    match cli.command {
        Some(Command::Serve(args)) => {
            tracing_subscriber::fmt()
                .with_env_filter(
                    tracing_subscriber::EnvFilter::try_from_default_env()
                        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
                )
                .with_writer(std::io::stderr)
                .init();
            serve::serve(&args.into_config()?)
        }
        Some(Command::Train(args)) => Ok(quoll_train::run(&args)?),
        Some(Command::Check { config }) => {
            print!("{}", check::check(&config)?);
            Ok(())
        }
        None => Ok(()),
    }
}
