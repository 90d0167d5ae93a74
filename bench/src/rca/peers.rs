//! What else ranks causes, from the same scores and the same graph.

/// A graph of calls with one score per service; above one is anomalous.
pub struct Scene<'a> {
    /// Callers and callees.
    pub calls: &'a [(usize, usize)],
    pub scores: &'a [f64],
    /// The service whose service level was breached.
    pub alerting: usize,
}

/// Score at which a peer takes a service for anomalous.
const ANOMALOUS: f64 = 1.0;

/// From the alerting service along anomalous callees to those without an anomalous callee.
pub fn traversal(scene: &Scene<'_>) -> Vec<f64> {
    let n = scene.scores.len();
    let mut reached = vec![false; n];
    let mut ends = vec![0.0; n];
    let mut queue = vec![scene.alerting];
    reached[scene.alerting] = true;
    while let Some(service) = queue.pop() {
        let mut deeper = false;
        for &(caller, callee) in scene.calls {
            if caller == service && scene.scores[callee] > ANOMALOUS {
                deeper = true;
                if !reached[callee] {
                    reached[callee] = true;
                    queue.push(callee);
                }
            }
        }
        if !deeper {
            ends[service] = 1.0;
        }
    }
    ends
}

/// PageRank of walks from callers to callees that prefer high scores and return to the alerting service
/// (Page, Brin, Motwani & Winograd, 1999; personalised, damping 0.85).
pub fn pagerank(scene: &Scene<'_>) -> Vec<f64> {
    const DAMPING: f64 = 0.85;
    let n = scene.scores.len();
    let weight = |service: usize| scene.scores[service].max(0.0) + 1e-3;
    let mut out = vec![0.0; n];
    for &(caller, callee) in scene.calls {
        out[caller] += weight(callee);
    }
    let mut rank = vec![0.0; n];
    rank[scene.alerting] = 1.0;
    for _ in 0..100 {
        let mut next = vec![0.0; n];
        let mut home = 0.0;
        for service in 0..n {
            // A service that calls nobody keeps the walk where it is, as far as it is anomalous.
            let stay = if out[service] == 0.0 { 1.0 } else { 0.0 };
            next[service] += DAMPING * stay * rank[service];
            home += (1.0 - DAMPING) * rank[service];
        }
        for &(caller, callee) in scene.calls {
            next[callee] += DAMPING * rank[caller] * weight(callee) / out[caller];
        }
        next[scene.alerting] += home;
        rank = next;
    }
    // How often a walk is there says as much about being near as about being anomalous.
    rank.iter().enumerate().map(|(service, r)| r * weight(service)).collect()
}

/// The causes of the other incidents, most frequent first: what knowing the labels alone is worth.
pub fn majority(roots: &[usize], without: usize, services: usize) -> Vec<f64> {
    let mut counts = vec![0.0; services];
    for (at, &root) in roots.iter().enumerate() {
        if at != without {
            counts[root] += 1.0;
        }
    }
    counts
}
