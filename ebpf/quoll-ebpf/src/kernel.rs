//! Reads of kernel structures at offsets that user space found in the kernel's BTF.
//!
//! Every read yields zero where the address is bad, so no pointer needs to be trusted: either through the
//! helper `bpf_probe_read_kernel`, some 15 ns each, or, where the verifier knows the pointer's type, as a load
//! that the kernel's exception table guards, 1 ns ([`Access`]).

use core::marker::PhantomData;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;
use quoll_ebpf_abi::{Offsets, tcp_state};

use crate::connections::now_ns;

/// Patched by user space before loading.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets {
    sock_state: 0,
    sock_family: 0,
    sock_protocol: 0,
    sock_num: 0,
    sock_dport: 0,
    sock_daddr: 0,
    sock_rcv_saddr: 0,
    sock_v6_daddr: 0,
    sock_v6_rcv_saddr: 0,
    sock_net: 0,
    sock_flags: 0,
    sock_err: 0,
    sock_drops: 0,
    sock_ack_backlog: 0,
    sock_max_ack_backlog: 0,
    sock_cgroup: 0,
    sock_sport: 0,
    cgroup_is_typed: 0,
    cgroup_kn: 0,
    kernfs_node_id: 0,
    net_inum: 0,
    tcp_srtt_us: 0,
    tcp_bytes_acked: 0,
    tcp_bytes_received: 0,
    tcp_total_retrans: 0,
    tcp_snd_una: 0,
    tcp_write_seq: 0,
    tcp_rcv_nxt: 0,
    tcp_copied_seq: 0,
    tcp_clock: 0,
    task_files: 0,
    task_tgid: 0,
    files_fdt: 0,
    fdtable_max_fds: 0,
    fdtable_fd: 0,
    file_private_data: 0,
    file_inode: 0,
    inode_mode: 0,
    socket_sk: 0,
    socket_file: 0,
};

/// The offset of a field, read so that the compiler cannot fold the unpatched zero.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a plain load of read-only data of this object.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::OFFSETS.$field) }
    };
}
pub(crate) use offset;

/// Reads a `T` at `base + offset`; zero where that cannot be read.
#[inline(always)]
pub fn read<T: Default + Copy>(base: u64, offset: u32) -> T {
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_kernel((base + offset as u64) as *const T) }.unwrap_or_default()
}

/// Copies a record word by word. Of an assignment the compiler makes a copy of bytes wherever it knows of bytes in it.
///
/// # Safety
/// Both must be valid, and of whole words, as all records are.
#[inline(always)]
pub unsafe fn copy_words<T>(from: *const T, to: *mut T) {
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    let mut index = 0;
    while index < size_of::<T>() / 8 {
        // SAFETY: within the record.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) }
        index += 1;
    }
}

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
/// `enum sock_flags`, `include/net/sock.h`: set by `tcp_fin()` and nowhere else for TCP.
const SOCK_DONE: u64 = 1 << 1;

/// How fields are read.
pub trait Access: Copy {
    /// A field of at most eight bytes.
    fn get<T: Default + Copy>(base: u64, offset: u32) -> T;

    /// Where the fields of `struct tcp_sock` are read; 0 for none.
    fn tcp_sock(socket: u64) -> u64;
}

/// By the helper: any address will do.
#[derive(Clone, Copy)]
pub struct Probed;

impl Access for Probed {
    #[inline(always)]
    fn get<T: Default + Copy>(base: u64, offset: u32) -> T {
        read(base, offset)
    }

    #[inline(always)]
    fn tcp_sock(socket: u64) -> u64 {
        socket
    }
}

/// By loads, through the typed arguments of a tp_btf program and what they point to. The verifier takes an
/// offset from read-only data for the constant that it is, and refuses what is no field.
#[derive(Clone, Copy)]
pub struct Typed;

impl Access for Typed {
    #[inline(always)]
    fn get<T: Default + Copy>(base: u64, offset: u32) -> T {
        // SAFETY: the verifier has checked the type, and the kernel guards the load.
        unsafe { core::ptr::read_volatile((base + offset as u64) as *const T) }
    }

    #[inline(always)]
    fn tcp_sock(socket: u64) -> u64 {
        // SAFETY: the helper looks at the socket itself, and gives null for one of another kind.
        unsafe { bpf_skc_to_tcp_sock(socket as *mut _) as u64 }
    }
}

/// A `struct sock` of TCP.
#[derive(Clone, Copy)]
pub struct Socket<A = Probed>(pub u64, PhantomData<A>);

