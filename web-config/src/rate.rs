//! Token buckets: one for all, or one per address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that have a bucket of their own at a time; beyond it newcomers share one.
const MAX_BUCKETS: usize = 8192;
/// How often full buckets are looked for, at most.
const SWEEP: Duration = Duration::from_secs(1);

/// A rate and what may come at once above it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// Requests a second; 0 for no limit.
    pub(crate) per_second: f64,
    /// Requests at once, at least 1.
    pub(crate) burst: f64,
}

/// A bucket: full at first, one token a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst.max(1.0), filled: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + seconds * rate.per_second).min(rate.burst.max(1.0));
        self.filled = now;
    }

    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

/// Buckets by address.
#[derive(Debug)]
pub(crate) struct Buckets {
    rate: Rate,
    by_address: Mutex<ByAddress>,
}

#[derive(Debug, Default)]
struct ByAddress {
    buckets: HashMap<IpAddr, Bucket>,
    swept: Option<Instant>,
}

impl Buckets {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, by_address: Mutex::default() }
    }

    /// Whether one more request of this address is within the rate.
    pub(crate) fn admit(&self, address: IpAddr, now: Instant) -> bool {
        if self.rate.per_second <= 0.0 {
            return true;
        }
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let ByAddress { buckets, swept } = &mut *by_address;
        let mut key = subject(address);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&key) {
            if swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
                *swept = Some(now);
                // A full bucket says nothing: its address may come back as if new.
                buckets.retain(|_, bucket| {
                    bucket.fill(self.rate, now);
                    bucket.tokens < self.rate.burst.max(1.0)
                });
            }
            if buckets.len() >= MAX_BUCKETS {
                key = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        buckets.entry(key).or_insert_with(|| Bucket::full(self.rate, now)).take(self.rate, now)
    }
}

/// Who is counted: an IPv4 address, or the /64 that one customer gets in IPv6 (RFC 6177).
fn subject(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let buckets = Buckets::new(Rate { per_second: 2.0, burst: 3.0 });
        let start = Instant::now();
        let address = IpAddr::from([127, 0, 0, 1]);
        let passed = (0..10).filter(|_| buckets.admit(address, start)).count();
        assert_eq!(passed, 3);
        assert!(!buckets.admit(address, start + Duration::from_millis(400)));
        assert!(buckets.admit(address, start + Duration::from_millis(500)));
        assert!(buckets.admit(IpAddr::from([127, 0, 0, 2]), start), "another address has its own bucket");
    }

    #[test]
    fn no_rate_is_no_limit() {
        let buckets = Buckets::new(Rate { per_second: 0.0, burst: 1.0 });
        assert!((0..1000).all(|_| buckets.admit(IpAddr::from([127, 0, 0, 1]), Instant::now())));
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_bucket() {
        let buckets = Buckets::new(Rate { per_second: 1.0, burst: 1.0 });
        let now = Instant::now();
        assert!(buckets.admit("2001:db8::1".parse().unwrap(), now));
        assert!(!buckets.admit("2001:db8::2".parse().unwrap(), now));
        assert!(buckets.admit("2001:db8:0:1::1".parse().unwrap(), now));
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory() {
        let buckets = Buckets::new(Rate { per_second: 1.0, burst: 2.0 });
        let now = Instant::now();
        for address in 0..100_000_u32 {
            buckets.admit(IpAddr::from(address.to_be_bytes()), now);
        }
        assert!(buckets.by_address.lock().unwrap().buckets.len() <= MAX_BUCKETS + 1);
    }
}
