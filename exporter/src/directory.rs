//! Whose socket is it? Names both ends of a connection.
//!
//! A socket on this node is named by the rules (netns, cgroup, address, port), else by its cgroup (unit,
//! container, folder), else by the executable of the process that made it ([`PlainProcesses`]). The other
//! end is named, in this order:
//! 1. by its own socket, where that is on this node and known;
//! 2. by who listens at its address, now or earlier: a refused connection is to a service whose
//!    listener is just gone;
//! 3. by the rules for its address, or for the network namespace that has this address;
//! 4. as `unknown` inside (an address of this node or of a private network) or `external`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::inventory::cgroups::Membership;
use crate::inventory::names::{self, PathName};
use crate::inventory::{Inventory, Process};
use crate::net::{Endpoint, is_loopback, is_private};
use crate::rules::Rules;
use crate::service::Service;
use crate::source::{Listening, Owner, Report, Role};

/// Listeners that are remembered after they are gone; beyond that all but the present are forgotten.
const MAX_ENDPOINTS: usize = 16_384;

/// A service of which nothing ran here for so long is gone, and its series end; unless set otherwise.
pub const GONE_AFTER: Duration = Duration::from_secs(300);

/// What belongs to a service on this node.
#[derive(Debug, Default)]
pub struct Members {
    /// Number and start (clock ticks after boot) of each process.
    pub processes: Vec<(u32, u64)>,
    /// Where they are in the cgroup hierarchies.
    pub cgroups: BTreeSet<Arc<Membership>>,
}

/// Which processes outside of any unit, container or folder of cgroups are services, by their executable's
/// name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainProcesses {
    /// Those that listen at a TCP port.
    #[default]
    Listening,
    /// All that have an executable.
    All,
    /// None, unless a rule names them.
    None,
}

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

/// What is remembered of a place where somebody listens or listened.
#[derive(Debug, Clone)]
struct Place {
    service: Option<Service>,
    is_own: bool,
}

/// Everything needed to name sockets.
#[derive(Debug)]
pub struct Directory {
    /// Processes, cgroups and namespaces.
    inventory: Inventory,
    /// Changes whenever a name may; no two directories have the same.
    version: u64,
    rules: Rules,
    listening: Vec<Listening>,
    /// By namespace (0 for addresses that mean the same everywhere) and endpoint.
    places: HashMap<(u32, Endpoint), Place>,
    /// The one service that an owner's listeners name, if they agree.
    owners: HashMap<Owner, Option<Service>>,
    /// The same by network namespace.
    namespaces: HashMap<u32, Option<Service>>,
    /// Services with processes on this node.
    members: BTreeMap<Service, Members>,
    /// When something of a service was last seen on this node.
    last_seen: HashMap<Service, Instant>,
    /// Processes that listen.
    listeners: HashSet<u32>,
    plain: PlainProcesses,
    gone_after: Duration,
    show_own: bool,
}

impl Directory {
    /// With the first rules; `show_own` keeps Quoll's own processes.
    #[must_use]
    pub fn new(rules: Rules, show_own: bool) -> Self {
        Self {
            inventory: Inventory::default(),
            version: next_version(),
            rules,
            listening: Vec::new(),
            places: HashMap::new(),
            owners: HashMap::new(),
            namespaces: HashMap::new(),
            members: BTreeMap::new(),
            last_seen: HashMap::new(),
            listeners: HashSet::new(),
            plain: PlainProcesses::default(),
            gone_after: GONE_AFTER,
            show_own,
        }
    }

    /// Calls services gone after another time than [`GONE_AFTER`].
    #[must_use]
    pub fn with_gone_after(self, gone_after: Duration) -> Self {
        Self { gone_after, ..self }
    }

    /// Names `plain` processes by their executable.
    #[must_use]
    pub fn with_plain_processes(self, plain: PlainProcesses) -> Self {
        Self { plain, ..self }
    }

    /// Processes, cgroups and namespaces.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// A number that changes whenever a name may: what [`Self::ends`] said holds as long as it stays.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Reads processes, containers and namespaces anew.
    ///
    /// # Errors
    /// Where `/proc` itself cannot be listed.
    pub fn refresh_processes(&mut self) -> std::io::Result<()> {
        self.version = next_version();
        self.inventory.refresh()
    }

    /// Looks for new cgroups, if that was not done just now.
    pub fn walk_cgroups(&mut self) {
        if self.inventory.cgroups.walk() {
            self.version = next_version();
        }
    }

