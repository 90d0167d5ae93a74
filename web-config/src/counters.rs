//! What was counted, for a program's metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a [`crate::Web`]; all listeners that serve under it count together.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) unauthorized: AtomicU64,
    pub(crate) rate_limited: AtomicU64,
    pub(crate) reloads: AtomicU64,
    pub(crate) reloads_failed: AtomicU64,
}

/// One number, for a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// What to append to the program's prefix, such as `quoll_scorer_`.
    pub name: &'static str,
    /// Help text.
    pub help: &'static str,
    /// Whether it only grows.
    pub counter: bool,
    /// Now.
    pub value: u64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All numbers as of now.
    #[must_use]
    pub fn figures(&self) -> [Figure; 7] {
        let figure = |name, help, counter, value: &AtomicU64| Figure {
            name,
            help,
            counter,
            value: value.load(Ordering::Relaxed),
        };
        [
            figure("web_connections", "Open connections.", false, &self.connections),
            figure(
                "web_connections_refused_total",
                "Connections refused, as there were too many.",
                true,
                &self.connections_refused,
            ),
            figure(
                "web_handshakes_failed_total",
                "TLS handshakes that failed or took too long.",
                true,
                &self.handshakes_failed,
            ),
            figure(
                "web_requests_unauthorized_total",
                "Requests without a user and password that are good.",
                true,
                &self.unauthorized,
            ),
            figure(
                "web_requests_rate_limited_total",
                "Requests refused, as their address or all together sent too many.",
                true,
                &self.rate_limited,
            ),
            figure("web_config_reloads_total", "Changes of the web configuration taken over.", true, &self.reloads),
            figure(
                "web_config_reloads_failed_total",
                "Changes of the web configuration that could not be used; the last good one stays.",
                true,
                &self.reloads_failed,
            ),
        ]
    }
}
