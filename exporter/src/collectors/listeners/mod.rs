//! Accept queues, per listening service and port.
//!
//! Lengths, limits and drops are read from each listening socket, in all network namespaces.
//! Overflows are counted by the kernel per network namespace only; what a namespace adds is given to
//! those of its listeners that dropped attempts in the same interval, in proportion. With one busy
//! listener per namespace, the common case, that is exact.

use std::collections::{BTreeMap, HashMap};

use crate::collectors::{Collector, World, service_labels};
use crate::exposition::{Kind, Metric, Page};
use crate::inventory::netstat_overflows;
use crate::privileges::Needs;
use crate::service::Service;
use crate::source::{ConnectionId, SourceKind};
use rustix::thread::CapabilitySet;

const LABELS: &str = "service_name, service_namespace, port";

const LENGTH: Metric = Metric {
    name: "quoll_listener_accept_queue_length",
    help: "Connections waiting to be accepted.",
    kind: Kind::Gauge,
    labels: LABELS,
};
const LIMIT: Metric = Metric {
    name: "quoll_listener_accept_queue_limit",
    help: "Connections that may wait before further ones are dropped.",
    kind: Kind::Gauge,
    labels: LABELS,
};
const OVERFLOWS: Metric = Metric {
    name: "quoll_listener_overflows_total",
    help: "Connection attempts dropped since the accept queue was full.",
    kind: Kind::Counter,
    labels: LABELS,
};
const DROPS: Metric = Metric {
    name: "quoll_listener_drops_total",
    help: "Connection attempts dropped at the listening socket for any reason, overflows included.",
    kind: Kind::Counter,
    labels: LABELS,
};

type Key = (Service, u16);

/// Totals that outlive the sockets they came from. They begin at zero with the exporter, whatever the
/// kernel counted before.
#[derive(Debug, Default)]
pub struct Listeners {
    has_looked: bool,
    drops: BTreeMap<Key, u64>,
    overflows: BTreeMap<Key, u64>,
    /// Drops of each socket when it was last seen.
    seen_drops: HashMap<ConnectionId, u32>,
    /// Overflows of each network namespace when it was last seen.
    seen_overflows: HashMap<u32, u64>,
}

#[derive(Default)]
struct Queue {
    length: u64,
    limit: Option<u64>,
}

impl Collector for Listeners {
    fn name(&self) -> &'static str {
        "listeners"
    }

    fn needs(&self, source: SourceKind) -> Option<Needs> {
        Some(match source {
            SourceKind::Ebpf => Needs::attaching().and_for_life(
                CapabilitySet::SYS_PTRACE,
                "no overflows of network namespaces where only other users' processes live",
            ),
            SourceKind::Procfs => Needs::NONE.and_for_life(
                CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH),
                "only listeners of its own network namespace and those of the same user's processes",
            ),
        })
    }

    fn metrics(&self) -> &'static [&'static Metric] {
        &[&LENGTH, &LIMIT, &OVERFLOWS, &DROPS]
    }

    fn collect(&mut self, world: &World<'_>, page: &mut Page) -> anyhow::Result<()> {
        let mut queues: BTreeMap<Key, Queue> = BTreeMap::new();
        let mut seen_drops = HashMap::new();
        let mut dropped: HashMap<u32, BTreeMap<Key, u64>> = HashMap::new();
        for one in world.directory.listening() {
            let Some(service) = world.directory.listener(one) else { continue };
            let key = (service, one.local.port);
            let queue = queues.entry(key.clone()).or_default();
            queue.length += u64::from(one.queue_length);
            if let Some(limit) = one.queue_limit {
                *queue.limit.get_or_insert(0) += u64::from(limit);
            }
            if let Some(drops) = one.drops {
                // A socket or namespace that is new after the first look began at zero by itself.
                let unseen = if self.has_looked { 0 } else { drops };
                let before = self.seen_drops.get(&one.id).copied().unwrap_or(unseen);
                let grown = u64::from(drops.wrapping_sub(before));
                seen_drops.insert(one.id, drops);
                *self.drops.entry(key.clone()).or_default() += grown;
                self.overflows.entry(key.clone()).or_default();
                *dropped.entry(one.owner.netns).or_default().entry(key).or_default() += grown;
            }
        }
        self.seen_drops = seen_drops;
        self.share_overflows(world, &dropped);
        self.has_looked = true;
        self.drops.retain(|key, _| queues.contains_key(key));
        self.overflows.retain(|key, _| queues.contains_key(key));

        let labels = |key: &Key| service_labels(&key.0).with("port", &key.1.to_string());
        let mut family = page.family(&LENGTH);
        for (key, queue) in &queues {
            family.sample(&labels(key), queue.length as f64);
        }
        let mut family = page.family(&LIMIT);
        for (key, queue) in &queues {
            if let Some(limit) = queue.limit {
                family.sample(&labels(key), limit as f64);
            }
        }
        for (metric, totals) in [(&OVERFLOWS, &self.overflows), (&DROPS, &self.drops)] {
            let mut family = page.family(metric);
            for (key, total) in totals {
                family.sample(&labels(key), *total as f64);
            }
        }
        world.source_error.map_or(Ok(()), |error| Err(anyhow::anyhow!("{error}")))
    }
}

impl Listeners {
    fn share_overflows(&mut self, world: &World<'_>, dropped: &HashMap<u32, BTreeMap<Key, u64>>) {
        let mut seen = HashMap::new();
        for (netns, drops) in dropped {
            let process = world.directory.inventory().netns.get(netns).map(|netns| netns.process);
            let Some(now) = process.and_then(netstat_overflows) else { continue };
            seen.insert(*netns, now);
            let unseen = if self.has_looked { 0 } else { now };
            let before = self.seen_overflows.get(netns).copied().unwrap_or(unseen);
            for (key, share) in shares(now.saturating_sub(before), drops) {
                *self.overflows.entry(key).or_default() += share;
            }
        }
        self.seen_overflows = seen;
    }
}

/// Splits `total` in proportion to `weights`, none getting more than its weight; what is left over by
/// rounding goes to the largest.
fn shares(total: u64, weights: &BTreeMap<Key, u64>) -> Vec<(Key, u64)> {
    let sum: u64 = weights.values().sum();
    if sum == 0 || total == 0 {
        return Vec::new();
    }
    let total = total.min(sum);
    let mut shares: Vec<(Key, u64)> = weights
        .iter()
        .map(|(key, weight)| (key.clone(), (u128::from(total) * u128::from(*weight) / u128::from(sum)) as u64))
        .collect();
    let given: u64 = shares.iter().map(|(_, share)| share).sum();
    if let Some((_, share)) = shares.iter_mut().max_by_key(|(key, _)| weights[key]) {
        *share += total - given;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflows_are_shared_by_drops_and_none_is_lost() {
        let key = |name| (Service::new(None, name).unwrap(), 80);
        let weights = BTreeMap::from([(key("a"), 10), (key("b"), 5), (key("c"), 0)]);
        assert_eq!(shares(7, &weights), [(key("a"), 5), (key("b"), 2), (key("c"), 0)]);
        assert_eq!(shares(100, &weights), [(key("a"), 10), (key("b"), 5), (key("c"), 0)]);
        assert!(shares(7, &BTreeMap::from([(key("a"), 0)])).is_empty());
    }
}
