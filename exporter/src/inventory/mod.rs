//! What runs on this node: processes, their cgroups and network namespaces, and the addresses of those.
//!
//! Everything comes from `/proc` and the cgroup file systems and needs no privilege beyond reading
//! them; what cannot be read is left out. A process that ends between two reads is simply not there.

pub mod cgroups;
pub mod containers;
pub mod names;
mod proc;
pub mod usage;

use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cgroups::{Cgroups, Hierarchy, Membership};
use containers::Container;
use names::PathName;
pub use proc::{DiskBytes, ProcessTimes, descriptors, disk_bytes, netstat_overflows, resident_bytes, times};

/// Executables whose sockets and resources are not shown unless asked for.
const OWN_EXECUTABLES: [&str; 2] = ["quoll-exporter", "quoll-scorer"];

/// A young process may still move to the cgroup and namespaces that it is meant to live in.
const SETTLED_AFTER: Duration = Duration::from_secs(15);
/// An old one rarely does.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Addresses come and go with interfaces.
const ADDRESSES_LAST: Duration = Duration::from_secs(10);

/// What is known of a container is kept for so long after it was last there: its connections may still be closing.
const CONTAINERS_LAST: Duration = Duration::from_secs(300);
/// Of so many at most; beyond that only of those that are there.
const MAX_GONE_CONTAINERS: usize = 4_096;

/// No namespace has this inode.
const UNREADABLE: u32 = 0;

/// One process.
#[derive(Debug, Clone)]
pub struct Process {
    /// When it started, in clock ticks after boot; tells processes of one number apart.
    pub start_ticks: u64,
    /// File name of its executable.
    pub executable: Arc<str>,
    /// Its cgroup in each hierarchy; that of the unified one is its identity.
    pub membership: Arc<Membership>,
    /// Its cgroup: inode of the directory.
    pub cgroup_id: u64,
    /// Inode of its network namespace; 0 where that may not be read (another user's process, without
    /// CAP_SYS_PTRACE).
    pub netns: u32,
    /// Whether it is one of ours.
    pub is_own: bool,
    first_seen: Instant,
    identified: Instant,
}

/// A network namespace that some visible process lives in.
#[derive(Debug)]
pub struct Netns {
    /// A process in it, whose `/proc/<pid>/net` shows it.
    pub process: u32,
    /// Its own addresses.
    pub addresses: HashSet<Ipv6Addr>,
    read: Instant,
}

/// All of it.
#[derive(Debug)]
pub struct Inventory {
    /// By number.
    pub processes: HashMap<u32, Process>,
    /// By inode.
    pub netns: HashMap<u32, Netns>,
    /// The mounted cgroup hierarchies.
    pub cgroups: Cgroups,
    /// When the machine started, seconds since 1970.
    pub boot_seconds: f64,
    /// By identifier, and when it was last there.
    containers: HashMap<String, (Arc<Container>, Instant)>,
    /// Cgroups whose containers were read about since the last look at all processes.
    learned: foldhash::HashSet<u64>,
    memberships: HashSet<Arc<Membership>>,
}

impl Default for Inventory {
    fn default() -> Self {
        Self {
            processes: HashMap::new(),
            netns: HashMap::new(),
            cgroups: Cgroups::find(),
            boot_seconds: proc::boot_seconds(),
            containers: HashMap::new(),
            learned: foldhash::HashSet::default(),
            memberships: HashSet::new(),
        }
    }
}

impl Inventory {
    /// Reads what changed.
    ///
    /// # Errors
    /// Where `/proc` itself cannot be listed.
    pub fn refresh(&mut self) -> std::io::Result<()> {
        let now = Instant::now();
        let mut present = HashSet::new();
        for pid in proc::list()? {
            let Some(start_ticks) = proc::start_ticks(pid) else { continue };
            present.insert(pid);
            let known = self.processes.get(&pid).filter(|process| process.start_ticks == start_ticks);
            let first_seen = known.map_or(now, |process| process.first_seen);
            if let Some(process) = known {
                let settled = now - process.first_seen > SETTLED_AFTER;
                if settled && now - process.identified < LOOK_AGAIN_AFTER {
                    continue;
                }
            }
            match self.identify(pid, start_ticks, first_seen, now) {
                Some(process) => self.processes.insert(pid, process),
                None => self.processes.remove(&pid),
            };
        }
        self.processes.retain(|pid, _| present.contains(pid));
        self.memberships.retain(|one| Arc::strong_count(one) > 1);
        self.refresh_containers(now);
        self.refresh_netns(now);
        Ok(())
    }

