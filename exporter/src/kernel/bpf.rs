//! `bpf(2)`, for the commands that aya has no call for.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `enum bpf_cmd`, `include/uapi/linux/bpf.h`; each of these gives a descriptor.
#[derive(Debug, Clone, Copy)]
pub enum Command {
    /// `BPF_PROG_LOAD`
    LoadProgram = 5,
    /// `BPF_BTF_LOAD`
    LoadTypes = 18,
    /// `BPF_LINK_CREATE`
    CreateLink = 28,
    /// `BPF_ITER_CREATE`
    CreateIterator = 33,
}

/// Runs a command with its part of `union bpf_attr`.
///
/// # Errors
/// What the kernel says.
pub fn call<T>(command: Command, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are a whole, initialised structure of the stated size, as are the objects that they
    // point to; the kernel only reads them (and writes a log into the room that they give it), during the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_ref(attributes), size_of::<T>())
    };
    let descriptor = i32::try_from(result).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: these commands return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
