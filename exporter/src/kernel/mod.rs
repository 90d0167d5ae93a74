//! Loads the kernel-side programs and reads what they hold.
//!
//! Guarantees: the programs are attached before [`Kernel::load`] returns, and detached when the value
//! is dropped, also by the process's death; all reads are snapshots that never block. Where a
//! tp_btf hook is refused its raw_tracepoint form is tried; where both are, the error says so.

mod bpf;
mod map_iterator;
mod misses;
mod offsets;
mod ring;
mod targets;
pub mod uprobes;

use std::io::{self, Read};
use std::path::Path;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use aya::programs::{BtfTracePoint, Iter, ProgramError, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use quoll_ebpf_abi::{
    COUNTERS, Connection, ConnectionRecord, ConnectionRequestsRecord, DatagramFlow, DatagramQuery, DatagramQueryKey,
    DatagramsRecord, LOST_CONNECTIONS, LOST_LISTENERS, LOST_RECORDS, LOST_REQUESTS, LOST_TLS_CALLS, Listener,
    ListenerRecord, RequestStats, SKIPPED_SLOTS, skipped_slot, skipped_unparsed,
};

use quoll_ebpf_abi::protocols::{Exchange, Protocol, Protocols};
use quoll_ebpf_abi::requests::Unparsed;

use rustix::thread::CapabilitySet;

use crate::btf::{Btf, BtfError};
use crate::memory;
use map_iterator::MapIterator;
use misses::Misses;
use ring::Ring;
use uprobes::{Library, Programs, UprobeError};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/quoll.bpf.o"));

/// Threads that are in a call of a TLS library at once, and those that were last.
const TLS_CALLS: u32 = 8_192;

/// Read from an iterator at once; the kernel's own buffer is 8 pages (`kernel/bpf/bpf_iter.c`).
const READ_BYTES: usize = 64 * 1024;

/// A ring that nobody writes to: a page, of any size that pages have.
const LEAST_RING_BYTES: u32 = 64 * 1024;

/// What is remembered at most, how large the ring is, and which hooks are used.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Open connections followed at once; about 170 bytes each.
    pub connections: u32,
    /// Open connections with requests; about 550 bytes each.
    pub exchanges: u32,
    /// Protocols whose requests are looked at; none of them leaves the system calls alone.
    pub protocols: Protocols,
    /// Whether calls of TLS libraries are looked at.
    pub tls: bool,
    /// Look at them by perf events, as on kernels that have no links to many functions.
    pub tls_by_perf: bool,
    /// Listening sockets.
    pub listeners: u32,
    /// DNS queries over UDP that wait for their answer; half as many pairs of peers.
    pub datagrams: u32,
    /// Size of the ring of ended connections, a power of two and of pages; of HTTP/2's header blocks the same.
    pub ring_bytes: u32,
    /// Attach to raw tracepoints at once, as on kernels that refuse the typed ones.
    pub raw_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 65_536,
            exchanges: 32_768,
            protocols: Protocols::of(&Protocol::ALL),
            tls: false,
            tls_by_perf: false,
            listeners: 4_096,
            datagrams: 8_192,
            ring_bytes: 4 << 20,
            raw_only: false,
        }
    }
}

impl Settings {
    /// Kernel memory that the maps take: entries with their keys and about 64 bytes for the table's own
    /// use (`struct htab_elem` and its bucket, `kernel/bpf/hashtab.c`).
    #[must_use]
    pub fn kernel_bytes(&self) -> u64 {
        let map = |entries: u32, value: usize| u64::from(entries) * (value as u64 + 72);
        map(self.connections, size_of::<Connection>())
            + map(self.exchanges, size_of::<Exchange>())
            + map(self.listeners, size_of::<Listener>())
            + map(self.datagrams, size_of::<DatagramQuery>() + size_of::<DatagramQueryKey>())
            + map(self.pairs(), size_of::<DatagramFlow>() + size_of::<RequestStats>())
            + u64::from(self.ring_bytes)
            + u64::from(self.block_bytes())
    }

    /// Pairs of DNS peers.
    fn pairs(&self) -> u32 {
        (self.datagrams / 2).max(1)
    }

    /// Size of the ring of header blocks.
    fn block_bytes(&self) -> u32 {
        if self.protocols.has(Protocol::Http2) { self.ring_bytes } else { LEAST_RING_BYTES }
    }
}

