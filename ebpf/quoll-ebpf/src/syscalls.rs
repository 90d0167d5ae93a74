//! Bytes that programs read from and wrote to sockets, from the exits of system calls.
//!
//! **Why this shape.** One hook, `sys_exit`, sees everything: at the exit the registers still hold
//! the call's arguments, the buffer holds the message in both directions, and the return value says
//! how much of it counts. No state is carried from an enter to an exit, and half the hooks are not
//! there. The order of checks makes the common case the cheap one: a system call that neither reads
//! nor writes costs one load and a comparison; one that moves bytes which look like nothing costs one
//! copy of 16 bytes; only one that may begin a message, or that a process made which speaks a protocol of
//! many small messages, pays for finding its socket.
//!
//! The socket is found by walking `current->files` to the descriptor's `struct socket`, not from a
//! map of descriptors that would have to follow accept, dup, fork, passing and close, and would not
//! know what was open before. It counts only if it is a connection that we follow.
//!
//! Not seen: io_uring, 32-bit programs, messages whose first bytes go out by sendfile or splice (of
//! those, heads come from a buffer in practice), and, but for DNS, sendmmsg and recvmmsg. What is only
//! peeked at is not counted.

use aya_ebpf::helpers::generated::bpf_probe_read_user as probe_read_user;
use core::hint::black_box;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_user};
use quoll_ebpf_abi::RequestStats;
use quoll_ebpf_abi::protocols::dns::message;
use quoll_ebpf_abi::protocols::http1::scan::WINDOW_BYTES;
use quoll_ebpf_abi::protocols::http2::Http2Piece;
use quoll_ebpf_abi::protocols::{Bytes, HEADER, Protocol, Protocols, may_begin, method};
use quoll_ebpf_abi::tls::is_record;

use crate::kernel::{Access, Socket, offset, read};
use crate::maps::{FOLLOWED, FOLLOWED_SLOTS, SCRATCH, Scratch};
use crate::protocols::{self, dns, http2, observe};
use crate::tls;

/// Patched by user space before loading: what is looked at. The verifier leaves out the rest.
#[unsafe(no_mangle)]
static PROTOCOLS: Protocols = Protocols { bits: 0, follows: 0, by_method: 0 };

/// Numbers of the system calls (`asm/unistd_64.h`) and where `struct pt_regs` keeps their arguments
/// at the exit; both are part of the kernel's ABI.
#[cfg(bpf_target_arch = "x86_64")]
mod abi {
    pub const READ: u64 = 0;
    pub const WRITE: u64 = 1;
    pub const READV: u64 = 19;
    pub const WRITEV: u64 = 20;
    pub const SENDTO: u64 = 44;
    pub const RECVFROM: u64 = 45;
    pub const SENDMSG: u64 = 46;
    pub const RECVMSG: u64 = 47;
    pub const RECVMMSG: u64 = 299;
    pub const SENDMMSG: u64 = 307;
    pub const NUMBER: u32 = 120;
    pub const ARGUMENTS: [u32; 5] = [112, 104, 96, 56, 72];
}

/// As above, for `asm-generic/unistd.h`; `orig_x0` and `syscallno` follow `struct user_pt_regs`.
#[cfg(bpf_target_arch = "aarch64")]
mod abi {
    pub const READ: u64 = 63;
    pub const WRITE: u64 = 64;
    pub const READV: u64 = 65;
    pub const WRITEV: u64 = 66;
    pub const SENDTO: u64 = 206;
    pub const RECVFROM: u64 = 207;
    pub const SENDMSG: u64 = 211;
    pub const RECVMSG: u64 = 212;
    pub const RECVMMSG: u64 = 243;
    pub const SENDMMSG: u64 = 269;
    pub const NUMBER: u32 = 280;
    pub const ARGUMENTS: [u32; 5] = [272, 8, 16, 24, 32];
}

/// Where a call's bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Plain,
    Addressed,
    Vectors,
    Message,
    Messages,
}

/// `MSG_PEEK` and `MSG_ERRQUEUE`, `include/linux/socket.h`.
const NOT_TAKEN: u32 = 0x2 | 0x2000;

/// Pieces that the first bytes of a call may be spread over.
const MAX_PIECES: u32 = 6;

/// Messages of one sendmmsg or recvmmsg that are looked at; resolvers send two.
const MAX_MESSAGES: u64 = 2;
/// `struct mmsghdr`: a `struct user_msghdr` and how many bytes it moved.
const MMSGHDR_BYTES: u64 = 64;
const MSG_LEN: u64 = 56;

/// What is looked at.
#[inline(always)]
pub fn protocols() -> Protocols {
    // SAFETY: the static is initialised; the read is volatile since user space patches it.
    unsafe { core::ptr::read_volatile(&raw const PROTOCOLS) }
}

