//! Keeps the C library from holding on to memory that was needed for a moment.
//!
//! The moments are the start, when the kernel's types are read, and each scrape. By itself glibc gives
//! every thread a pool of its own whose top it never gives back, and stops mapping large blocks
//! separately once one was freed (`mallopt(3)`).
#![expect(unsafe_code, reason = "mallopt and malloc_trim have no safe wrapper")]

/// Blocks of this size and more are mapped by themselves and unmapped when they are freed.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: libc::c_int = 256 * 1024;

/// One pool for all threads, and a fixed limit for what is mapped; to be called before threads start.
#[cfg(target_env = "gnu")]
pub fn be_frugal() {
    // SAFETY: no preconditions; both set a number, and fail by doing nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
    }
}

/// Returns free pages to the kernel.
#[cfg(target_env = "gnu")]
pub fn give_back() {
    // SAFETY: no preconditions; it only returns pages that nobody holds.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries have no such habits.
#[cfg(not(target_env = "gnu"))]
pub fn be_frugal() {}

/// See [`be_frugal`].
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
