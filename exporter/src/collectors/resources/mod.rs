//! What each service uses: CPU, memory, disks, descriptors, waiting; and what it is.
//!
//! Where a service has cgroups to itself they are read, each reading from the hierarchy that counts it
//! (version 1 or 2, in different places on hybrid machines). Otherwise its processes are summed, as far as
//! they know it: CPU time, resident memory, bytes to and from disks. What a process used before it ended is
//! kept, so no sum falls. Throttling, OOM kills and pressure are known to cgroups only; pressure to version
//! 2 only, and where the kernel's `psi` is on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::collectors::{Collector, World, service_labels};
use crate::directory::Members;
use crate::exposition::{Kind, Labels, Metric, Page};
use crate::inventory::cgroups::Hierarchy;
use crate::inventory::names::{self, PathName};
use crate::inventory::usage::Reading;
use crate::inventory::{Inventory, descriptors, disk_bytes, resident_bytes, times};
use crate::privileges::Needs;
use crate::service::Service;
use crate::source::SourceKind;
use rustix::thread::CapabilitySet;

const LABELS: &str = "service_name, service_namespace";

const fn metric(name: &'static str, kind: Kind, help: &'static str) -> Metric {
    Metric { name, help, kind, labels: LABELS }
}

const CPU: Metric = metric("quoll_cpu_usage_seconds_total", Kind::Counter, "CPU time used by the service.");
const THROTTLED: Metric = metric(
    "quoll_cpu_throttled_seconds_total",
    Kind::Counter,
    "Time that the service was ready to run and held back by its CPU limit.",
);
const MEMORY: Metric = metric(
    "quoll_memory_working_set_bytes",
    Kind::Gauge,
    "Memory in use less inactive file cache; where the service has no cgroup to itself, resident memory.",
);
const OOM_KILLS: Metric =
    metric("quoll_oom_kills_total", Kind::Counter, "Processes of the service killed for want of memory.");
const DESCRIPTORS: Metric =
    metric("quoll_open_file_descriptors", Kind::Gauge, "Open file descriptors of the service's processes.");
const WAITING: Metric = Metric {
    name: "quoll_pressure_waiting_seconds_total",
    help: "Time that at least one task of the service waited for the resource: cpu, memory, io (PSI).",
    kind: Kind::Counter,
    labels: "service_name, service_namespace, resource",
};
const IO_READ: Metric = metric("quoll_io_read_bytes_total", Kind::Counter, "Bytes that the service read from disks.");
const IO_WRITTEN: Metric =
    metric("quoll_io_written_bytes_total", Kind::Counter, "Bytes that the service wrote to disks.");
const START: Metric = metric(
    "quoll_service_start_time_seconds",
    Kind::Gauge,
    "When the oldest of the service's processes started, in seconds since 1970.",
);
const INFO: Metric = Metric {
    name: "quoll_service_info",
    help: "Always 1; image and version of a container as its runtime knows them, and the node's name.",
    kind: Kind::Gauge,
    labels: "service_name, service_namespace, image, version, node",
};

/// Counters of a service, of its processes that ended too.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Used {
    cpu_seconds: f64,
    read_bytes: f64,
    written_bytes: f64,
    /// Whether its processes' disk counters may be read.
    knows_disks: bool,
}

impl Used {
    fn grow(&mut self, before: &Self, now: &Self) {
        self.cpu_seconds += (now.cpu_seconds - before.cpu_seconds).max(0.0);
        self.read_bytes += (now.read_bytes - before.read_bytes).max(0.0);
        self.written_bytes += (now.written_bytes - before.written_bytes).max(0.0);
        self.knows_disks |= now.knows_disks;
    }
}

/// Keeps what processes used before they ended.
#[derive(Debug, Default)]
pub struct Resources {
    used: BTreeMap<Service, Used>,
    /// Counters of each process when it was last seen, by number and start.
    seen: HashMap<(u32, u64), Used>,
}

