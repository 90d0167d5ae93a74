//! Bounds that are not part of Prometheus' file.

use serde::{Deserialize, Serialize};

/// Bounds of a listener. Every one has a default; zero rates mean "no limit".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeLimits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time from one address.
    pub connections_per_address: usize,
    /// Requests a second from one address, on average; 0 for no limit. IPv6 addresses count by their /64.
    pub requests_per_second_per_address: u32,
    /// Requests that one address may send at once, above that average.
    pub request_burst_per_address: u32,
    /// Seconds that a TLS handshake may take.
    pub handshake_seconds: u32,
    /// Seconds until a request's headers must be there, from the connection's start or the last answer: also
    /// the time that a connection may be idle.
    pub idle_seconds: u32,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 512,
            requests_per_second_per_address: 1000,
            request_burst_per_address: 2000,
            handshake_seconds: 10,
            idle_seconds: 120,
        }
    }
}