impl Socket {
    /// The socket at an address that came from anywhere.
    #[inline(always)]
    pub fn at(address: u64) -> Self {
        Self(address, PhantomData)
    }
}

impl<A: Access> Socket<A> {
    /// The socket that a program was given, known to be one of TCP.
    #[inline(always)]
    pub fn given(address: u64) -> Self {
        Self(address, PhantomData)
    }

    /// The socket at this address, if it is one of TCP over IPv4 or IPv6.
    #[inline(always)]
    pub fn tcp(address: u64) -> Option<Self> {
        let family: u16 = A::get(address, offset!(sock_family));
        let protocol: u16 = A::get(address, offset!(sock_protocol));
        ((family == AF_INET || family == AF_INET6) && protocol == IPPROTO_TCP).then_some(Self(address, PhantomData))
    }

    /// Whether it is one of UDP; TCP's are known by [`crate::maps::CONNECTIONS`].
    #[inline(always)]
    pub fn is_udp(self) -> bool {
        read::<u16>(self.0, offset!(sock_protocol)) == IPPROTO_UDP
    }

    #[inline(always)]
    pub fn state(self) -> u8 {
        A::get(self.0, offset!(sock_state))
    }

    /// Inode of the cgroup that the socket was made in; children of a listener inherit its.
    #[inline(always)]
    pub fn cgroup_id(self) -> u64 {
        let cgroup: u64 = A::get(self.0, offset!(sock_cgroup));
        if offset!(cgroup_is_typed) != 0 {
            let node: u64 = A::get(cgroup, offset!(cgroup_kn));
            return A::get(node, offset!(kernfs_node_id));
        }
        // Before 5.16 the cgroup is a number to the verifier, so what follows is read by the helper.
        let node: u64 = read(cgroup, offset!(cgroup_kn));
        read(node, offset!(kernfs_node_id))
    }

    #[inline(always)]
    pub fn netns(self) -> u32 {
        let net: u64 = A::get(self.0, offset!(sock_net));
        A::get(net, offset!(net_inum))
    }

    #[inline(always)]
    pub fn local_port(self) -> u16 {
        A::get(self.0, offset!(sock_num))
    }

    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        u16::from_be(A::get(self.0, offset!(sock_dport)))
    }

    #[inline(always)]
    pub fn local_address(self) -> [u8; 16] {
        self.address(offset!(sock_rcv_saddr), offset!(sock_v6_rcv_saddr))
    }

    #[inline(always)]
    pub fn remote_address(self) -> [u8; 16] {
        self.address(offset!(sock_daddr), offset!(sock_v6_daddr))
    }

    /// IPv4 addresses become IPv4-mapped, as dual-stack sockets have them, so that the two ends of a
    /// connection look the same whatever kind of socket each of them is. "Any" stays all zero.
    #[inline(always)]
    fn address(self, v4: u32, v6: u32) -> [u8; 16] {
        let words = if A::get::<u16>(self.0, offset!(sock_family)) == AF_INET6 {
            [0, 4, 8, 12].map(|place| A::get::<u32>(self.0, v6 + place))
        } else {
            match A::get::<u32>(self.0, v4) {
                0 => [0; 4],
                address => [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), address],
            }
        };
        let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = words.map(u32::to_ne_bytes);
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    #[inline(always)]
    pub fn error(self) -> u32 {
        A::get(self.0, offset!(sock_err))
    }

    /// Its own fields of TCP.
    #[inline(always)]
    pub fn numbers(self) -> Numbers<A> {
        Numbers { socket: self.0, tcp: A::tcp_sock(self.0), access: PhantomData }
    }

    #[inline(always)]
    pub fn write_sequence(self) -> u32 {
        self.numbers().write_sequence()
    }

    #[inline(always)]
    pub fn receive_sequence(self) -> u32 {
        self.numbers().get(offset!(tcp_rcv_nxt))
    }

    /// Sequence number of the next byte that the program reads; a FIN that was read counts as one.
    #[inline(always)]
    pub fn copied_sequence(self) -> u32 {
        self.numbers().get(offset!(tcp_copied_seq))
    }

    /// Whether a call moved the first `length` bytes of its connection.
    #[inline(always)]
    pub fn is_first(self, is_server: bool, is_outgoing: bool, length: u32) -> bool {
        let (written, read) = self.numbers().moved_bytes(!is_server);
        let (own, other) = if is_outgoing { (written, read) } else { (read, written) };
        own == length as u64 && other == 0
    }

    /// Sequence number of the next byte that the program writes.
    #[inline(always)]
    pub fn written_sequence(self) -> u32 {
        // A FIN takes a number of its own.
        let is_open = matches!(self.state(), tcp_state::ESTABLISHED | tcp_state::CLOSE_WAIT);
        self.write_sequence().wrapping_sub(!is_open as u32)
    }

    /// Sequence number of the next byte that the program reads.
    #[inline(always)]
    pub fn read_sequence(self) -> u32 {
        let numbers = self.numbers();
        let copied: u32 = numbers.get(offset!(tcp_copied_seq));
        // A FIN behind the last byte is read with it.
        let is_at_end = numbers.has_fin() && copied == numbers.get::<u32>(offset!(tcp_rcv_nxt));
        copied.wrapping_sub(is_at_end as u32)
    }
}

