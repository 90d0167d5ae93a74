//! Coordinates across the calls: each layer is moved as close as its order and spacing allow to where
//! its neighbours want it.
//!
//! For a fixed order and minimal distances, the least-squares answer is an isotonic regression, which
//! the pool-adjacent-violators algorithm (Ayer et al., 1955) gives exactly in linear time.

use super::Proper;

const SWEEPS: usize = 14;

/// Coordinate per item; layers start at 0 and neighbouring services are at least 1.0 apart.
pub(crate) fn assign(proper: &Proper) -> Vec<f64> {
    let mut cross = vec![0.0; proper.items.len()];
    for layer in &proper.layers {
        let width: f64 = layer.iter().map(|&i| proper.items[i].half * 2.0).sum();
        let mut at = -width / 2.0;
        for &item in layer {
            at += proper.items[item].half;
            cross[item] = at;
            at += proper.items[item].half;
        }
    }
    let depth = proper.layers.len();
    for sweep in 0..SWEEPS {
        let last = sweep + 2 >= SWEEPS;
        for step in 0..depth {
            let layer = if sweep % 2 == 0 { step } else { depth - 1 - step };
            let wanted = |item: usize| {
                let above: &[usize] = if last || sweep % 2 == 0 { &proper.above[item] } else { &[] };
                let below: &[usize] = if last || sweep % 2 == 1 { &proper.below[item] } else { &[] };
                let near = above.len() + below.len();
                if near == 0 {
                    return cross[item];
                }
                above.iter().chain(below).map(|&n| cross[n]).sum::<f64>() / near as f64
            };
            let wishes: Vec<f64> = proper.layers[layer].iter().map(|&i| wanted(i)).collect();
            for (item, at) in spread(proper, layer, &wishes) {
                cross[item] = at;
            }
        }
    }
    let least = cross.iter().copied().fold(f64::INFINITY, f64::min);
    cross.iter().map(|c| c - least).collect()
}

/// The positions nearest to `wishes` that keep the order and the distances of a layer.
fn spread(proper: &Proper, layer: usize, wishes: &[f64]) -> Vec<(usize, f64)> {
    struct Block {
        sum: f64,
        weight: f64,
        items: usize,
    }
    let items = &proper.layers[layer];
    let mut offsets = Vec::with_capacity(items.len());
    let mut offset = 0.0;
    for (place, &item) in items.iter().enumerate() {
        if place > 0 {
            offset += proper.items[items[place - 1]].half + proper.items[item].half;
        }
        offsets.push(offset);
    }
    let mut blocks: Vec<Block> = Vec::new();
    for (place, &item) in items.iter().enumerate() {
        // Way points weigh more, which straightens long calls.
        let weight = if proper.items[item].half < 0.5 { 2.0 } else { 1.0 };
        let mut block = Block { sum: (wishes[place] - offsets[place]) * weight, weight, items: 1 };
        while let Some(previous) = blocks.pop_if(|p| p.sum / p.weight > block.sum / block.weight) {
            block.sum += previous.sum;
            block.weight += previous.weight;
            block.items += previous.items;
        }
        blocks.push(block);
    }
    let bases = blocks.iter().flat_map(|b| std::iter::repeat_n(b.sum / b.weight, b.items));
    items.iter().copied().zip(bases.zip(offsets).map(|(base, offset)| base + offset)).collect()
}