/// Why the programs do not run.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel's types could not be read or lack a field.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The object was refused as a whole.
    #[error("cannot load the kernel-side programs: {0}")]
    Load(#[from] aya::EbpfError),
    /// One program was refused, also in its fallback form. The verifier's log can have thousands of
    /// lines; it is the source's text, and the log's at level debug.
    #[error("cannot attach {program}: {}", source.to_string().lines().next().unwrap_or_default())]
    Program {
        /// Name of the program.
        program: &'static str,
        /// What the kernel or aya said.
        source: Box<ProgramError>,
    },
    /// An iterator could not be attached or read.
    #[error("iterator {program}: {source}")]
    Iterator {
        /// Name of the program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A map could not be opened.
    #[error("map {map}: {reason}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// The object that was built lacks a part.
    #[error("the BPF object has no {0}: it was built from other sources")]
    Missing(&'static str),
}

/// A connection as the kernel side reports it.
#[derive(Debug, Clone, Copy)]
pub struct Reported {
    /// The connection and its counters.
    pub record: ConnectionRecord,
    /// Its requests, if it carried any.
    pub requests: Option<RequestStats>,
}

/// What the ring has.
#[derive(Debug, Clone, Copy)]
pub enum Drained {
    /// A connection that ended, or of which a round of counts is over.
    Connection(Reported),
    /// A round of counts of datagrams.
    Datagrams(DatagramsRecord),
}

/// What the kernel side lost since it was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Ends of connections that did not fit into the ring.
    pub records: u64,
    /// Connections that were not followed since the map was full.
    pub connections: u64,
    /// Responses that were not counted since the map was full.
    pub requests: u64,
    /// Listeners that were not followed since the map was full.
    pub listeners: u64,
    /// Calls of TLS libraries that were not looked at since the map was full.
    pub tls_calls: u64,
}

/// The loaded and attached programs.
pub struct Kernel {
    /// Holds the programs and their links; dropping it detaches them.
    ebpf: Ebpf,
    /// Those for TLS libraries, where they are wished for and can be had.
    tls: Option<Programs>,
    ended: Ring,
    blocks: Ring,
    look_at_all: Array<MapData, u32>,
    unseen: Misses,
    lost: PerCpuArray<MapData, u64>,
    skipped: PerCpuArray<MapData, u64>,
    flows: HashMap<MapData, [u8; size_of::<DatagramFlow>()], [u8; size_of::<RequestStats>()]>,
    queries: HashMap<MapData, [u8; size_of::<DatagramQueryKey>()], [u8; size_of::<DatagramQuery>()]>,
    connections: MapIterator,
    listeners: MapIterator,
    buffer: Vec<u8>,
}

impl Kernel {
    /// Loads, attaches, and takes up the connections and listeners that are there already.
    ///
    /// # Errors
    /// One variant of [`KernelError`] per cause; nothing stays attached.
    pub fn load(settings: Settings) -> Result<Self, KernelError> {
        let mut result = Self::try_load(settings);
        for (protocols, warning) in fallbacks(settings.protocols) {
            match result {
                Err(KernelError::Program { program: SYSCALL_EXIT_RAW, source }) => {
                    tracing::debug!("{source}");
                    tracing::warn!("{warning}");
                    result = Self::try_load(Settings { protocols, ..settings });
                }
                other => return other,
            }
        }
        result
    }

    fn try_load(settings: Settings) -> Result<Self, KernelError> {
        // A new loader reads all of the kernel's types by itself, some 25 MB. Nothing here needs them,
        // so they go before anything else comes.
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        memory::give_back();
        let btf = Btf::of_running_kernel()?;
        let offsets = offsets::find(&btf)?;
        let types = targets::list(&btf)?;
        drop(btf);
        let looks_into_tls = settings.tls && settings.protocols.bits != 0;
        let tls_global = u32::from(looks_into_tls);
        let mut ebpf = loader
            .override_global("OFFSETS", bytemuck::bytes_of(&offsets), true)
            .map_max_entries("CONNECTIONS", settings.connections)
            .override_global("PROTOCOLS", bytemuck::bytes_of(&settings.protocols), true)
            .override_global("LOOKS_INTO_TLS", &tls_global, true)
            .map_max_entries("TLS_CALLS", if looks_into_tls { TLS_CALLS } else { 1 })
            .map_max_entries("TLS_SOCKETS", if looks_into_tls { settings.exchanges } else { 1 })
            .map_max_entries("EXCHANGES", settings.exchanges)
            .map_max_entries("LISTENERS", settings.listeners)
            .map_max_entries("DATAGRAM_QUERIES", settings.datagrams)
            .map_max_entries("DATAGRAM_FLOWS", settings.pairs())
            .map_max_entries("ENDED", settings.ring_bytes)
            .map_max_entries("BLOCKS", settings.block_bytes())
            .load(OBJECT)?;

        let typed = (!settings.raw_only).then_some(&types);
        let unseen = attach_tracepoint(&mut ebpf, typed, "tcp_state_btf", "tcp_state_raw", "inet_sock_set_state")?;
        if settings.protocols.bits != 0 {
            attach_tracepoint(&mut ebpf, typed, "syscall_exit_btf", SYSCALL_EXIT_RAW, "sys_exit")?;
        }
        let tls = looks_into_tls.then(|| Programs::load(&mut ebpf, settings.tls_by_perf));
        let tls = tls.and_then(|loaded| {
            loaded.inspect_err(|error| tracing::warn!("what is said within TLS is not seen: {error}")).ok()
        });
        let connections = attach_map_iterator(&mut ebpf, &types, "live_connections", "CONNECTIONS")?;
        let listeners = attach_map_iterator(&mut ebpf, &types, "live_listeners", "LISTENERS")?;
        // After the hooks, so that nothing is missed in between; what both see is kept once.
        take_up_open_sockets(&mut ebpf, &types)?;

        drop(types);
        drop(loader);
        memory::give_back();

        let ended = open_ring(&mut ebpf, "ENDED")?;
        let blocks = open_ring(&mut ebpf, "BLOCKS")?;
        let lost = take_map(&mut ebpf, "LOST")?;
        let look_at_all = take_map(&mut ebpf, "LOOK_AT_ALL")?;
        let skipped = take_map(&mut ebpf, "SKIPPED")?;
        let flows = take_map(&mut ebpf, "DATAGRAM_FLOWS")?;
        let queries = take_map(&mut ebpf, "DATAGRAM_QUERIES")?;
        Ok(Self {
            ended,
            blocks,
            look_at_all,
            unseen,
            lost,
            skipped,
            flows,
            queries,
            ebpf,
            tls,
            connections,
            listeners,
            buffer: Vec::new(),
        })
    }

    /// Hands over connections that ended since the last call, and rounds of counts that are over, `at_most` so many; gives
    /// how many these were.
    pub fn drain_ended(&mut self, at_most: usize, mut receive: impl FnMut(Drained)) -> usize {
        self.ended.drain(at_most, |item| {
            // They are told apart by their size.
            if let Ok(both) = bytemuck::try_pod_read_unaligned::<ConnectionRequestsRecord>(item) {
                receive(Drained::Connection(Reported { record: both.record, requests: Some(both.requests) }));
            } else if let Ok(record) = bytemuck::try_pod_read_unaligned(item) {
                receive(Drained::Connection(Reported { record, requests: None }));
            } else if let Ok(record) = bytemuck::try_pod_read_unaligned(item) {
                receive(Drained::Datagrams(record));
            }
        })
    }

    /// Hands over every piece of HTTP/2's header blocks that came since the last call.
    pub fn drain_blocks(&mut self, receive: impl FnMut(&[u8])) {
        self.blocks.drain(usize::MAX, receive);
    }

    /// Hands over every connection that is open now, as the kernel walks over them: all, or those that moved since the
    /// last call.
    ///
    /// # Errors
    /// [`KernelError::Iterator`], [`KernelError::Map`].
    pub fn live_connections(&mut self, at_all: bool, mut receive: impl FnMut(Reported)) -> Result<(), KernelError> {
        let error = |source| KernelError::Iterator { program: "live_connections", source };
        self.look_at_all
            .set(0, u32::from(at_all), 0)
            .map_err(|error| KernelError::Map { map: "LOOK_AT_ALL", reason: error.to_string() })?;
        let mut file = self.connections.open().map_err(error)?;
        self.buffer.resize(READ_BYTES, 0);
        let mut filled = 0;
        loop {
            let count = file.read(&mut self.buffer[filled..]).map_err(error)?;
            filled += count;
            let taken = take_records(&self.buffer[..filled], &mut receive);
            if count == 0 {
                return Ok(());
            }
            // What is left is less than one record.
            self.buffer.copy_within(taken..filled, 0);
            filled -= taken;
        }
    }

    /// All listening sockets.
    ///
    /// # Errors
    /// [`KernelError::Iterator`].
    pub fn live_listeners(&mut self) -> Result<Vec<ListenerRecord>, KernelError> {
        self.buffer.clear();
        let error = |source| KernelError::Iterator { program: "live_listeners", source };
        self.listeners.open().and_then(|mut file| file.read_to_end(&mut self.buffer)).map_err(error)?;
        let (records, _) = self.buffer.as_chunks::<{ size_of::<ListenerRecord>() }>();
        Ok(records.iter().map(|record| bytemuck::pod_read_unaligned(record)).collect())
    }

    /// Everything counted of datagrams, by the pair of peers.
    pub fn datagram_flows(&self) -> Vec<(DatagramFlow, RequestStats)> {
        let all = self.flows.iter().flatten();
        all.map(|(flow, stats)| (bytemuck::pod_read_unaligned(&flow), bytemuck::pod_read_unaligned(&stats))).collect()
    }

    /// Forgets a pair; what it counts from now on begins at zero.
    pub fn forget_flow(&mut self, flow: &DatagramFlow) {
        let mut key = [0; size_of::<DatagramFlow>()];
        key.copy_from_slice(bytemuck::bytes_of(flow));
        // It may be gone already.
        let _ = self.flows.remove(&key);
    }

    /// Takes out the queries that wait for longer than `patience_ns`, each with how long it waited.
    pub fn take_unanswered(&mut self, patience_ns: u64) -> Vec<(DatagramFlow, u64)> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        let waits = |query: &DatagramQuery| now_ns.saturating_sub(query.began_ns);
        let all = self.queries.iter().flatten();
        let all = all.map(|(key, query)| (key, bytemuck::pod_read_unaligned::<DatagramQuery>(&query)));
        let late: Vec<_> = all.filter(|(_, query)| waits(query) > patience_ns).collect();
        // One whose answer came at this moment is gone, and counted.
        late.iter()
            .filter(|(key, _)| self.queries.remove(key).is_ok())
            .map(|(_, query)| (query.flow, waits(query)))
            .collect()
    }

    /// What was seen and not timed: the protocol, the place of the reason ([`quoll_ebpf_abi::skipped_untimed`],
    /// [`quoll_ebpf_abi::skipped_unparsed`]), and how many.
    #[must_use]
    pub fn skipped(&self) -> Vec<(Protocol, u32, u64)> {
        let count = |slot: u32| -> u64 {
            debug_assert!(slot < SKIPPED_SLOTS);
            self.skipped.get(&slot, 0).map(|values| values.iter().sum()).unwrap_or_default()
        };
        let slots = Protocol::ALL.into_iter().flat_map(|protocol| (0..8).map(move |reason| (protocol, reason)));
        slots.map(|(protocol, reason)| (protocol, reason, count(skipped_slot(protocol as u8, reason)))).collect()
    }

    /// Connections that went on in TLS of which nothing can be read, and whose protocol is not known.
    #[must_use]
    pub fn encrypted(&self) -> u64 {
        let slot = skipped_slot(0, skipped_unparsed(Unparsed::Encrypted));
        self.skipped.get(&slot, 0).map(|values| values.iter().sum()).unwrap_or_default()
    }

    /// What looking into TLS libraries takes, for life; `None` where they are not looked into.
    #[must_use]
    pub fn tls_needs(&self) -> Option<CapabilitySet> {
        self.tls.as_ref().map(Programs::needs)
    }

    /// Looks into a library, in all processes that use it or will.
    ///
    /// # Errors
    /// [`UprobeError`]; then it is not looked into.
    pub fn attach_library(&mut self, path: &Path) -> Result<Library, UprobeError> {
        let programs = self.tls.as_ref().ok_or(UprobeError::Off)?;
        programs.attach(&mut self.ebpf, path)
    }

    /// Looks into it no more.
    pub fn detach_library(&mut self, library: Library) {
        if let Some(programs) = &self.tls {
            programs.detach(&mut self.ebpf, library);
        }
    }

    /// Whether everything that is done for life works with the capabilities in effect now.
    #[must_use]
    pub fn can_be_read(&self) -> bool {
        self.connections.open().is_ok() && self.listeners.open().is_ok() && self.lost.get(&LOST_RECORDS, 0).is_ok()
    }

    /// Transitions of sockets so far for which the kernel left the program out.
    #[must_use]
    pub fn unseen(&self) -> u64 {
        self.unseen.count()
    }

    /// What was lost so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let count = |slot: u32| -> u64 {
            debug_assert!(slot < COUNTERS);
            self.lost.get(&slot, 0).map(|values| values.iter().sum()).unwrap_or_default()
        };
        Losses {
            records: count(LOST_RECORDS),
            connections: count(LOST_CONNECTIONS),
            requests: count(LOST_REQUESTS),
            listeners: count(LOST_LISTENERS),
            tls_calls: count(LOST_TLS_CALLS),
        }
    }
}

