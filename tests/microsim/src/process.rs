//! One process of the shop, from its first line on stdin to its end.
//!
//! Order matters: first the promise to die with the parent, then the cgroups (so that all later
//! memory and CPU is charged there), then the network namespace, all while the process has a
//! single thread; only then the runtime starts. The process ends when stdin closes, so it never
//! outlives its supervisor, whatever killed that.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::meter::Meter;
use crate::service::Server;
use crate::wire::{Assignment, Command, Event, FaultSettings, Role};
use crate::{load, service};

/// Why a process of the shop cannot run.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// The first line was not an assignment: started by hand.
    #[error("no assignment on stdin ({0}); this command is for `quoll-microsim run` only")]
    Assignment(String),
    /// A cgroup could not be joined.
    #[error("cannot join the cgroup through {path}: {source}")]
    Cgroup {
        /// The file written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The namespace could not be entered.
    #[error("cannot enter the network namespace {path}: {source}")]
    Namespace {
        /// The namespace's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The listening socket could not be made.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddrV4,
        /// Why.
        source: io::Error,
    },
    /// Something of the operating system failed.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Runs the process that stdin describes, until stdin closes.
///
/// # Errors
/// [`ProcessError`]; the reason was also sent to the supervisor.
pub fn run() -> Result<(), ProcessError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let assignment = read_assignment()?;
    let outcome = confine(&assignment).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        tokio::task::LocalSet::new().block_on(&runtime, live(assignment))
    });
    if let Err(error) = &outcome
        && let Ok(line) = serde_json::to_string(&Event::Failed { reason: error.to_string() })
    {
        // The supervisor may be gone already, and then nobody reads.
        drop(writeln!(io::stdout(), "{line}"));
    }
    outcome
}

fn read_assignment() -> Result<Assignment, ProcessError> {
    // A reader of our own: the supervisor sends nothing more before `Ready`, so nothing is lost
    // in its buffer.
    let stdin = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut line = String::new();
    BufReader::new(stdin).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(|error| ProcessError::Assignment(error.to_string()))
}

fn confine(assignment: &Assignment) -> Result<(), ProcessError> {
    let pid = std::process::id().to_string();
    for path in &assignment.cgroup_procs {
        std::fs::write(path, &pid).map_err(|source| ProcessError::Cgroup { path: path.clone(), source })?;
    }
    if let Some(path) = &assignment.netns {
        enter_network(path).map_err(|source| ProcessError::Namespace { path: path.clone(), source })?;
    }
    Ok(())
}

fn enter_network(path: &Path) -> io::Result<()> {
    let namespace = std::fs::File::open(path)?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

async fn live(assignment: Assignment) -> Result<(), ProcessError> {
    let meter = Meter::new();
    let (faults, faults_in_force) = watch::channel(FaultSettings::default());
    let clients = |timeout_ms, uses| service::clients(&assignment, timeout_ms, uses, &meter);
    match &assignment.role {
        Role::Service { service, port } => {
            let server = Server::new(&assignment, service, &meter, clients, faults_in_force.clone());
            server.listen(*port, service.backlog)?;
            service::misbehave(faults_in_force);
        }
        Role::Load(settings) => {
            let clients = clients(settings.timeout_ms, settings.connection_uses);
            tokio::task::spawn_local(load::run(settings.clone(), assignment.seed, clients, Rc::clone(&meter)));
        }
    }
    control(&meter, &faults).await
}

/// Answers the supervisor until it closes our stdin.
async fn control(meter: &Meter, faults: &watch::Sender<FaultSettings>) -> Result<(), ProcessError> {
    let stdin = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut stdout = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
    let mut lines = tokio::io::BufReader::new(stdin).lines();
    say(&mut stdout, &Event::Ready).await?;
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line) {
            Ok(Command::Faults(settings)) => {
                faults.send_replace(settings);
            }
            Ok(Command::Report { ticket }) => {
                say(&mut stdout, &Event::Report { ticket, report: Box::new(meter.report()) }).await?;
            }
            Err(error) => return Err(ProcessError::Assignment(error.to_string())),
        }
    }
    Ok(())
}

async fn say(stdout: &mut pipe::Sender, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    stdout.write_all(&line).await
}