#[inline(always)]
pub fn on_syscall_exit<A: Access>(registers: u64, result: i64) {
    if result <= 0 {
        return;
    }
    // System call numbers are 32 bits wide on aarch64.
    let number = A::get::<u32>(registers, abi::NUMBER) as u64;
    let (outgoing, shape) = match number {
        abi::READ => (false, Shape::Plain),
        abi::WRITE => (true, Shape::Plain),
        abi::RECVFROM => (false, Shape::Addressed),
        abi::SENDTO => (true, Shape::Addressed),
        abi::READV => (false, Shape::Vectors),
        abi::WRITEV => (true, Shape::Vectors),
        abi::RECVMSG => (false, Shape::Message),
        abi::SENDMSG => (true, Shape::Message),
        abi::RECVMMSG => (false, Shape::Messages),
        abi::SENDMMSG => (true, Shape::Messages),
        _ => return,
    };
    let descriptor = A::get::<u64>(registers, abi::ARGUMENTS[0]) as u32;
    let buffer: u64 = A::get(registers, abi::ARGUMENTS[1]);
    let length = result as u32;
    let (data, address) = match shape {
        Shape::Plain => (Data::plain(buffer, length), 0),
        Shape::Addressed => (Data::plain(buffer, length), A::get(registers, abi::ARGUMENTS[4])),
        Shape::Vectors => (Data::vectors(buffer, A::get::<u64>(registers, abi::ARGUMENTS[2]) as u32, length), 0),
        Shape::Message => Data::message(buffer, length),
        Shape::Messages => return on_messages(descriptor, outgoing, buffer, length),
    };
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: the slot is this CPU's own, and programs are not preempted by themselves.
    let Scratch { head, memory, data: kept } = unsafe { &mut *scratch };
    // From here on the verifier knows nothing of the numbers, and sees one call instead of one per shape.
    *kept = black_box(data);
    let data = kept;
    data.head(head);
    let Some(head) = head.first_chunk::<HEADER>() else { return };
    if is_record(head, length) {
        tls::on_record(descriptor, length, head);
    }
    if !may_begin(protocols(), head, length) && !is_followed() {
        return;
    }
    let flags = match (shape, outgoing) {
        (Shape::Addressed, false) => A::get::<u64>(registers, abi::ARGUMENTS[3]) as u32,
        (Shape::Message, false) => A::get::<u64>(registers, abi::ARGUMENTS[2]) as u32,
        _ => 0,
    };
    if flags & NOT_TAKEN != 0 {
        return;
    }
    let Some(socket) = socket_of(descriptor) else { return };
    if protocols().has(Protocol::Dns)
        && let Some(message) = message(head, length)
        && socket.is_udp()
    {
        return dns::on_datagram(socket, outgoing, message, address);
    }
    if tls::carries(socket) {
        return;
    }
    protocols::on_call(socket, outgoing, false, length, head, data, memory);
}

/// The datagrams of one sendmmsg or recvmmsg; with these, resolvers ask for both families at once.
#[inline(always)]
fn on_messages(descriptor: u32, outgoing: bool, vector: u64, count: u32) {
    if !protocols().has(Protocol::Dns) {
        return;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    let head = unsafe { &mut (*scratch).head };
    for index in 0..MAX_MESSAGES {
        if index >= count as u64 {
            return;
        }
        let header = vector + index * MMSGHDR_BYTES;
        let length = read_user::<u32>(header + MSG_LEN).unwrap_or_default();
        let (data, address) = Data::message(header, length);
        data.head(head);
        let Some(head) = head.first_chunk::<HEADER>() else { return };
        let Some(message) = message(head, length) else { return };
        let Some(socket) = socket_of(descriptor).filter(|socket| socket.is_udp()) else { return };
        dns::on_datagram(socket, outgoing, message, address);
    }
}

/// Reads from the current process.
#[inline(always)]
pub fn read_user<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// The bytes of one call, where they are in the current process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Data {
    /// Of the current piece.
    base: u64,
    left: u32,
    /// Behind the current piece.
    beyond: u32,
    vectors: u64,
    vectors_left: u32,
    /// Behind the last byte, where all are in one piece.
    end: u64,
    /// The connection: its socket, and when it began, where user space has to tell it from others.
    pub connection: [u64; 2],
}

impl Data {
    /// Nothing.
    pub const NONE: Self =
        Self { base: 0, left: 0, beyond: 0, vectors: 0, vectors_left: 0, end: 0, connection: [0; 2] };

    /// All in one piece.
    #[inline(always)]
    pub fn plain(base: u64, length: u32) -> Self {
        Self {
            base,
            left: length,
            beyond: 0,
            vectors: 0,
            vectors_left: 0,
            end: base + length as u64,
            connection: [0; 2],
        }
    }

    /// By an array of `struct iovec`.
    #[inline(always)]
    fn vectors(vectors: u64, count: u32, length: u32) -> Self {
        Self { base: 0, left: 0, beyond: length, vectors, vectors_left: count, end: 0, connection: [0; 2] }
    }

    /// By a `struct user_msghdr`: msg_name at 0, msg_iov at 16, msg_iovlen at 24. With the address of the
    /// peer's address.
    #[inline(always)]
    fn message(header: u64, length: u32) -> (Self, u64) {
        let [name, _, vectors, count] = read_user::<[u64; 4]>(header).unwrap_or_default();
        (Self::vectors(vectors, count as u32, length), name)
    }

