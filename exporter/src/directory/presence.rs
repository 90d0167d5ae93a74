//! Which services are here, and which are gone: their series end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::inventory::cgroups::Membership;
use crate::service::Service;

/// A service of which nothing ran here for so long is gone, and its series end; unless set otherwise.
pub const GONE_AFTER: Duration = Duration::from_secs(300);

/// So many services are remembered at most, some 100 bytes each. Where more went, those that went first are gone at once:
/// as many as twice the edges that are kept can have.
const MAX_REMEMBERED: usize = 40_000;

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
        let mut gone: HashSet<Service> = gone.map(|(service, _)| service.clone()).collect();
        gone.extend(self.forget_too_many());
        gone
    }

    /// Those that went first, of more than [`MAX_REMEMBERED`].
    fn forget_too_many(&mut self) -> Vec<Service> {
        let Some(beyond) = self.last_seen.len().checked_sub(MAX_REMEMBERED).filter(|beyond| *beyond > 0) else {
            return Vec::new();
        };
        let mut all: Vec<Instant> = self.last_seen.values().copied().collect();
        let (_, last, _) = all.select_nth_unstable(beyond - 1);
        let is_over = |service: &Service, seen: &mut Instant| *seen <= *last && !self.members.contains_key(service);
        self.last_seen.extract_if(|service, seen| is_over(service, seen)).map(|(service, _)| service).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_services_those_that_went_first_are_gone_at_once() {
        const GONE_BEYOND: usize = 10;
        let name = |number: usize| Service::new(None, &format!("s{number:06}")).unwrap();
        let start = Instant::now();
        let mut presence = Presence::default();
        for number in 0..MAX_REMEMBERED + GONE_BEYOND {
            presence.set(BTreeMap::new(), vec![name(number)], start + Duration::from_millis(number as u64));
        }
        let gone = presence.gone(GONE_AFTER, start + GONE_AFTER / 2);
        assert_eq!(gone, (0..GONE_BEYOND).map(name).collect());
        assert_eq!(presence.last_seen.len(), MAX_REMEMBERED);
        assert!(presence.gone(GONE_AFTER, start + GONE_AFTER / 2).is_empty());
    }
}
