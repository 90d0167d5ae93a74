//! What one series of a report says, apart from its value.

use std::collections::BTreeMap;
use std::sync::Arc;

use quoll_features::{Change, FeatureSet};
use quoll_identity::{Edge, Service};

use crate::report::kind_of;
use crate::wire::{
    CHANGE, CHANGE_LABELS, EDGES, FEATURE, FEATURES, HOST, HOST_LABEL, MODEL, PRESENCE, PREVIOUS, PROVISIONAL, SAMPLES,
    SCORE, TAIL, TICK,
};

/// The subject of a sample, and what its value is.
#[derive(Debug, Clone)]
pub(crate) enum Statement {
    Tick,
    Previous,
    Samples,
    Model,
    Presence(Arc<Service>),
    Host(Arc<Service>, Arc<str>),
    Change(Arc<Service>, Box<Change>),
    Score(Arc<Service>),
    Tail(Arc<Service>),
    Provisional(Arc<Service>),
    /// Of a feature: its index, and which of [`FEATURES`].
    Feature(Arc<Service>, u16, u8),
    /// Which of [`EDGES`].
    Edge(Arc<Edge>, u8),
}

/// Services and edges that statements are about, each held once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    services: BTreeMap<Service, Arc<Service>>,
    edges: BTreeMap<Edge, Arc<Edge>>,
}

/// Labels of a series, sorted by name.
pub(crate) type Labels<'a> = [(&'a str, &'a str)];

pub(crate) fn label<'a>(labels: &Labels<'a>, name: &str) -> Option<&'a str> {
    let at = labels.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    labels.get(at).map(|(_, value)| *value).filter(|value| !value.is_empty())
}

impl Names {
    fn service(&mut self, labels: &Labels<'_>) -> Option<Arc<Service>> {
        let service = Service::new(label(labels, "service_namespace"), label(labels, "service_name")?)?;
        if let Some(known) = self.services.get(&service) {
            return Some(Arc::clone(known));
        }
        let shared = Arc::new(service.clone());
        self.services.insert(service, Arc::clone(&shared));
        Some(shared)
    }

    fn edge(&mut self, labels: &Labels<'_>) -> Option<Arc<Edge>> {
        let client = Service::new(label(labels, "client_service_namespace"), label(labels, "client")?)?;
        let server = Service::new(label(labels, "server_service_namespace"), label(labels, "server")?)?;
        let edge = Edge { client, server };
        if let Some(known) = self.edges.get(&edge) {
            return Some(Arc::clone(known));
        }
        let shared = Arc::new(edge.clone());
        self.edges.insert(edge, Arc::clone(&shared));
        Some(shared)
    }

    /// What a series says; `None` where it is not part of a report.
    pub fn statement(&mut self, labels: &Labels<'_>, set: &FeatureSet) -> Option<Statement> {
        let name = label(labels, "__name__")?;
        let index = |names: &[&str]| names.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok());
        if let Some(figure) = index(&EDGES) {
            return Some(Statement::Edge(self.edge(labels)?, figure));
        }
        if let Some(part) = index(&FEATURES) {
            let wanted = label(labels, FEATURE)?;
            let feature = set.features.iter().position(|feature| *feature.name == *wanted)?;
            return Some(Statement::Feature(self.service(labels)?, u16::try_from(feature).ok()?, part));
        }
        Some(match name {
            TICK => Statement::Tick,
            PREVIOUS => Statement::Previous,
            SAMPLES => Statement::Samples,
            MODEL => Statement::Model,
            PRESENCE => Statement::Presence(self.service(labels)?),
            HOST => Statement::Host(self.service(labels)?, Arc::from(label(labels, HOST_LABEL)?)),
            CHANGE => {
                let [kind, text] = CHANGE_LABELS.map(|name| label(labels, name));
                let change = Change { kind: kind_of(kind?)?, text: text.unwrap_or_default().to_owned() };
                Statement::Change(self.service(labels)?, Box::new(change))
            }
            SCORE => Statement::Score(self.service(labels)?),
            TAIL => Statement::Tail(self.service(labels)?),
            PROVISIONAL => Statement::Provisional(self.service(labels)?),
            _ => return None,
        })
    }

    /// Forgets what no statement is about any more.
    pub fn prune(&mut self) {
        self.services.retain(|_, shared| Arc::strong_count(shared) > 1);
        self.edges.retain(|_, shared| Arc::strong_count(shared) > 1);
    }

    /// Services and edges known.
    pub fn len(&self) -> (usize, usize) {
        (self.services.len(), self.edges.len())
    }
}
