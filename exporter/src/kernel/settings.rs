//! What is remembered at most, and which hooks are used.

use quoll_ebpf_abi::protocols::{Exchange, Protocol, Protocols};
use quoll_ebpf_abi::{Connection, DatagramFlow, DatagramQuery, DatagramQueryKey, Listener, RequestStats};

use crate::tls::TlsChoice;

/// A ring that nobody writes to: a page, of any size that pages have.
const LEAST_RING_BYTES: u32 = 64 * 1024;

/// What is remembered at most, how large the ring is, and which hooks are used.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Open connections followed at once; about 170 bytes each.
    pub connections: u32,
    /// Open connections with requests; about 600 bytes each.
    pub exchanges: u32,
    /// Protocols whose requests are looked at; none of them leaves the system calls alone.
    pub protocols: Protocols,
    /// Which TLS libraries are looked into.
    pub tls: TlsChoice,
    /// Look into them by perf events, as on kernels that have no links to many functions.
    pub tls_by_perf: bool,
    /// Probe nothing but what they export, as where nothing better is found.
    pub tls_exported_only: bool,
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
            tls: TlsChoice::False,
            tls_by_perf: false,
            tls_exported_only: false,
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
    pub(super) fn pairs(&self) -> u32 {
        (self.datagrams / 2).max(1)
    }

    /// Size of the ring of header blocks.
    pub(super) fn block_bytes(&self) -> u32 {
        if self.protocols.has(Protocol::Http2) { self.ring_bytes } else { LEAST_RING_BYTES }
    }
}
