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

mod naming;
mod places;
mod presence;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::inventory::Inventory;
use crate::rules::Rules;
use crate::service::Service;
use crate::source::{Listening, Owner};
pub use naming::Ends;
use places::{Place, Places};
use presence::Presence;
pub use presence::{GONE_AFTER, Members};

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

/// Everything needed to name sockets.
#[derive(Debug)]
pub struct Directory {
    /// Processes, cgroups and namespaces.
    inventory: Inventory,
    /// Changes whenever a name may; no two directories have the same.
    version: u64,
    rules: Rules,
    listening: Vec<Listening>,
    places: Places,
    presence: Presence,
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
            places: Places::default(),
            presence: Presence::default(),
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

    /// Reads about the containers of these owners that are not known yet: they may be younger than the last look at all
    /// processes, and gone before the next.
    pub fn learn_containers(&mut self, owners: impl Iterator<Item = Owner>) {
        for owner in owners {
            if self.inventory.learn_container(owner.cgroup_id) {
                self.version = next_version();
            }
        }
    }

    /// Other settings from now on; names that were given to places are forgotten.
    pub fn configure(&mut self, plain: PlainProcesses, gone_after: Duration, show_own: bool) {
        self.plain = plain;
        self.gone_after = gone_after;
        self.show_own = show_own;
        self.places.forget();
        self.version = next_version();
    }

    /// Puts new rules in force; names that the old ones gave to places are forgotten.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        self.places.forget();
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
        self.presence.set(members, listening, now);
    }

    /// Services with processes on this node, and what belongs to them.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<Service, Members> {
        &self.presence.members
    }

    /// Services that were here and of which nothing was seen for [`GONE_AFTER`]. They are told for as long
    /// again, since the last records of their connections may come late.
    pub fn gone(&mut self) -> HashSet<Service> {
        self.gone_at(Instant::now())
    }

    fn gone_at(&mut self, now: Instant) -> HashSet<Service> {
        self.presence.gone(self.gone_after, now)
    }

    /// Present listeners, as last given.
    #[must_use]
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Takes in the present listeners.
    pub fn set_listening(&mut self, listening: Vec<Listening>) {
        self.version = next_version();
        self.places.begin();
        self.listeners = listening.iter().map(|one| one.process).collect();
        for one in &listening {
            let service = self.by_rules_or_cgroup(one.owner, Some(one.local.address), Some(one.local.port));
            self.places.owner_listens(one.owner, service.as_ref());
            let service = service.or_else(|| self.by_process(one.process));
            let place = Place { service, is_own: self.inventory.is_own(one.process) };
            let addresses: Vec<Ipv6Addr> = if one.local.address.is_unspecified() {
                let own = self.inventory.netns.get(&one.owner.netns);
                own.map(|netns| netns.addresses.iter().copied().collect()).unwrap_or_default()
            } else {
                vec![one.local.address]
            };
            self.places.listens(one.owner.netns, one.local, &addresses, &place);
        }
        self.listening = listening;
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
