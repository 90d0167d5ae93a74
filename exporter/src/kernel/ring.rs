//! A ring buffer of the kernel (`BPF_MAP_TYPE_RINGBUF`), read without copies.
//!
//! Guarantees: records come whole and in the order of their reservations; room is given back record by record. Reading never
//! blocks; nothing wakes anybody.
//!
//! The kernel offers its pages twice in a row, so that a record which goes over the end can be read in one piece.
//! Here they are mapped once, since each mapping counts as memory of this process, and such a record is put together.
//!
//! Layout and order of accesses: `kernel/bpf/ringbuf.c` (`struct bpf_ringbuf`, `__bpf_ringbuf_reserve()`,
//! `bpf_ringbuf_commit()`); `include/uapi/linux/bpf.h` (`BPF_RINGBUF_BUSY_BIT` and what follows).
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::param::page_size;

/// Before each record: its length with these two bits, and what is the kernel's own.
const HEADER_BYTES: usize = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// Pages of a map; unmapped when this is dropped.
struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: it owns its pages, which any thread may use.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(map: impl AsFd, offset: usize, bytes: usize, access: ProtFlags) -> io::Result<Self> {
        // SAFETY: the kernel chooses the place, so nothing else is there.
        let start = unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, map, offset as u64)? };
        let start = NonNull::new(start).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, bytes })
    }

    /// The position at the beginning of a page, which both sides read and one of them writes.
    fn position(&self) -> &AtomicUsize {
        // SAFETY: a page has room for it, begins at a multiple of its size, and stays mapped while this lives.
        unsafe { self.start.cast::<AtomicUsize>().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nobody borrows from it any more.
        let _ = unsafe { munmap(self.start.as_ptr(), self.bytes) };
    }
}

/// A ring, and where its reader stands.
pub struct Ring {
    /// One page, with the reader's position.
    reader: Mapping,
    /// One page with the writers' position, then the data.
    writers: Mapping,
    /// Size of the data, a power of two.
    bytes: usize,
    /// A record that goes over the end.
    split: Vec<u8>,
}

impl Ring {
    /// Maps a ring whose data takes `bytes`.
    ///
    /// # Errors
    /// Those of `mmap(2)`; `EINVAL` where the map is no ring of this size.
    pub fn open(map: impl AsFd, bytes: u32) -> io::Result<Self> {
        let (page, bytes) = (page_size(), bytes as usize);
        if !bytes.is_power_of_two() || !bytes.is_multiple_of(page) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let reader = Mapping::new(map.as_fd(), 0, page, ProtFlags::READ | ProtFlags::WRITE)?;
        let writers = Mapping::new(map.as_fd(), page, page + bytes, ProtFlags::READ)?;
        Ok(Self { reader, writers, bytes, split: Vec::new() })
    }

    /// Hands over the records that are there, `at_most` so many; gives how many these were.
    pub fn drain(&mut self, at_most: usize, mut receive: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        // Nobody else writes it.
        let mut position = self.reader.position().load(Ordering::Relaxed);
        // What was reserved before this position was set is visible after it was read.
        while count < at_most && position != self.writers.position().load(Ordering::Acquire) {
            let place = position & (self.bytes - 1);
            let header = self.header(place).load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let length = (header & !DISCARDED) as usize;
            if header & DISCARDED == 0 {
                let from = place + HEADER_BYTES;
                let in_one_piece = length.min(self.bytes.saturating_sub(from));
                if in_one_piece == length {
                    receive(self.data(from, length));
                } else {
                    let mut whole = std::mem::take(&mut self.split);
                    whole.clear();
                    whole.extend_from_slice(self.data(from, in_one_piece));
                    whole.extend_from_slice(self.data(0, length - in_one_piece));
                    receive(&whole);
                    self.split = whole;
                }
                count += 1;
            }
            position = position.wrapping_add((HEADER_BYTES + length).next_multiple_of(8));
            // After it, the kernel writes there.
            self.reader.position().store(position, Ordering::Release);
        }
        count
    }

    fn header(&self, place: usize) -> &AtomicU32 {
        // SAFETY: `place` is a multiple of 8 within the data, which stays mapped while `self` lives.
        unsafe { self.writers.start.byte_add(page_size() + place).cast::<AtomicU32>().as_ref() }
    }

    /// Bytes of a record that is not busy, so nobody writes them until the reader's position is beyond.
    fn data(&self, place: usize, length: usize) -> &[u8] {
        assert!(place <= self.bytes && length <= self.bytes - place, "a record of {length} bytes at {place}");
        // SAFETY: within the data, as was checked.
        unsafe { std::slice::from_raw_parts(self.writers.start.byte_add(page_size() + place).cast().as_ptr(), length) }
    }
}