/// The form of the program at system calls that is tried last.
const SYSCALL_EXIT_RAW: &str = "syscall_exit_raw";

/// What is looked at where the kernel refuses the program for what was wished, one after the other, and the line that
/// says so.
fn fallbacks(wished: Protocols) -> [(Protocols, &'static str); 3] {
    let simple = Protocols::of(&[Protocol::Http1, Protocol::Dns]);
    let without_http2 = Protocols { bits: wished.bits & !Protocol::Http2.bit(), ..wished };
    let without_loops = Protocols { bits: wished.bits & simple.bits, follows: 0 };
    [
        (without_http2, "this kernel does not let HTTP/2 be seen"),
        (without_loops, "this kernel (before 5.17?) lets only HTTP/1 and DNS over UDP be seen, no databases"),
        (Protocols::default(), "this kernel lets no requests be seen"),
    ]
}

/// Hands over the whole records in `bytes`; gives how many bytes these are.
fn take_records(bytes: &[u8], receive: &mut impl FnMut(Reported)) -> usize {
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_at_checked(size_of::<ConnectionRecord>()) {
        let record: ConnectionRecord = bytemuck::pod_read_unaligned(head);
        let mut requests = None;
        let mut after = tail;
        if record.has_requests == 1 {
            let Some((stats, tail)) = tail.split_at_checked(size_of::<RequestStats>()) else { break };
            requests = Some(bytemuck::pod_read_unaligned(stats));
            after = tail;
        }
        receive(Reported { record, requests });
        rest = after;
    }
    bytes.len() - rest.len()
}

/// Attaches the tp_btf form if there are `types` for it, else the raw_tracepoint form.
fn attach_tracepoint(
    ebpf: &mut Ebpf,
    types: Option<&aya::Btf>,
    preferred: &'static str,
    fallback: &'static str,
    tracepoint: &str,
) -> Result<Misses, KernelError> {
    let misses = |program: &aya::programs::ProgramFd| {
        use std::os::fd::{AsFd, AsRawFd};
        Misses::of(program.as_fd().as_raw_fd())
    };
    if let Some(types) = types {
        let program = ebpf.program_mut(preferred).ok_or(KernelError::Missing(preferred))?;
        let result = <&mut BtfTracePoint>::try_from(program).and_then(|program| {
            program.load(tracepoint, types).and_then(|()| program.attach()).and_then(|_| program.fd().map(misses))
        });
        match result {
            Ok(misses) => return Ok(misses),
            Err(refused) => tracing::debug!("{preferred} is refused, trying {fallback}: {refused}"),
        }
    }
    let program = ebpf.program_mut(fallback).ok_or(KernelError::Missing(fallback))?;
    <&mut RawTracePoint>::try_from(program)
        .and_then(|program| {
            program.load().and_then(|()| program.attach(tracepoint)).and_then(|_| program.fd().map(misses))
        })
        .inspect_err(|refused| tracing::debug!("{fallback} is refused: {refused}"))
        .map_err(|source| KernelError::Program { program: fallback, source: Box::new(source) })
}

/// Loads an iterator program.
fn load_iterator<'a>(
    ebpf: &'a mut Ebpf,
    types: &aya::Btf,
    name: &'static str,
    target: &str,
) -> Result<&'a mut Iter, KernelError> {
    let failed = |source| KernelError::Program { program: name, source: Box::new(source) };
    let program = ebpf.program_mut(name).ok_or(KernelError::Missing(name))?;
    let program = <&mut Iter>::try_from(program).map_err(failed)?;
    program.load(target, types).map_err(failed)?;
    Ok(program)
}

