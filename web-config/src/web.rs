//! The configuration in force, and how it follows its files.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper::header::{HeaderName, HeaderValue};

use crate::counters::Counters;
use crate::error::WebConfigError;
use crate::file::WebFile;
use crate::rate::{Bucket, Rate};
use crate::tls::Tls;
use crate::users::{Checker, Users};

/// How often the files are looked at, at most.
const WATCH: Duration = Duration::from_secs(1);

/// A web configuration in force. Clones share it.
#[derive(Clone)]
pub struct Web {
    inner: Arc<Inner>,
}

struct Inner {
    path: Option<PathBuf>,
    state: ArcSwap<State>,
    watch: Mutex<Watch>,
    all: Mutex<Option<Bucket>>,
    checker: Checker,
    counters: Counters,
}

/// What a file and those it names came to.
pub(crate) struct State {
    pub(crate) tls: Option<Tls>,
    pub(crate) users: Users,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    rate: Option<Rate>,
}

/// Tells one state of a file from another.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

struct Watch {
    looked: Instant,
    /// What the last attempt named, good or not.
    files: Vec<PathBuf>,
    stamp: Stamp,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Web").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Web {
    /// Reads a web configuration file and those it names; without a file, everybody may ask, unencrypted.
    ///
    /// # Errors
    /// Each of [`WebConfigError`].
    pub fn open(path: Option<&Path>) -> Result<Self, WebConfigError> {
        let mut files = Vec::new();
        let state = State::load(path, &mut files)?;
        let watch = Watch { looked: Instant::now(), stamp: stamp(&files), files };
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.map(Path::to_owned),
                state: ArcSwap::from_pointee(state),
                watch: Mutex::new(watch),
                all: Mutex::default(),
                checker: Checker::new()?,
                counters: Counters::default(),
            }),
        })
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// What is switched on, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let state = self.inner.state.load();
        let tls = match &state.tls {
            None => "plain HTTP",
            Some(tls) if tls.requires_certificate => "TLS with client certificates",
            Some(_) => "TLS",
        };
        let users = if state.users.is_empty() { "no password" } else { "a user and password" };
        format!("{tls}, {users}")
    }

    /// Whether clients speak TLS.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.inner.state.load().tls.is_some()
    }

    /// Whether whoever asks has proved who they are: by password or required certificate.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        let state = self.inner.state.load();
        !state.users.is_empty() || state.tls.as_ref().is_some_and(|tls| tls.requires_certificate)
    }

    pub(crate) fn checker(&self) -> &Checker {
        &self.inner.checker
    }

    /// The state in force, after a look at the files where the last was a while ago.
    pub(crate) fn state(&self) -> Arc<State> {
        self.follow(Instant::now());
        self.inner.state.load_full()
    }

    /// Whether the rate of all requests together leaves room for one more.
    pub(crate) fn admit(&self, state: &State, now: Instant) -> bool {
        let Some(rate) = state.rate else { return true };
        let mut bucket = self.inner.all.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.get_or_insert_with(|| Bucket::full(rate, now)).take(rate, now)
    }

    fn follow(&self, now: Instant) {
        if self.inner.path.is_none() {
            return;
        }
        // Whoever comes while another looks goes on with what is in force.
        let Ok(mut watch) = self.inner.watch.try_lock() else { return };
        if now.saturating_duration_since(watch.looked) < WATCH {
            return;
        }
        watch.looked = now;
        if stamp(&watch.files) == watch.stamp {
            return;
        }
        watch.files.clear();
        let result = self.reload(&mut watch.files);
        watch.stamp = stamp(&watch.files);
        match result {
            Ok(()) => {
                Counters::add(&self.inner.counters.reloads);
                tracing::info!("changed web configuration taken over: {}", self.summary());
            }
            Err(error) => {
                Counters::add(&self.inner.counters.reloads_failed);
                tracing::error!(%error, "changed web configuration is not used, the last good one stays");
            }
        }
    }

    fn reload(&self, files: &mut Vec<PathBuf>) -> Result<(), WebConfigError> {
        let new = State::load(self.inner.path.as_deref(), files)?;
        let old = self.inner.state.load();
        if old.tls.is_some() && new.tls.is_none() {
            return Err(WebConfigError::Opens("TLS"));
        }
        let required = |state: &State| state.tls.as_ref().is_some_and(|tls| tls.requires_certificate);
        if required(&old) && !required(&new) {
            return Err(WebConfigError::Opens("the need for a client certificate"));
        }
        if !old.users.is_empty() && new.users.is_empty() {
            return Err(WebConfigError::Opens("the need for a password"));
        }
        self.inner.state.store(Arc::new(new));
        Ok(())
    }
}

impl State {
    /// Reads everything, and lists in `files` what it depends on, however that ends.
    fn load(path: Option<&Path>, files: &mut Vec<PathBuf>) -> Result<Self, WebConfigError> {
        let mut file = WebFile::default();
        if let Some(path) = path {
            files.push(path.to_owned());
            let text = std::fs::read_to_string(path)
                .map_err(|source| WebConfigError::Read { path: path.to_owned(), source })?;
            file = WebFile::parse(&text, path.parent().unwrap_or(Path::new("")))?;
        }
        let tls = file.tls.as_ref();
        files.extend(tls.iter().flat_map(|tls| tls.files()).map(Path::to_owned));
        let tls = tls.map(|tls| tls.load()).transpose()?;
        Ok(Self { tls, users: file.users, headers: file.headers, rate: file.rate })
    }
}

fn stamp(files: &[PathBuf]) -> Stamp {
    let of = |metadata: Metadata| (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    files.iter().map(|file| std::fs::metadata(file).ok().map(of)).collect()
}
