//! Settings of the receiving side. Every one has a default.

use serde::{Deserialize, Serialize};

/// How to tell scopes and replicas apart, which limits hold, and where the inbound log lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Labels whose values separate scopes within a tenant; they are copied to every output.
    pub partition_labels: Vec<String>,
    /// Labels that tell replicas of one sender apart; they are dropped and one replica is elected.
    pub ha_replica_labels: Vec<String>,
    /// Event time that the elected replica may be silent before another takes over, in milliseconds.
    pub ha_failover_ms: i64,
    /// Samples further ahead of the wall clock than this are rejected, in milliseconds.
    pub future_limit_ms: i64,
    /// Samples further behind the wall clock than this are rejected, in milliseconds.
    pub past_limit_ms: i64,
    /// Closed steps that may wait for scoring before senders are asked to come back later.
    pub max_pending_steps: usize,
    /// Bounds of requests and series.
    pub limits: Limits,
    /// The inbound log.
    pub log: LogConfig,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            partition_labels: vec!["cluster".into()],
            ha_replica_labels: vec!["__replica__".into(), "prometheus_replica".into(), "replica".into()],
            ha_failover_ms: 30_000,
            future_limit_ms: 300_000,
            past_limit_ms: 7_200_000,
            max_pending_steps: 4096,
            limits: Limits::default(),
            log: LogConfig::default(),
        }
    }
}

impl IngestConfig {
    /// Event time after which an idle scope is forgotten, in milliseconds.
    #[must_use]
    pub fn idle_scope_ms(&self) -> i64 {
        1000 * i64::from(self.limits.idle_scope_seconds)
    }
}

/// Bounds of requests and series; each has a counter and an answer of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request as sent.
    pub compressed_bytes: usize,
    /// Bytes of a request once decompressed, by its own declaration.
    pub decoded_bytes: usize,
    /// Bytes of all requests under way together, compressed and decompressed.
    pub in_flight_bytes: usize,
    /// Requests under way together.
    pub in_flight_requests: usize,
    /// Seconds in which a request's body must have arrived.
    pub body_seconds: u32,
    /// Series in one request.
    pub series_per_request: usize,
    /// Samples in one request, native histograms included.
    pub samples_per_request: usize,
    /// Interned strings in one request of version 2.0.
    pub symbols_per_request: usize,
    /// Labels of a series.
    pub labels_per_series: usize,
    /// Bytes of a label's name.
    pub label_name_bytes: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
    /// Series known at a time, ignored ones included, over all tenants.
    pub total_series: usize,
    /// Series known at a time of one tenant.
    pub series_per_tenant: usize,
    /// Tenants known at a time.
    pub tenants: usize,
    /// Samples a second of one tenant, on average over ten seconds; 0 for no limit.
    pub samples_per_second_per_tenant: u32,
    /// Scopes known at a time.
    pub scopes: usize,
    /// Selected series known at a time in one scope.
    pub series_per_scope: usize,
    /// Services known at a time in one scope.
    pub services_per_scope: usize,
    /// Edges between services known at a time in one scope.
    pub edges_per_scope: usize,
    /// Seconds after which a series that sends nothing is forgotten, and its tenant with its last one; at the latest
    /// a third of that later.
    pub idle_series_seconds: u32,
    /// Event time, in seconds, after which a scope that sent nothing while others went on is forgotten, with its series
    /// and all that was learned of it.
    pub idle_scope_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            compressed_bytes: 16 << 20,
            decoded_bytes: 32 << 20,
            in_flight_bytes: 256 << 20,
            in_flight_requests: 64,
            body_seconds: 30,
            series_per_request: 200_000,
            samples_per_request: 1_000_000,
            symbols_per_request: 1_000_000,
            labels_per_series: 64,
            label_name_bytes: 256,
            label_value_bytes: 4096,
            total_series: 2_000_000,
            series_per_tenant: 2_000_000,
            tenants: 1024,
            samples_per_second_per_tenant: 0,
            scopes: 1024,
            series_per_scope: 2_000_000,
            services_per_scope: 50_000,
            edges_per_scope: 500_000,
            idle_series_seconds: 900,
            idle_scope_seconds: 86_400,
        }
    }
}

impl Limits {
    /// Those of one scope's windows.
    pub(crate) fn of_scope(&self) -> quoll_features::Limits {
        quoll_features::Limits {
            series: self.series_per_scope,
            services: self.services_per_scope,
            edges: self.edges_per_scope,
        }
    }
}

/// The inbound log: what a restart replays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Event time that is kept beyond what snapshots have, in milliseconds: for a start without a snapshot.
    pub retention_ms: i64,
    /// A segment is closed when it has this many bytes.
    pub segment_bytes: u64,
    /// All segments together; beyond it the oldest is deleted, and counted.
    pub max_bytes: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { retention_ms: 600_000, segment_bytes: 16 << 20, max_bytes: 4 << 30 }
    }
}
