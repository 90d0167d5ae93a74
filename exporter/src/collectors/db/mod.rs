//! Requests to databases, per edge, reporter, system and status.
//!
//! PostgreSQL, MySQL (MariaDB among it) and Redis, recognised by what is said and not by ports. What a request
//! is, and where its duration ends, is in `ebpf/abi/src/protocols`, a file per system.

use quoll_ebpf_abi::protocols::Protocol;

use crate::collectors::{Collector, World, requests};
use crate::exposition::{Kind, Metric, Page};
use crate::privileges::Needs;
use crate::source::SourceKind;

/// Protocols that this collector shows.
pub const PROTOCOLS: &[Protocol] = &[Protocol::Postgres, Protocol::Mysql, Protocol::Redis];

/// See its help.
pub const DURATION: Metric = Metric {
    name: "quoll_db_request_duration_seconds",
    help: "Time from the first bytes of a request to a database to the first bytes of its answer (postgresql: to its \
           end), by system: postgresql, mysql, redis, and status: ok, error, or none where the connection ended \
           without an answer.",
    kind: Kind::Histogram(requests::BOUNDS),
    labels: "client, client_service_namespace, server, server_service_namespace, reporter, system, status",
};

/// Reads the totals per edge.
pub struct Db;

impl Collector for Db {
    fn name(&self) -> &'static str {
        "db"
    }

    fn needs(&self, source: SourceKind) -> Option<Needs> {
        (source == SourceKind::Ebpf).then_some(Needs::attaching())
    }

    fn metrics(&self) -> &'static [&'static Metric] {
        &[&DURATION]
    }

    fn collect(&mut self, world: &World<'_>, page: &mut Page) -> anyhow::Result<()> {
        requests::collect(world, page, &DURATION, PROTOCOLS, "status", true)
    }
}
