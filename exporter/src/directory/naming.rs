//! Names sockets: what rules, cgroups, processes and listeners say of each end.

use std::net::Ipv6Addr;

use super::{Directory, PlainProcesses};
use crate::inventory::Process;
use crate::inventory::names::{self, PathName};
use crate::net::is_private;
use crate::service::Service;
use crate::source::{Listening, Owner, Report, Role};

/// Names of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// Who called.
    pub client: Service,
    /// Who was called.
    pub server: Service,
    /// Whose socket this is.
    pub reporter: Role,
    /// Both ends were found; otherwise a later look may find more.
    pub is_complete: bool,
}

impl Directory {
    /// Names a listener.
    #[must_use]
    pub fn listener(&self, one: &Listening) -> Option<Service> {
        if self.hides(one.process) {
            return None;
        }
        self.by_rules_or_cgroup(one.owner, Some(one.local.address), Some(one.local.port))
            .or_else(|| self.by_process(one.process))
    }

    /// Names what a process belongs to.
    pub(super) fn process(&self, pid: u32, process: &Process) -> Option<Service> {
        if process.is_own && !self.show_own {
            return None;
        }
        let owner = Owner { cgroup_id: process.cgroup_id, netns: process.netns };
        self.of_owner(owner, pid, None, None)
    }

    /// Names a process by its cgroup, which its sockets may not show (without a unified hierarchy), else by
    /// its executable.
    pub(super) fn by_process(&self, pid: u32) -> Option<Service> {
        let process = self.inventory.processes.get(&pid)?;
        let owner = Owner { cgroup_id: process.cgroup_id, netns: process.netns };
        let by_rule = || self.rules.by_executable(&process.executable).cloned();
        let is_service = match self.plain {
            PlainProcesses::Listening => self.listeners.contains(&pid),
            PlainProcesses::All => true,
            PlainProcesses::None => false,
        };
        self.by_rules_or_cgroup(owner, None, None)
            .or_else(by_rule)
            .or_else(|| is_service.then(|| Service::new(None, &process.executable))?)
    }

    /// Names both ends; `None` for connections of Quoll's own processes.
    #[must_use]
    pub fn ends(&self, report: &Report) -> Option<Ends> {
        let reporter = report.role.unwrap_or_else(|| self.guess_role(report));
        let listening_port = (reporter == Role::Server).then_some(report.local.port);
        if report.processes.iter().any(|process| self.hides(*process)) {
            return None;
        }
        let server_end = if reporter == Role::Server { report.local } else { report.remote };
        let server_netns =
            if reporter == Role::Server { Some(report.owner.netns) } else { report.peer.map(|p| p.netns) };
        let place = self.places.at(server_netns.unwrap_or(report.owner.netns), server_end);
        if place.is_some_and(|place| place.is_own) && !self.show_own {
            return None;
        }
        let own = self
            .of_owner(report.owner, report.processes[0], known(report.local.address), listening_port)
            // An accepted socket does not say whose it is, but its listener does.
            .or_else(|| place.filter(|_| reporter == Role::Server)?.service.clone());
        let peer = self.peer(report, reporter);
        let is_complete = own.is_some() && peer.is_some();
        let own = own.unwrap_or_else(Service::unknown);
        let peer = peer.unwrap_or_else(|| self.stranger(report.remote.address));
        let (client, server) = if reporter == Role::Client { (own, peer) } else { (peer, own) };
        Some(Ends { client, server, reporter, is_complete })
    }

    /// A connection that was there before us: whoever's port somebody listens at is the server.
    fn guess_role(&self, report: &Report) -> Role {
        let listens = |netns, endpoint| self.places.at(netns, endpoint).is_some();
        if listens(report.owner.netns, report.local) { Role::Server } else { Role::Client }
    }

    fn hides(&self, process: u32) -> bool {
        !self.show_own && self.inventory.is_own(process)
    }

    fn peer(&self, report: &Report, reporter: Role) -> Option<Service> {
        let remote = report.remote;
        let remote_port = (reporter == Role::Client).then_some(remote.port);
        let process = report.processes[1];
        let by_socket = report.peer.and_then(|peer| self.of_owner(peer, process, Some(remote.address), remote_port));
        by_socket
            .or_else(|| self.by_process(process))
            .or_else(|| {
                remote_port?;
                self.places.at(report.owner.netns, remote)?.service.clone()
            })
            .or_else(|| self.rules.by_address(remote.address).cloned())
            .or_else(|| {
                // Within its own namespace an address says nothing about who of its inhabitants it is.
                let netns = self.inventory.netns_of(remote.address).filter(|netns| *netns != report.owner.netns)?;
                self.rules.by_netns(netns).or_else(|| self.places.of_namespace(netns)).cloned()
            })
    }

    fn stranger(&self, address: Ipv6Addr) -> Service {
        let is_inside = is_private(address) || self.inventory.netns_of(address).is_some();
        if is_inside { Service::unknown() } else { Service::external() }
    }

    /// Names a socket by rules and cgroup, by the process that made it, and at last by what its owner listens
    /// at: a service that is known by its port also makes calls.
    fn of_owner(&self, owner: Owner, process: u32, address: Option<Ipv6Addr>, port: Option<u16>) -> Option<Service> {
        self.by_rules_or_cgroup(owner, address, port)
            .or_else(|| self.by_process(process))
            .or_else(|| self.places.of_owner(owner).filter(|_| !self.is_crowd(owner)).cloned())
    }

    /// Whether an owner is what all that belongs nowhere shares: the root cgroup in our own network namespace.
    /// That one of them listens says nothing about the others.
    fn is_crowd(&self, owner: Owner) -> bool {
        let own = self.inventory.processes.get(&std::process::id());
        own.is_some_and(|own| own.netns == owner.netns)
            && self.inventory.cgroups.path_of(owner.cgroup_id).is_some_and(|path| **path == *"/")
    }

    pub(super) fn by_rules_or_cgroup(
        &self,
        owner: Owner,
        address: Option<Ipv6Addr>,
        port: Option<u16>,
    ) -> Option<Service> {
        let path = self.inventory.cgroups.path_of(owner.cgroup_id);
        let by_rule = self
            .rules
            .by_netns(owner.netns)
            .or_else(|| self.rules.by_cgroup(path?))
            .or_else(|| self.rules.by_address(address?))
            .or_else(|| self.rules.by_port(port?));
        by_rule.cloned().or_else(|| match names::of_path(path?) {
            PathName::Named(name) => Service::new(None, &name),
            PathName::Container(id) => {
                let container = self.inventory.container(&id)?;
                Service::new(container.namespace.as_deref(), &container.name)
            }
            PathName::Nothing => None,
        })
    }
}

fn known(address: Ipv6Addr) -> Option<Ipv6Addr> {
    (!address.is_unspecified()).then_some(address)
}
