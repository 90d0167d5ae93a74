//! The run: makes the shop, keeps it, breaks and repairs it on command, and takes it down.
//!
//! One loop owns all state and answers the control interface. Whatever ends the loop, everything
//! made is removed; whatever kills the process, its services end with it and the next start under
//! the same name removes the rest.

mod cgroups;
mod child;
mod control;
mod faults;
mod network;
mod ownership;
mod plan;
mod services_file;
mod shop;
mod stats;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::say;
use crate::topology::Topology;
pub use plan::Subnet;
use shop::Shop;

/// How often the loop looks at its processes and at faults whose time is over.
const TICK: Duration = Duration::from_millis(100);
/// How often it prints a line about the load: to a terminal, and to a file or pipe.
const PROGRESS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// The shop that runs when no other is given.
const BUILT_IN: &str = include_str!("../topologies/shop.yaml");

/// How processes are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Isolation {
    /// Namespaces where permitted, else none
    Auto,
    /// A network namespace for each process; needs root
    Netns,
    /// Loopback addresses; needs no privilege
    None,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The shop's file; the built-in shop when absent.
    pub topology: Option<PathBuf>,
    /// Seed of all randomness.
    pub seed: u64,
    /// Address of the control interface.
    pub control: SocketAddr,
    /// Where to write the exporter's `services.yaml`.
    pub services_out: Option<PathBuf>,
    /// How processes are kept apart.
    pub isolation: Isolation,
    /// Name of the run: of its cgroups and namespaces.
    pub name: String,
    /// Addresses; by default the isolation's own.
    pub subnet: Option<Subnet>,
}

/// Runs until SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// A bad topology or option, a name or address that is taken, or a service that does not start.
/// Everything made until then was removed.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // Current-thread: services are tied to the thread that starts them, which must be this one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise(options))
}

/// Removes what a crashed run of this name left behind.
///
/// # Errors
/// The name belongs to a live run.
pub fn clean(name: &str) -> anyhow::Result<()> {
    check_name(name)?;
    let (ownership, said) = ownership::Ownership::take(name)?;
    say::line(&said.unwrap_or_else(|| format!("nothing left of `{name}`")));
    ownership.release();
    Ok(())
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = (1..=32).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    ensure!(fits, "--name `{name}` does not work; use 1 to 32 lower-case letters, digits and dashes, a letter first");
    Ok(())
}

async fn supervise(options: &Options) -> anyhow::Result<()> {
    check_name(&options.name)?;
    let topology = read_topology(options.topology.as_deref())?;
    ensure!(
        options.control.ip().is_loopback(),
        "--control {} is not on loopback; the interface has no authentication, so give 127.0.0.1:PORT",
        options.control
    );
    let listener = TcpListener::bind(options.control)
        .await
        .with_context(|| format!("cannot listen at {}; choose another --control", options.control))?;
    if let Some(subnet) = options.subnet {
        let fits = match options.isolation {
            Isolation::Netns => !subnet.is_loopback(),
            Isolation::None => subnet.is_loopback(),
            Isolation::Auto => true,
        };
        ensure!(
            fits,
            "--subnet {subnet} does not go with this --isolation; namespaces need one outside 127.0.0.0/8, none one inside"
        );
    }
    // From here on, signals end the loop instead of the process, so that all is cleaned up.
    let mut ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<Result<Vec<_>, _>>()?;
    let (ownership, said) = ownership::Ownership::take(&options.name)?;
    if let Some(said) = said {
        say::line(&format!("a crashed run of `{}`: {said}", options.name));
    }
    let begun = Instant::now();
    let mut shop = Shop::new(options, topology, ownership);
    let outcome = tokio::select! {
        started = shop.start(options) => started,
        () = any(&mut ends) => Err(anyhow::anyhow!("stopped before the shop was up")),
    };
    let outcome = match outcome {
        Ok(()) => {
            say::line(&format!("{} up in {:.1} s; Ctrl-C stops it", shop.describe(), begun.elapsed().as_secs_f64()));
            say::line(&format!("control http://{}", listener.local_addr()?));
            serve(&mut shop, listener, &mut ends).await
        }
        Err(error) => Err(error),
    };
    say::line(&format!("stopping: {}", shop.stop().await));
    outcome
}

/// The topology in a file, or the built-in one.
///
/// # Errors
/// Where the file cannot be read or is no topology; the error names it.
pub fn read_topology(path: Option<&Path>) -> anyhow::Result<Topology> {
    let Some(path) = path else { return Ok(Topology::parse(BUILT_IN)?) };
    let said = path.display();
    let yaml = std::fs::read_to_string(path).with_context(|| format!("cannot read topology {said}"))?;
    Topology::parse(&yaml).with_context(|| format!("topology {said}"))
}

/// Waits for one of the signals.
async fn any(ends: &mut [tokio::signal::unix::Signal]) {
    std::future::poll_fn(|context| {
        if ends.iter_mut().any(|end| end.poll_recv(context).is_ready()) {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
}

async fn serve(shop: &mut Shop, listener: TcpListener, ends: &mut [tokio::signal::unix::Signal]) -> anyhow::Result<()> {
    let (sender, mut questions) = mpsc::channel(16);
    let control = tokio::spawn(control::serve(listener, sender));
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let every = PROGRESS[usize::from(!std::io::stdout().is_terminal())];
    let mut progress = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    let outcome = loop {
        tokio::select! {
            () = any(ends) => break Ok(()),
            asked = questions.recv() => {
                let Some((question, answer)) = asked else { break bail_control() };
                let said = shop.answer(question).await;
                // Nobody waits any more when the client has gone away.
                drop(answer.send(said));
            }
            _ = tick.tick() => shop.look_after().await,
            _ = progress.tick() => shop.print_progress().await,
        }
    };
    control.abort();
    outcome
}

fn bail_control() -> anyhow::Result<()> {
    bail!("the control interface ended")
}
