//! Iterators over the elements of one map: the two system calls that aya has no call for.
//!
//! `BPF_LINK_CREATE` with a map as the iterator's target ties a loaded program to the map (Linux 5.9,
//! `Documentation/bpf/bpf_iterators.rst`); `BPF_ITER_CREATE` gives a file whose reading runs it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::bpf::{self, Command};

const BPF_TRACE_ITER: u32 = 28;

/// The part of `union bpf_attr` for `BPF_LINK_CREATE`, `include/uapi/linux/bpf.h`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    /// Address of a `union bpf_iter_link_info`, whose member `map.map_fd` comes first.
    info: u64,
    info_bytes: u32,
    reserved: u32,
}

/// The part of `union bpf_attr` for `BPF_ITER_CREATE`.
#[repr(C)]
struct IterCreate {
    link: u32,
    flags: u32,
}

/// A program tied to a map; each call of [`Self::open`] is one walk over its elements.
#[derive(Debug)]
pub struct MapIterator {
    link: OwnedFd,
}

impl MapIterator {
    /// Ties a loaded iterator program to a map.
    ///
    /// # Errors
    /// `EACCES` where the program reads past the map's keys or values, `EINVAL` before 5.9, `EPERM`
    /// without CAP_BPF and CAP_PERFMON.
    pub fn attach(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<Self> {
        let map = map.as_raw_fd() as u32;
        let attributes = LinkCreate {
            program: program.as_raw_fd() as u32,
            target: 0,
            attach_type: BPF_TRACE_ITER,
            flags: 0,
            info: (&raw const map) as u64,
            info_bytes: size_of_val(&map) as u32,
            reserved: 0,
        };
        bpf::call(Command::CreateLink, &attributes).map(|link| Self { link })
    }

    /// Begins a walk.
    ///
    /// # Errors
    /// Those of `bpf(2)`: out of memory or of descriptors.
    pub fn open(&self) -> io::Result<File> {
        let attributes = IterCreate { link: self.link.as_raw_fd() as u32, flags: 0 };
        bpf::call(Command::CreateIterator, &attributes).map(File::from)
    }
}
