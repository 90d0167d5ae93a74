//! Service-like call graphs of any size: layers, domains with a database each, shared hubs, cycles.

use quoll_blast_radius::CallEdge;

/// xorshift64* (Vigna, 2016): the same graphs everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32;
        ((u64::from(high) * u64::from(limit.max(1))) >> 32) as u32
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
}

/// A graph without domains: every service calls `calls` services anywhere after it.
#[must_use]
pub fn entangled(services: u32, calls: u32, seed: u64) -> Vec<CallEdge> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut edges = Vec::new();
    for client in 0..services.saturating_sub(1) {
        for _ in 0..calls {
            let server = client + 1 + random.below(services - client - 1);
            edges.push(CallEdge { client, server, strength: 0.35 + 0.006 * f64::from(random.below(101)) });
        }
    }
    edges
}

/// Services of one domain.
const DOMAIN: u32 = 25;

/// A graph of `services` services.
///
/// Domains of 25 services stand behind one gateway (service 0): an entry, a tree of services below it with
/// one extra call in four, and a database called by two in five. Three hubs (sign-on, configuration, a
/// shared database) are called by one service in four each, one service in `crossing_every` calls the
/// entry of the domain after its own, and one call in a hundred goes back up and closes a cycle.
#[must_use]
pub fn service_like(services: u32, crossing_every: u32, seed: u64) -> Vec<CallEdge> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut edges = Vec::new();
    let strength = |random: &mut Random| 0.35 + 0.006 * f64::from(random.below(101));
    let first = 4;
    let mut entry = first;
    while entry < services {
        let end = (entry + DOMAIN).min(services);
        edges.push(CallEdge { client: 0, server: entry, strength: strength(&mut random) });
        let database = end - 1;
        for service in entry + 1..end {
            let up = entry + (service - entry - 1) / 3;
            edges.push(CallEdge { client: up, server: service, strength: strength(&mut random) });
            if random.chance(25) {
                let other = entry + random.below(service - entry);
                edges.push(CallEdge { client: other, server: service, strength: strength(&mut random) });
            }
            if service != database && random.chance(40) {
                edges.push(CallEdge { client: service, server: database, strength: strength(&mut random) });
            }
            for hub in 1..first.min(services) {
                if random.chance(25) {
                    edges.push(CallEdge { client: service, server: hub, strength: strength(&mut random) });
                }
            }
            if end < services && random.below(crossing_every.max(1)) == 0 {
                edges.push(CallEdge { client: service, server: end, strength: strength(&mut random) });
            }
            if random.chance(1) {
                edges.push(CallEdge { client: service, server: entry, strength: strength(&mut random) });
            }
        }
        entry = end;
    }
    edges
}