    /// Copies the first bytes; zero beyond them.
    #[inline(always)]
    pub fn head(self, into: &mut [u8; 2 * HEADER]) {
        if self.left >= HEADER as u32 {
            // SAFETY: there is room for as much, and the helper checks the other address; it leaves zeroes at a bad one.
            unsafe { probe_read_user(into.as_mut_ptr().cast(), HEADER as u32, self.base as *const _) };
            return;
        }
        *into = [0; 2 * HEADER];
        let mut copy = self;
        let mut data = &mut copy;
        let mut filled = 0;
        for _ in 0..MAX_PIECES {
            if filled >= HEADER as u32 {
                return;
            }
            if data.left == 0 {
                if !data.next() {
                    return;
                }
                continue;
            }
            let count = data.left.min(HEADER as u32 - filled);
            let Some(to) = into.get_mut(black_box(filled as usize)..) else { return };
            if !data.read(count, to) {
                return;
            }
            data.advance(count);
            filled += count;
        }
    }
}

impl Bytes for &mut Data {
    #[inline(always)]
    fn left(&self) -> u32 {
        self.left
    }

    #[inline(always)]
    fn read(&mut self, count: u32, into: &mut [u8]) -> bool {
        // The verifier wants to see the bounds where they are used.
        let count = black_box(count);
        if count == 0 || count > HEADER as u32 {
            return false;
        }
        // SAFETY: `into` has room: at least 16 bytes beyond any offset below 16 of twice as many; the helper
        // checks the other address and fails on a bad one.
        unsafe { probe_read_user(into.as_mut_ptr().cast(), count, self.base as *const _) == 0 }
    }

    #[inline(always)]
    fn fill(&mut self, count: u32, into: &mut [u64; WINDOW_BYTES as usize / 8]) -> bool {
        // As above.
        let count = black_box(count);
        if count == 0 || count > WINDOW_BYTES {
            return false;
        }
        // SAFETY: `into` has room for so many; the helper checks the other address and fails on a bad one.
        unsafe { probe_read_user(into.as_mut_ptr().cast(), count, self.base as *const _) == 0 }
    }

    #[inline(always)]
    fn advance(&mut self, count: u32) {
        self.base += count as u64;
        self.left -= count;
    }

    #[inline(always)]
    fn next(&mut self) -> bool {
        if self.beyond == 0 || self.vectors_left == 0 {
            return false;
        }
        // `struct iovec`: base, length.
        let Some([base, length]) = read_user::<[u64; 2]>(self.vectors) else { return false };
        self.base = base;
        self.left = if length < self.beyond as u64 { length as u32 } else { self.beyond };
        self.beyond -= self.left;
        self.vectors += 16;
        self.vectors_left -= 1;
        true
    }

    #[inline(always)]
    fn tail(&self) -> [u8; 8] {
        if self.end == 0 {
            return [0; 8];
        }
        read_user(self.end - 8).unwrap_or_default()
    }

    #[inline(always)]
    fn observe(&self, stats: &mut RequestStats, method: u8, class: u8, duration_ns: u64) {
        if !observe(stats, method, class, duration_ns, self.connection[0]) {
            stats.without_cell += 1;
        }
    }

    #[inline(always)]
    fn remembered(&self, method: u8) -> u8 {
        if protocols().by_method != 0 || method::matters(method) { method } else { method::OTHER }
    }

    #[inline(always)]
    fn send(&mut self, piece: &Http2Piece, header: &[u8; HEADER]) -> bool {
        let [socket, start_ns] = self.connection;
        http2::send(&Http2Piece { socket, start_ns, ..*piece }, header, self.base)
    }
}

#[inline(always)]
fn process_slot() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32 % FOLLOWED_SLOTS
}

/// Whether the current process has a connection none of whose calls may be missed (or shares its slot with
/// one that has).
#[inline(always)]
fn is_followed() -> bool {
    // SAFETY: the pointer is to a value of the array.
    FOLLOWED.get_ptr(process_slot()).is_some_and(|slot| unsafe { *slot } != 0)
}

/// From now on, the current process has.
#[inline(always)]
pub fn follow() {
    if let Some(slot) = FOLLOWED.get_ptr_mut(process_slot()) {
        // SAFETY: as above; all write the same.
        unsafe { *slot = 1 }
    }
}

/// The `struct sock` behind a descriptor of the current process. For a descriptor of anything but a socket it
/// would be some other address; `file` pointing back makes sure.
#[inline(always)]
pub fn socket_of(descriptor: u32) -> Option<Socket> {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = read(task, offset!(task_files));
    let table: u64 = read(files, offset!(files_fdt));
    if descriptor >= read::<u32>(table, offset!(fdtable_max_fds)) {
        return None;
    }
    let slots: u64 = read(table, offset!(fdtable_fd));
    let file: u64 = read(slots + descriptor as u64 * 8, 0);
    let socket: u64 = read(file, offset!(file_private_data));
    if file == 0 || socket == 0 || read::<u64>(socket, offset!(socket_file)) != file {
        return None;
    }
    let sock: u64 = read(socket, offset!(socket_sk));
    (sock != 0).then_some(Socket::at(sock))
}
