//! Iterators: what is open now, across all network namespaces, without entering any of them.
//!
//! `live_connections` and `live_listeners` walk our own maps and read each socket's counters from
//! kernel memory; user space gets them all with a few reads. Sockets come from slab memory that stays
//! mapped and of its type (`SLAB_TYPESAFE_BY_RCU`), so a socket that is freed meanwhile yields at worst
//! numbers of its successor, and its entry is gone by then.
//!
//! `open_sockets` walks the descriptors of all processes once, at start, for the connections and
//! listeners that were there before us.
//!
//! aya has no macro for iterators: the section names are what its loader looks for. The contexts are
//! the kernel's `struct bpf_iter__bpf_map_elem` and `struct bpf_iter__task_file`.

use core::ffi::c_void;

use aya_ebpf::bindings::seq_file;
use aya_ebpf::helpers::generated::bpf_seq_write;
use quoll_ebpf_abi::{
    Connection, ConnectionRecord, FLAG_LISTENED, FLAG_PREEXISTING, LOST_CONNECTIONS, Listener, ListenerRecord,
    RECORD_LIVE, shown_mark, tcp_state,
};

use crate::connections::{EEXIST, End, ONLY_NEW, established, fill, now_ns, remember_listener, retire};
use crate::kernel::{Probed, Socket, offset, read};
use crate::maps::{CONNECTIONS, LISTENED, LOOK_AT_ALL, count_loss};
use crate::protocols;

/// `struct bpf_iter_meta`
#[repr(C)]
pub struct Meta {
    seq: *mut seq_file,
}

/// `struct bpf_iter__bpf_map_elem`
#[repr(C)]
pub struct MapElement {
    meta: *const Meta,
    map: *const c_void,
    key: *const u64,
    value: *const c_void,
}

/// `struct bpf_iter__task_file`
#[repr(C)]
pub struct TaskFile {
    meta: *const Meta,
    task: *const c_void,
    descriptor: u64,
    file: *const c_void,
}

/// File type bits of an inode's mode, and the one of sockets (`include/uapi/linux/stat.h`).
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

