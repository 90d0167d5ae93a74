//! DNS queries, per edge, reporter and outcome; over UDP and TCP.
//!
//! A query over UDP that got no response within five seconds is counted as `none`. Sent again with the
//! same identifier, it keeps its first time.

use quoll_ebpf_abi::protocols::Protocol;

use crate::collectors::requests::{self, Requests};
use crate::exposition::{Kind, Metric};

/// Protocols that this collector shows.
pub const PROTOCOLS: &[Protocol] = &[Protocol::Dns];

/// See its help.
pub const DURATION: Metric = Metric {
    name: "quoll_dns_request_duration_seconds",
    help: "Time from a DNS query to its response, by outcome: noerror, nxdomain, servfail, error (any other code), or \
           none where no response came; other (failed) where an edge with several protocols has no place for them.",
    kind: Kind::Histogram(requests::BOUNDS),
    labels: "client, client_service_namespace, server, server_service_namespace, reporter, status",
};

/// Reads the totals per edge.
pub const COLLECTOR: Requests =
    Requests { name: "dns", duration: &[&DURATION], protocols: PROTOCOLS, with_system: false };
