//! The order within layers: sweeps by the mean position of neighbours, then neighbour exchange.
//!
//! The order with the fewest crossings seen is kept. Crossings between two layers are counted with a
//! binary indexed tree in O(E log V) (Barth, Mutzel and Jünger, "Simple and Efficient Bilayer Cross
//! Counting", 2004).

use super::Proper;

const SWEEPS: usize = 10;
/// Exchanging neighbours costs more than it gives on graphs where single crossings do not show.
const EXCHANGE_ITEMS_LIMIT: usize = 1500;

pub(crate) fn reduce_crossings(proper: &mut Proper) {
    let mut position = positions(proper);
    for layer in 1..proper.layers.len() {
        sort_layer(proper, &mut position, layer, true);
    }
    let mut best = proper.layers.clone();
    let mut fewest = crossings(proper, &position);
    for sweep in 0..SWEEPS {
        if fewest == 0 {
            break;
        }
        let depth = proper.layers.len();
        if sweep % 2 == 0 {
            for layer in (0..depth.saturating_sub(1)).rev() {
                sort_layer(proper, &mut position, layer, false);
            }
        } else {
            for layer in 1..depth {
                sort_layer(proper, &mut position, layer, true);
            }
        }
        if proper.items.len() <= EXCHANGE_ITEMS_LIMIT {
            exchange(proper, &mut position);
        }
        let now = crossings(proper, &position);
        if now < fewest {
            fewest = now;
            best.clone_from(&proper.layers);
        }
    }
    proper.layers = best;
}

fn positions(proper: &Proper) -> Vec<usize> {
    let mut position = vec![0; proper.items.len()];
    for layer in &proper.layers {
        for (place, &item) in layer.iter().enumerate() {
            position[item] = place;
        }
    }
    position
}

/// Sorts one layer by the mean position of its neighbours above or below; items without any stay.
fn sort_layer(proper: &mut Proper, position: &mut [usize], layer: usize, from_above: bool) {
    let neighbours = if from_above { &proper.above } else { &proper.below };
    let mut keyed: Vec<(f64, usize)> = proper.layers[layer]
        .iter()
        .map(|&item| {
            let near = &neighbours[item];
            let sum: usize = near.iter().map(|&n| position[n]).sum();
            let mean = if near.is_empty() { position[item] as f64 } else { sum as f64 / near.len() as f64 };
            (mean, item)
        })
        .collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (place, (_, item)) in keyed.iter().enumerate() {
        position[*item] = place;
        proper.layers[layer][place] = *item;
    }
}

/// Exchanges neighbours within layers while that removes crossings.
fn exchange(proper: &mut Proper, position: &mut [usize]) {
    for _ in 0..8 {
        let mut improved = false;
        for layer in 0..proper.layers.len() {
            for place in 1..proper.layers[layer].len() {
                let (left, right) = (proper.layers[layer][place - 1], proper.layers[layer][place]);
                let cost = |a: usize, b: usize| {
                    pairs(&proper.above[a], &proper.above[b], position)
                        + pairs(&proper.below[a], &proper.below[b], position)
                };
                if cost(right, left) < cost(left, right) {
                    proper.layers[layer].swap(place - 1, place);
                    position[left] = place;
                    position[right] = place - 1;
                    improved = true;
                }
            }
        }
        if !improved {
            break;
        }
    }
}

/// Crossings between the links of an item and those of its right neighbour.
fn pairs(left: &[usize], right: &[usize], position: &[usize]) -> usize {
    left.iter().map(|&l| right.iter().filter(|&&r| position[r] < position[l]).count()).sum()
}

fn crossings(proper: &Proper, position: &[usize]) -> usize {
    let mut total = 0;
    for (upper, lower) in proper.layers.iter().zip(proper.layers.iter().skip(1)) {
        let mut ends = Vec::new();
        for &item in upper {
            let from = ends.len();
            ends.extend(proper.below[item].iter().map(|&b| position[b]));
            ends[from..].sort_unstable();
        }
        let mut tree = vec![0_usize; lower.len() + 1];
        for (seen, &end) in ends.iter().enumerate() {
            let mut at = end + 1;
            let mut not_after = 0;
            while at > 0 {
                not_after += tree[at];
                at &= at - 1;
            }
            total += seen - not_after;
            let mut at = end + 1;
            while at < tree.len() {
                tree[at] += 1;
                at += at & at.wrapping_neg();
            }
        }
    }
    total
}