#[inline(always)]
fn write<T>(seq: *mut seq_file, value: *const T) -> bool {
    // SAFETY: `value` points to a whole `T` on the stack or in a map. A full buffer makes the kernel
    // take back what this call wrote, and call again with an empty one.
    unsafe { bpf_seq_write(seq, value.cast_mut().cast(), size_of::<T>() as u32) == 0 }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
pub extern "C" fn live_connections(ctx: *mut MapElement) -> i32 {
    // SAFETY: the kernel passes a valid context; key and value are null in the closing call only.
    let (key, value, seq) = unsafe { ((*ctx).key, (*ctx).value.cast::<Connection>().cast_mut(), (*(*ctx).meta).seq) };
    if key.is_null() || value.is_null() {
        return 0;
    }
    // SAFETY: both are checked, and the kernel checked their sizes when the iterator was attached.
    let (socket, connection) = unsafe { (Socket::at(*key), &mut *value) };
    let now_ns = now_ns();
    if connection.is_over != 0 {
        if now_ns.saturating_sub(connection.closing_ns) > SETTLED_NS {
            let _ = CONNECTIONS.remove(&socket.0);
        }
        return 0;
    }
    let state = socket.state();
    if state == tcp_state::SYN_SENT {
        return 0;
    }
    if !is_still_there(socket, state, connection) {
        if now_ns.saturating_sub(connection.start_ns) > SETTLED_NS {
            retire(socket.0, connection.start_ns);
        }
        return 0;
    }
    let as_it_is = End { numbers: Some(socket.numbers()), now_ns, error: 0, state };
    let mut record = ConnectionRecord::default();
    let counted = protocols::counted(socket);
    fill(&mut record, socket.0, connection, as_it_is, counted.is_some());
    record.ended = RECORD_LIVE;
    let (stats, counted) = counted.map_or((None, 0), |(stats, mark)| (Some(stats), mark));
    let mark = shown_mark(record.sent_bytes, record.received_bytes, record.retransmits, counted);
    // SAFETY: the address of the array's only value.
    let at_all = LOOK_AT_ALL.get_ptr(0).is_none_or(|all| unsafe { *all } != 0);
    if !at_all && connection.shown == mark {
        return 0;
    }
    record.has_moved = (connection.shown != mark) as u8;
    // SAFETY: the entry that the counts are in stays valid while this program runs. What is counted meanwhile was not
    // told.
    let observed = stats.map_or(0, |stats| unsafe { (*stats).observed() });
    if write(seq, &raw const record) && stats.is_none_or(|stats| write(seq, stats.cast_const())) {
        connection.shown = mark;
        if let Some(stats) = stats {
            // SAFETY: as above.
            unsafe { (*stats).tell(observed) }
        }
    }
    0
}

/// After so long, a transition that is under way has come through, and memory that waits for its next connection has
/// waited in vain.
const SETTLED_NS: u64 = 1_000_000_000;

/// Whether a socket's memory still holds the connection that was remembered. An end may have gone unseen, see
/// [`retire`], and the memory may be used for another connection already.
#[inline(always)]
fn is_still_there(socket: Socket, state: u8, connection: &Connection) -> bool {
    let is_over = matches!(state, tcp_state::TIME_WAIT | tcp_state::CLOSE | tcp_state::LISTEN);
    !is_over && socket.remote_port() == connection.remote_port && socket.remote_address() == connection.remote_address
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
pub extern "C" fn live_listeners(ctx: *mut MapElement) -> i32 {
    // SAFETY: as above.
    let (key, value, seq) = unsafe { ((*ctx).key, (*ctx).value.cast::<Listener>(), (*(*ctx).meta).seq) };
    if key.is_null() || value.is_null() {
        return 0;
    }
    // SAFETY: as above.
    let (socket, listener) = unsafe { (Socket::at(*key), *value) };
    let record = ListenerRecord {
        socket: socket.0,
        listener,
        address: socket.local_address(),
        queue_length: read(socket.0, offset!(sock_ack_backlog)),
        queue_limit: read(socket.0, offset!(sock_max_ack_backlog)),
        drops: read(socket.0, offset!(sock_drops)),
        port: socket.local_port(),
        reserved: 0,
    };
    write(seq, &raw const record);
    0
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn open_sockets(ctx: *mut TaskFile) -> i32 {
    // SAFETY: the kernel passes a valid context; task and file are null in the closing call only.
    let (task, file) = unsafe { ((*ctx).task as u64, (*ctx).file as u64) };
    if task == 0 || file == 0 {
        return 0;
    }
    let inode: u64 = read(file, offset!(file_inode));
    if read::<u16>(inode, offset!(inode_mode)) & S_IFMT != S_IFSOCK {
        return 0;
    }
    let socket: u64 = read(file, offset!(file_private_data));
    let Some(socket) = Socket::<Probed>::tcp(read(socket, offset!(socket_sk))) else { return 0 };
    let process: u32 = read(task, offset!(task_tgid));
    match socket.state() {
        tcp_state::LISTEN => remember_listener(socket, process),
        tcp_state::ESTABLISHED | tcp_state::FIN_WAIT1 | tcp_state::FIN_WAIT2 | tcp_state::CLOSE_WAIT => {
            let known = established(socket);
            // The walk is made twice; now all listeners are known.
            if LISTENED.get_ptr(&[known.netns, known.local_port as u32]).is_some()
                && let Some(connection) = crate::connections::known(socket.0)
            {
                connection.flags |= FLAG_LISTENED;
                return 0;
            }
            let connection = Connection { process, flags: FLAG_PREEXISTING, ..known };
            // Else it was made after we attached, or in the first walk, and is followed already.
            if let Err(error) = CONNECTIONS.insert(&socket.0, &connection, ONLY_NEW)
                && error != EEXIST
            {
                count_loss(LOST_CONNECTIONS);
            }
        }
        _ => {}
    }
    0
}