/// Samples of one service.
struct Row {
    labels: Labels,
    values: Vec<(&'static Metric, Option<&'static str>, f64)>,
}

impl Row {
    fn add(&mut self, metric: &'static Metric, value: Option<f64>) {
        self.values.extend(value.map(|value| (metric, None, value)));
    }
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
        &[&CPU, &THROTTLED, &MEMORY, &OOM_KILLS, &DESCRIPTORS, &WAITING, &IO_READ, &IO_WRITTEN, &START, &INFO]
    }

    fn collect(&mut self, world: &World<'_>, page: &mut Page) -> anyhow::Result<()> {
        let inventory = world.directory.inventory();
        let members = world.directory.members();
        let tenants = Tenants::of(members);
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut seen = HashMap::new();
        let mut rows = Vec::new();
        for (service, one) in members {
            let read = |reading| tenants.read(inventory, one, reading);
            let mut row = Row { labels: service_labels(service), values: Vec::new() };
            let (mut start, mut resident, mut open) = (f64::INFINITY, 0.0, None);
            // Once a cgroup tells what disks did, nobody asks each process.
            let (io_read, io_written) = (read(Reading::IoRead), read(Reading::IoWritten));
            let total = self.used.entry(service.clone()).or_default();
            for (pid, ticks) in &one.processes {
                let Some(times) = times(*pid) else { continue };
                start = start.min(inventory.boot_seconds + times.start_seconds);
                let mut now = Used { cpu_seconds: times.cpu_seconds, ..Used::default() };
                if io_read.is_none()
                    && let Some(bytes) = disk_bytes(*pid)
                {
                    now.read_bytes = bytes.read as f64;
                    now.written_bytes = bytes.written as f64;
                    now.knows_disks = true;
                }
                total.grow(&self.seen.get(&(*pid, *ticks)).copied().unwrap_or_default(), &now);
                seen.insert((*pid, *ticks), now);
                resident += resident_bytes(*pid).unwrap_or(0) as f64;
                if let Some(count) = descriptors(*pid) {
                    *open.get_or_insert(0.0) += count as f64;
                }
            }
            if !start.is_finite() {
                continue;
            }
            row.add(&CPU, Some(read(Reading::Cpu).unwrap_or(total.cpu_seconds)));
            row.add(&THROTTLED, read(Reading::Throttled));
            row.add(&MEMORY, Some(read(Reading::WorkingSet).unwrap_or(resident)));
            row.add(&OOM_KILLS, read(Reading::OomKills));
            row.add(&DESCRIPTORS, open);
            for (reading, resource) in
                [(Reading::WaitedForCpu, "cpu"), (Reading::WaitedForMemory, "memory"), (Reading::WaitedForIo, "io")]
            {
                row.values.extend(read(reading).map(|value| (&WAITING, Some(resource), value)));
            }
            row.add(&IO_READ, io_read.or(total.knows_disks.then_some(total.read_bytes)));
            row.add(&IO_WRITTEN, io_written.or(total.knows_disks.then_some(total.written_bytes)));
            row.add(&START, Some(start));
            rows.push((row, info(inventory, service, one, &node)));
        }
        self.seen = seen;
        self.used.retain(|service, _| members.contains_key(service));

        for metric in self.metrics() {
            let mut family = page.family(metric);
            for (row, info) in &rows {
                if metric.name == INFO.name {
                    family.sample(info, 1.0);
                }
                for (_, resource, value) in row.values.iter().filter(|(own, ..)| own.name == metric.name) {
                    match resource {
                        Some(resource) => family.sample(&row.labels.with("resource", resource), *value),
                        None => family.sample(&row.labels, *value),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Labels of [`INFO`]; image and version where all containers of the service agree on them.
fn info(inventory: &Inventory, service: &Service, one: &Members, node: &str) -> Labels {
    let ids = one.cgroups.iter().filter_map(|membership| match names::of_path(membership.path(Hierarchy::Unified)) {
        PathName::Container(id) => Some(id),
        _ => None,
    });
    let containers: Vec<_> = ids.filter_map(|id| inventory.container(&id)).collect();
    let agreed = |of: fn(&crate::inventory::containers::Container) -> Option<&Arc<str>>| {
        let first = of(containers.first()?)?;
        containers.iter().all(|one| of(one) == Some(first)).then(|| first.to_string())
    };
    let image = agreed(|container| container.image.as_ref());
    let version = agreed(|container| container.version.as_ref());
    Labels::new(&[
        ("service_name", Some(&service.name)),
        ("service_namespace", service.namespace.as_deref()),
        ("image", image.as_deref()),
        ("version", version.as_deref()),
        ("node", Some(node)),
    ])
}

/// How many services have processes in each cgroup: one with several says nothing about any of them.
struct Tenants<'a>(HashMap<(Hierarchy, &'a str), usize>);

const HIERARCHIES: [Hierarchy; 5] =
    [Hierarchy::Unified, Hierarchy::Cpu, Hierarchy::Cpuacct, Hierarchy::Memory, Hierarchy::Blkio];

impl<'a> Tenants<'a> {
    fn of(members: &'a BTreeMap<Service, Members>) -> Self {
        let mut counts = HashMap::new();
        for one in members.values() {
            let paths: BTreeSet<(Hierarchy, &str)> = HIERARCHIES
                .iter()
                .flat_map(|hierarchy| one.cgroups.iter().map(|own| (*hierarchy, own.path(*hierarchy).as_ref())))
                .collect();
            for path in paths {
                *counts.entry(path).or_default() += 1;
            }
        }
        Self(counts)
    }

    /// Sums a reading over the cgroups of a service, in the first hierarchy where it has them to itself and
    /// all of them tell.
    fn read(&self, inventory: &Inventory, one: &Members, reading: Reading) -> Option<f64> {
        reading.hierarchies().iter().find_map(|hierarchy| {
            let paths: BTreeSet<&str> = one.cgroups.iter().map(|own| own.path(*hierarchy).as_ref()).collect();
            if paths.is_empty() || paths.iter().any(|path| self.0.get(&(*hierarchy, *path)) != Some(&1)) {
                return None;
            }
            let values = outermost(&paths).into_iter().map(|path| {
                let folder = inventory.cgroups.folder(*hierarchy, path)?;
                reading.read(*hierarchy, &folder)
            });
            values.sum()
        })
    }
}

/// Cgroups that are below no other: usage of a cgroup holds that of all below it.
fn outermost<'a>(paths: &BTreeSet<&'a str>) -> Vec<&'a str> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::cgroups::Membership;

    #[test]
    fn nested_cgroups_are_counted_once() {
        assert_eq!(outermost(&BTreeSet::from(["/a/b", "/a", "/ab", "/c/d"])), ["/a", "/ab", "/c/d"]);
    }

    #[test]
    fn what_a_process_used_before_it_ended_is_kept() {
        let used = |cpu_seconds| Used { cpu_seconds, ..Used::default() };
        let mut total = Used::default();
        total.grow(&used(0.0), &used(3.0));
        total.grow(&used(3.0), &used(5.0));
        // Another process with the same number.
        total.grow(&used(0.0), &used(1.0));
        assert_eq!(total, used(6.0));
    }

    #[test]
    fn a_cgroup_with_several_tenants_is_told_apart_per_hierarchy() {
        let member =
            |text: &str| Members { cgroups: BTreeSet::from([Arc::new(Membership::parse(text))]), ..Members::default() };
        let service = |name| Service::new(None, name).unwrap();
        let members = BTreeMap::from([
            (service("a"), member("2:memory:/shared\n0::/a\n")),
            (service("b"), member("2:memory:/shared\n0::/b\n")),
        ]);
        let tenants = Tenants::of(&members);
        assert_eq!(tenants.0[&(Hierarchy::Memory, "/shared")], 2);
        assert_eq!(tenants.0[&(Hierarchy::Unified, "/a")], 1);
    }
}
