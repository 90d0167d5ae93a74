//! Hosts as causes: what runs on a busy host suffers together.
//!
//! A host is a service in the namespace [`HOST_NAMESPACE`], a callee of everything that runs on it. It takes
//! part in inference only while at least three, and at least half, of the services on it that anything is
//! known about are odd at the same time (or while it is the cause of what is already watched): otherwise one
//! machine would tie everything on it into one incident, and two faults could not be told apart. It has no
//! evidence of its own.

use std::sync::Arc;

use quoll_features::ClosedStep;
use quoll_identity::{Edge, Service};

use crate::config::IncidentsConfig;
use crate::learning::Learned;
use crate::scene::Scene;

/// The namespace of hosts.
pub const HOST_NAMESPACE: &str = "host";

/// Services that must be odd together.
const ODD_TOGETHER: usize = 3;

/// The hosts of a step as services, sorted, with those that run on them.
pub(crate) fn of(step: &ClosedStep) -> Vec<(Service, Vec<&Service>)> {
    let mut placed: Vec<(&Arc<str>, &Service)> = (step.services.iter())
        .flat_map(|service| service.hosts.iter().map(move |host| (host, &service.service)))
        .collect();
    placed.sort_by(|a, b| a.0.cmp(b.0));
    (placed.chunk_by(|a, b| a.0 == b.0))
        .filter_map(|on| {
            let host = Service::new(Some(HOST_NAMESPACE), on.first()?.0)?;
            Some((host, on.iter().map(|(_, service)| *service).collect()))
        })
        .collect()
}

/// Whether a service stands for a host.
pub(crate) fn is_host(service: &Service) -> bool {
    service.namespace.as_deref() == Some(HOST_NAMESPACE)
}

/// Links what runs on busy hosts to them. `watched` says which hosts are causes already.
pub(crate) fn link(
    scene: &mut Scene,
    hosts: &[(Service, Vec<&Service>)],
    watched: &dyn Fn(&Service) -> bool,
    learned: &Learned,
    config: &IncidentsConfig,
) {
    for (host, services) in hosts {
        let Some(server) = scene.find(host) else { continue };
        let known: Vec<usize> =
            services.iter().filter_map(|s| scene.find(s)).filter(|&s| scene.evidence[s].abs() > 0.0).collect();
        let odd = known.iter().filter(|&&s| scene.evidence[s] > config.anomalous_above).count();
        let busy = odd >= ODD_TOGETHER && 2 * odd >= known.len();
        if !(busy || odd > 0 && watched(host)) {
            continue;
        }
        for client in known {
            let edge = Edge { client: scene.services[client].clone(), server: host.clone() };
            scene.suppose(client, server, learned.strength(&edge, config.resource_strength));
        }
    }
}
