//! Prometheus remote-write receiver that scores services and finds root causes.
//!
//! The binary only wires the libraries: requests enter the windows on the HTTP threads, one engine thread
//! scores the steps that close and infers, and the outbound queue's thread writes back.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

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

/// Receives Prometheus remote write, scores every service and finds the root cause.
#[derive(Debug, Parser)]
#[command(name = "quoll-scorer", version)]
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
    /// Check a configuration file and say what it means.
    Check {
        /// Configuration file.
        #[arg(long)]
        config: PathBuf,
    },
}

/// Settings of `serve`; each overrides the configuration file.
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Configuration file (YAML).
    #[arg(long, env = "QUOLL_SCORER_CONFIG")]
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
    /// Address to listen on.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// TLS and users, in the format of Prometheus' file of that name.
    #[arg(long, alias = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// Directory for the logs and the state.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where to write results, such as http://127.0.0.1:9090/api/v1/write.
    #[arg(long)]
    remote_write_url: Option<String>,
    /// Length of a step, such as 15s.
    #[arg(long, value_parser = parse_duration_ms, value_name = "DURATION")]
    step: Option<i64>,
    /// Directory of the model that `train` writes.
    #[arg(long)]
    model_dir: Option<PathBuf>,
    /// Directory of the console's files.
    #[arg(long)]
    console_dir: Option<PathBuf>,
    /// ONNX Runtime library.
    #[arg(long)]
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
            eprintln!("quoll-scorer: {error:#}");
            ExitCode::FAILURE
        }
    }
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
            let config = Config::load(&config)?;
            config.check()?;
            let set = config.feature_set()?;
            if let Some(path) = &config.web.config_file {
                println!("{}: {}", path.display(), quoll_web_config::check(path)?);
            }
            println!("configuration is good: step {} ms, {} features", config.step_ms, set.features.len());
            Ok(())
        }
        None => anyhow::bail!("nothing to do; see quoll-scorer --help"),
    }
}
