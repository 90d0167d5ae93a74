//! A first guess that has the graph's overall shape: distances to a few pivots, seen in two dimensions.
//!
//! Pivot MDS (Brandes and Pich, "Eigensolver Methods for Progressive Multidimensional Scaling of Large
//! Data", 2006): O(pivots x links). Deterministic: pivots are the farthest nodes from those before,
//! lowest id first, and the power iteration starts from fixed vectors.
//!
//! Farthest nodes lie at the rim of the graph. What keeps its shape later on are these and as many again
//! chosen evenly, which stand for its bulk: stress over all pairs becomes 4 % less than by the former alone.

use super::adjacency::Adjacency;

/// Those of the first guess.
const PIVOTS: usize = 32;
/// Evenly chosen ones.
const EVEN: usize = 64;
/// Pivots that pull in one step; the next ones in the next.
const GROUP: usize = 32;
const ROUNDS: usize = 60;

/// The pivots and how far every node is from each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pivots {
    nodes: Vec<usize>,
    /// Per pivot and node, hops; 0 where there is no way (and for the pivot itself).
    hops: Vec<Vec<f32>>,
}

impl Pivots {
    fn add(&mut self, node: usize, hops: &[u32]) {
        self.nodes.push(node);
        self.hops.push(hops.iter().map(|&h| if h == u32::MAX { 0.0 } else { h as f32 }).collect());
    }

    /// Adds to the velocities what brings drawn distances to the pivots closer to hops, at the picture's
    /// present scale; `strength` 1 would go all the way. Each `turn` it is another group's that count.
    pub(crate) fn pull(&self, x: &[f64], y: &[f64], vx: &mut [f64], vy: &mut [f64], strength: f64, turn: usize) {
        let groups = self.nodes.len().div_ceil(GROUP).max(1);
        let group = || self.nodes.iter().zip(&self.hops).skip(turn % groups).step_by(groups);
        let (mut squares, mut products) = (0.0, 0.0);
        for (&pivot, hops) in group() {
            for (node, &h) in hops.iter().enumerate().filter(|(_, h)| **h > 0.0) {
                let (dx, dy) = (x[node] - x[pivot], y[node] - y[pivot]);
                let share = (dx * dx + dy * dy).sqrt() / f64::from(h);
                squares += share * share;
                products += share;
            }
        }
        if products <= 0.0 {
            return;
        }
        let scale = squares / products;
        let mut weights = vec![0.0; x.len()];
        let mut sums = vec![(0.0, 0.0); x.len()];
        for (&pivot, hops) in group() {
            for (node, &h) in hops.iter().enumerate().filter(|(_, h)| **h > 0.0) {
                let (dx, dy) = (x[node] - x[pivot], y[node] - y[pivot]);
                let distance = (dx * dx + dy * dy).sqrt().max(1e-6);
                let h = f64::from(h);
                let weight = 1.0 / (h * h);
                let off = (scale * h - distance) / distance * weight;
                sums[node].0 += dx * off;
                sums[node].1 += dy * off;
                weights[node] += weight;
            }
        }
        for (node, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            vx[node] += sums[node].0 / weight * strength;
            vy[node] += sums[node].1 / weight * strength;
        }
    }
}

/// Coordinates with a mean link length of 1, and the pivots; nodes that are alike may coincide.
pub(crate) fn pivot_mds(adjacency: &Adjacency) -> (Vec<(f64, f64)>, Pivots) {
    let nodes = adjacency.nodes();
    let mut pivots = Pivots::default();
    let count = PIVOTS.min(nodes);
    let mut columns: Vec<Vec<f64>> = Vec::with_capacity(count);
    let mut nearest = vec![u32::MAX; nodes];
    // The first pivot is the best connected node.
    let mut pivot = (0..nodes).rev().max_by_key(|&n| adjacency.of(n).len()).unwrap_or(0);
    for _ in 0..count {
        let hops = adjacency.hops(pivot);
        pivots.add(pivot, &hops);
        let farthest = hops.iter().copied().filter(|&h| h != u32::MAX).max().unwrap_or(0);
        for (near, &h) in nearest.iter_mut().zip(&hops) {
            *near = (*near).min(h);
        }
        // Without a way, a little farther than the farthest.
        columns.push(hops.iter().map(|&h| f64::from(if h == u32::MAX { farthest + 2 } else { h }).powi(2)).collect());
        pivot = (0..nodes).rev().max_by_key(|&n| nearest[n]).unwrap_or(0);
    }
    let even = EVEN.min(nodes / 2);
    for place in 0..even {
        let node = (2 * place + 1) * nodes / (2 * even);
        pivots.add(node, &adjacency.hops(node));
    }
    centre(&mut columns, nodes);
    let products: Vec<Vec<f64>> =
        columns.iter().map(|a| columns.iter().map(|b| a.iter().zip(b).map(|(x, y)| x * y).sum()).collect()).collect();
    let first = eigenvector(&products, None);
    let second = eigenvector(&products, Some(&first));
    let along = |vector: &[f64], node: usize| columns.iter().zip(vector).map(|(c, v)| c[node] * v).sum::<f64>();
    let mut points: Vec<(f64, f64)> = (0..nodes).map(|n| (along(&first, n), along(&second, n))).collect();
    let (mut length, mut links) = (0.0, 0_usize);
    for node in 0..nodes {
        for &near in adjacency.of(node) {
            let (a, b) = (points[node], points[near as usize]);
            length += (a.0 - b.0).hypot(a.1 - b.1);
            links += 1;
        }
    }
    let scale = if length > 0.0 { links as f64 / length } else { 1.0 };
    for point in &mut points {
        *point = (point.0 * scale, point.1 * scale);
    }
    (points, pivots)
}

/// Double centring of the squared distances.
fn centre(columns: &mut [Vec<f64>], nodes: usize) {
    let count = columns.len().max(1) as f64;
    let rows: Vec<f64> = (0..nodes).map(|n| columns.iter().map(|c| c[n]).sum::<f64>() / count).collect();
    let all = rows.iter().sum::<f64>() / nodes.max(1) as f64;
    for column in columns {
        let mean = column.iter().sum::<f64>() / nodes.max(1) as f64;
        for (value, row) in column.iter_mut().zip(&rows) {
            *value = -0.5 * (*value - mean - row + all);
        }
    }
}

/// The leading eigenvector of a symmetric matrix, or the leading one at right angles to `other`.
fn eigenvector(matrix: &[Vec<f64>], other: Option<&[f64]>) -> Vec<f64> {
    let mut vector: Vec<f64> = (0..matrix.len()).map(|i| 1.0 + (i * 7 % 5) as f64 - (i * 3 % 4) as f64).collect();
    let times = |vector: &[f64]| -> Vec<f64> {
        matrix.iter().map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect()
    };
    let straighten = |vector: &mut Vec<f64>| {
        let other = other.unwrap_or_default();
        let shared: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
        for (v, o) in vector.iter_mut().zip(other) {
            *v -= shared * o;
        }
    };
    let leading = other.map_or(0.0, |o| length(&times(o)));
    for _ in 0..ROUNDS {
        straighten(&mut vector);
        vector = times(&vector);
        straighten(&mut vector);
        let long = length(&vector);
        // A graph as thin as a path has no second direction, only rounding.
        if long <= f64::MIN_POSITIVE || long <= leading * 1e-9 {
            return vec![0.0; matrix.len()];
        }
        for v in &mut vector {
            *v /= long;
        }
    }
    vector
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|v| v * v).sum::<f64>().sqrt()
}
