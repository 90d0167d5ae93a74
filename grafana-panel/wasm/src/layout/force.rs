//! Force-directed layout: links pull, all nodes push each other apart; in slices, so that no frame waits.
//!
//! Starts from Pivot MDS (or from known places), then settles with the forces of d3-force (links as
//! springs of strength 1 / the smaller degree, repulsion falling with distance, velocity Verlet with
//! cooling) in far fewer steps, since the overall shape is right from the first one. Weak springs to the
//! pivots, as long as the way there has hops, keep that shape (the sparse stress model of Ortmann,
//! Klimenta and Brandes, 2016), a part of the pivots in each step. Nodes without any link stand in a block below. Deterministic: the same graph gives the same picture.

use super::Slot;
use super::adjacency::Adjacency;
use super::bodies::Bodies;
use super::pivots::{Pivots, pivot_mds};

const PUSH: f64 = 1.0 / 30.0;
/// Keeps parts without a link between them together; a connected graph needs none.
const GRAVITY: f64 = 0.012;
const KEPT_VELOCITY: f64 = 0.6;
/// Strength of the springs to pivots, all together; they are measured against the picture's own scale.
const SHAPE: f64 = 1.0;
/// Steps from the first guess, and from known places.
const STEPS: (usize, usize) = (110, 60);
const START_HEAT: (f64, f64) = (0.7, 0.25);
const LAST_HEAT: f64 = 0.004;
/// Nodes end at least this far apart, where 1.0 is the usual distance between neighbours.
const APART: f64 = 0.72;

/// A layout under way.
#[derive(Debug, Clone)]
pub struct Force {
    links: Vec<(u32, u32, f64, f64)>,
    linked: Vec<usize>,
    nodes: usize,
    x: Vec<f64>,
    y: Vec<f64>,
    vx: Vec<f64>,
    vy: Vec<f64>,
    fixed: Vec<bool>,
    bodies: Bodies,
    heat: f64,
    cooling: f64,
    left: usize,
    gravity: f64,
    pivots: Pivots,
    /// Layout units per unit of the simulation; set by the first places known, else at the end.
    unit: Option<f64>,
}

impl Force {
    /// Prepares a layout. `known` holds places to start from, and whether they must stay; with fewer than
    /// half of the nodes known, it starts afresh.
    #[must_use]
    pub fn new(nodes: usize, links: &[(usize, usize)], known: &[Option<(Slot, bool)>]) -> Self {
        let adjacency = Adjacency::new(nodes, links);
        let linked: Vec<usize> = (0..nodes).filter(|&n| !adjacency.of(n).is_empty()).collect();
        let mut local = vec![usize::MAX; nodes];
        for (place, &node) in linked.iter().enumerate() {
            local[node] = place;
        }
        let mut inner: Vec<(usize, usize)> = Vec::new();
        for &node in &linked {
            let later = adjacency.of(node).iter().map(|&n| n as usize).filter(|&n| n > node);
            inner.extend(later.map(|n| (local[node], local[n])));
        }
        let adjacency = Adjacency::new(linked.len(), &inner);
        let degree = |n: usize| adjacency.of(n).len().max(1) as f64;
        let springs = inner.iter().map(|&(a, b)| {
            let (da, db) = (degree(a), degree(b));
            (a as u32, b as u32, 1.0 / da.min(db), da / (da + db))
        });
        let links = springs.collect();
        let places: Vec<Option<(Slot, bool)>> = linked.iter().map(|&n| known.get(n).copied().flatten()).collect();
        let place = |p: usize| places[p];
        let warm = (0..linked.len()).filter(|&p| place(p).is_some()).count() * 2 > linked.len();
        let (steps, heat) = if warm { (STEPS.1, START_HEAT.1) } else { (STEPS.0, START_HEAT.0) };
        let mut force = Self {
            links,
            nodes,
            x: Vec::new(),
            y: Vec::new(),
            vx: vec![0.0; linked.len()],
            vy: vec![0.0; linked.len()],
            fixed: vec![false; linked.len()],
            bodies: Bodies::default(),
            heat,
            cooling: (LAST_HEAT / heat).powf(1.0 / steps as f64),
            left: if linked.is_empty() { 0 } else { steps },
            pivots: Pivots::default(),
            gravity: if adjacency.hops(0).contains(&u32::MAX) { GRAVITY } else { 0.0 },
            unit: None,
            linked,
        };
        let guess: Vec<(f64, f64)> = if warm {
            let mut points: Vec<Option<(f64, f64)>> = Vec::new();
            for p in 0..force.linked.len() {
                points.push(place(p).map(|(slot, _)| (slot.layer, slot.cross)));
                force.fixed[p] = place(p).is_some_and(|k| k.1);
            }
            let near = |p: usize| {
                let known: Vec<_> = adjacency.of(p).iter().filter_map(|&n| points[n as usize]).collect();
                let count = known.len().max(1) as f64;
                (known.iter().map(|k| k.0).sum::<f64>() / count, known.iter().map(|k| k.1).sum::<f64>() / count)
            };
            (0..force.linked.len()).map(|p| points[p].unwrap_or_else(|| near(p))).collect()
        } else {
            let (points, pivots) = pivot_mds(&adjacency);
            force.pivots = pivots;
            points
        };
        // Nodes that are alike start beside one another on a sunflower's spiral, never in one place.
        for (p, &(x, y)) in guess.iter().enumerate() {
            let still = force.fixed[p] || (warm && place(p).is_some());
            let (turn, radius) =
                (p as f64 * 2.399_963, if still { 0.0 } else { 0.3 * ((p % 97) as f64 / 97.0).sqrt() + 0.02 });
            force.x.push(x + radius * turn.cos());
            force.y.push(y + radius * turn.sin());
        }
        if warm {
            // Known places are in layout units; the simulation's are those of the springs' length.
            let unit = force.spacing().unwrap_or(1.0) / force.natural_spacing();
            for v in force.x.iter_mut().chain(&mut force.y) {
                *v /= unit;
            }
            force.unit = Some(unit);
        } else {
            force.lay_down();
        }
        force
    }

