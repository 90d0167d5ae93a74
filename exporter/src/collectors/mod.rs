//! The collectors: each has a folder with the metrics it declares and the code that moves them.
//!
//! All share [`Collector`]. Each can be switched off by name, and one that fails leaves the others
//! working: its families are missing from the page, `quoll_exporter_collector_success` is 0 for it, and
//! the log says why.

pub mod db;
pub mod dns;
pub mod http;
pub mod listeners;
pub mod requests;
pub mod resources;
pub mod rpc;
pub mod tcp;

use quoll_ebpf_abi::protocols::Protocol;

use crate::directory::Directory;
use crate::edges::Edges;
use crate::exposition::{Labels, Metric, Page};
use crate::privileges::Needs;
use crate::service::Service;
use crate::source::SourceKind;

/// What collectors may read; it is brought up to date before they run.
pub struct World<'a> {
    /// Names, processes, listeners.
    pub directory: &'a Directory,
    /// Connections and requests.
    pub edges: &'a Edges,
    /// Whether the source could be read this time, and if not, why.
    pub source_error: Option<&'a str>,
    /// Whether the source sees requests.
    pub sees_requests: bool,
}

/// One collector; lives as long as the exporter and may keep state between scrapes.
pub trait Collector {
    /// Its name, as in `--disable` and in the label `collector`.
    fn name(&self) -> &'static str;

    /// What it needs with each source, for `--print-capabilities`; `None` where it sees nothing with it.
    fn needs(&self, source: SourceKind) -> Option<Needs>;

    /// Every family it may write.
    fn metrics(&self) -> &'static [&'static Metric];

    /// Writes its families; each at most once.
    ///
    /// # Errors
    /// Where it could not read what it needs; what it wrote before stays on the page.
    fn collect(&mut self, world: &World<'_>, page: &mut Page) -> anyhow::Result<()>;
}

/// One of each.
#[must_use]
pub fn all() -> Vec<Box<dyn Collector>> {
    vec![
        Box::new(tcp::Tcp),
        Box::new(http::Http),
        Box::new(rpc::COLLECTOR),
        Box::new(db::COLLECTOR),
        Box::new(dns::COLLECTOR),
        Box::new(listeners::Listeners::default()),
        Box::new(resources::Resources::default()),
    ]
}

/// The protocols that are looked at: of those wished for, the ones that a collector shows.
#[must_use]
pub fn shown_protocols(wished: &[Protocol], is_on: impl Fn(&str) -> bool) -> Vec<Protocol> {
    let shown = [("http", http::PROTOCOLS), ("rpc", rpc::PROTOCOLS), ("db", db::PROTOCOLS), ("dns", dns::PROTOCOLS)];
    let shown = shown.into_iter().filter(|(name, _)| is_on(name)).flat_map(|(_, protocols)| protocols.iter().copied());
    shown.filter(|protocol| wished.contains(protocol)).collect()
}

/// `service_namespace` and `service_name`.
#[must_use]
pub fn service_labels(service: &Service) -> Labels {
    Labels::new(&[("service_name", Some(&service.name)), ("service_namespace", service.namespace.as_deref())])
}

/// `client`, `server`, their namespaces, and `reporter`.
#[must_use]
pub fn edge_labels(key: &crate::edges::EdgeKey) -> Labels {
    Labels::new(&[
        ("client", Some(&key.client.name)),
        ("client_service_namespace", key.client.namespace.as_deref()),
        ("server", Some(&key.server.name)),
        ("server_service_namespace", key.server.namespace.as_deref()),
        (
            "reporter",
            Some(match key.reporter {
                crate::source::Role::Client => "client",
                crate::source::Role::Server => "server",
            }),
        ),
    ])
}
