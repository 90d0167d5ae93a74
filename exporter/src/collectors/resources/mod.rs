//! CPU, memory, descriptors and start time, per service.
//!
//! Where a service has cgroups to itself they are read (version 1 or 2); otherwise its processes are
//! summed. CPU time of a process that ended is kept, so the sum never falls.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::collectors::{Collector, World, service_labels};
use crate::exposition::{Kind, Metric, Page};
use crate::inventory::{descriptors, resident_bytes, times};
use crate::privileges::Needs;
use crate::service::Service;
use crate::source::SourceKind;
use rustix::thread::CapabilitySet;

const LABELS: &str = "service_name, service_namespace";

const CPU: Metric = Metric {
    name: "quoll_cpu_usage_seconds_total",
    help: "CPU time used by the service.",
    kind: Kind::Counter,
    labels: LABELS,
};
const MEMORY: Metric = Metric {
    name: "quoll_memory_working_set_bytes",
    help: "Memory in use less inactive file cache; where the service has no cgroup to itself, resident memory.",
    kind: Kind::Gauge,
    labels: LABELS,
};
const DESCRIPTORS: Metric = Metric {
    name: "quoll_open_file_descriptors",
    help: "Open file descriptors of the service's processes.",
    kind: Kind::Gauge,
    labels: LABELS,
};
const START: Metric = Metric {
    name: "quoll_service_start_time_seconds",
    help: "When the oldest of the service's processes started, in seconds since 1970.",
    kind: Kind::Gauge,
    labels: LABELS,
};

/// Keeps what processes used before they ended.
#[derive(Debug, Default)]
pub struct Resources {
    cpu: BTreeMap<Service, f64>,
    /// CPU time of each process when it was last seen, by number and start.
    seen: HashMap<(u32, u64), f64>,
}

impl Collector for Resources {
    fn name(&self) -> &'static str {
        "resources"
    }

    fn needs(&self, _: SourceKind) -> Option<Needs> {
        Some(Needs::NONE.and_for_life(
            CapabilitySet::SYS_PTRACE,
            "only services with a cgroup; before Linux 6.2 no descriptors of other users' processes",
        ))
    }

    fn metrics(&self) -> &'static [&'static Metric] {
        &[&CPU, &MEMORY, &DESCRIPTORS, &START]
    }

    fn collect(&mut self, world: &World<'_>, page: &mut Page) -> anyhow::Result<()> {
        let members = world.directory.members();
        // A cgroup with members of several services, or the root, says nothing about one of them.
        let mut tenants: HashMap<Arc<str>, usize> = HashMap::new();
        for one in members.values() {
            for path in &one.cgroups {
                *tenants.entry(path.clone()).or_default() += 1;
            }
        }
        let mut seen = HashMap::new();
        let mut rows = Vec::new();
        for (service, one) in members {
            let mut cpu = None;
            let mut memory = None;
            if one.cgroups.iter().all(|path| path.as_ref() != "/" && tenants[path] == 1) {
                for path in outermost(&one.cgroups) {
                    let usage = world.directory.inventory.cgroups.usage(path);
                    add(&mut cpu, usage.and_then(|usage| usage.cpu_seconds));
                    add(&mut memory, usage.and_then(|usage| usage.working_set_bytes).map(|bytes| bytes as f64));
                }
            }
            let mut start = f64::INFINITY;
            let mut open = None;
            let total = self.cpu.entry(service.clone()).or_default();
            let mut resident = 0.0;
            for (pid, ticks) in &one.processes {
                let Some(times) = times(*pid) else { continue };
                start = start.min(world.directory.inventory.boot_seconds + times.start_seconds);
                let before = self.seen.get(&(*pid, *ticks)).copied().unwrap_or(0.0);
                *total += (times.cpu_seconds - before).max(0.0);
                seen.insert((*pid, *ticks), times.cpu_seconds);
                resident += resident_bytes(*pid).unwrap_or(0) as f64;
                add(&mut open, descriptors(*pid).map(|count| count as f64));
            }
            if start.is_finite() {
                rows.push((service_labels(service), cpu.unwrap_or(*total), memory.unwrap_or(resident), open, start));
            }
        }
        self.seen = seen;
        self.cpu.retain(|service, _| members.contains_key(service));

        let mut family = page.family(&CPU);
        rows.iter().for_each(|row| family.sample(&row.0, row.1));
        let mut family = page.family(&MEMORY);
        rows.iter().for_each(|row| family.sample(&row.0, row.2));
        let mut family = page.family(&DESCRIPTORS);
        for row in &rows {
            if let Some(open) = row.3 {
                family.sample(&row.0, open);
            }
        }
        let mut family = page.family(&START);
        rows.iter().for_each(|row| family.sample(&row.0, row.4));
        Ok(())
    }
}

/// Cgroups that are below no other: usage of a cgroup holds that of all below it.
fn outermost(paths: &BTreeSet<Arc<str>>) -> Vec<&str> {
    let mut kept: Vec<&str> = Vec::new();
    // In sorted order a path comes before all below it.
    for path in paths {
        let is_below = |outer: &&str| path.strip_prefix(*outer).is_some_and(|rest| rest.starts_with('/'));
        if !kept.iter().any(is_below) {
            kept.push(path);
        }
    }
    kept
}

fn add(sum: &mut Option<f64>, value: Option<f64>) {
    if let Some(value) = value {
        *sum.get_or_insert(0.0) += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_cgroups_are_counted_once() {
        let paths: BTreeSet<Arc<str>> = ["/a/b", "/a", "/ab", "/c/d"].into_iter().map(Arc::from).collect();
        assert_eq!(outermost(&paths), ["/a", "/ab", "/c/d"]);
    }
}