    /// Nodes that take part, which is what a step costs.
    #[must_use]
    pub fn size(&self) -> usize {
        self.linked.len()
    }

    /// Whether there is nothing left to do.
    #[must_use]
    pub fn done(&self) -> bool {
        self.left == 0
    }

    /// Does at most `steps` steps.
    pub fn advance(&mut self, steps: usize) {
        for _ in 0..steps.min(self.left) {
            self.step();
            self.left -= 1;
        }
    }

    fn step(&mut self) {
        self.heat *= self.cooling;
        let heat = self.heat;
        for &(a, b, strength, bias) in &self.links {
            let (a, b) = (a as usize, b as usize);
            let dx = self.x[b] + self.vx[b] - self.x[a] - self.vx[a];
            let dy = self.y[b] + self.vy[b] - self.y[a] - self.vy[a];
            let length = (dx * dx + dy * dy).sqrt().max(1e-9);
            let pull = (length - 1.0) / length * heat * strength;
            self.vx[b] -= dx * pull * bias;
            self.vy[b] -= dy * pull * bias;
            self.vx[a] += dx * pull * (1.0 - bias);
            self.vy[a] += dy * pull * (1.0 - bias);
        }
        self.bodies.build(&self.x, &self.y);
        for body in 0..self.x.len() {
            let (fx, fy) = self.bodies.push(body, &self.x, &self.y);
            self.vx[body] += fx * PUSH * heat;
            self.vy[body] += fy * PUSH * heat;
        }
        self.pivots.pull(&self.x, &self.y, &mut self.vx, &mut self.vy, SHAPE * heat, self.left);
        for body in 0..self.x.len() {
            if self.fixed[body] {
                (self.vx[body], self.vy[body]) = (0.0, 0.0);
                continue;
            }
            self.vx[body] = (self.vx[body] - self.x[body] * self.gravity * heat) * KEPT_VELOCITY;
            self.vy[body] = (self.vy[body] - self.y[body] * self.gravity * heat) * KEPT_VELOCITY;
            self.x[body] += self.vx[body];
            self.y[body] += self.vy[body];
        }
    }

    /// Variances along x and y, and the covariance.
    fn moments(&self) -> (f64, f64, f64) {
        let count = self.x.len().max(1) as f64;
        let (mx, my) = (self.x.iter().sum::<f64>() / count, self.y.iter().sum::<f64>() / count);
        let pairs = self.x.iter().zip(&self.y).map(|(x, y)| (x - mx, y - my));
        let sums = pairs.fold((0.0, 0.0, 0.0), |s, (x, y)| (s.0 + x * x, s.1 + y * y, s.2 + x * y));
        (sums.0 / count, sums.1 / count, sums.2 / count)
    }

