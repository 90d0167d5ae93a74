//! Serves HTTP as Prometheus' own programs do under `--web.config.file`.
//!
//! The file is that of the exporter toolkit: `tls_server_config`, `basic_auth_users`,
//! `http_server_config.headers`, `rate_limit`
//! (<https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>). Without a file
//! the same code serves plain HTTP to everybody.
//!
//! # Use
//! ```no_run
//! # async fn example(path: Option<&std::path::Path>) -> Result<(), Box<dyn std::error::Error>> {
//! # let stopped = async {};
//! # use warp::Filter;
//! # let routes = warp::any().map(warp::reply);
//! let web = quoll_web_config::Web::open(path)?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let limits = quoll_web_config::ServeLimits::default();
//! quoll_web_config::serve(listener, warp::service(routes), web, limits, stopped).await;
//! # Ok(())
//! # }
//! ```
//! A route that wants to know who asks reads the [`Peer`] from the request's extensions
//! (`warp::ext::get::<Peer>()`). [`Web::counters`] has what a program should show as metrics.
//!
//! # Guarantees
//! - No route is reached without what the file demands: a certificate, a user and password.
//! - A file that says something unknown, or something that this crate does not do, is refused with the key
//!   and the reason; nothing is silently weaker than written.
//! - The file and those it names are looked at again at most once a second. A change is taken over as a
//!   whole, for new handshakes and requests; one that cannot be used, or that would take away TLS or
//!   the need for a password, changes nothing and is logged and counted.
//! - Passwords are checked one at a time beside the other work, and results are remembered in a bounded
//!   cache under a key of this process: neither good nor bad passwords can keep the processor busy.
//! - Connections, requests per address, and the time for a handshake and for headers are bounded.
//! - HTTP/1.1 only. TLS 1.2 and 1.3 by `rustls` on `ring`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod address;
mod counters;
mod error;
mod file;
mod limits;
mod rate;
mod serve;
mod tls;
mod users;
mod web;

pub use address::parse_address;
pub use counters::{Counters, Figure};
pub use error::WebConfigError;
pub use file::{check, check_text};
pub use limits::ServeLimits;
pub use serve::{Peer, serve};
pub use web::Web;
