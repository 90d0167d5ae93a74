//! The kernel-side programs as a source.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Instant;

use std::hash::{BuildHasher, RandomState};

use quoll_ebpf_abi::protocols::{Protocol, method};
use quoll_ebpf_abi::requests::{CLASS_NONE, UNPARSED_NAMES, UNTIMED_NAMES, Unparsed, Untimed};
use quoll_ebpf_abi::{
    Connection, ConnectionRecord, DatagramFlow, DatagramsRecord, FLAG_BEGIN_UNSEEN, FLAG_END_UNSEEN, FLAG_PREEXISTING,
    RECORD_ENDED, RECORD_ROUND, ROLE_CLIENT, ROLE_SERVER, RequestStats, skipped_unparsed, skipped_untimed, tcp_state,
};
use quoll_http2::{Connections, Tally};

use rustix::thread::CapabilitySet;

use super::introduce::Holders;
use super::{
    ConnectionId, Counters, Failure, Listening, Losses, Owner, Phase, Report, Role, Skipped, Source, SourceKind, Taken,
    endpoint,
};
use crate::inventory::Inventory;
use crate::kernel::uprobes::{Library, UprobeError};
use crate::kernel::{Drained, Kernel, KernelError, Reported, Settings};
use crate::tls::libraries::{Change, FileId, Libraries};
use crate::tls::{FOLDERS, LibraryCounts, ROOTS};

/// See [`Kernel`].
///
/// The kernel side introduces the two ends of connections that are made after it was attached. Those that
/// were there before are introduced here, once.
pub struct EbpfSource {
    kernel: Kernel,
    /// Who holds the other end of old connections, with the look that last saw them.
    introduced: HashMap<ConnectionId, (Owner, u32, u64)>,
    look: u64,
    /// Pairs of peers that exchange datagrams.
    datagrams: HashMap<DatagramFlow, Datagrams>,
    hasher: RandomState,
    http2: Connections,
    /// Those that are used or installed here.
    libraries: Libraries,
    /// Those that are looked into.
    probed: HashMap<FileId, Library>,
    /// Those that would cost too much, and those that cannot be.
    too_slow: HashSet<FileId>,
    refused: HashSet<FileId>,
}

/// What is remembered of a pair.
#[derive(Default)]
struct Datagrams {
    /// What of the kernel side's counts is in `tallies`.
    taken: Taken,
    /// Answered ones, and those that waited in vain.
    tallies: Vec<Tally>,
    /// Looks without anything new.
    calm: u32,
}

impl Datagrams {
    /// Takes in what the kernel side counted; with `is_over`, a round of it.
    fn take(&mut self, stats: &RequestStats, is_over: bool) {
        if !self.taken.continues(stats) {
            return;
        }
        for cell in self.taken.grown(stats) {
            Tally::of(&mut self.tallies, (Protocol::Dns, method::OTHER, cell.class)).add(cell.bucket, cell.count);
            self.calm = 0;
        }
        for sum in self.taken.grown_sums(stats) {
            let tally = Tally::of(&mut self.tallies, (Protocol::Dns, method::OTHER, sum.class));
            tally.sum_ns = tally.sum_ns.wrapping_add(sum.sum_ns);
        }
        self.taken.renew(stats, is_over);
    }
}

/// A query without an answer for so long got none: a resolver's own patience (`resolv.conf(5)`, `timeout`).
const PATIENCE_NS: u64 = 5_000_000_000;
/// Connections that ended are reported so many at once: a report takes 500 bytes, and 50,000 may have ended.
const AT_ONCE: usize = 512;
/// A pair with nothing new for so many looks is forgotten.
const CALM_LOOKS: u32 = 20;

impl EbpfSource {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn start(settings: Settings) -> Result<Self, KernelError> {
        let kernel = Kernel::load(settings)?;
        let mut source = Self {
            kernel,
            introduced: HashMap::new(),
            look: 0,
            datagrams: HashMap::new(),
            hasher: RandomState::new(),
            libraries: Libraries::default(),
            probed: HashMap::new(),
            too_slow: HashSet::new(),
            refused: HashSet::new(),
            http2: Connections::new(settings.protocols.by_method != 0),
        };
        if source.kernel.tls_needs().is_some() {
            for folder in ROOTS.iter().flat_map(|root| FOLDERS.map(|folder| Path::new(root).join(folder))) {
                let changes = source.libraries.install(&folder, Instant::now());
                source.change_libraries(changes);
            }
        }
        Ok(source)
    }

