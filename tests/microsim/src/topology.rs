//! The shop as a YAML file: services, what they call, and the load on them.
//!
//! [`Topology::parse`] gives only topologies that can run: every call names an endpoint that
//! exists, no call leads back to itself, every number is in a range that makes sense. Unknown
//! keys are errors. Each error names the value and what would be accepted.

mod validate;

use serde::{Deserialize, Serialize};

pub use validate::Invalid;

/// Name of the load generator wherever services are named.
pub const LOAD_GENERATOR: &str = "load-generator";

/// A shop that can run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The load on it.
    pub load: Load,
    /// Its services; their order gives their addresses.
    pub services: Vec<Service>,
}

/// The load: an open loop, see [`crate::arrivals`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Mean arrivals per second.
    pub rate: f64,
    /// The slow swing of the rate.
    #[serde(default)]
    pub rhythm: Rhythm,
    /// Standard deviation of the logarithm of a factor on the rate, drawn each second.
    #[serde(default)]
    pub noise: f64,
    /// How long a user waits for a response, milliseconds.
    #[serde(default = "default_user_timeout_ms")]
    pub timeout_ms: u64,
    /// Mean requests per connection.
    #[serde(default = "default_connection_uses")]
    pub connection_uses: f64,
    /// Where users come in.
    pub entries: Vec<Entry>,
}

/// A sinusoid on the rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rhythm {
    /// Length of one swing, seconds.
    pub period_seconds: f64,
    /// Share of the mean by which it swings up and down, in [0, 0.9].
    pub amplitude: f64,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { period_seconds: 120.0, amplitude: 0.0 }
    }
}

/// One endpoint that users ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Service asked.
    pub service: String,
    /// Path asked for.
    pub path: String,
    /// Share of the arrivals, relative to the other entries.
    pub weight: f64,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Unique; lower-case letters, digits and dashes.
    pub name: String,
    /// Requests handled at the same time; a request holds its place while it waits for callees.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Requests that may wait for a place; beyond, 503 at once.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// Connections that may wait to be accepted.
    #[serde(default = "default_backlog")]
    pub backlog: u32,
    /// Limit on each outgoing call, connecting included, milliseconds.
    #[serde(default = "default_call_timeout_ms")]
    pub call_timeout_ms: u64,
    /// Mean requests per outgoing connection before a new one is made.
    #[serde(default = "default_connection_uses")]
    pub connection_uses: f64,
    /// What can be asked of it.
    pub endpoints: Vec<Endpoint>,
}

/// One path of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Starts with `/`.
    pub path: String,
    /// Own time spent waiting (on a disk, a lock, a library), without callees.
    pub latency: Latency,
    /// Own CPU time per request, milliseconds.
    #[serde(default)]
    pub cpu_ms: f64,
    /// Size of the response body.
    #[serde(default = "default_response_bytes")]
    pub response_bytes: usize,
    /// Whether the calls are made one after the other or at once.
    #[serde(default)]
    pub fan_out: FanOut,
    /// Calls made per request.
    #[serde(default)]
    pub calls: Vec<Call>,
}

/// A log-normal latency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Median, milliseconds.
    pub median_ms: f64,
    /// Standard deviation of the logarithm.
    #[serde(default = "default_sigma")]
    pub sigma: f64,
}

/// How an endpoint makes its calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FanOut {
    /// One after the other; a failed needed call ends the request.
    #[default]
    Sequential,
    /// All at once; latency is that of the slowest.
    Parallel,
}

/// One call to another service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Service called.
    pub to: String,
    /// Path called.
    pub path: String,
    /// Share of requests that make the call, in (0, 1].
    #[serde(default = "default_probability")]
    pub probability: f64,
    /// When it fails, answer without it; otherwise the request fails with 502, 503 or 504.
    #[serde(default)]
    pub optional: bool,
}

fn default_user_timeout_ms() -> u64 {
    3000
}

fn default_connection_uses() -> f64 {
    10.0
}

fn default_concurrency() -> usize {
    32
}

fn default_queue() -> usize {
    64
}

fn default_backlog() -> u32 {
    64
}

fn default_call_timeout_ms() -> u64 {
    1000
}

fn default_response_bytes() -> usize {
    512
}

fn default_sigma() -> f64 {
    0.3
}

fn default_probability() -> f64 {
    1.0
}

impl Topology {
    /// Reads and checks a topology.
    ///
    /// # Errors
    /// [`Invalid`]: not YAML of this shape, or a value outside what can run.
    pub fn parse(yaml: &str) -> Result<Self, Invalid> {
        let topology: Self =
            serde_saphyr::from_str(yaml).map_err(|error| Invalid::Shape { reason: error.to_string() })?;
        validate::check(&topology)?;
        Ok(topology)
    }

    /// The service called `name`.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// Who calls whom, each pair once, the load generator included; in the order of the file.
    pub fn edges(&self) -> Vec<(&str, &str)> {
        let mut edges: Vec<(&str, &str)> = Vec::new();
        let entries = self.load.entries.iter().map(|entry| (LOAD_GENERATOR, entry.service.as_str()));
        let calls = self.services.iter().flat_map(|service| {
            service
                .endpoints
                .iter()
                .flat_map(|endpoint| &endpoint.calls)
                .map(|call| (service.name.as_str(), call.to.as_str()))
        });
        for edge in entries.chain(calls) {
            if !edges.contains(&edge) {
                edges.push(edge);
            }
        }
        edges
    }
}
