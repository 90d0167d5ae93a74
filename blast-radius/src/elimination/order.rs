//! The elimination order: min-fill.
//!
//! The variable next eliminated is the one whose neighbours lack the fewest edges among themselves; ties go
//! to the lower degree, then the lower number (Kjærulff, "Triangulation of graphs", 1990). Variables with
//! more neighbours than the width limit are never counted: they cannot be eliminated before their
//! neighbours are, which keeps the cost of hubs linear in their degree.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// An undirected graph that shrinks as variables are eliminated.
pub(super) struct Interaction {
    /// Sorted neighbours.
    neighbours: Vec<Vec<u32>>,
    degree_limit: usize,
    queue: BTreeSet<(u32, u32, u32)>,
    key: Vec<(u32, u32)>,
}

impl Interaction {
    /// `edges` may repeat; `degree_limit` is the largest number of neighbours a variable may have when eliminated.
    pub(super) fn new(variables: usize, edges: impl Iterator<Item = (u32, u32)>, degree_limit: usize) -> Self {
        let mut neighbours = alloc::vec![Vec::new(); variables];
        for (a, b) in edges {
            neighbours[a as usize].push(b);
            neighbours[b as usize].push(a);
        }
        for list in &mut neighbours {
            list.sort_unstable();
            list.dedup();
        }
        let mut graph = Self { neighbours, degree_limit, queue: BTreeSet::new(), key: Vec::new() };
        graph.key = (0..variables as u32).map(|v| graph.measure(v)).collect();
        graph.queue = graph.key.iter().zip(0..).map(|(&(fill, degree), v)| (fill, degree, v)).collect();
        graph
    }

    /// Eliminates the next variable and returns it. `Err` holds the lowest degree if all exceed the limit.
    pub(super) fn next(&mut self) -> Option<Result<u32, u32>> {
        let (fill, degree, variable) = self.queue.pop_first()?;
        if fill == u32::MAX {
            return Some(Err(degree));
        }
        let clique = core::mem::take(&mut self.neighbours[variable as usize]);
        let mut touched = clique.clone();
        for (place, &a) in clique.iter().enumerate() {
            remove(&mut self.neighbours[a as usize], variable);
            if fill == 0 {
                continue;
            }
            for &b in &clique[place + 1..] {
                if insert(&mut self.neighbours[a as usize], b) {
                    insert(&mut self.neighbours[b as usize], a);
                    // A new edge lowers the fill of every common neighbour of its ends.
                    self.common_neighbours(a, b, &mut touched);
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for &other in &touched {
            let (fill, degree) = self.key[other as usize];
            let fresh = self.measure(other);
            if fresh != (fill, degree) {
                self.queue.remove(&(fill, degree, other));
                self.queue.insert((fresh.0, fresh.1, other));
                self.key[other as usize] = fresh;
            }
        }
        Some(Ok(variable))
    }

    /// Missing edges among the neighbours (`u32::MAX` above the degree limit), and the degree.
    fn measure(&self, variable: u32) -> (u32, u32) {
        let list = &self.neighbours[variable as usize];
        let degree = list.len() as u32;
        if list.len() > self.degree_limit {
            return (u32::MAX, degree);
        }
        let mut missing = 0;
        for (place, &a) in list.iter().enumerate() {
            let known = &self.neighbours[a as usize];
            missing += list[place + 1..].iter().filter(|b| known.binary_search(b).is_err()).count() as u32;
        }
        (missing, degree)
    }

    fn common_neighbours(&self, a: u32, b: u32, found: &mut Vec<u32>) {
        let (a, b) = (&self.neighbours[a as usize], &self.neighbours[b as usize]);
        let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        found.extend(short.iter().filter(|v| long.binary_search(v).is_ok()));
    }
}

/// Adds to a sorted list; says whether it was new.
fn insert(list: &mut Vec<u32>, value: u32) -> bool {
    match list.binary_search(&value) {
        Ok(_) => false,
        Err(place) => {
            list.insert(place, value);
            true
        }
    }
}

fn remove(list: &mut Vec<u32>, value: u32) {
    if let Ok(place) = list.binary_search(&value) {
        list.remove(place);
    }
}
