//! `quoll-exporter`: parses the command line, starts the agent and the server, and stops on a signal.

use std::process::ExitCode;

use clap::Parser;
use quoll_exporter::args::{Args, capabilities_text, metrics_text};
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
            print!("{}", capabilities_text(&args.disable));
        }
        return ExitCode::SUCCESS;
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,aya=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    memory::be_frugal();
    let web = Web::open(args.web_config_file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = runtime.block_on(async {
        // The port first: a second exporter should say so before it attaches anything.
        let listener = server::listen(args.listen).await?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (handle, thread) = agent::start(args.agent_config())?;
        // The agent's thread has done so already. No other was started before.
        privileges::limit_thread(handle.kept())?;
        let address = listener.local_addr()?;
        let scheme = if web.encrypts() { "https" } else { "http" };
        tracing::info!("serving {scheme}://{address}/metrics");
        if !address.ip().is_loopback() && !web.authenticates() {
            tracing::warn!("whoever reaches {address} may read the metrics: --web-config-file sets users and TLS");
        }
        server::serve(listener, handle, web, async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
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