    /// The same, if it was not done for a minute.
    pub fn tidy_cgroups(&mut self) {
        if self.inventory.cgroups.tidy() {
            self.version = next_version();
        }
    }

    /// The same for one that is in use; names that were given to places are forgotten.
    pub fn configure(&mut self, plain: PlainProcesses, gone_after: Duration, show_own: bool) {
        self.plain = plain;
        self.gone_after = gone_after;
        self.show_own = show_own;
        self.places.clear();
        self.version = next_version();
    }

    /// Puts new rules in force; names that the old ones gave to places are forgotten.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        self.places.clear();
        self.version = next_version();
    }

    /// Finds out which services are present; processes and listeners are up to date.
    pub fn set_present(&mut self) {
        self.set_present_at(Instant::now());
    }

    fn set_present_at(&mut self, now: Instant) {
        let mut members: BTreeMap<Service, Members> = BTreeMap::new();
        for (pid, process) in &self.inventory.processes {
            if let Some(service) = self.process(*pid, process) {
                let one = members.entry(service).or_default();
                one.processes.push((*pid, process.start_ticks));
                if !one.cgroups.contains(&process.membership) {
                    one.cgroups.insert(process.membership.clone());
                }
            }
        }
        let listening: Vec<Service> = self.listening.iter().filter_map(|one| self.listener(one)).collect();
        for service in members.keys().cloned().chain(listening) {
            self.last_seen.insert(service, now);
        }
        self.members = members;
    }

    /// Services with processes on this node, and what belongs to them.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<Service, Members> {
        &self.members
    }

    /// Services that were here and of which nothing was seen for [`GONE_AFTER`]. They are told for as long
    /// again, since the last records of their connections may come late.
    pub fn gone(&mut self) -> HashSet<Service> {
        self.gone_at(Instant::now())
    }

    fn gone_at(&mut self, now: Instant) -> HashSet<Service> {
        let age = |seen: &Instant| now.saturating_duration_since(*seen);
        let forgotten = 2 * self.gone_after;
        self.last_seen.retain(|_, seen| age(seen) < forgotten);
        let gone = self.last_seen.iter().filter(|(_, seen)| age(seen) >= self.gone_after);
        gone.map(|(service, _)| service.clone()).collect()
    }

    /// Present listeners, as last given.
    #[must_use]
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Takes in the present listeners.
    pub fn set_listening(&mut self, listening: Vec<Listening>) {
        self.version = next_version();
        self.owners.clear();
        self.namespaces.clear();
        if self.places.len() > MAX_ENDPOINTS {
            self.places.clear();
        }
        self.listeners = listening.iter().map(|one| one.process).collect();
        for one in &listening {
            let service = self.by_rules_or_cgroup(one.owner, Some(one.local.address), Some(one.local.port));
            agree(&mut self.owners, one.owner, service.as_ref());
            agree(&mut self.namespaces, one.owner.netns, service.as_ref());
            let service = service.or_else(|| self.by_process(one.process));
            let place = Place { service, is_own: self.inventory.is_own(one.process) };
            let addresses: Vec<Ipv6Addr> = if one.local.address.is_unspecified() {
                let own = self.inventory.netns.get(&one.owner.netns);
                own.map(|netns| netns.addresses.iter().copied().collect()).unwrap_or_default()
            } else {
                vec![one.local.address]
            };
            for address in addresses {
                let key = place_key(one.owner.netns, Endpoint { address, port: one.local.port });
                self.places.insert(key, place.clone());
            }
            if one.local.address.is_unspecified() {
                // For loopback addresses beyond 127.0.0.1, which no table lists.
                self.places.insert((one.owner.netns, one.local), place);
            }
        }
        self.listening = listening;
    }

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
    fn process(&self, pid: u32, process: &Process) -> Option<Service> {
        if process.is_own && !self.show_own {
            return None;
        }
        let owner = Owner { cgroup_id: process.cgroup_id, netns: process.netns };
        self.of_owner(owner, pid, None, None)
    }

    /// Names a process by its cgroup, which its sockets may not show (without a unified hierarchy), else by
    /// its executable.
    fn by_process(&self, pid: u32) -> Option<Service> {
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
        let place = self.place(server_netns.unwrap_or(report.owner.netns), server_end);
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
        let listens = |netns, endpoint| self.place(netns, endpoint).is_some();
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
                self.place(report.owner.netns, remote)?.service.clone()
            })
            .or_else(|| self.rules.by_address(remote.address).cloned())
            .or_else(|| {
                // Within its own namespace an address says nothing about who of its inhabitants it is.
                let netns = self.inventory.netns_of(remote.address).filter(|netns| *netns != report.owner.netns)?;
                self.rules.by_netns(netns).or_else(|| self.namespaces.get(&netns)?.as_ref()).cloned()
            })
    }

    fn stranger(&self, address: Ipv6Addr) -> Service {
        let is_inside = is_private(address) || self.inventory.netns_of(address).is_some();
        if is_inside { Service::unknown() } else { Service::external() }
    }

    fn place(&self, netns: u32, endpoint: Endpoint) -> Option<&Place> {
        let any = Endpoint { address: Ipv6Addr::UNSPECIFIED, port: endpoint.port };
        let exact = self.places.get(&place_key(netns, endpoint));
        exact.or_else(|| is_loopback(endpoint.address).then(|| self.places.get(&(netns, any)))?)
    }

    /// Names a socket by rules and cgroup, by the process that made it, and at last by what its owner listens
    /// at: a service that is known by its port also makes calls.
    fn of_owner(&self, owner: Owner, process: u32, address: Option<Ipv6Addr>, port: Option<u16>) -> Option<Service> {
        self.by_rules_or_cgroup(owner, address, port)
            .or_else(|| self.by_process(process))
            .or_else(|| self.owners.get(&owner).filter(|_| !self.is_crowd(owner))?.clone())
    }

    /// Whether an owner is what all that belongs nowhere shares: the root cgroup in our own network namespace.
    /// That one of them listens says nothing about the others.
    fn is_crowd(&self, owner: Owner) -> bool {
        let own = self.inventory.processes.get(&std::process::id());
        own.is_some_and(|own| own.netns == owner.netns)
            && self.inventory.cgroups.path_of(owner.cgroup_id).is_some_and(|path| **path == *"/")
    }

    fn by_rules_or_cgroup(&self, owner: Owner, address: Option<Ipv6Addr>, port: Option<u16>) -> Option<Service> {
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

    /// Whether a connection's owner may become nameable by reading the cgroups again.
    #[must_use]
    pub fn is_stranger(&self, owner: Owner) -> bool {
        self.inventory.cgroups.path_of(owner.cgroup_id).is_none()
    }
}

