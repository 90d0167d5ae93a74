//! Who calls whom, without direction, packed for walks over the whole graph.

use std::collections::VecDeque;

/// Neighbours of every node in one list; duplicates and self calls are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Adjacency {
    starts: Vec<usize>,
    ends: Vec<u32>,
}

impl Adjacency {
    /// Links naming nodes past `nodes` are ignored.
    pub(crate) fn new(nodes: usize, links: &[(usize, usize)]) -> Self {
        let mut pairs: Vec<(u32, u32)> = links
            .iter()
            .filter(|&&(a, b)| a < nodes && b < nodes && a != b)
            .flat_map(|&(a, b)| [(a as u32, b as u32), (b as u32, a as u32)])
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut starts = vec![0; nodes + 1];
        for &(a, _) in &pairs {
            starts[a as usize + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        Self { starts, ends: pairs.into_iter().map(|p| p.1).collect() }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    pub(crate) fn of(&self, node: usize) -> &[u32] {
        match (self.starts.get(node), self.starts.get(node + 1)) {
            (Some(&from), Some(&to)) => &self.ends[from..to],
            _ => &[],
        }
    }

    /// Hops from `start` to every node; `u32::MAX` where there is no way.
    pub(crate) fn hops(&self, start: usize) -> Vec<u32> {
        let mut hops = vec![u32::MAX; self.nodes()];
        let mut waiting = VecDeque::new();
        if let Some(own) = hops.get_mut(start) {
            *own = 0;
            waiting.push_back(start);
        }
        while let Some(node) = waiting.pop_front() {
            for &near in self.of(node) {
                if hops[near as usize] == u32::MAX {
                    hops[near as usize] = hops[node] + 1;
                    waiting.push_back(near as usize);
                }
            }
        }
        hops
    }
}