    fn change_libraries(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Found { file, path } => match self.kernel.attach_library(&path) {
                    Ok(library) => {
                        let how = if library.is_quick { "" } else { ", at a high cost" };
                        tracing::info!("looking into TLS by {}{how}", path.display());
                        self.probed.insert(file, library);
                    }
                    // Its process ended meanwhile, or it was replaced.
                    Err(_) if !path.exists() => self.libraries.forget(file),
                    Err(error @ UprobeError::TooSlow) => {
                        tracing::info!("what is said by {} is not seen: {error} (see --tls)", path.display());
                        self.too_slow.insert(file);
                    }
                    Err(error) => {
                        tracing::warn!("what is said by {} is not seen: {error}", path.display());
                        self.refused.insert(file);
                    }
                },
                Change::Unused(file) => {
                    self.too_slow.remove(&file);
                    self.refused.remove(&file);
                    if let Some(library) = self.probed.remove(&file) {
                        self.kernel.detach_library(library);
                    }
                }
            }
        }
    }

    /// Reports what was asked and answered by datagrams.
    fn datagrams(&mut self, receive: &mut dyn FnMut(Report)) {
        for (flow, waited_ns) in self.kernel.take_unanswered(PATIENCE_NS) {
            let known = self.datagrams.entry(flow).or_default();
            Tally::of(&mut known.tallies, (Protocol::Dns, method::OTHER, CLASS_NONE)).observe(waited_ns);
            known.calm = 0;
        }
        for (flow, answered) in self.kernel.datagram_flows() {
            self.datagrams.entry(flow).or_default().take(&answered, false);
        }
        let (hasher, kernel) = (&self.hasher, &mut self.kernel);
        self.datagrams.retain(|flow, known| {
            known.calm += 1;
            let is_over = known.calm > CALM_LOOKS;
            // What came since it was read above comes along.
            if is_over && let Some(last) = kernel.forget_flow(flow) {
                known.take(&last, false);
            }
            receive(datagram_report(ConnectionId(hasher.hash_one(flow), 0), flow, known.tallies.clone(), is_over));
            !is_over
        });
    }
}

