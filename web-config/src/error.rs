//! Why a web configuration cannot be used.

use std::path::PathBuf;

use thiserror::Error;

/// Why a web configuration cannot be used.
#[derive(Debug, Error)]
pub enum WebConfigError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not YAML of this format.
    #[error("web configuration: {reason}")]
    Parse {
        /// Where and why, with the key that was probably meant.
        reason: String,
    },
    /// A setting that exists in the format, with a value that cannot be used.
    #[error("web configuration: {key}: {reason}")]
    Setting {
        /// Key, with the section before it.
        key: String,
        /// The value found and what would do.
        reason: String,
    },
    /// Certificate and key cannot be used.
    #[error("web configuration: tls_server_config: {0}")]
    Tls(#[from] rustls::Error),
    /// A change that would open what was closed.
    #[error("a change would take away {0}: restart to do that")]
    Opens(&'static str),
}

impl WebConfigError {
    pub(crate) fn setting(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), reason: reason.into() }
    }
}
