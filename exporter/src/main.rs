//! `quoll-exporter`: parses the command line, starts the agent and the server, and stops on a signal.

use std::process::ExitCode;

use clap::Parser;
use quoll_exporter::agent::AgentConfig;
use quoll_exporter::args::{Args, Command, capabilities_text, check, metrics_text};
use quoll_exporter::telling::whole;
use quoll_exporter::{agent, memory, privileges, server};
use quoll_web_config::Web;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.print_metrics || args.print_capabilities {
        if args.print_metrics {
            print!("{}", metrics_text());
        }
        if args.print_capabilities {
            match args.config() {
                Ok(config) => print!("{}", capabilities_text(&config)),
                Err(error) => {
                    eprintln!("quoll-exporter: {}", whole(&error));
                    return ExitCode::FAILURE;
                }
            }
        }
        return ExitCode::SUCCESS;
    }
    if let Some(Command::Check { config }) = &args.command {
        return match check(config) {
            Ok(said) => {
                println!("{said}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("quoll-exporter: {}", whole(&error));
                ExitCode::FAILURE
            }
        };
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,aya=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", whole(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    memory::be_frugal();
    let config = args.config()?;
    let web = Web::open(config.web_config_file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = runtime.block_on(async {
        // The port first: a second exporter should say so before it attaches anything.
        let listener = server::listen(config.listen).await?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let (handle, thread) = agent::start(AgentConfig { command_line: Some(args.clone()), ..config.agent() })?;
        // The agent's thread has done so already. No other was started before.
        privileges::limit_thread(handle.kept())?;
        let address = listener.local_addr()?;
        let scheme = if web.encrypts() { "https" } else { "http" };
        tracing::info!("serving {scheme}://{address}/metrics");
        if !address.ip().is_loopback() && !web.authenticates() {
            tracing::warn!("whoever reaches {address} may read the metrics: --web-config-file sets users and TLS");
        }
        let agent = handle.clone();
        server::serve(listener, handle, web, async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = hang_up.recv() => if agent.reload().is_err() { break },
                }
            }
            tracing::info!("stopping");
        })
        .await;
        anyhow::Ok(thread)
    })?;
    // Requests held the last handles: the agent detaches its programs and ends.
    drop(runtime);
    thread.join().map_err(|_| anyhow::anyhow!("the agent's thread panicked"))
}
