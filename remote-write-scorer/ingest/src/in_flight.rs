//! Memory of all requests under way together.
//!
//! Each request takes from one budget what it holds, as it grows: its body as it arrives, and what it decodes
//! to. A request that does not fit is told to come back, however many are under way and however large each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget.
#[derive(Debug)]
pub struct InFlight {
    limit: usize,
    used: AtomicUsize,
}

/// What one request holds, given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<InFlight>,
    bytes: usize,
}

impl InFlight {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    /// Bytes held now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that may be held.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Begins to hold, nothing at first.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Held {
    /// Holds so many bytes more, if there are so many.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let limit = self.budget.limit;
        let more = |used: usize| used.checked_add(bytes).filter(|&used| used <= limit);
        let grown = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_stay_within_the_budget_and_give_back_what_they_held() {
        let budget = InFlight::new(100);
        let (mut one, mut two) = (budget.hold(), budget.hold());
        assert!(one.grow(60) && two.grow(40));
        assert!(!two.grow(1) && !one.grow(usize::MAX));
        drop(one);
        assert!(two.grow(60));
        assert_eq!(budget.used(), 100);
        drop(two);
        assert_eq!(budget.used(), 0);
    }
}
