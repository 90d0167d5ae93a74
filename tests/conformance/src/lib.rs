//! Remote write against its specifications and real peers: what the tests in `tests/` run on.
//!
//! Everything is started on free loopback ports with its data in a temporary directory, and ended when its
//! guard is dropped, whether the test passed or not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a failure here is a failed test"
)]

pub mod http;
pub mod model;
pub mod peer;
pub mod process;
pub mod recorder;
pub mod scorer;
pub mod security;
pub mod shop;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch.
#[must_use]
pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Asks again until there is an answer.
///
/// # Panics
/// After `limit`, naming what was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
