//! gRPC calls, per edge, reporter and status.
//!
//! From the request's header block to the trailers, as each end sees them; see [`quoll_http2`]. Where
//! nobody said how a call ended, its status is what gRPC's own documents make of that: a stream that was reset is
//! `CANCELLED` or as its error code says, one whose connection ended is `UNAVAILABLE`.

use quoll_ebpf_abi::protocols::Protocol;

use crate::collectors::requests::{self, Requests};
use crate::exposition::{Kind, Metric};

/// Protocols that this collector shows.
pub const PROTOCOLS: &[Protocol] = &[Protocol::Http2, Protocol::Grpc];

/// See its help.
pub const DURATION: Metric = Metric {
    name: "quoll_rpc_request_duration_seconds",
    help: "Time from the beginning of a call to its end, by system (grpc) and status: the 17 of gRPC (OK, CANCELLED, \
           UNKNOWN, ...), UNAVAILABLE also where the connection ended first. Once an edge has no place for more of them: \
           other (failed), or other_client (for the client to act on).",
    kind: Kind::Histogram(requests::BOUNDS),
    labels: "client, client_service_namespace, server, server_service_namespace, reporter, system, status",
};

/// Reads the totals per edge.
pub const COLLECTOR: Requests =
    Requests { name: "rpc", duration: &[&DURATION], protocols: PROTOCOLS, with_system: true };
