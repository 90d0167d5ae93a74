//! What can go wrong while a stack is started, driven and judged.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Every failure names what to look at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be read, written or made.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A provisioning file is not what the driver expects to change in it.
    #[error("{file}: {problem}")]
    Config {
        /// The file's name within `provisioning/`.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A port that a process needs is held by somebody else.
    #[error(
        "port {port} ({user}) on 127.0.0.1 is taken: end what listens there (`ss -ltnp 'sport = :{port}'` names it), \
         or set DEMO_PORT_OFFSET=1000 to move all ports of the demo by 1000"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// What the demo wants it for.
        user: &'static str,
    },
    /// A port moved beyond the largest one.
    #[error("DEMO_PORT_OFFSET={offset} moves port {port} beyond 65535")]
    PortOffset {
        /// The product's default port.
        port: u16,
        /// The offset asked for.
        offset: u16,
    },
    /// A program is not there.
    #[error("{program} is missing ({looked}); {remedy}")]
    ProgramMissing {
        /// The program's name.
        program: String,
        /// Where it was looked for.
        looked: String,
        /// What to do.
        remedy: String,
    },
    /// A child process could not be started.
    #[error("cannot start {name} ({program}): {source}")]
    Start {
        /// The process's name in the stack.
        name: String,
        /// Its executable.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A child process ended although it should run on.
    #[error("{name} ended by itself ({status}); its log: {log}")]
    Ended {
        /// The process's name in the stack.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
    },
    /// A child process did not get ready in time.
    #[error("{name} was not ready after {waited:?} (last: {last}); its log: {log}")]
    NotReady {
        /// The process's name in the stack.
        name: String,
        /// How long it was waited for.
        waited: Duration,
        /// The last answer or error.
        last: String,
        /// Its log file.
        log: PathBuf,
    },
    /// A request could not be sent or its answer not be read.
    #[error("{method} {url}: {problem}")]
    Http {
        /// Request method.
        method: &'static str,
        /// Request address.
        url: String,
        /// What happened.
        problem: String,
    },
    /// The user asked for something that is not there.
    #[error("{0}")]
    Usage(String),
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Wraps an I/O error with the path it is about.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// Whether the processes' logs say more than the error itself.
    pub fn has_logs(&self) -> bool {
        !matches!(
            self,
            Self::Usage(_)
                | Self::PortTaken { .. }
                | Self::PortOffset { .. }
                | Self::ProgramMissing { .. }
                | Self::Interrupted
        )
    }
}
