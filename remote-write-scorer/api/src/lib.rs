//! The scorer's HTTP interface.
//!
//! | Path | What |
//! |---|---|
//! | `POST /api/v1/write` | remote write 1.0 and 2.0 ([`write`]) |
//! | `GET /api/v1/graph`, `services`, `incidents`, `explain` | what the last tick says ([`query`]) |
//! | `GET /api/v1/scopes` | the scopes there are |
//! | `POST /api/v1/incidents/{id}/feedback` | what a user says about an incident ([`feedback`]) |
//! | `GET /metrics`, `/-/healthy`, `/-/ready` | about the process itself ([`admin`]) |
//! | `POST /-/reload` | loads the model anew; from this machine, or with authentication (`guard`) |
//! | `GET /`, `/console/...` | the console's files ([`console`]) |
//!
//! # Guarantees
//! - No answer allows another origin to read it, and calls that change state are refused unless whoever asks
//!   is on this machine or has authenticated, and is no page of another site.
//! - Readers never wait for scoring, nor it for them: they see the last whole tick ([`view`]).
//! - Every refusal says why, in one line.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

pub mod admin;
mod answer;
pub mod console;
mod explain;
pub mod exposition;
mod feedback;
mod guard;
pub mod query;
mod scopes;
pub mod view;
pub mod write;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use quoll_ingest::SharedReceiver;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

pub use exposition::{Exposition, Kind};
pub use view::Published;
use view::{Feedback, ScopeKey};

/// What the interface asks of the process behind it.
pub trait Host: Send + Sync + 'static {
    /// All metrics of the process, in the text format.
    fn metrics(&self) -> String;
    /// What there is to say beside "ready"; `Err` with the reason while the process should get no traffic.
    ///
    /// # Errors
    /// Why it is not ready.
    fn ready(&self) -> Result<String, String>;
    /// Loads the model anew and says what came of it.
    ///
    /// # Errors
    /// Why the model cannot be used; the one in use stays.
    fn reload(&self) -> Result<String, String>;
    /// Learns what a user says about an incident, and says what follows from it.
    ///
    /// # Errors
    /// An incident or a service that is not known.
    fn feedback(&self, scope: ScopeKey, incident: String, feedback: Feedback) -> Result<String, String>;
}

/// Everything the routes need.
#[derive(Clone)]
pub struct Api {
    /// Where written samples go.
    pub receiver: Arc<SharedReceiver>,
    /// What the last tick says.
    pub published: Arc<ArcSwap<Published>>,
    /// The process.
    pub host: Arc<dyn Host>,
    /// Directory of the console's files.
    pub console_dir: Option<PathBuf>,
    /// Write requests handled at a time.
    pub in_flight: Arc<tokio::sync::Semaphore>,
}

impl Api {
    /// An interface with room for as many write requests at a time as the receiver's limits say.
    #[must_use]
    pub fn new(
        receiver: Arc<SharedReceiver>,
        published: Arc<ArcSwap<Published>>,
        host: Arc<dyn Host>,
        console_dir: Option<PathBuf>,
    ) -> Self {
        let in_flight = Arc::new(tokio::sync::Semaphore::new(receiver.config().limits.in_flight_requests));
        Self { receiver, published, host, console_dir, in_flight }
    }

    /// The routes of one listener.
    #[must_use]
    pub fn routes(&self, surface: Surface) -> BoxedFilter<(Response,)> {
        let mut routes = admin::health(self);
        let mut add = |wanted: bool, more: fn(&Self) -> BoxedFilter<(Response,)>| {
            if wanted {
                routes = routes.clone().or(more(self)).unify().boxed();
            }
        };
        add(surface.write, write::route);
        add(surface.metrics, admin::metrics);
        add(surface.admin, admin::reload);
        add(surface.read, scopes::route);
        add(surface.admin, feedback::route);
        add(surface.read, query::routes);
        add(surface.read, console::route);
        routes.recover(answer::rejection).unify().boxed()
    }
}

/// What a listener serves beside `/-/healthy` and `/-/ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surface {
    /// Remote write.
    pub write: bool,
    /// `/metrics`.
    pub metrics: bool,
    /// Calls that change state.
    pub admin: bool,
    /// Queries and the console.
    pub read: bool,
}

impl std::fmt::Display for Surface {
    /// Its parts, as in "remote write, metrics".
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            (self.write, "remote write"),
            (self.metrics, "metrics"),
            (self.admin, "changes of state"),
            (self.read, "console and queries"),
        ];
        let named: Vec<&str> = parts.into_iter().filter_map(|(served, name)| served.then_some(name)).collect();
        formatter.write_str(if named.is_empty() { "health alone" } else { "" })?;
        formatter.write_str(&named.join(", "))
    }
}

impl Surface {
    /// Everything.
    pub const ALL: Self = Self { write: true, metrics: true, admin: true, read: true };
    /// Health alone.
    pub const NONE: Self = Self { write: false, metrics: false, admin: false, read: false };
}
