//! `/proc` as a source: no privilege beyond reading other processes' descriptors.
//!
//! Each network namespace is read through `/proc/<pid>/net/tcp` and `tcp6` of one process in it; sockets
//! find their holders by the inode in `/proc/<pid>/fd`. What this cannot see: connections that come
//! and go between two looks, bytes, requests, failures, round-trip times, queue limits and drops.
//! Sockets whose holder cannot be read are named by their namespace and addresses alone.
//!
//! # Cost
//! Reading one namespace's table makes the kernel walk the connection table of the whole host
//! (`net/ipv4/tcp_ipv4.c`, `established_get_first`), some milliseconds each. So a scrape reads each once,
//! and none of a family of which the namespace's `sockstat` counts no socket.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::Ipv6Addr;

use super::introduce::Holders;
use super::{ConnectionId, Listening, Losses, Owner, Phase, Report, Role, Source, SourceKind};
use crate::inventory::Inventory;
use crate::net::Endpoint;

/// State column of `/proc/net/tcp` (`include/net/tcp_states.h`).
const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;

/// Remembers what was open before, to report ends.
#[derive(Debug, Default)]
pub struct ProcfsSource {
    open: HashMap<ConnectionId, Report>,
    has_looked: bool,
    look: Option<Look>,
}

/// Everything that is read at one scrape: first for the listeners, then for the connections.
#[derive(Debug)]
struct Look {
    holders: HashMap<u64, (u32, Owner)>,
    /// Rows by network namespace.
    tables: Vec<(u32, Vec<Row>)>,
}

impl Look {
    fn new(inventory: &Inventory) -> Self {
        Self { holders: holders(inventory), tables: tables(inventory) }
    }
}

/// A line of `/proc/net/tcp`.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    local: Endpoint,
    remote: Endpoint,
    state: u8,
    queue: u32,
    inode: u64,
}

impl Source for ProcfsSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Procfs
    }

    /// What ended shows at the next look only, and is reported there.
    fn ended(&mut self, _: &mut dyn FnMut(Report)) -> bool {
        false
    }

    fn live(&mut self, _: bool, receive: &mut dyn FnMut(Report)) -> anyhow::Result<()> {
        let Some(Look { holders, tables }) = self.look.take() else { return Ok(()) };
        let mut open = HashMap::new();
        let mut ends = Holders::default();
        for (netns, rows) in tables {
            let listening: HashSet<u16> =
                rows.iter().filter(|row| row.state == LISTEN).map(|row| row.local.port).collect();
            for row in rows.iter().filter(|row| matches!(row.state, ESTABLISHED | CLOSE_WAIT)) {
                let id = ConnectionId(row.inode, u64::from(row.local.port) << 16 | u64::from(row.remote.port));
                let (process, owner) = holder(&holders, netns, row.inode);
                let is_server = listening.contains(&row.local.port);
                let report = Report {
                    id,
                    owner,
                    peer: None,
                    processes: [process, 0],
                    local: row.local,
                    remote: row.remote,
                    role: Some(if is_server { Role::Server } else { Role::Client }),
                    // Only what appears after the first look was made in our time.
                    is_datagram: false,
                    preexisting: self.open.get(&id).map_or(!self.has_looked, |known| known.preexisting),
                    phase: Phase::Open,
                    connect_seconds: None,
                    open_seconds: None,
                    rtt_seconds: None,
                    has_moved: true,
                    counters: None,
                };
                ends.add(&report);
                open.insert(id, report);
            }
        }
        for report in open.values_mut() {
            ends.introduce(report);
            receive(report.clone());
        }
        for (id, report) in std::mem::replace(&mut self.open, open) {
            if !self.open.contains_key(&id) {
                receive(Report { phase: Phase::Ended { by_reset: false }, ..report });
            }
        }
        self.has_looked = true;
        Ok(())
    }

    fn listening(&mut self, inventory: &Inventory) -> anyhow::Result<Vec<Listening>> {
        let look = self.look.insert(Look::new(inventory));
        let mut listening = Vec::new();
        for (netns, rows) in &look.tables {
            for row in rows.iter().filter(|row| row.state == LISTEN) {
                let (process, owner) = holder(&look.holders, *netns, row.inode);
                listening.push(Listening {
                    id: ConnectionId(row.inode, 0),
                    owner,
                    process,
                    local: row.local,
                    queue_length: row.queue,
                    queue_limit: None,
                    drops: None,
                });
            }
        }
        Ok(listening)
    }

    fn can_be_read(&self) -> bool {
        true
    }

    fn losses(&self) -> Losses {
        Vec::new()
    }
}