fn attach_map_iterator(
    ebpf: &mut Ebpf,
    types: &aya::Btf,
    name: &'static str,
    map: &'static str,
) -> Result<MapIterator, KernelError> {
    load_iterator(ebpf, types, name, "bpf_map_elem")?;
    let program = ebpf.program(name).ok_or(KernelError::Missing(name))?;
    let descriptor = program.fd().map_err(|source| KernelError::Program { program: name, source: Box::new(source) })?;
    let Some(Map::HashMap(data)) = ebpf.map(map) else { return Err(KernelError::Missing(map)) };
    use std::os::fd::AsFd;
    MapIterator::attach(descriptor.as_fd(), data.fd().as_fd())
        .map_err(|source| KernelError::Iterator { program: name, source })
}

/// Runs the task-file iterator; it writes nothing, but fills the maps.
fn take_up_open_sockets(ebpf: &mut Ebpf, types: &aya::Btf) -> Result<(), KernelError> {
    const NAME: &str = "open_sockets";
    let failed = |source| KernelError::Program { program: NAME, source: Box::new(source) };
    let program = load_iterator(ebpf, types, NAME, "task_file")?;
    let iterator = |source| KernelError::Iterator { program: NAME, source };
    // Twice: at whose ports somebody listens is known after the first time.
    for _ in 0..2 {
        let id = program.attach().map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let mut file = link.into_file().map_err(|error| iterator(io::Error::other(error)))?;
        io::copy(&mut file, &mut io::sink()).map_err(iterator)?;
    }
    Ok(())
}