/// The `struct tcp_sock` of a socket.
#[derive(Clone, Copy)]
pub struct Numbers<A> {
    socket: u64,
    tcp: u64,
    access: PhantomData<A>,
}

impl<A: Access> Numbers<A> {
    #[inline(always)]
    fn get<T: Default + Copy>(self, offset: u32) -> T {
        if self.tcp == 0 { T::default() } else { A::get(self.tcp, offset) }
    }

    /// Own port, also while the connection ends, when [`Socket::local_port`] is given up already.
    #[inline(always)]
    pub fn port_it_had(self) -> u16 {
        u16::from_be(self.get(offset!(sock_sport)))
    }

    /// Smoothed round-trip time; `srtt_us` holds eight times that (`include/linux/tcp.h`).
    #[inline(always)]
    pub fn srtt_us(self) -> u32 {
        self.get::<u32>(offset!(tcp_srtt_us)) >> 3
    }

    /// When the packet came that is being looked at (`tcp_mstamp_refresh()`, which `tcp_rcv_state_process()` begins with),
    /// `CLOCK_MONOTONIC`. The kernel has read the clock for it already, which takes as long as finding a connection.
    #[inline(always)]
    pub fn packet_ns(self) -> u64 {
        match self.get(offset!(tcp_clock)) {
            0 => now_ns(),
            known => known,
        }
    }

    #[inline(always)]
    pub fn retransmits(self) -> u32 {
        self.get(offset!(tcp_total_retrans))
    }

    #[inline(always)]
    fn write_sequence(self) -> u32 {
        self.get(offset!(tcp_write_seq))
    }

    /// Payload bytes that the peer acknowledged. `bytes_acked` (RFC 4898 tcpEStatsAppHCThruOctetsAcked)
    /// counts a client's SYN and an acknowledged FIN as one byte each.
    #[inline(always)]
    pub fn sent_bytes(self, is_client: bool, state: u8) -> u64 {
        let acked: u64 = self.get(offset!(tcp_bytes_acked));
        let may_have_acked_fin = matches!(state, tcp_state::FIN_WAIT2 | tcp_state::CLOSING | tcp_state::LAST_ACK);
        let fin = may_have_acked_fin && self.get::<u32>(offset!(tcp_snd_una)) == self.write_sequence();
        acked.saturating_sub(is_client as u64 + fin as u64)
    }

    /// Bytes that the program wrote and read so far; of a connection that is not closing.
    #[inline(always)]
    pub fn moved_bytes(self, is_client: bool) -> (u64, u64) {
        let unacknowledged = self.write_sequence().wrapping_sub(self.get::<u32>(offset!(tcp_snd_una)));
        let unread = self.get::<u32>(offset!(tcp_rcv_nxt)).wrapping_sub(self.get::<u32>(offset!(tcp_copied_seq)));
        let acknowledged = self.get::<u64>(offset!(tcp_bytes_acked)).wrapping_sub(is_client as u64);
        let received: u64 = self.get(offset!(tcp_bytes_received));
        (acknowledged.wrapping_add(unacknowledged as u64), received.wrapping_sub(unread as u64))
    }

    /// Payload bytes received in order. `bytes_received` counts the peer's FIN as one byte.
    #[inline(always)]
    pub fn received_bytes(self) -> u64 {
        self.get::<u64>(offset!(tcp_bytes_received)).saturating_sub(self.has_fin() as u64)
    }

    /// Whether the peer's FIN came.
    #[inline(always)]
    pub fn has_fin(self) -> bool {
        A::get::<u64>(self.socket, offset!(sock_flags)) & SOCK_DONE != 0
    }
}