    /// Distance between nodes spread evenly over the room they take.
    fn spacing(&self) -> Option<f64> {
        let count = self.x.len() as f64;
        let (xx, yy, xy) = self.moments();
        // Evenly filled, an ellipse with these moments has 4 pi sqrt(det) of room; a line has some, too.
        let determinant = (xx * yy - xy * xy).max(0.0).sqrt().max((xx + yy) / count);
        let spacing = (4.0 * std::f64::consts::PI * determinant / count).sqrt();
        (self.x.len() > 1 && spacing.is_finite() && spacing > 1e-9).then_some(spacing)
    }

    /// Turns the picture so that it is wide rather than high.
    fn lay_down(&mut self) {
        let (xx, yy, xy) = self.moments();
        let (sin, cos) = (0.5 * f64::atan2(2.0 * xy, xx - yy)).sin_cos();
        for (x, y) in self.x.iter_mut().zip(&mut self.y) {
            (*x, *y) = (*x * cos + *y * sin, *y * cos - *x * sin);
        }
    }

    /// What [`Force::spacing`] tends to be once settled: springs hold few neighbours at their length.
    fn natural_spacing(&self) -> f64 {
        let links = self.links.len() as f64 / self.x.len().max(1) as f64;
        (1.1 / links.max(1.0).sqrt()).clamp(0.3, 1.1)
    }

    /// Where everything is now, in layout units.
    #[must_use]
    pub fn slots(&self) -> Vec<Slot> {
        let unit = self.unit.unwrap_or_else(|| self.spacing().map_or(1.0, |s| 1.0 / s));
        let mut slots = vec![Slot::default(); self.nodes];
        let mut points: Vec<(f64, f64)> = self.x.iter().zip(&self.y).map(|(x, y)| (x * unit, y * unit)).collect();
        if self.done() {
            separate(&mut points, &self.fixed);
        }
        let (mut left, mut right, mut bottom) = (0.0_f64, 0.0_f64, f64::NEG_INFINITY);
        for (&node, &(x, y)) in self.linked.iter().zip(&points) {
            slots[node] = Slot { layer: x, cross: y };
            (left, right, bottom) = (left.min(x), right.max(x), bottom.max(y));
        }
        let mut alone = vec![true; self.nodes];
        for &node in &self.linked {
            alone[node] = false;
        }
        let loners = alone.iter().filter(|&&a| a).count();
        let columns = (right - left).max((loners as f64 * 1.6).sqrt()).floor().max(1.0);
        let top = if bottom.is_finite() { bottom + 1.3 } else { 0.0 };
        for (place, node) in (0..self.nodes).filter(|&n| alone[n]).enumerate() {
            let (row, column) = ((place as f64 / columns).floor(), place as f64 % columns);
            slots[node] = Slot { layer: (left + right) / 2.0 - (columns - 1.0) / 2.0 + column, cross: top + row };
        }
        slots
    }
}

/// Moves nodes that stand too close apart, a few rounds over a grid of cells.
fn separate(points: &mut [(f64, f64)], fixed: &[bool]) {
    use std::collections::BTreeMap;
    for _ in 0..12 {
        let cell = |p: (f64, f64)| ((p.0 / APART).floor() as i64, (p.1 / APART).floor() as i64);
        let mut cells: BTreeMap<(i64, i64), Vec<usize>> = BTreeMap::new();
        for (index, &point) in points.iter().enumerate() {
            cells.entry(cell(point)).or_default().push(index);
        }
        let mut moved = false;
        for index in 0..points.len() {
            let (column, row) = cell(points[index]);
            for (dc, dr) in [(0, 0), (1, 0), (-1, 1), (0, 1), (1, 1)] {
                for &other in cells.get(&(column + dc, row + dr)).map_or(&[][..], Vec::as_slice) {
                    if other == index || ((dc, dr) == (0, 0) && other < index) {
                        continue;
                    }
                    let (dx, dy) = (points[other].0 - points[index].0, points[other].1 - points[index].1);
                    let distance = dx.hypot(dy);
                    if distance >= APART {
                        continue;
                    }
                    moved = true;
                    let turn = index as f64 * 2.399_963;
                    let (ux, uy) =
                        if distance > 1e-6 { (dx / distance, dy / distance) } else { (turn.cos(), turn.sin()) };
                    let push = (APART - distance) * 0.5;
                    if !fixed[index] {
                        points[index] = (points[index].0 - ux * push, points[index].1 - uy * push);
                    }
                    if !fixed[other] {
                        points[other] = (points[other].0 + ux * push, points[other].1 + uy * push);
                    }
                }
            }
        }
        if !moved {
            break;
        }
    }
}