fn next_version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Addresses that mean the same in all namespaces have one entry.
fn place_key(netns: u32, endpoint: Endpoint) -> (u32, Endpoint) {
    let everywhere = !is_loopback(endpoint.address) && !endpoint.address.is_unspecified();
    (if everywhere { 0 } else { netns }, endpoint)
}

fn known(address: Ipv6Addr) -> Option<Ipv6Addr> {
    (!address.is_unspecified()).then_some(address)
}

/// Remembers a service for a key, or that there are several, or one without a name: what a mixed crowd
/// shares (the root cgroup, the host's namespace) names none of it.
fn agree<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Option<Service>>, key: K, service: Option<&Service>) {
    let entry = map.entry(key).or_insert_with(|| service.cloned());
    if entry.as_ref() != service {
        *entry = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::canonical;
    use crate::source::{ConnectionId, Phase};

    const RULES: &str = "
services:
  - {name: web, match: [{address: 127.77.0.1}]}
  - {name: cart, match: [{netns: 7}]}
  - {name: db, match: [{port: 5432}]}
";

    fn directory() -> Directory {
        let mut directory = Directory::new(Rules::parse(RULES).unwrap(), false);
        directory.inventory.processes.clear();
        directory.inventory.netns.clear();
        directory
    }

    fn at(address: &str, port: u16) -> Endpoint {
        Endpoint { address: canonical(address.parse().unwrap()), port }
    }

    fn report(netns: u32, local: Endpoint, remote: Endpoint, role: Option<Role>) -> Report {
        Report {
            id: ConnectionId(1, 1),
            owner: Owner { cgroup_id: u64::MAX, netns },
            peer: None,
            processes: [0, 0],
            local,
            remote,
            role,
            is_datagram: false,
            preexisting: false,
            phase: Phase::Open,
            connect_seconds: None,
            open_seconds: None,
            rtt_seconds: None,
            has_moved: true,
            counters: None,
        }
    }

    fn listening(netns: u32, local: Endpoint) -> Listening {
        let owner = Owner { cgroup_id: u64::MAX, netns };
        let id = ConnectionId(u64::from(netns), u64::from(local.port));
        Listening { id, owner, process: 0, local, queue_length: 0, queue_limit: None, drops: None }
    }

    #[test]
    fn the_peer_is_who_listens_there_also_after_the_listener_is_gone() {
        let mut directory = directory();
        directory.set_listening(vec![listening(9, at("10.0.0.9", 5432))]);
        let call = report(7, at("10.0.0.7", 40_000), at("10.0.0.9", 5432), Some(Role::Client));
        let ends = directory.ends(&call).unwrap();
        assert_eq!((ends.client.to_string(), ends.server.to_string()), ("cart".into(), "db".into()));
        directory.set_listening(Vec::new());
        assert_eq!(directory.ends(&call).unwrap().server.to_string(), "db");
    }

    #[test]
    fn loopback_listeners_are_apart_per_namespace() {
        let mut directory = directory();
        directory.set_listening(vec![listening(9, at("::", 5432))]);
        let inside = report(9, at("127.0.0.1", 40_000), at("127.0.0.1", 5432), Some(Role::Client));
        assert_eq!(directory.ends(&inside).unwrap().server.to_string(), "db");
        let elsewhere = report(7, at("127.0.0.1", 40_000), at("127.0.0.1", 5432), Some(Role::Client));
        assert_eq!(directory.ends(&elsewhere).unwrap().server.to_string(), "unknown");
    }

    #[test]
    fn a_service_is_gone_some_minutes_after_it_was_last_seen_and_then_forgotten() {
        let mut directory = directory();
        let db = Service::new(None, "db").unwrap();
        let start = Instant::now();
        directory.set_listening(vec![listening(9, at("10.0.0.9", 5432))]);
        directory.set_present_at(start);
        directory.set_listening(Vec::new());
        directory.set_present_at(start + GONE_AFTER / 2);
        assert!(directory.gone_at(start + GONE_AFTER - Duration::from_secs(1)).is_empty());
        assert_eq!(directory.gone_at(start + GONE_AFTER), HashSet::from([db]));
        assert!(directory.gone_at(start + 2 * GONE_AFTER).is_empty());
    }

    #[test]
    fn strangers_are_external_or_unknown() {
        let directory = directory();
        let outside = report(7, at("10.0.0.7", 4), at("9.9.9.9", 443), Some(Role::Client));
        assert_eq!(directory.ends(&outside).unwrap().server, Service::external());
        let inside = report(7, at("10.0.0.7", 4), at("10.3.3.3", 443), Some(Role::Client));
        let ends = directory.ends(&inside).unwrap();
        assert_eq!(ends.server, Service::unknown());
        assert!(!ends.is_complete);
    }

    #[test]
    fn a_service_known_by_its_port_is_also_named_when_it_calls() {
        let mut directory = directory();
        directory.set_listening(vec![listening(9, at("10.0.0.9", 5432))]);
        let call = report(9, at("10.0.0.9", 50_000), at("127.77.0.1", 80), Some(Role::Client));
        let ends = directory.ends(&call).unwrap();
        assert_eq!((ends.client.to_string(), ends.server.to_string()), ("db".into(), "web".into()));
    }

    #[test]
    fn a_crowd_with_strangers_in_it_is_not_named_by_one_of_its_members() {
        let mut directory = directory();
        directory.set_listening(vec![listening(9, at("10.0.0.9", 5432)), listening(9, at("10.0.0.9", 22))]);
        let call = report(9, at("10.0.0.9", 50_000), at("127.77.0.1", 80), Some(Role::Client));
        assert_eq!(directory.ends(&call).unwrap().client, Service::unknown());
    }

    #[test]
    fn the_role_of_an_old_connection_is_told_by_its_listener() {
        let mut directory = directory();
        directory.set_listening(vec![listening(9, at("10.0.0.9", 5432))]);
        let old = report(9, at("10.0.0.9", 5432), at("10.0.0.7", 40_000), None);
        assert_eq!(directory.ends(&old).unwrap().reporter, Role::Server);
        let old = report(7, at("10.0.0.7", 40_000), at("10.0.0.9", 5432), None);
        assert_eq!(directory.ends(&old).unwrap().reporter, Role::Client);
    }
}
