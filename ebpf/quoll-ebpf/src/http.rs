//! HTTP/1.1 requests on plain-text sockets, from the exits of reading and writing system calls.
//!
//! **Why this shape.** One hook, `sys_exit`, sees everything: at the exit the registers still hold
//! the call's arguments, the buffer holds the message in both directions, and the return value says
//! how much of it counts. No state is carried from an enter to an exit, and half the hooks are not
//! there. The order of checks makes the common case the cheap one: a system call that neither reads
//! nor writes costs one load and a comparison; one that moves other bytes than HTTP costs one copy of
//! 12 bytes; only a message that begins like HTTP pays for finding its socket.
//!
//! The socket is found by walking `current->files` to the descriptor's `struct socket`, not from a
//! map of descriptors that would have to follow accept, dup, fork, passing and close, and would not
//! know what was open before. It counts only if it is a connection that we follow.
//!
//! A request is timed on each end by its own messages: from its first bytes written (client) or read
//! (server) to the first bytes of the response. Durations go straight into a histogram held by the
//! connection, so nothing is emitted per request; user space reads the histograms with the live
//! connections and gets the rest with the record of the end.
//!
//! Not seen: io_uring, sendfile and splice of a message's head, sendmmsg and recvmmsg, 32-bit
//! programs, a head whose first 12 bytes are spread over several calls or vectors. Of pipelined
//! requests only the last of each batch is timed. A request that got no bytes back at all before its
//! connection ended is counted in the class `none`; one that got bytes we did not recognise is not.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_user};
use quoll_ebpf_abi::http::{BUCKETS, CLASS_NONE, CLASSES, HEAD_BYTES, Head, bucket, classify};
use quoll_ebpf_abi::{Connection, FLAG_REQUEST_OUTGOING, HttpStats, LOST_HTTP};

use crate::connections::now_ns;
use crate::kernel::{Socket, offset, read};
use crate::maps::{CONNECTIONS, HTTP, count_loss};

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
    pub const NUMBER: u32 = 120;
    pub const ARGUMENT_0: u32 = 112;
    pub const ARGUMENT_1: u32 = 104;
    pub const ARGUMENT_2: u32 = 96;
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
    pub const NUMBER: u32 = 280;
    pub const ARGUMENT_0: u32 = 272;
    pub const ARGUMENT_1: u32 = 8;
    pub const ARGUMENT_2: u32 = 16;
}

/// Where a call's bytes are.
enum Buffer {
    Plain,
    Vectors,
    Message,
}

/// Empty vectors that may precede the one that holds the head.
const MAX_VECTORS: usize = 4;

/// Requests of a socket that had none so far.
static NO_REQUESTS: HttpStats = HttpStats { sum_ns: [0; CLASSES], counts: [[0; BUCKETS]; CLASSES] };

#[inline(always)]
pub fn on_syscall_exit(registers: u64, result: i64) {
    if result < HEAD_BYTES as i64 {
        return;
    }
    // System call numbers are 32 bits wide on aarch64.
    let number = read::<u32>(registers, abi::NUMBER) as u64;
    let (outgoing, buffer) = match number {
        abi::READ | abi::RECVFROM => (false, Buffer::Plain),
        abi::WRITE | abi::SENDTO => (true, Buffer::Plain),
        abi::READV => (false, Buffer::Vectors),
        abi::WRITEV => (true, Buffer::Vectors),
        abi::RECVMSG => (false, Buffer::Message),
        abi::SENDMSG => (true, Buffer::Message),
        _ => return,
    };
    let argument: u64 = read(registers, abi::ARGUMENT_1);
    let start = match buffer {
        Buffer::Plain => argument,
        Buffer::Vectors => first_bytes(argument, read(registers, abi::ARGUMENT_2)),
        Buffer::Message => {
            // `struct user_msghdr`: msg_iov at 16, msg_iovlen at 24.
            let [vectors, count] = read_user::<[u64; 2]>(argument + 16).unwrap_or_default();
            first_bytes(vectors, count)
        }
    };
    if start == 0 {
        return;
    }
    let Some(head) = read_user::<[u8; HEAD_BYTES]>(start) else { return };
    let head = classify(&head);
    if matches!(head, Head::Other) {
        return;
    }
    let descriptor = read::<u32>(registers, abi::ARGUMENT_0);
    let socket = socket_of(descriptor);
    if socket != 0 {
        on_message(Socket::at(socket), outgoing, head);
    }
}

