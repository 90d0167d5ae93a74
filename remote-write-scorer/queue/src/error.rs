//! Why the queue cannot be opened or written.

use std::path::{Path, PathBuf};

/// Why the queue cannot be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The log cannot be read or written.
    #[error("outbound queue in {}: {source}", dir.display())]
    Io {
        /// The queue's directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the directory.
    #[error("outbound queue in {}: another process uses it; give each scorer its own data directory", dir.display())]
    Locked {
        /// The queue's directory.
        dir: PathBuf,
    },
    /// The peer's address is not one.
    #[error("remote-write address `{url}`: {reason}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A header cannot be sent. Its value may be a secret and is not shown.
    #[error("header `{name}` of the remote-write peer: {reason}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or key cannot be used.
    #[error("{}: {reason}", path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A series to be sent has no name, a label twice, or an empty label name.
    #[error("series {series}: {reason}")]
    Labels {
        /// The series.
        series: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// One entry alone exceeds the queue's bound.
    #[error("an entry of {bytes} bytes does not fit a queue of {limit} bytes; raise `max_bytes`")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// The queue was shut down.
    #[error("the outbound queue is shut down")]
    Closed,
}

impl QueueError {
    pub(crate) fn io(dir: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let dir = dir.to_owned();
        move |source| Self::Io { dir: dir.clone(), source }
    }
}