    fn identify(&mut self, pid: u32, start_ticks: u64, first_seen: Instant, now: Instant) -> Option<Process> {
        // Kernel threads have no executable and hold no sockets of services.
        let executable = proc::executable(pid)?;
        let netns = proc::netns(pid).unwrap_or(UNREADABLE);
        let membership = self.share(proc::cgroups(pid).unwrap_or_else(|| Membership::parse("")));
        let path = membership.path(Hierarchy::Unified);
        Some(Process {
            start_ticks,
            cgroup_id: self.cgroups.id_of(path),
            membership,
            netns,
            is_own: OWN_EXECUTABLES.contains(&executable.as_str()),
            executable: Arc::from(executable),
            first_seen,
            identified: now,
        })
    }

    /// Processes of one cgroup share what is known of it.
    fn share(&mut self, membership: Membership) -> Arc<Membership> {
        if let Some(known) = self.memberships.get(&membership) {
            return known.clone();
        }
        let new = Arc::new(membership);
        self.memberships.insert(new.clone());
        new
    }

    /// Reads about containers that are new, and forgets those that are gone for long.
    fn refresh_containers(&mut self, now: Instant) {
        self.learned.clear();
        for membership in &self.memberships {
            if let PathName::Container(id) = names::of_path(membership.path(Hierarchy::Unified)) {
                let read = |id: &String| (Arc::new(containers::find(id)), now);
                self.containers.entry(id).and_modify(|(_, seen)| *seen = now).or_insert_with_key(read);
            }
        }
        self.containers.retain(|_, (_, seen)| now.saturating_duration_since(*seen) < CONTAINERS_LAST);
        let gone = self.containers.values().filter(|(_, seen)| *seen != now).count();
        if gone > MAX_GONE_CONTAINERS {
            self.containers.retain(|_, (_, seen)| *seen == now);
        }
    }

    /// Reads about the container of a cgroup, if that was not done: one that is younger than the last look at all
    /// processes. Gives whether there is one that was not known.
    pub fn learn_container(&mut self, cgroup_id: u64) -> bool {
        if self.learned.contains(&cgroup_id) {
            return false;
        }
        let Some(path) = self.cgroups.path_of(cgroup_id) else { return false };
        let name = names::of_path(path);
        self.learned.insert(cgroup_id);
        let PathName::Container(id) = name else { return false };
        if self.containers.contains_key(&id) {
            return false;
        }
        let container = Arc::new(containers::find(&id));
        self.containers.insert(id, (container, Instant::now()));
        true
    }

    /// What is known of a container that has processes, or had some a while ago.
    #[must_use]
    pub fn container(&self, id: &str) -> Option<&Arc<Container>> {
        self.containers.get(id).map(|(container, _)| container)
    }

    fn refresh_netns(&mut self, now: Instant) {
        let mut inhabitants: HashMap<u32, u32> = HashMap::new();
        for (pid, process) in self.processes.iter().filter(|(_, process)| process.netns != UNREADABLE) {
            let first = inhabitants.entry(process.netns).or_insert(*pid);
            *first = (*first).min(*pid);
        }
        self.netns.retain(|inode, _| inhabitants.contains_key(inode));
        for (inode, process) in inhabitants {
            let known = self.netns.get(&inode);
            if known.is_some_and(|netns| netns.process == process && now - netns.read < ADDRESSES_LAST) {
                continue;
            }
            let addresses = proc::addresses(process);
            self.netns.insert(inode, Netns { process, addresses, read: now });
        }
    }

    /// Whether a process is one of ours.
    #[must_use]
    pub fn is_own(&self, process: u32) -> bool {
        self.processes.get(&process).is_some_and(|process| process.is_own)
    }

    /// The network namespace that has this address, if exactly one has.
    #[must_use]
    pub fn netns_of(&self, address: Ipv6Addr) -> Option<u32> {
        let mut holders = self.netns.iter().filter(|(_, netns)| netns.addresses.contains(&address));
        let (inode, _) = holders.next()?;
        holders.next().is_none().then_some(*inode)
    }
}