impl Source for EbpfSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Ebpf
    }

    fn ended(&mut self, receive: &mut dyn FnMut(Report)) -> bool {
        let mut late = Vec::new();
        let datagrams = &mut self.datagrams;
        let count = self.kernel.drain_ended(AT_ONCE, |item| match item {
            Drained::Connection(reported) if speaks_http2(&reported) => late.push(reported),
            Drained::Connection(reported) => receive(report(&reported.record, reported.requests)),
            Drained::Datagrams(DatagramsRecord { flow, requests }) => {
                datagrams.entry(flow).or_default().take(&requests, true);
            }
        });
        // All that was said on a connection is in the other ring before the record of its end is in the first.
        let http2 = &mut self.http2;
        self.kernel.drain_blocks(|record| http2.record(record));
        for reported in late {
            receive(http2_report(http2, &reported));
        }
        count == AT_ONCE
    }

    fn live(&mut self, at_all: bool, receive: &mut dyn FnMut(Report)) -> anyhow::Result<()> {
        // Whoever was there before us is there at the first look, at both ends.
        let mut holders = Holders::default();
        if self.look == 0 {
            self.kernel.live_connections(true, |reported| {
                if is_stranger(&reported.record) {
                    holders.add(&report(&reported.record, None));
                }
            })?;
        }
        self.look += 1;
        let (look, introduced, http2) = (self.look, &mut self.introduced, &mut self.http2);
        if at_all {
            http2.begin_look();
        }
        self.kernel.live_connections(at_all, |reported| {
            let mut report = if speaks_http2(&reported) {
                http2_report(http2, &reported)
            } else {
                report(&reported.record, reported.requests)
            };
            if is_stranger(&reported.record) {
                if let Some((owner, process, seen)) = introduced.get_mut(&report.id) {
                    *seen = look;
                    report.peer = Some(*owner);
                    report.processes[1] = *process;
                } else if holders.introduce(&mut report)
                    && let Some(owner) = report.peer
                {
                    introduced.insert(report.id, (owner, report.processes[1], look));
                }
            }
            receive(report);
        })?;
        if at_all {
            http2.end_look();
            introduced.retain(|_, (.., seen)| *seen == look);
        }
        self.datagrams(receive);
        Ok(())
    }

    fn listening(&mut self, _: &Inventory) -> anyhow::Result<Vec<Listening>> {
        let records = self.kernel.live_listeners()?;
        Ok(records
            .iter()
            .map(|record| Listening {
                id: ConnectionId(record.socket, record.listener.start_ns),
                owner: Owner { cgroup_id: record.listener.cgroup_id, netns: record.listener.netns },
                process: record.listener.process,
                local: endpoint(record.address, record.port),
                queue_length: record.queue_length,
                queue_limit: Some(record.queue_limit),
                drops: Some(record.drops),
            })
            .collect())
    }

    fn can_be_read(&self) -> bool {
        self.kernel.can_be_read()
    }

    fn losses(&self) -> Losses {
        let losses = self.kernel.losses();
        vec![
            ("connection_end", losses.records),
            ("connection", losses.connections),
            ("request", losses.requests),
            ("listener", losses.listeners),
            ("tls_call", losses.tls_calls),
        ]
    }

    fn unseen(&self) -> u64 {
        self.kernel.unseen()
    }

    fn follow_libraries(&mut self, processes: &mut dyn Iterator<Item = (u32, u64)>) {
        if self.kernel.tls_needs().is_some() {
            let maps = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/maps")).ok();
            let changes = self.libraries.look(processes, Instant::now(), maps);
            self.change_libraries(changes);
        }
    }

    fn libraries(&self) -> Option<LibraryCounts> {
        let quick = self.probed.values().filter(|library| library.is_quick).count();
        self.kernel.tls_needs().map(|_| LibraryCounts {
            quick,
            slow: self.probed.len() - quick,
            too_slow: self.too_slow.len(),
            refused: self.refused.len(),
        })
    }

    fn library_needs(&self) -> CapabilitySet {
        self.kernel.tls_needs().unwrap_or(CapabilitySet::empty())
    }

    fn encrypted(&self) -> u64 {
        self.kernel.encrypted()
    }

    fn untimed(&self) -> Vec<Skipped> {
        let reasons = [Untimed::Pipelined, Untimed::Unrecognised, Untimed::NoRoom].map(skipped_untimed);
        let unrecognised = UNTIMED_NAMES[Untimed::Unrecognised as usize];
        let own = [(Protocol::Http2, unrecognised, self.http2.given_up().requests)];
        together(self.skipped(&reasons, &UNTIMED_NAMES), own)
    }

    fn unparsed(&self) -> Vec<Skipped> {
        let reasons = [Unparsed::Encrypted, Unparsed::Lost, Unparsed::Midway, Unparsed::NoRoom].map(skipped_unparsed);
        let given_up = self.http2.given_up();
        let own = [(Unparsed::Lost, given_up.lost), (Unparsed::NoRoom, given_up.no_room)];
        let own = own.map(|(why, count)| (Protocol::Http2, UNPARSED_NAMES[why as usize], count));
        together(self.skipped(&reasons, &UNPARSED_NAMES), own)
    }
}

/// Adds what was counted here to what the kernel side counted.
fn together(mut all: Vec<Skipped>, own: impl IntoIterator<Item = Skipped>) -> Vec<Skipped> {
    for (protocol, reason, count) in own.into_iter().filter(|(.., count)| *count > 0) {
        match all.iter_mut().find(|(known, why, _)| (*known, *why) == (protocol, reason)) {
            Some((.., total)) => *total += count,
            None => all.push((protocol, reason, count)),
        }
    }
    all
}

