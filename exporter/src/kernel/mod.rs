//! Loads the kernel-side programs and reads what they hold.
//!
//! Guarantees: the programs are attached before [`Kernel::load`] returns, and detached when the value
//! is dropped, also by the process's death; all reads are snapshots that never block. Where a
//! tp_btf hook is refused its raw_tracepoint form is tried; where both are, the error says so.

mod bpf;
mod error;
mod load;
mod map_iterator;
mod misses;
mod offsets;
mod records;
mod ring;
mod settings;
mod targets;
pub mod uprobes;

use std::io::{ErrorKind, Read};
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use quoll_ebpf_abi::protocols::Protocol;
use quoll_ebpf_abi::requests::Unparsed;
use quoll_ebpf_abi::{
    COUNTERS, DatagramFlow, DatagramQuery, DatagramQueryKey, LOST_CONNECTIONS, LOST_LISTENERS, LOST_RECORDS,
    LOST_REQUESTS, LOST_TLS_CALLS, ListenerRecord, RequestStats, SKIPPED_SLOTS, skipped_slot, skipped_unparsed,
};
use rustix::thread::CapabilitySet;

use bpf::Taker;
pub use error::KernelError;
use map_iterator::MapIterator;
use misses::Misses;
pub use records::{Drained, Reported};
use ring::Ring;
pub use settings::Settings;
use uprobes::{Library, Programs, UprobeError};

/// Read from an iterator at once; the kernel's own buffer is 8 pages (`kernel/bpf/bpf_iter.c`).
const READ_BYTES: usize = 64 * 1024;

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
    taken_flows: Taker<{ size_of::<DatagramFlow>() }, { size_of::<RequestStats>() }>,
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
        load::load(settings)
    }

    /// Hands over connections that ended since the last call, and rounds of counts that are over, `at_most` so many; gives
    /// how many these were.
    pub fn drain_ended(&mut self, at_most: usize, mut receive: impl FnMut(Drained)) -> usize {
        self.ended.drain(at_most, |item| {
            if let Some(drained) = Drained::read(item) {
                receive(drained);
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
            let taken = records::take(&self.buffer[..filled], &mut receive);
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

    /// Forgets a pair and gives its last counts; what it counts from now on begins at zero.
    pub fn forget_flow(&mut self, flow: &DatagramFlow) -> Option<RequestStats> {
        let mut key = [0; size_of::<DatagramFlow>()];
        key.copy_from_slice(bytemuck::bytes_of(flow));
        let stats = match self.taken_flows.take(&key) {
            Ok(stats) => Some(stats),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            // Before 5.14 what comes between the two is lost.
            Err(_) => {
                let stats = self.flows.get(&key, 0).ok();
                let _ = self.flows.remove(&key);
                stats
            }
        };
        stats.map(|stats| bytemuck::pod_read_unaligned(&stats))
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
