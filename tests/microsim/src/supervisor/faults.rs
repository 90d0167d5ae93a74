//! Faults on command: what may be asked for, and which are in force.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::topology::{LOAD_GENERATOR, Service, Topology};
use crate::wire::FaultSettings;

/// Longest fault; also the longest time a forgotten one stays.
pub const MAX_SECONDS: f64 = 3600.0;
/// Repaired faults remembered for `GET /faults`.
const HISTORY: usize = 1000;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Each request takes longer.
    Latency,
    /// A share of requests is answered 500.
    Errors,
    /// The serving thread burns CPU.
    Cpu,
    /// Memory grows.
    Memory,
    /// The process ends; its address refuses connections.
    Crash,
    /// Nothing is accepted or answered.
    Hang,
    /// Connections are accepted slowly and not kept.
    SlowAccept,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 7] =
        [Self::Latency, Self::Errors, Self::Cpu, Self::Memory, Self::Crash, Self::Hang, Self::SlowAccept];

    /// As in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::SlowAccept => "slow-accept",
        }
    }

    /// Unit of the severity, smallest, default and largest.
    pub fn severity(self) -> (&'static str, f64, f64, f64) {
        match self {
            Self::Latency => ("milliseconds added to each request", 1.0, 200.0, 10_000.0),
            Self::Errors => ("share of requests answered 500", 0.01, 0.5, 1.0),
            Self::Cpu => ("share of one core burnt", 0.05, 0.4, 0.9),
            Self::Memory => ("MiB leaked per second", 0.1, 8.0, 64.0),
            Self::Crash | Self::Hang => ("always whole", 1.0, 1.0, 1.0),
            Self::SlowAccept => ("seconds between two accepts", 0.05, 0.5, 10.0),
        }
    }

    /// Index of the endpoint that a fault of this kind is to be at.
    fn endpoint(self, service: &Service, path: &str) -> Result<usize, FaultError> {
        let at_endpoints = matches!(self, Self::Latency | Self::Errors);
        let paths: Vec<&str> =
            service.endpoints.iter().filter(|_| at_endpoints).map(|endpoint| endpoint.path.as_str()).collect();
        paths.iter().position(|known| *known == path).ok_or_else(|| FaultError::Path {
            kind: self.name(),
            service: service.name.clone(),
            path: path.to_owned(),
            known: if at_endpoints { paths.join(", ") } else { "none, it is all of the service's".to_owned() },
        })
    }
}

/// A fault asked for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Service to break.
    pub service: String,
    /// How.
    pub kind: Kind,
    /// How much, in the kind's unit.
    pub severity: Option<f64>,
    /// Of `latency` and `errors`: the one endpoint that they are at; all, if left out.
    pub path: Option<String>,
    /// Until it repairs itself.
    #[serde(default = "default_seconds")]
    pub seconds: f64,
}

fn default_seconds() -> f64 {
    60.0
}

/// Why a fault cannot be had.
#[derive(Debug, Error, PartialEq)]
pub enum FaultError {
    /// Not JSON of this shape.
    #[error("{0}; send {{\"service\": NAME, \"kind\": KIND, \"seconds\": N, \"severity\": N}}")]
    Shape(String),
    /// No such service.
    #[error("no service `{service}`; there are: {known}")]
    UnknownService {
        /// As asked.
        service: String,
        /// Names that exist.
        known: String,
    },
    /// No such endpoint, or a fault that is not at endpoints.
    #[error("{kind} at `{service}` cannot be at the path `{path}`; there are: {known}")]
    Path {
        /// The kind.
        kind: &'static str,
        /// The service.
        service: String,
        /// As asked.
        path: String,
        /// Paths that may be asked for.
        known: String,
    },
    /// The load generator is the witness, not a patient.
    #[error("`{LOAD_GENERATOR}` stands for the users and cannot be broken; choose a service of the shop")]
    Users,
    /// Severity outside the kind's range.
    #[error("severity of {kind} is {value}; give {lowest} to {highest} ({unit})")]
    Severity {
        /// The kind.
        kind: &'static str,
        /// As asked.
        value: f64,
        /// Smallest.
        lowest: f64,
        /// Largest.
        highest: f64,
        /// What the number means.
        unit: &'static str,
    },
    /// Duration outside its range.
    #[error("seconds is {0}; give 1 to {MAX_SECONDS}")]
    Seconds(f64),
    /// The same fault is there already.
    #[error("{kind} at `{service}` is in force already as {id}; repair it first (DELETE /faults/{id})")]
    Twice {
        /// The kind.
        kind: &'static str,
        /// The service.
        service: String,
        /// The fault in force.
        id: String,
    },
    /// No such fault in force.
    #[error("no fault `{0}` in force; GET /faults lists them")]
    UnknownFault(String),
}