impl EbpfSource {
    fn skipped(&self, places: &[u32], names: &[&'static str]) -> Vec<Skipped> {
        let name = |place: u32| Some(names[places.iter().position(|known| *known == place)?]);
        let all = self.kernel.skipped().into_iter();
        all.filter(|(.., count)| *count > 0)
            .filter_map(|(protocol, place, count)| Some((protocol, name(place)?, count)))
            .collect()
    }
}

fn datagram_report(id: ConnectionId, flow: &DatagramFlow, tallies: Vec<Tally>, is_over: bool) -> Report {
    Report {
        id,
        owner: Owner { cgroup_id: flow.cgroup_id, netns: flow.netns },
        peer: None,
        processes: [flow.process, 0],
        local: endpoint(flow.local_address, flow.local_port),
        remote: endpoint(flow.remote_address, flow.remote_port),
        role: Some(if flow.role == u16::from(ROLE_CLIENT) { Role::Client } else { Role::Server }),
        is_datagram: true,
        preexisting: false,
        phase: if is_over { Phase::Ended { by_reset: false } } else { Phase::Open },
        connect_seconds: None,
        open_seconds: None,
        rtt_seconds: None,
        has_moved: true,
        counters: Some(Counters { tallies, ..Counters::default() }),
    }
}

fn speaks_http2(reported: &Reported) -> bool {
    reported.requests.is_some_and(|requests| requests.protocol == Protocol::Http2 as u8)
}

/// The report of a connection whose requests are known here.
fn http2_report(connections: &mut Connections, reported: &Reported) -> Report {
    let Reported { record, requests } = reported;
    let mut report = report(record, None);
    let id = (report.id.0, report.id.1);
    if requests.is_some_and(|requests| requests.given_up == 1) {
        connections.give_up(id);
    }
    let tallies = if record.ended == RECORD_ENDED {
        let Connection { start_ns, closing_ns, .. } = record.connection;
        connections.ended(id, if closing_ns > start_ns { closing_ns } else { record.now_ns })
    } else {
        connections.totals(id)
    };
    if let Some(counters) = &mut report.counters {
        counters.tallies = tallies;
    }
    report
}

/// It was there before us, so the kernel side does not know who holds its other end.
fn is_stranger(record: &ConnectionRecord) -> bool {
    record.connection.flags & FLAG_PREEXISTING != 0 && record.connection.peer_netns == 0
}

fn report(record: &ConnectionRecord, requests: Option<RequestStats>) -> Report {
    let connection = &record.connection;
    let role = match connection.role {
        ROLE_CLIENT => Some(Role::Client),
        ROLE_SERVER => Some(Role::Server),
        _ => None,
    };
    let established = connection.established_ns != 0;
    // Of what was not seen, no time is known.
    let [saw_begin, saw_end] = [FLAG_BEGIN_UNSEEN, FLAG_END_UNSEEN].map(|flag| connection.flags & flag == 0);
    let peer = Owner { cgroup_id: connection.peer_cgroup_id, netns: connection.peer_netns };
    let seconds = |from_ns: u64, to_ns: u64| to_ns.saturating_sub(from_ns) as f64 / 1e9;
    let phase = match (record.ended == RECORD_ENDED, established) {
        (false, false) => Phase::Connecting,
        (false, true) => Phase::Open,
        (true, false) => Phase::Failed(failure(record)),
        (true, true) => Phase::Ended { by_reset: ended_by_reset(record) },
    };
    Report {
        id: ConnectionId(record.socket, connection.start_ns),
        owner: Owner { cgroup_id: connection.cgroup_id, netns: connection.netns },
        peer: (peer.netns != 0).then_some(peer),
        processes: [connection.process, connection.peer_process],
        local: endpoint(connection.local_address, connection.local_port),
        remote: endpoint(connection.remote_address, connection.remote_port),
        role,
        is_datagram: false,
        preexisting: connection.flags & FLAG_PREEXISTING != 0,
        phase,
        connect_seconds: (established && saw_begin && role == Some(Role::Client))
            .then(|| seconds(connection.start_ns, connection.established_ns)),
        open_seconds: (established && saw_begin && saw_end).then(|| seconds(connection.established_ns, record.now_ns)),
        rtt_seconds: (established && record.srtt_us != 0).then(|| f64::from(record.srtt_us) / 1e6),
        has_moved: record.has_moved != 0,
        counters: Some(Counters {
            sent_bytes: record.sent_bytes,
            received_bytes: record.received_bytes,
            retransmits: record.retransmits,
            requests,
            is_round_over: record.ended == RECORD_ROUND,
            tallies: Vec::new(),
        }),
    }
}

/// Errors are those of `connect(2)`. None at all means that the program closed the socket while
/// connecting: after a repeated SYN that is its own timeout.
fn failure(record: &ConnectionRecord) -> Failure {
    match i32::try_from(record.error).unwrap_or(0) {
        libc::ECONNREFUSED => Failure::Refused,
        libc::ETIMEDOUT => Failure::Timeout,
        libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN => Failure::Unreachable,
        libc::ECONNRESET => Failure::Reset,
        0 if record.retransmits > 0 => Failure::Timeout,
        _ => Failure::Other,
    }
}

/// A connection that ends orderly leaves through the FIN states. Straight from an open state it was
/// reset: by the peer with an error, by this end (unread data, SO_LINGER 0) without one. A connection
/// that the peer no longer answers also ends so, with ETIMEDOUT, and that is no reset.
fn ended_by_reset(record: &ConnectionRecord) -> bool {
    let error = i32::try_from(record.error).unwrap_or(0);
    matches!(error, libc::ECONNRESET | libc::EPIPE)
        || (error == 0 && matches!(record.state, tcp_state::ESTABLISHED | tcp_state::CLOSE_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(error: i32, state: u8, retransmits: u32) -> ConnectionRecord {
        ConnectionRecord { error: error as u32, state, retransmits, ended: RECORD_ENDED, ..Default::default() }
    }

    #[test]
    fn failures_are_told_apart_by_their_error() {
        for (error, retransmits, expected) in [
            (libc::ECONNREFUSED, 0, Failure::Refused),
            (libc::ETIMEDOUT, 6, Failure::Timeout),
            (libc::EHOSTUNREACH, 0, Failure::Unreachable),
            (libc::ECONNRESET, 0, Failure::Reset),
            (0, 2, Failure::Timeout),
            (0, 0, Failure::Other),
        ] {
            let record = ended(error, tcp_state::SYN_SENT, retransmits);
            assert_eq!(report(&record, None).phase, Phase::Failed(expected), "errno {error}");
        }
    }

    #[test]
    fn resets_are_ends_that_skip_the_fin_states() {
        for (error, state, by_reset) in [
            (0, tcp_state::LAST_ACK, false),
            (0, tcp_state::FIN_WAIT2, false),
            (0, tcp_state::ESTABLISHED, true),
            (0, tcp_state::CLOSE_WAIT, true),
            (libc::ECONNRESET, tcp_state::ESTABLISHED, true),
            (libc::EPIPE, tcp_state::CLOSE_WAIT, true),
            (libc::ETIMEDOUT, tcp_state::ESTABLISHED, false),
        ] {
            let mut record = ended(error, state, 0);
            record.connection.established_ns = 1;
            assert_eq!(report(&record, None).phase, Phase::Ended { by_reset }, "errno {error} from state {state}");
        }
    }

    #[test]
    fn what_was_not_seen_counts_and_has_no_duration() {
        let connection = |flags: u8| {
            let mut record = ended(0, tcp_state::FIN_WAIT2, 0);
            record.connection.role = ROLE_CLIENT;
            record.connection.start_ns = 1;
            record.connection.established_ns = 1_000;
            record.connection.flags = flags;
            record.now_ns = 2_000;
            report(&record, None)
        };
        let durations = |report: Report| (report.connect_seconds.is_some(), report.open_seconds.is_some());
        for (flags, expected) in
            [(0, (true, true)), (FLAG_BEGIN_UNSEEN, (false, false)), (FLAG_END_UNSEEN, (true, false))]
        {
            let report = connection(flags);
            assert_eq!(report.phase, Phase::Ended { by_reset: false });
            assert_eq!(durations(report), expected, "flags {flags}");
        }
    }
}
