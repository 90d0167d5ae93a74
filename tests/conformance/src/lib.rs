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

/// Bounds what happens sooner or later, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Asks again until there is an answer.
///
/// # Panics
/// After three minutes, naming what was waited for.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