/// Takes a map out of the object and gives it its type.
fn open_ring(ebpf: &mut Ebpf, name: &'static str) -> Result<Ring, KernelError> {
    let map = ebpf.map(name).ok_or(KernelError::Missing(name))?;
    let error = |reason: &dyn std::fmt::Display| KernelError::Map { map: name, reason: reason.to_string() };
    let Map::RingBuf(data) = map else { return Err(error(&"is no ring")) };
    // The loader may have made it larger, as pages are.
    let bytes = data.info().map_err(|cause| error(&cause))?.max_entries();
    Ring::open(data.fd(), bytes).map_err(|cause| error(&cause))
}

fn take_map<T: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, KernelError> {
    let map = ebpf.take_map(name).ok_or(KernelError::Missing(name))?;
    T::try_from(map).map_err(|error| KernelError::Map { map: name, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_refuses_is_asked_for_less_and_less_of_what_was_wished() {
        let wished = Protocols::of(&[Protocol::Http1, Protocol::Http2, Protocol::Redis]);
        let asked = fallbacks(wished).map(|(protocols, _)| protocols);
        let without_loops = Protocols { follows: 0, ..Protocols::of(&[Protocol::Http1]) };
        let expected = [Protocols::of(&[Protocol::Http1, Protocol::Redis]), without_loops, Protocols::default()];
        assert_eq!(asked, expected);
        assert!(fallbacks(wished).iter().all(|(_, warning)| warning.lines().count() == 1));
    }

    #[test]
    fn records_of_the_ring_differ_in_size() {
        let sizes =
            [size_of::<ConnectionRecord>(), size_of::<ConnectionRequestsRecord>(), size_of::<DatagramsRecord>()];
        assert!(sizes[0] != sizes[1] && sizes[0] != sizes[2] && sizes[1] != sizes[2], "{sizes:?}");
    }

    #[test]
    fn records_are_taken_whole_however_the_reads_cut_them() {
        let plain = ConnectionRecord { socket: 1, ..Default::default() };
        let record = ConnectionRecord { socket: 2, has_requests: 1, ..Default::default() };
        let both = ConnectionRequestsRecord { record, requests: RequestStats::default() };
        let bytes = [bytemuck::bytes_of(&plain), bytemuck::bytes_of(&both), bytemuck::bytes_of(&plain)].concat();
        for cut in 0..=bytes.len() {
            let mut seen = Vec::new();
            let mut receive = |reported: Reported| seen.push((reported.record.socket, reported.requests.is_some()));
            let taken = take_records(&bytes[..cut], &mut receive);
            assert_eq!(taken + take_records(&bytes[taken..], &mut receive), bytes.len());
            assert_eq!(seen, [(1, false), (2, true), (1, false)], "cut at {cut}");
        }
    }
}
