//! `bpf(2)`, for the commands that aya has no call for.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use aya::maps::MapData;

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

/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`
const TAKE_ELEMENT: libc::c_long = 21;

/// Its part of `union bpf_attr`.
#[repr(C)]
struct TakeElement {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Takes elements out of a map: what is read is what is removed, so nothing that came in between is lost but what a
/// program on another processor, which has found the element, is about to write.
#[derive(Debug)]
pub struct Taker<const KEY: usize, const VALUE: usize>(OwnedFd);

impl<const KEY: usize, const VALUE: usize> Taker<KEY, VALUE> {
    /// Of a map.
    ///
    /// # Errors
    /// `InvalidData` where its keys or values have other sizes; what the kernel says.
    pub fn of(map: &MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        let (key, value) = (info.key_size() as usize, info.value_size() as usize);
        if (key, value) != (KEY, VALUE) {
            let reason = format!("keys and values of {key} and {value} bytes, not {KEY} and {VALUE}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        map.fd().as_fd().try_clone_to_owned().map(Self)
    }

    /// Removes the element of a key and gives its value.
    ///
    /// # Errors
    /// `NotFound` where there is none. What else the kernel says; before 5.14 it cannot do that with a hash map.
    pub fn take(&self, key: &[u8; KEY]) -> io::Result<[u8; VALUE]> {
        let mut value = [0; VALUE];
        let attributes = TakeElement {
            map: self.0.as_raw_fd() as u32,
            reserved: 0,
            key: key.as_ptr() as u64,
            value: value.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: as in `call`; the kernel reads a key and writes a value, whose sizes are those of the arrays
        // (`map_lookup_and_delete_elem` in `kernel/bpf/syscall.c`; `of` compared them), and keeps neither address.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, TAKE_ELEMENT, std::ptr::from_ref(&attributes), size_of::<TakeElement>())
        };
        if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
    }
}
