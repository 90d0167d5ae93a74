//! Kernel-side programs of the exporter.
//!
//! | Program | Hook | Minimum kernel | Cost | Fallback |
//! |---|---|---|---|---|
//! | `tcp_state_btf` | tp_btf `inet_sock_set_state` | 5.8 | about 0.3 us per transition | `tcp_state_raw` |
//! | `tcp_state_raw` | raw_tracepoint `inet_sock_set_state` | 5.8 | the same | `--source procfs` |
//! | `syscall_exit_btf` | tp_btf `sys_exit` | 5.17 | see [`syscalls`] | `syscall_exit_raw` |
//! | `syscall_exit_raw` | raw_tracepoint `sys_exit` | 5.17 | the same | HTTP/1 and DNS over UDP, else no requests |
//! | `tls_enter`, `tls_leave` | uprobe, uretprobe of OpenSSL | 6.6 (5.15 with CAP_SYS_ADMIN) | see [`tls`] | TLS counts as encrypted |
//! | `live_connections`, `live_listeners` | iter/bpf_map_elem | 5.9 | only while read | `--source procfs` |
//! | `open_sockets` | iter/task_file | 5.8 | once, at start | connections made before the start are missed |
//!
//! Guarantees: one ring record per connection, written when it ends and without a wake-up; whatever
//! could not be remembered or reported is counted in `LOST`. Nothing here blocks, allocates or
//! changes what a program on the machine sees.
#![no_std]
#![no_main]

mod connections;
mod kernel;
mod live;
mod maps;
mod protocols;
mod syscalls;
mod tls;

use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};
use kernel::{Probed, Typed};

/// Inlined, since a function that returns nothing but 0 is compiled to one that returns nothing, which the
/// verifier refuses. Preferred over the raw form since the kernel knows the arguments' types, and lets fields be
/// loaded.
#[btf_tracepoint(function = "inet_sock_set_state")]
#[inline(always)]
pub fn tcp_state_btf(ctx: BtfTracePointContext) -> i32 {
    connections::on_transition::<Typed>(
        ctx.arg::<*const u8>(0) as u64,
        ctx.arg::<i32>(1) as u8,
        ctx.arg::<i32>(2) as u8,
    );
    0
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
#[inline(always)]
pub fn tcp_state_raw(ctx: RawTracePointContext) -> i32 {
    connections::on_transition::<Probed>(ctx.arg::<u64>(0), ctx.arg::<i32>(1) as u8, ctx.arg::<i32>(2) as u8);
    0
}

#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
pub fn syscall_exit_btf(ctx: BtfTracePointContext) -> i32 {
    syscalls::on_syscall_exit::<Typed>(ctx.arg::<*const u8>(0) as u64, ctx.arg::<i64>(1));
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
#[inline(always)]
pub fn syscall_exit_raw(ctx: RawTracePointContext) -> i32 {
    syscalls::on_syscall_exit::<Probed>(ctx.arg::<u64>(0), ctx.arg::<i64>(1));
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The kernel offers some of the helpers used here only to programs under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
