//! TLS by OpenSSL: which libraries the processes of this node use, and where their functions are.
//!
//! A probe is set in a file, once, and is there in every process that maps it, now or later. So what has to
//! be found are libraries, not processes: a process that starts with a library that is known already is seen
//! from its first call on. Those of the node itself are known from the start ([`FOLDERS`]). One that nobody used before
//! (a new image, a wheel with its own copy) is found within some seconds, by [`libraries::Libraries::look`]; connections
//! that were made before that count as encrypted.
//!
//! What the probes see is the kernel side's: `ebpf/quoll-ebpf/src/tls.rs`.

pub mod libraries;
pub mod symbols;

/// Where the node's own libraries are, seen from its first process, or from here where that may not be looked at.
pub const FOLDERS: [&str; 5] =
    ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib", "usr/local/lib"];
/// The root folder of each.
pub const ROOTS: [&str; 2] = ["/proc/1/root", "/"];
