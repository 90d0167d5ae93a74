//! The counting allocator that benches run on, and what it counted over a stretch of code.
//!
//! A bench that counts declares it as its global allocator:
//! ```
//! use quoll_bench::allocation::{COUNTING, CountingAllocator};
//! #[global_allocator]
//! static ALLOCATOR: &CountingAllocator = COUNTING;
//! # fn main() {}
//! ```
//! Counts are of the whole process, so that nothing else should run meanwhile.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// The system's allocator, counting.
pub type CountingAllocator = StatsAlloc<System>;

/// The one instance.
pub const COUNTING: &CountingAllocator = &INSTRUMENTED_SYSTEM;

/// What was asked of the allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocations {
    /// Blocks allocated, moved ones included.
    pub blocks: usize,
    /// Bytes allocated, whether or not they were given back meanwhile: an upper bound of the growth.
    pub bytes: usize,
}

/// Runs `work` and says what it allocated.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, Allocations) {
    let region = Region::new(COUNTING);
    let result = work();
    let change = region.change();
    let bytes = change.bytes_allocated + usize::try_from(change.bytes_reallocated).unwrap_or(0);
    (result, Allocations { blocks: change.allocations + change.reallocations, bytes })
}
