//! Where to send, where to keep what is not sent yet, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::QueueError;
use crate::peer::Peer;

/// Where to send, where to keep what is not sent yet, and how much of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueueConfig {
    /// The peer's remote-write address, such as `http://127.0.0.1:9090/api/v1/write`.
    pub url: String,
    /// Directory of the log; made if missing. One process at a time.
    pub dir: PathBuf,
    /// Entries older than this are dropped and counted (default 50 minutes: a Prometheus whose head
    /// block begins later refuses older samples of new series).
    pub max_age: Duration,
    /// Bound of the log on disk in bytes (default 1 GiB); beyond it the oldest entries are dropped and
    /// counted.
    pub max_bytes: u64,
    /// Most samples in one request to the peer (default 2,000, as Prometheus' own sender).
    pub max_samples_per_request: usize,
    /// Bound of one request to the peer (default 30 s).
    pub timeout: Duration,
    /// First and longest wait between two tries of one request (default 100 ms and 10 s). The wait
    /// doubles with each failure, less a random part of up to a half.
    pub backoff: (Duration, Duration),
    /// Headers for every request, such as `X-Scope-OrgID`.
    pub headers: Vec<(String, String)>,
    /// Labels added to every series that does not have them (none by default).
    pub external_labels: Vec<(String, String)>,
    /// Which remote write to speak.
    pub protocol: Protocol,
    /// How long a peer that did not prove that it stored remote write 2.0 is sent 1.0 before 2.0 is tried
    /// again (default 1 h).
    pub try_again_after: Duration,
    /// Who we are to the peer.
    pub credentials: Credentials,
    /// How to trust a peer with an `https` address, and our own certificate for it.
    pub tls: Tls,
}

/// Which remote write to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// 2.0 to peers that prove, by the count of samples written, that they stored it; 1.0 to others.
    #[default]
    Auto,
    /// Always 1.0.
    V1,
}

/// Who we are to the peer.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// Nobody.
    #[default]
    None,
    /// A user with a password (RFC 7617).
    Basic {
        /// Name; without a colon.
        username: String,
        /// Password.
        password: Secret,
    },
    /// `Authorization: <scheme> <token>`, such as `Bearer` (RFC 6750).
    Token {
        /// The scheme.
        scheme: String,
        /// The token.
        token: Secret,
    },
}

/// A secret, which is never shown.
#[derive(Clone)]
pub enum Secret {
    /// The secret itself.
    Text(String),
    /// A file that holds it, read for each request, so that a new one counts at once. White space around it
    /// does not belong to it.
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => formatter.write_str("Text(...)"),
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
        }
    }
}

/// How to trust a peer with an `https` address, and our own certificate for it. The files are PEM, and are
/// read again when they change.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates of the authorities to trust; the system's by default.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate with its chain, and its key: for peers that ask for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether to trust whoever answers.
    pub insecure_skip_verify: bool,
}

impl QueueConfig {
    /// Whether [`Queue::open`](crate::Queue::open) would take the peer: its address, headers and certificates.
    ///
    /// # Errors
    /// What is wrong with the first of them.
    pub fn check(&self) -> Result<(), QueueError> {
        Peer::new(self).map(drop)
    }

    /// Defaults for this peer and directory.
    #[must_use]
    pub fn new(url: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            url: url.into(),
            dir: dir.into(),
            max_age: Duration::from_secs(50 * 60),
            max_bytes: 1 << 30,
            max_samples_per_request: 2_000,
            timeout: Duration::from_secs(30),
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            headers: Vec::new(),
            external_labels: Vec::new(),
            protocol: Protocol::Auto,
            try_again_after: Duration::from_secs(3600),
            credentials: Credentials::None,
            tls: Tls::default(),
        }
    }
}
