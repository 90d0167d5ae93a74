//! Who can be hit: callers, and callers of callers, along all calls, deferred ones too.

use alloc::vec;
use alloc::vec::Vec;

use crate::CallGraph;

/// Per service, who calls it directly.
pub(crate) struct Callers {
    lists: Vec<Vec<u32>>,
}

impl Callers {
    pub(crate) fn of(graph: &CallGraph) -> Self {
        let mut lists = vec![Vec::new(); graph.services() as usize];
        for edge in graph.dag_edges().iter().chain(graph.deferred_edges()) {
            lists[edge.server as usize].push(edge.client);
        }
        Self { lists }
    }

    /// Who calls `service`, directly or through others, itself left out; ascending. `seen` holds one `false` per
    /// service, before and after.
    pub(crate) fn ancestors(&self, service: u32, seen: &mut [bool]) -> Vec<u32> {
        let mut above: Vec<u32> = Vec::new();
        let mut last = Some(service);
        let mut next = 0;
        while let Some(from) = last {
            for &caller in &self.lists[from as usize] {
                if caller != service && !core::mem::replace(&mut seen[caller as usize], true) {
                    above.push(caller);
                }
            }
            last = above.get(next).copied();
            next += 1;
        }
        above.iter().for_each(|&other| seen[other as usize] = false);
        above.sort_unstable();
        above
    }
}
