//! One process of the shop, seen from the supervisor.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command as Process, ExitStatus, Stdio};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::report::Report;
use crate::wire::{Assignment, Command, Event, FaultSettings};

/// How long a process may take to serve after its start.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// How long a report may take; a process burning CPU answers between two rounds.
const REPORT_PATIENCE: Duration = Duration::from_secs(2);
/// How long a process may take to end by itself.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// Why a process does not do its part.
#[derive(Debug, Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("cannot start `{name}`: {source}")]
    Spawn {
        /// The service.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It started and gave up.
    #[error("`{name}` gave up: {reason}")]
    Failed {
        /// The service.
        name: String,
        /// In its words.
        reason: String,
    },
    /// It does not answer, or what it says is not ours.
    #[error("`{name}` does not answer: {reason}")]
    Silent {
        /// The service.
        name: String,
        /// What happened instead.
        reason: String,
    },
}

/// A running process.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    input: pipe::Sender,
    output: Lines<BufReader<pipe::Receiver>>,
    ticket: u64,
}

impl Child {
    /// Starts the process and hands it its assignment; it is not ready yet.
    ///
    /// # Errors
    /// [`ChildError::Spawn`].
    pub async fn spawn(assignment: &Assignment) -> Result<Self, ChildError> {
        let spawn_error = |source| ChildError::Spawn { name: assignment.name.clone(), source };
        let start = || {
            let mut process = Process::new(std::env::current_exe()?)
                .arg("service")
                // Shown by ps; the process itself takes its name from its assignment.
                .arg(&assignment.name)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                // A Ctrl-C on the terminal is for the supervisor, which then ends all in order.
                .process_group(0)
                .spawn()?;
            let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
            let input = OwnedFd::from(process.stdin.take().ok_or_else(missing)?);
            let output = OwnedFd::from(process.stdout.take().ok_or_else(missing)?);
            Ok((process, pipe::Sender::from_owned_fd(input)?, pipe::Receiver::from_owned_fd(output)?))
        };
        let (process, input, output) = start().map_err(spawn_error)?;
        let output = BufReader::new(output).lines();
        let mut child = Self { name: assignment.name.clone(), process, input, output, ticket: 0 };
        let line = serde_json::to_vec(assignment).map_err(|error| spawn_error(error.into()))?;
        child.send(line).await?;
        Ok(child)
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// [`ChildError::Failed`] or [`ChildError::Silent`].
    pub async fn ready(&mut self) -> Result<(), ChildError> {
        match timeout(START_PATIENCE, self.hear()).await {
            Ok(Ok(Event::Ready)) => Ok(()),
            Ok(Ok(Event::Failed { reason })) => Err(ChildError::Failed { name: self.name.clone(), reason }),
            Ok(Ok(Event::Report { .. })) => Err(self.silent("reported before it was ready")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.silent("not ready in time")),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Replaces the faults in force in it.
    ///
    /// # Errors
    /// [`ChildError::Silent`].
    pub async fn set_faults(&mut self, settings: FaultSettings) -> Result<(), ChildError> {
        self.command(&Command::Faults(settings)).await
    }

    /// Asks for a report; [`Self::report`] reads it.
    ///
    /// # Errors
    /// [`ChildError::Silent`].
    pub async fn ask_report(&mut self) -> Result<(), ChildError> {
        self.ticket += 1;
        self.command(&Command::Report { ticket: self.ticket }).await
    }

    /// The report asked for last.
    ///
    /// # Errors
    /// [`ChildError::Silent`].
    pub async fn report(&mut self) -> Result<Report, ChildError> {
        let wanted = self.ticket;
        let search = async {
            loop {
                // Answers to questions given up earlier come first.
                if let Event::Report { ticket, report } = self.hear().await?
                    && ticket == wanted
                {
                    return Ok(*report);
                }
            }
        };
        match timeout(REPORT_PATIENCE, search).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.silent("no report in time")),
        }
    }

    /// Ends it at once, as a crash does.
    pub fn kill(mut self) {
        // Errors mean that it had ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }

    /// Closes its stdin, which asks it to end, and ends it if it does not.
    pub async fn end(self) {
        let Self { mut process, input, output, .. } = self;
        drop((input, output));
        let deadline = tokio::time::Instant::now() + END_PATIENCE;
        while tokio::time::Instant::now() < deadline {
            if !matches!(process.try_wait(), Ok(None)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(process.kill());
        drop(process.wait());
    }

    async fn command(&mut self, command: &Command) -> Result<(), ChildError> {
        let line = serde_json::to_vec(command).map_err(|error| self.silent(&error.to_string()))?;
        self.send(line).await
    }

    async fn send(&mut self, mut line: Vec<u8>) -> Result<(), ChildError> {
        line.push(b'\n');
        match timeout(REPORT_PATIENCE, self.input.write_all(&line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.silent(&error.to_string())),
            Err(_) => Err(self.silent("reads no commands")),
        }
    }

    async fn hear(&mut self) -> Result<Event, ChildError> {
        match self.output.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line).map_err(|error| self.silent(&error.to_string())),
            Ok(None) => Err(self.silent("it has ended")),
            Err(error) => Err(self.silent(&error.to_string())),
        }
    }

    fn silent(&self, reason: &str) -> ChildError {
        ChildError::Silent { name: self.name.clone(), reason: reason.to_owned() }
    }
}
