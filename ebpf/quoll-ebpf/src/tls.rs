//! What programs read and write through OpenSSL, before it is encrypted and after it was decrypted.
//!
//! Uprobes at the entries and returns of [`quoll_ebpf_abi::tls::FUNCTIONS`], or of what they hand on to. An entry remembers the call's
//! arguments for its thread; the return has the number of bytes and hands them to the seam that plain bytes go
//! through ([`protocols::on_call`]).
//!
//! **Which socket.** OpenSSL reads and writes the socket within these calls, so a system call that moves a TLS
//! record while its thread is in one of them tells which socket the `SSL` belongs to. The handshake comes first and
//! always does so; each later record makes sure. Nothing depends on how a version of OpenSSL lays out its
//! structures, and programs that give it input and output functions of their own are seen as well.
//!
//! **What is not seen counts.** A connection whose handshake went by outside of these calls is one that nothing can
//! be read of: another library, or OpenSSL that encrypts into memory which the program moves itself.
//!
//! A library that is reached by two paths (two containers of one image) has its probes twice. The second entry of a
//! call says what the first said, and the second return finds that the call is over.
//!
//! Cost: two traps per call of OpenSSL's; see `docs/protocols.md`.

use core::hint::black_box;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use quoll_ebpf_abi::protocols::{HEADER, Memory};
use quoll_ebpf_abi::tls::{COUNT_IS_FIFTH, HAS_COUNT, OUTSIDE, SHAKES_HANDS, WRITES, is_handshake};
use quoll_ebpf_abi::{FLAG_TLS, LOST_TLS_CALLS};

use crate::connections::known;
use crate::kernel::Socket;
use crate::maps::{TLS_CALLS, TLS_SOCKETS, count_loss};
use crate::protocols;
use crate::syscalls::{Data, read_user, socket_of};

/// Patched by user space before loading: 1 where probes may be set. The verifier leaves out the rest.
#[unsafe(no_mangle)]
static LOOKS_INTO_TLS: u32 = 0;

/// The call of OpenSSL's that a thread is in.
#[repr(C)]
pub struct TlsCall {
    /// Address of the `SSL`.
    ssl: u64,
    /// Where the plain bytes are.
    buffer: u64,
    /// Where the call says how many there are.
    count: u64,
    /// Address of the `struct sock` that the `SSL` writes to; 0 while unknown.
    socket: u64,
    /// When that connection began.
    start_ns: u64,
    /// Which call.
    kind: u32,
    /// 1 where the socket became known in this call.
    is_news: u32,
    /// Working memory. It is the thread's own since these programs, unlike those at system calls, may have to make
    /// way for another thread on their processor.
    head: [u8; 2 * HEADER],
    memory: Memory,
    data: Data,
}

static NO_CALL: TlsCall = TlsCall {
    ssl: 0,
    buffer: 0,
    count: 0,
    socket: 0,
    start_ns: 0,
    kind: OUTSIDE,
    is_news: 0,
    head: [0; 2 * HEADER],
    memory: Memory::NEW,
    data: Data::NONE,
};

/// Names an `SSL` of a process.
#[repr(C)]
pub struct TlsKey {
    ssl: u64,
    process: u64,
}

/// The connection that an `SSL` belongs to.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct TlsSocket {
    socket: u64,
    start_ns: u64,
}

/// The entry of a function: of (ssl, buffer, length, count).
#[uprobe]
#[inline(always)]
pub fn tls_enter(ctx: ProbeContext) -> u32 {
    // SAFETY: the context is the program's own.
    let kind = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32;
    let thread = bpf_get_current_pid_tgid();
    let mut known = TLS_CALLS.get_ptr_mut(&thread);
    if known.is_none() {
        if TLS_CALLS.insert(&thread, &NO_CALL, 0).is_err() {
            count_loss(LOST_TLS_CALLS);
            return 0;
        }
        known = TLS_CALLS.get_ptr_mut(&thread);
    }
    let Some(call) = known else { return 0 };
    // SAFETY: the entry stays valid while this program runs, and is this thread's own.
    let call = unsafe { &mut *call };
    call.ssl = ctx.arg(0).unwrap_or_default();
    call.buffer = ctx.arg(1).unwrap_or_default();
    // Both are read at places that are known, as the verifier wants it.
    let [fourth, fifth]: [u64; 2] = [3, 4].map(|place| black_box(ctx.arg(place).unwrap_or_default()));
    call.count = if kind & COUNT_IS_FIFTH != 0 { fifth } else { fourth };
    let known = TLS_SOCKETS.get_ptr(&TlsKey { ssl: call.ssl, process: thread >> 32 });
    // SAFETY: as above; the copy is taken at once.
    let TlsSocket { socket, start_ns } = known.map(|known| unsafe { *known }).unwrap_or_default();
    call.socket = socket;
    call.start_ns = start_ns;
    call.is_news = 0;
    call.kind = kind;
    0
}