/// Reads from the current process.
#[inline(always)]
fn read_user<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// Address of the first vector that is not empty, if the head fits into it; else 0.
#[inline(always)]
fn first_bytes(vectors: u64, count: u64) -> u64 {
    for index in 0..MAX_VECTORS as u64 {
        if index >= count {
            return 0;
        }
        // `struct iovec`: base, length.
        let Some([base, length]) = read_user::<[u64; 2]>(vectors + index * 16) else { return 0 };
        if length >= HEAD_BYTES as u64 {
            return base;
        }
        if length != 0 {
            return 0;
        }
    }
    0
}

/// Address of the `struct sock` behind a descriptor of the current process, or 0. For a descriptor
/// of anything but a socket it is some other address, which is then in no map; `file` pointing back
/// makes sure.
#[inline(always)]
fn socket_of(descriptor: u32) -> u64 {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = read(task, offset!(task_files));
    let table: u64 = read(files, offset!(files_fdt));
    if descriptor >= read::<u32>(table, offset!(fdtable_max_fds)) {
        return 0;
    }
    let slots: u64 = read(table, offset!(fdtable_fd));
    let file: u64 = read(slots + descriptor as u64 * 8, 0);
    let socket: u64 = read(file, offset!(file_private_data));
    if file == 0 || socket == 0 || read::<u64>(socket, offset!(socket_file)) != file {
        return 0;
    }
    read(socket, offset!(socket_sk))
}

#[inline(always)]
fn on_message(socket: Socket, outgoing: bool, head: Head) {
    let Some(connection) = CONNECTIONS.get_ptr_mut(&socket.0) else { return };
    // SAFETY: the entry stays valid while this program runs; the request fields are written only
    // by the process that holds the socket, and a race between its own threads spoils one duration.
    let connection = unsafe { &mut *connection };
    match head {
        Head::Request => {
            connection.request_mark = answer_sequence(socket, outgoing);
            if outgoing {
                connection.flags |= FLAG_REQUEST_OUTGOING;
            } else {
                connection.flags &= !FLAG_REQUEST_OUTGOING;
            }
            connection.request_ns = now_ns();
        }
        Head::Response(class) => {
            let request_was_outgoing = connection.flags & FLAG_REQUEST_OUTGOING != 0;
            if connection.request_ns != 0 && request_was_outgoing != outgoing {
                observe(socket, class, now_ns() - connection.request_ns);
                connection.request_ns = 0;
            }
        }
        Head::Switching => connection.request_ns = 0,
        Head::Other => {}
    }
}

/// Sequence number in the direction that the answer to a request takes.
#[inline(always)]
fn answer_sequence(socket: Socket, request_is_outgoing: bool) -> u32 {
    if request_is_outgoing { socket.receive_sequence() } else { socket.write_sequence() }
}

/// Counts a request that was in flight when its connection ended, if not one byte came back; the
/// FIN takes a sequence number of its own.
#[inline(always)]
pub fn on_end(socket: Socket, connection: &Connection) {
    if connection.request_ns == 0 {
        return;
    }
    let outgoing = connection.flags & FLAG_REQUEST_OUTGOING != 0;
    if answer_sequence(socket, outgoing).wrapping_sub(connection.request_mark) > 1 {
        return;
    }
    let end = if connection.closing_ns != 0 { connection.closing_ns } else { now_ns() };
    observe(socket, CLASS_NONE, end.saturating_sub(connection.request_ns));
}

#[inline(always)]
fn observe(socket: Socket, class: u8, duration_ns: u64) {
    let mut stats = HTTP.get_ptr_mut(&socket.0);
    if stats.is_none() {
        if HTTP.insert(&socket.0, &NO_REQUESTS, 0).is_err() {
            count_loss(LOST_HTTP);
            return;
        }
        stats = HTTP.get_ptr_mut(&socket.0);
    }
    let Some(stats) = stats else { return };
    // The compiler knows that a class is in range and would leave the check out; the verifier does
    // not, and needs it.
    let class = core::hint::black_box(class as usize);
    let bucket = core::hint::black_box(bucket(duration_ns));
    if class >= CLASSES || bucket >= BUCKETS {
        return;
    }
    // SAFETY: the entry stays valid while this program runs; requests of one connection follow one
    // another; the indexes are checked above.
    unsafe {
        *(&raw mut (*stats).sum_ns).cast::<u64>().add(class) += duration_ns;
        *(&raw mut (*stats).counts).cast::<u32>().add(class * BUCKETS + bucket) += 1;
    }
}
