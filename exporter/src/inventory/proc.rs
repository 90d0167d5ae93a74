//! Readers of single files in `/proc`, `proc(5)`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::LazyLock;

use super::cgroups::Membership;

/// Clock ticks per second, in which `/proc` counts CPU time and starts.
static TICKS: LazyLock<f64> = LazyLock::new(|| rustix::param::clock_ticks_per_second() as f64);

/// Numbers of all processes.
pub fn list() -> io::Result<Vec<u32>> {
    Ok(fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// The fields of `/proc/<pid>/stat` after the name, which may itself hold spaces and brackets; index
/// 0 is the third field of `proc_pid_stat(5)`.
fn stat_fields(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

/// Start of a process in clock ticks after boot (field 22).
pub fn start_ticks(pid: u32) -> Option<u64> {
    stat_fields(pid)?.get(19).copied()
}

/// CPU time and start of a process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessTimes {
    /// User and system time.
    pub cpu_seconds: f64,
    /// After boot.
    pub start_seconds: f64,
}

/// CPU time (fields 14 and 15) and start (field 22) of a process.
#[must_use]
pub fn times(pid: u32) -> Option<ProcessTimes> {
    let fields = stat_fields(pid)?;
    let ticks = |index: usize| fields.get(index).map(|ticks| *ticks as f64 / *TICKS);
    Some(ProcessTimes { cpu_seconds: ticks(11)? + ticks(12)?, start_seconds: ticks(19)? })
}

/// Resident memory of a process.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Open descriptors of a process. Since 6.2 the directory's size says it, else they are counted.
#[must_use]
pub fn descriptors(pid: u32) -> Option<u64> {
    let path = format!("/proc/{pid}/fd");
    let size = fs::metadata(&path).ok()?.size();
    if size > 0 {
        return Some(size);
    }
    Some(fs::read_dir(path).ok()?.count() as u64)
}

/// When the machine started, seconds since 1970.
pub fn boot_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or_default()
}

/// File name of a process's executable, also where the file was replaced meanwhile.
pub fn executable(pid: u32) -> Option<String> {
    let path = match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(path) => path,
        // Not ours to look at: the name it gives itself has to do.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned());
        }
        Err(_) => return None,
    };
    let name = Path::new(&path).file_name()?.to_string_lossy().into_owned();
    Some(name.trim_end_matches(" (deleted)").to_owned())
}

/// Inode of a process's network namespace.
pub fn netns(pid: u32) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|metadata| metadata.ino() as u32)
}

/// Where a process is in the cgroup hierarchies.
pub fn cgroups(pid: u32) -> Option<Membership> {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().map(|text| Membership::parse(&text))
}

/// Bytes that a process read from and wrote to disks, `proc_pid_io(5)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskBytes {
    /// `read_bytes`.
    pub read: u64,
    /// `write_bytes`.
    pub written: u64,
}

/// `None` for processes of others, unless as root with CAP_SYS_PTRACE.
#[must_use]
pub fn disk_bytes(pid: u32) -> Option<DiskBytes> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(DiskBytes { read: field("read_bytes:")?, written: field("write_bytes:")? })
}

/// Addresses of a process's network namespace.
pub fn addresses(pid: u32) -> HashSet<Ipv6Addr> {
    let trie = fs::read_to_string(format!("/proc/{pid}/net/fib_trie")).unwrap_or_default();
    let v6 = fs::read_to_string(format!("/proc/{pid}/net/if_inet6")).unwrap_or_default();
    local_addresses_v4(&trie).chain(local_addresses_v6(&v6)).collect()
}

/// A leaf `|-- ADDRESS` followed by `/32 host LOCAL` is an address of this namespace
/// (`net/ipv4/fib_trie.c`, `fib_trie_seq_show`).
fn local_addresses_v4(trie: &str) -> impl Iterator<Item = Ipv6Addr> {
    let mut leaf = None;
    trie.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
            return None;
        }
        line.starts_with("/32 host LOCAL").then_some(leaf?.to_ipv6_mapped())
    })
}

/// The first column holds 32 hexadecimal digits.
fn local_addresses_v6(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    text.lines().filter_map(|line| {
        let digits = line.split_ascii_whitespace().next()?;
        u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
    })
}

/// `ListenOverflows` of a process's network namespace: a header line names the columns of the next.
#[must_use]
pub fn netstat_overflows(pid: u32) -> Option<u64> {
    overflows(&fs::read_to_string(format!("/proc/{pid}/net/netstat")).ok()?)
}

fn overflows(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    pairs.find(|(name, _)| *name == "ListenOverflows")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_leaves_of_scope_host() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 198.18.0.2\n        \
                    /32 host LOCAL\n     |-- 198.18.0.255\n        /32 link BROADCAST\n";
        let found: Vec<Ipv6Addr> = local_addresses_v4(trie).collect();
        assert_eq!(found, [Ipv4Addr::new(198, 18, 0, 2).to_ipv6_mapped()]);
        let v6 = "00000000000000000000000000000001 01 80 10 80       lo\nnonsense\n";
        assert_eq!(local_addresses_v6(v6).collect::<Vec<_>>(), [Ipv6Addr::LOCALHOST]);
    }

    #[test]
    fn overflows_are_found_by_the_name_of_their_column() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\nIpExt: A\nIpExt: 4\n";
        assert_eq!(overflows(text), Some(22));
        assert_eq!(overflows("TcpExt: A\n"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(times(pid).is_some_and(|times| times.start_seconds > 0.0));
        assert!(resident_bytes(pid).is_some_and(|bytes| bytes > 100_000));
        assert!(descriptors(pid).is_some_and(|count| count >= 3));
        assert!(netns(pid).is_some());
        assert!(list().unwrap().contains(&pid));
    }
}