/// The return of any of them.
#[uretprobe]
#[inline(always)]
pub fn tls_leave(ctx: RetProbeContext) -> u32 {
    leave(ctx.ret::<i32>());
    0
}

#[inline(always)]
fn leave(result: i32) {
    let thread = bpf_get_current_pid_tgid();
    let Some(call) = TLS_CALLS.get_ptr_mut(&thread) else { return };
    // SAFETY: as in `tls_enter`.
    let call = unsafe { &mut *call };
    let kind = call.kind;
    call.kind = OUTSIDE;
    if call.socket == 0 || kind == OUTSIDE {
        return;
    }
    if call.is_news == 1 {
        let key = TlsKey { ssl: call.ssl, process: thread >> 32 };
        let _ = TLS_SOCKETS.insert(&key, &TlsSocket { socket: call.socket, start_ns: call.start_ns }, 0);
    }
    if result <= 0 || kind == SHAKES_HANDS {
        return;
    }
    let has_count = kind & (HAS_COUNT | COUNT_IS_FIFTH) != 0;
    let length = if has_count { read_user::<u64>(call.count).unwrap_or_default() as u32 } else { result as u32 };
    let Some(connection) = known(call.socket) else { return };
    // The socket may be another connection's by now.
    if length == 0 || connection.start_ns != call.start_ns {
        return;
    }
    call.data = black_box(Data::plain(call.buffer, length));
    call.data.head(&mut call.head);
    let Some(head) = call.head.first_chunk::<HEADER>() else { return };
    let is_outgoing = kind & !(HAS_COUNT | COUNT_IS_FIFTH) == WRITES;
    protocols::on_call(Socket::at(call.socket), is_outgoing, true, length, head, &mut call.data, &mut call.memory);
}

/// The call that the current thread is in.
#[inline(always)]
fn current() -> Option<&'static mut TlsCall> {
    // SAFETY: the static is initialised; the read is volatile since user space patches it.
    if unsafe { core::ptr::read_volatile(&raw const LOOKS_INTO_TLS) } == 0 {
        return None;
    }
    let call = TLS_CALLS.get_ptr_mut(&bpf_get_current_pid_tgid())?;
    // SAFETY: as in `tls_enter`.
    let call = unsafe { &mut *call };
    (call.kind != OUTSIDE).then_some(call)
}

/// Whether the current thread moves bytes of this socket for OpenSSL. If they are plain, the kernel encrypts them
/// (kTLS), and OpenSSL's call hands them over once it returns.
#[inline(always)]
pub fn carries(socket: Socket) -> bool {
    current().is_some_and(|call| call.socket == socket.0)
}

/// A system call moved what begins like a TLS record.
#[inline(always)]
pub fn on_record(descriptor: u32, length: u32, head: &[u8; HEADER]) {
    let call = current();
    let is_handshake = is_handshake(head, length);
    if call.is_none() && !is_handshake {
        return;
    }
    let Some(socket) = socket_of(descriptor) else { return };
    let Some(connection) = known(socket.0) else { return };
    let is_first = is_handshake && connection.flags & FLAG_TLS == 0;
    if is_first {
        connection.flags |= FLAG_TLS;
        protocols::on_handshake(socket, call.is_some());
    }
    if let Some(call) = call
        && (call.socket != socket.0 || call.start_ns != connection.start_ns)
    {
        call.socket = socket.0;
        call.start_ns = connection.start_ns;
        call.is_news = 1;
    }
}
