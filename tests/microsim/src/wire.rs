//! The lines of JSON between the supervisor and its processes, over their stdin and stdout.
//!
//! Nothing of the control passes through the simulated network. End of file on stdin means that
//! the supervisor is gone: the process ends itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::topology::{Load, Service};

/// The first line a process reads: who it is and where it lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// Its name.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Seed of its own stream.
    pub seed: u64,
    /// `cgroup.procs` files to join, one per hierarchy.
    pub cgroup_procs: Vec<PathBuf>,
    /// Network namespace to enter, a file as under `/run/netns`.
    pub netns: Option<PathBuf>,
    /// Its own address, to listen at and to connect from.
    pub address: Ipv4Addr,
    /// Address of every service it may call, by name.
    pub peers: BTreeMap<String, SocketAddrV4>,
    /// Name of every process that may call it, by address.
    pub callers: BTreeMap<Ipv4Addr, String>,
}

/// What a process is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A service of the shop, listening at `port`.
    Service {
        /// Its behaviour.
        service: Service,
        /// Port to listen at.
        port: u16,
    },
    /// The load generator.
    Load(Load),
}

/// What the supervisor asks of a running process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Replace the faults in force.
    Faults(FaultSettings),
    /// Report, quoting the ticket.
    Report {
        /// Returned with the answer.
        ticket: u64,
    },
}

/// The faults in force inside one service; the default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultSettings {
    /// Added to each request, median, milliseconds.
    pub latency_ms: f64,
    /// Index of the one endpoint whose requests take longer; all, if none.
    pub latency_endpoint: Option<usize>,
    /// Share of requests answered 500, in [0, 1].
    pub error_share: f64,
    /// Index of the one endpoint whose requests are; all, if none.
    pub error_endpoint: Option<usize>,
    /// Share of one core burnt on the thread that serves, in [0, 1].
    pub cpu_share: f64,
    /// Memory leaked, MiB per second.
    pub leak_mib_per_second: f64,
    /// Nothing is accepted and nothing answered.
    pub hang: bool,
    /// Seconds between accepts; 0 is as fast as they come.
    pub accept_interval_seconds: f64,
}

/// What a process says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It serves (or sends).
    Ready,
    /// It cannot; the process ends after this line.
    Failed {
        /// Why.
        reason: String,
    },
    /// The answer to [`Command::Report`].
    Report {
        /// As asked.
        ticket: u64,
        /// The counters.
        report: Box<Report>,
    },
}