/// How far drawn distances are from numbers of hops: mean over pairs of ((scale x drawn - hops) / hops)²
/// at the best scale (stress with weights 1/d², Gansner, Koren and North, 2004), over the pairs of
/// `sources` evenly chosen nodes with all others.
#[must_use]
pub fn stress(slots: &[Slot], links: &[(usize, usize)], sources: usize) -> f64 {
    let adjacency = Adjacency::new(slots.len(), links);
    let every = slots.len().div_ceil(sources.max(1)).max(1);
    let (mut squares, mut products, mut pairs) = (0.0, 0.0, 0.0);
    for source in (0..slots.len()).step_by(every) {
        for (node, &hops) in adjacency.hops(source).iter().enumerate() {
            if hops == 0 || hops == u32::MAX {
                continue;
            }
            let (a, b) = (slots[source], slots[node]);
            let share = (a.layer - b.layer).hypot(a.cross - b.cross) / f64::from(hops);
            squares += share * share;
            products += share;
            pairs += 1.0;
        }
    }
    // Minimum over s of sum (s d/h - 1)^2.
    if pairs > 0.0 && squares > 0.0 { (pairs - products * products / squares) / pairs } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::tests::random_calls;
    use super::*;

    fn settle(nodes: usize, links: &[(usize, usize)]) -> Vec<Slot> {
        let mut force = Force::new(nodes, links, &[]);
        while !force.done() {
            force.advance(7);
        }
        force.slots()
    }

    #[test]
    fn the_same_graph_gives_the_same_picture_however_it_is_sliced() {
        let links = random_calls(150, 2);
        let mut at_once = Force::new(150, &links, &[]);
        at_once.advance(usize::MAX);
        assert_eq!(at_once.slots(), settle(150, &links));
    }

    #[test]
    fn a_path_is_drawn_as_long_as_it_is() {
        let links: Vec<_> = (1..30).map(|i| (i - 1, i)).collect();
        let slots = settle(30, &links);
        let distance = |a: usize, b: usize| (slots[a].layer - slots[b].layer).hypot(slots[a].cross - slots[b].cross);
        let step = (1..30).map(|i| distance(i - 1, i)).sum::<f64>() / 29.0;
        assert!(distance(0, 29) > 15.0 * step, "{} of {step}", distance(0, 29));
        assert!(stress(&slots, &links, 30) < 0.05);
    }

    #[test]
    fn nodes_do_not_overlap_and_loners_have_a_block() {
        let links = random_calls(200, 3);
        let slots = settle(230, &links);
        let mut close = 0;
        for (i, a) in slots.iter().enumerate() {
            assert!(a.layer.is_finite() && a.cross.is_finite());
            close += slots[i + 1..].iter().filter(|b| (a.layer - b.layer).hypot(a.cross - b.cross) < 0.54).count();
        }
        assert!(close <= 3, "{close} pairs touch");
    }

    #[test]
    fn known_places_change_little_and_pinned_ones_not_at_all() {
        let links = random_calls(80, 2);
        let before = settle(80, &links);
        let known: Vec<_> = before.iter().enumerate().map(|(i, &s)| Some((s, i == 5))).collect();
        let mut force = Force::new(80, &links, &known);
        force.advance(usize::MAX);
        let after = force.slots();
        assert!((after[5].layer - before[5].layer).abs() < 1e-9 && (after[5].cross - before[5].cross).abs() < 1e-9);
        let shift = |i: usize| (after[i].layer - before[i].layer).hypot(after[i].cross - before[i].cross);
        let mean = (0..80).map(shift).sum::<f64>() / 80.0;
        assert!(mean < 2.5, "{mean}");
    }

    #[test]
    fn nothing_one_and_unlinked_nodes_have_a_layout() {
        assert!(settle(0, &[]).is_empty());
        assert_eq!(settle(1, &[]).len(), 1);
        let slots = settle(12, &[]);
        assert!(slots.iter().all(|s| s.layer.is_finite()));
        assert_eq!(settle(2, &[(0, 1), (1, 0), (0, 9)]).len(), 2);
    }
}
