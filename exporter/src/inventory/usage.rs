//! What a cgroup and all below it use, from the files of version 1 or 2.
//!
//! Files: `Documentation/admin-guide/cgroup-v2.rst`, `cgroup-v1/{cpuacct,memory,blkio-controller}.rst`,
//! `Documentation/scheduler/sched-bwc.rst`, `Documentation/accounting/psi.rst` in the kernel's sources.
//! Each reading is `None` where its file is missing: the controller is off, or the kernel too old.

use std::fs;
use std::path::Path;

use super::cgroups::Hierarchy;

/// Something a cgroup counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reading {
    /// CPU time in seconds.
    Cpu,
    /// Time in seconds that its processes were ready to run and not allowed to.
    Throttled,
    /// Memory in use less inactive file cache, which the kernel would give up first, in bytes.
    WorkingSet,
    /// Processes killed for want of memory.
    OomKills,
    /// Bytes read from disks.
    IoRead,
    /// Bytes written to disks.
    IoWritten,
    /// Time in seconds that at least one of its tasks waited for the CPU.
    WaitedForCpu,
    /// The same, for memory.
    WaitedForMemory,
    /// The same, for disks.
    WaitedForIo,
}

impl Reading {
    /// The hierarchies that may have it, the better one first: version 1 only where the controller is
    /// there, and then version 2 has nothing.
    #[must_use]
    pub fn hierarchies(self) -> &'static [Hierarchy] {
        use Hierarchy::{Blkio, Cpu, Cpuacct, Memory, Unified};
        match self {
            Self::Cpu => &[Cpuacct, Unified],
            Self::Throttled => &[Cpu, Unified],
            Self::WorkingSet | Self::OomKills => &[Memory, Unified],
            Self::IoRead | Self::IoWritten => &[Blkio, Unified],
            Self::WaitedForCpu | Self::WaitedForMemory | Self::WaitedForIo => &[Unified],
        }
    }

    /// Reads it from a cgroup's folder in one of its hierarchies.
    #[must_use]
    pub fn read(self, hierarchy: Hierarchy, folder: &Path) -> Option<f64> {
        let text = |file: &str| fs::read_to_string(folder.join(file)).ok();
        let v2 = hierarchy == Hierarchy::Unified;
        let seconds = |microseconds: u64| microseconds as f64 / 1e6;
        let value = match self {
            Self::Cpu if v2 => return field(&text("cpu.stat")?, "usage_usec").map(seconds),
            Self::Cpu => return number(&text("cpuacct.usage")?).map(|nanoseconds| nanoseconds as f64 / 1e9),
            Self::Throttled if v2 => return field(&text("cpu.stat")?, "throttled_usec").map(seconds),
            Self::Throttled => return field(&text("cpu.stat")?, "throttled_time").map(|ns| ns as f64 / 1e9),
            Self::WorkingSet => {
                let (total, inactive) = if v2 {
                    ("memory.current", "inactive_file")
                } else {
                    ("memory.usage_in_bytes", "total_inactive_file")
                };
                let inactive = text("memory.stat").and_then(|stat| field(&stat, inactive)).unwrap_or(0);
                number(&text(total)?)?.saturating_sub(inactive)
            }
            Self::OomKills if v2 => field(&text("memory.events")?, "oom_kill")?,
            Self::OomKills => field(&text("memory.oom_control")?, "oom_kill")?,
            Self::IoRead if v2 => io_stat(&text("io.stat")?, "rbytes="),
            Self::IoWritten if v2 => io_stat(&text("io.stat")?, "wbytes="),
            Self::IoRead => blkio(&text("blkio.throttle.io_service_bytes_recursive")?, "Read"),
            Self::IoWritten => blkio(&text("blkio.throttle.io_service_bytes_recursive")?, "Write"),
            Self::WaitedForCpu => return pressure(&text("cpu.pressure")?).map(seconds),
            Self::WaitedForMemory => return pressure(&text("memory.pressure")?).map(seconds),
            Self::WaitedForIo => return pressure(&text("io.pressure")?).map(seconds),
        };
        Some(value as f64)
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A line `name value` of a file of such lines.
fn field(text: &str, name: &str) -> Option<u64> {
    number(text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?)
}

/// A line per device: `8:0 rbytes=1 wbytes=2 rios=3 ...`.
fn io_stat(text: &str, key: &str) -> u64 {
    let values = text.split_ascii_whitespace().filter_map(|word| number(word.strip_prefix(key)?));
    values.sum()
}

/// A line per device and kind: `8:0 Read 1`; the last line is a total of all.
fn blkio(text: &str, kind: &str) -> u64 {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            (words.next()? == kind).then(|| number(words.next()?))?
        })
        .sum()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=1234`.
fn pressure(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    number(line.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the files of one cgroup.
    fn cgroup(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(file, text)| fs::write(folder.path().join(file), text).unwrap());
        folder
    }

    #[test]
    fn version_2_is_read() {
        let folder = cgroup(&[
            ("cpu.stat", "usage_usec 1500000\nuser_usec 1\nnr_throttled 3\nthrottled_usec 250000\n"),
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 1\ninactive_file 400\n"),
            ("memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"),
            ("io.stat", "8:0 rbytes=100 wbytes=7 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=11 wbytes=0 rios=1\n"),
            ("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\n"),
            ("io.pressure", "some avg10=1.53 avg60=0 avg300=0 total=500000\nfull avg10=0 avg60=0 avg300=0 total=9\n"),
        ]);
        let read = |reading: Reading| reading.read(Hierarchy::Unified, folder.path());
        for (reading, value) in [
            (Reading::Cpu, Some(1.5)),
            (Reading::Throttled, Some(0.25)),
            (Reading::WorkingSet, Some(600.0)),
            (Reading::OomKills, Some(2.0)),
            (Reading::IoRead, Some(111.0)),
            (Reading::IoWritten, Some(7.0)),
            (Reading::WaitedForCpu, Some(2.0)),
            (Reading::WaitedForMemory, None),
            (Reading::WaitedForIo, Some(0.5)),
        ] {
            assert_eq!(read(reading), value, "{reading:?}");
        }
    }

    #[test]
    fn version_1_is_read() {
        let folder = cgroup(&[
            ("cpuacct.usage", "2500000000\n"),
            ("cpu.stat", "nr_periods 9\nnr_throttled 3\nthrottled_time 125000000\n"),
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.stat", "cache 1\ninactive_file 1\ntotal_inactive_file 300\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 100\n8:0 Write 7\n8:0 Sync 107\n8:16 Read 11\n8:16 Write 1\nTotal 119\n",
            ),
        ]);
        for (reading, value) in [
            (Reading::Cpu, 2.5),
            (Reading::Throttled, 0.125),
            (Reading::WorkingSet, 700.0),
            (Reading::OomKills, 4.0),
            (Reading::IoRead, 111.0),
            (Reading::IoWritten, 8.0),
        ] {
            assert_eq!(reading.read(reading.hierarchies()[0], folder.path()), Some(value), "{reading:?}");
        }
    }

    #[test]
    fn missing_and_damaged_files_give_nothing() {
        let folder = cgroup(&[("cpu.stat", "usage_usec many\n"), ("cpu.pressure", "full total=1\n")]);
        for reading in [Reading::Cpu, Reading::Throttled, Reading::WorkingSet, Reading::WaitedForCpu, Reading::IoRead] {
            assert_eq!(reading.read(Hierarchy::Unified, folder.path()), None, "{reading:?}");
        }
    }
}
