//! What can be wrong with a graph or a question to it.

use core::fmt;

/// Why a graph was refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GraphError {
    /// An edge names a service that does not exist.
    UnknownService {
        /// Caller of the edge.
        client: u32,
        /// Callee of the edge.
        server: u32,
        /// Number of services; ids run from 0 to one less.
        services: u32,
    },
    /// A strength that is not a probability.
    StrengthOutOfRange {
        /// Caller of the edge.
        client: u32,
        /// Callee of the edge.
        server: u32,
        /// The strength given; must be in [0, 1].
        strength: f64,
    },
    /// More services than the engine can number.
    TooManyServices {
        /// Number of services asked for.
        services: u32,
        /// Largest number of services.
        limit: u32,
    },
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownService { client, server, services } => {
                write!(f, "edge {client} -> {server} names a service outside the graph of {services} services")
            }
            Self::StrengthOutOfRange { client, server, strength } => {
                write!(f, "strength {strength} of edge {client} -> {server} is not a probability in [0, 1]")
            }
            Self::TooManyServices { services, limit } => {
                write!(f, "{services} services are more than the limit of {limit}")
            }
        }
    }
}

impl core::error::Error for GraphError {}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum InferenceError {
    /// A list has not one entry per service.
    LengthMismatch {
        /// Which list.
        what: &'static str,
        /// Its length.
        length: usize,
        /// Number of services of the graph.
        services: usize,
    },
    /// A number that is not a probability.
    NotAProbability {
        /// Which quantity.
        what: &'static str,
        /// Service it belongs to, if it belongs to one.
        service: Option<u32>,
        /// The value; must be in [0, 1].
        value: f64,
    },
    /// A likelihood that is negative, infinite or not a number, or a ratio that is not a number.
    InvalidEvidence {
        /// Service it belongs to.
        service: u32,
        /// The value.
        value: f64,
    },
    /// The probabilities of the hypotheses do not sum to one.
    PriorNotNormalised {
        /// Their sum; must be within `1e-6` of one.
        sum: f64,
    },
    /// A service outside the graph.
    UnknownService {
        /// The service asked about.
        service: u32,
        /// Number of services; ids run from 0 to one less.
        services: u32,
    },
    /// The evidence has probability zero under every hypothesis that has prior mass.
    ContradictoryEvidence,
    /// Exact elimination would need more than the limit allows.
    TooWide {
        /// Variables in the largest table at the point where the elimination gave up (at least this many).
        width: u32,
        /// Largest number of variables in one table.
        width_limit: u32,
        /// Multiplications needed so far.
        operations: u64,
        /// Largest number of multiplications.
        operations_limit: u64,
    },
}

impl fmt::Display for InferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LengthMismatch { what, length, services } => {
                write!(f, "{what} has {length} entries for {services} services")
            }
            Self::NotAProbability { what, service: Some(service), value } => {
                write!(f, "{what} of service {service} is {value}, not a probability in [0, 1]")
            }
            Self::NotAProbability { what, service: None, value } => {
                write!(f, "{what} is {value}, not a probability in [0, 1]")
            }
            Self::InvalidEvidence { service, value } => {
                write!(f, "evidence {value} of service {service} is not a likelihood")
            }
            Self::PriorNotNormalised { sum } => {
                write!(f, "no-fault prior and fault priors sum to {sum}, not to 1 within 1e-6")
            }
            Self::UnknownService { service, services } => {
                write!(f, "service {service} is outside the graph of {services} services")
            }
            Self::ContradictoryEvidence => f.write_str("the evidence has probability zero under every hypothesis"),
            Self::TooWide { width, width_limit, operations, operations_limit } => write!(
                f,
                "exact elimination needs a table over {width} variables (limit {width_limit}) \
                 or {operations} multiplications (limit {operations_limit})"
            ),
        }
    }
}

impl core::error::Error for InferenceError {}
