//! Names that may be one component.

use crate::config::IncidentsConfig;
use crate::scene::Scene;

/// Links every suspect that calls nobody to the suspects that share a caller with it and do call others: it
/// may be another name of one of them, such as the address of a load balancer.
pub(crate) fn link(scene: &mut Scene, config: &IncidentsConfig) {
    if config.alias_strength <= 0.0 {
        return;
    }
    let n = scene.services.len();
    let odd = |s: usize| scene.evidence[s] > config.anomalous_above;
    let mut found = Vec::new();
    for leaf in (0..n).filter(|&s| odd(s) && scene.callees[s].is_empty()) {
        let above = scene.ancestors(leaf, None);
        for &(caller, _) in &scene.callers[leaf] {
            for &(other, _) in &scene.callees[caller] {
                if other != leaf
                    && !scene.callees[other].is_empty()
                    && odd(other)
                    && above.binary_search(&other).is_err()
                    && !found.contains(&(leaf, other))
                {
                    found.push((leaf, other));
                }
            }
        }
    }
    for (leaf, other) in found {
        scene.link(leaf, other, config.alias_strength);
        scene.supposed.push((leaf, other, config.alias_strength));
    }
}
