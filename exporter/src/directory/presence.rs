//! Which services are here, and which are gone: their series end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::inventory::cgroups::Membership;
use crate::service::Service;

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

/// Services with processes or listeners on this node, now and a while ago.
#[derive(Debug, Default)]
pub struct Presence {
    /// Those with processes.
    pub members: BTreeMap<Service, Members>,
    /// When something of a service was last seen.
    last_seen: HashMap<Service, Instant>,
}

impl Presence {
    /// Takes in who has processes, and who listens.
    pub fn set(&mut self, members: BTreeMap<Service, Members>, listening: Vec<Service>, now: Instant) {
        for service in members.keys().cloned().chain(listening) {
            self.last_seen.insert(service, now);
        }
        self.members = members;
    }

    /// Those of which nothing was seen for `gone_after`. They are told for as long again, since the last records of
    /// their connections may come late.
    pub fn gone(&mut self, gone_after: Duration, now: Instant) -> HashSet<Service> {
        let age = |seen: &Instant| now.saturating_duration_since(*seen);
        let forgotten = 2 * gone_after;
        self.last_seen.retain(|_, seen| age(seen) < forgotten);
        let gone = self.last_seen.iter().filter(|(_, seen)| age(seen) >= gone_after);
        gone.map(|(service, _)| service.clone()).collect()
    }
}