/// The TCP sockets of each visible network namespace.
fn tables(inventory: &Inventory) -> Vec<(u32, Vec<Row>)> {
    let rows = |process: u32| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{process}/net/{name}")).unwrap_or_default();
        let families = [("sockstat", "TCP:", "tcp"), ("sockstat6", "TCP6:", "tcp6")];
        let in_use = families.iter().filter(|(counts, family, _)| sockets_in_use(&read(counts), family) != Some(0));
        in_use.flat_map(|(_, _, table)| read(table).lines().filter_map(parse).collect::<Vec<_>>()).collect()
    };
    inventory.netns.iter().map(|(inode, netns)| (*inode, rows(netns.process))).collect()
}

/// Sockets of a family by `/proc/net/sockstat`, `proc_pid_net(5)`: `TCP: inuse 5 orphan 0 ...`.
fn sockets_in_use(text: &str, family: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(family))?;
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == "inuse")?;
    words.next()?.parse().ok()
}

/// Which process holds which socket, by the socket's inode.
fn holders(inventory: &Inventory) -> HashMap<u64, (u32, Owner)> {
    let mut holders = HashMap::new();
    for (pid, process) in &inventory.processes {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for entry in entries.flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                holders.insert(inode, (*pid, Owner { cgroup_id: process.cgroup_id, netns: process.netns }));
            }
        }
    }
    holders
}

/// The holder of a socket; the namespace is the one it was found in, which may not be its holder's.
fn holder(holders: &HashMap<u64, (u32, Owner)>, netns: u32, inode: u64) -> (u32, Owner) {
    let (process, owner) = holders.get(&inode).copied().unwrap_or((0, Owner { cgroup_id: 0, netns }));
    (process, Owner { netns, ..owner })
}

/// Parses a line (`Documentation/networking/proc_net_tcp.rst`); the heading gives `None`.
fn parse(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = parse_endpoint(fields.next()?)?;
    let remote = parse_endpoint(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    // For a listener the receive queue is the accept queue.
    let queue = u32::from_str_radix(fields.next()?.split_once(':')?.1, 16).ok()?;
    let inode = fields.nth(4)?.parse().ok()?;
    Some(Row { local, remote, state, queue, inode })
}

/// `ADDRESS:PORT`: the address in words of 32 bits, each in the machine's byte order.
fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<u8>> = address
        .as_bytes()
        .chunks(8)
        .map(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
        .map(|word| word.map(u32::to_ne_bytes))
        .collect::<Option<Vec<_>>>()
        .map(|words| words.concat());
    let bytes = words?;
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok([0, 0, 0, 0]) => Ipv6Addr::UNSPECIFIED,
        Ok(v4) => std::net::Ipv4Addr::from(v4).to_ipv6_mapped(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(Endpoint { address, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::canonical;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_both_families_are_read() {
        let line =
            "   1: 0100007F:1F90 0200A8C0:C350 01 00000000:00000003 00:00000000 00000000  1000        0 4242 1 0";
        let row = parse(line).unwrap();
        assert_eq!(row.local, Endpoint { address: canonical("127.0.0.1".parse().unwrap()), port: 8080 });
        assert_eq!(row.remote, Endpoint { address: canonical("192.168.0.2".parse().unwrap()), port: 50_000 });
        assert_eq!((row.state, row.queue, row.inode), (ESTABLISHED, 3, 4242));
        let line = "0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A \
                    00000000:00000001 00:00000000 00000000 0 0 7 1";
        let row = parse(line).unwrap();
        assert_eq!(row.local, Endpoint { address: Ipv6Addr::LOCALHOST, port: 80 });
        assert_eq!(row.state, LISTEN);
    }

    #[test]
    fn sockets_in_use_are_read_by_family() {
        let text = "sockets: used 13\nTCP: inuse 7 orphan 0 tw 913\nUDP: inuse 2\n";
        assert_eq!(sockets_in_use(text, "TCP:"), Some(7));
        assert_eq!(sockets_in_use("TCP6: inuse 0\n", "TCP6:"), Some(0));
        assert_eq!(sockets_in_use("TCP: orphan 0\n", "TCP:"), None);
        assert_eq!(sockets_in_use("", "TCP:"), None);
    }

    #[test]
    fn headings_and_damaged_lines_are_skipped() {
        for line in ["  sl  local_address rem_address   st tx_queue", "", "1: zz:1F90 0:0 01", "1: 0100007F:1F90"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
