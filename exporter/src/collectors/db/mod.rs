//! Requests to databases, per edge, reporter, system and status.
//!
//! PostgreSQL, MySQL (MariaDB among it) and Redis, recognised by what is said and not by ports. What a request
//! is, and where its duration ends, is in `ebpf/abi/src/protocols`, a file per system.

use quoll_ebpf_abi::protocols::Protocol;

use crate::collectors::requests::{self, Requests};
use crate::exposition::{Kind, Metric};

/// Protocols that this collector shows.
pub const PROTOCOLS: &[Protocol] = &[Protocol::Postgres, Protocol::Mysql, Protocol::Redis];

/// See its help.
pub const DURATION: Metric = Metric {
    name: "quoll_db_request_duration_seconds",
    help: "Time from the first bytes of a request to a database to the first bytes of its answer (postgresql: to its \
           end), by system: postgresql, mysql, redis, and status: ok, error, or none where the connection ended \
           without an answer; other (failed) where an edge with several protocols has no place for them.",
    kind: Kind::Histogram(requests::BOUNDS),
    labels: "client, client_service_namespace, server, server_service_namespace, reporter, system, status",
};

/// Reads the totals per edge.
pub const COLLECTOR: Requests =
    Requests { name: "db", duration: &[&DURATION], protocols: PROTOCOLS, with_system: true };