/// One fault, in force or over. Times are milliseconds since 1970.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// Its name in the API.
    pub id: String,
    /// Service broken.
    pub service: String,
    /// How.
    pub kind: Kind,
    /// The one endpoint that it is at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How much.
    pub severity: f64,
    /// What the severity counts.
    pub unit: &'static str,
    /// Length asked for.
    pub seconds: f64,
    /// Begin.
    pub started_ms: u64,
    /// End, when over.
    pub ended_ms: Option<u64>,
    /// Index of the endpoint of `path`.
    #[serde(skip)]
    endpoint: Option<usize>,
    #[serde(skip)]
    until: Instant,
}

/// All faults of a run.
#[derive(Debug, Default)]
pub struct Faults {
    counter: u64,
    in_force: Vec<Fault>,
    over: Vec<Fault>,
}

impl Faults {
    /// Puts a fault in force.
    ///
    /// # Errors
    /// [`FaultError`].
    pub fn inject(&mut self, request: &Request, topology: &Topology) -> Result<Fault, FaultError> {
        let (unit, lowest, default, highest) = request.kind.severity();
        let kind = request.kind.name();
        if request.service == LOAD_GENERATOR {
            return Err(FaultError::Users);
        }
        let Some(service) = topology.service(&request.service) else {
            let known: Vec<&str> = topology.services.iter().map(|service| service.name.as_str()).collect();
            return Err(FaultError::UnknownService { service: request.service.clone(), known: known.join(", ") });
        };
        let endpoint = request.path.as_ref().map(|path| request.kind.endpoint(service, path)).transpose()?;
        let severity = request.severity.unwrap_or(default);
        if !(lowest..=highest).contains(&severity) {
            return Err(FaultError::Severity { kind, value: severity, lowest, highest, unit });
        }
        if !(1.0..=MAX_SECONDS).contains(&request.seconds) {
            return Err(FaultError::Seconds(request.seconds));
        }
        let same = |fault: &&Fault| fault.service == request.service && fault.kind == request.kind;
        if let Some(fault) = self.in_force.iter().find(same) {
            return Err(FaultError::Twice { kind, service: request.service.clone(), id: fault.id.clone() });
        }
        self.counter += 1;
        let fault = Fault {
            id: format!("f{}", self.counter),
            service: request.service.clone(),
            kind: request.kind,
            path: request.path.clone(),
            endpoint,
            severity,
            unit,
            seconds: request.seconds,
            started_ms: now_ms(),
            ended_ms: None,
            until: Instant::now() + Duration::from_secs_f64(request.seconds),
        };
        self.in_force.push(fault.clone());
        Ok(fault)
    }

    /// Ends one fault.
    ///
    /// # Errors
    /// [`FaultError::UnknownFault`].
    pub fn repair(&mut self, id: &str) -> Result<Fault, FaultError> {
        let repaired = self.end(|fault| fault.id == id);
        repaired.into_iter().next().ok_or_else(|| FaultError::UnknownFault(id.to_owned()))
    }

    /// Ends all faults.
    pub fn repair_all(&mut self) -> Vec<Fault> {
        self.end(|_| true)
    }

    /// Ends the faults whose time is over.
    pub fn expire(&mut self, now: Instant) -> Vec<Fault> {
        self.end(|fault| fault.until <= now)
    }

    fn end(&mut self, which: impl Fn(&Fault) -> bool) -> Vec<Fault> {
        let (mut ended, rest): (Vec<Fault>, Vec<Fault>) =
            std::mem::take(&mut self.in_force).into_iter().partition(which);
        self.in_force = rest;
        for fault in &mut ended {
            fault.ended_ms = Some(now_ms());
        }
        self.over.extend(ended.iter().cloned());
        let surplus = self.over.len().saturating_sub(HISTORY);
        self.over.drain(..surplus);
        ended
    }

    /// Faults in force.
    pub fn in_force(&self) -> &[Fault] {
        &self.in_force
    }

    /// Faults that are over, the latest last.
    pub fn over(&self) -> &[Fault] {
        &self.over
    }

    /// Whether `service` must not run.
    pub fn crashed(&self, service: &str) -> bool {
        self.in_force.iter().any(|fault| fault.service == service && fault.kind == Kind::Crash)
    }

    /// What `service` must be told.
    pub fn settings(&self, service: &str) -> FaultSettings {
        let mut settings = FaultSettings::default();
        for fault in self.in_force.iter().filter(|fault| fault.service == service) {
            match fault.kind {
                Kind::Latency => {
                    settings.latency_ms = fault.severity;
                    settings.latency_endpoint = fault.endpoint;
                }
                Kind::Errors => {
                    settings.error_share = fault.severity;
                    settings.error_endpoint = fault.endpoint;
                }
                Kind::Cpu => settings.cpu_share = fault.severity,
                Kind::Memory => settings.leak_mib_per_second = fault.severity,
                Kind::Crash => {}
                Kind::Hang => settings.hang = true,
                Kind::SlowAccept => settings.accept_interval_seconds = fault.severity,
            }
        }
        settings
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
