//! Repulsion between all bodies in O(n log n): a quadtree whose cells stand for what they hold, where
//! they are far enough (Barnes and Hut, "A hierarchical O(N log N) force-calculation algorithm", 1986).

/// A cell counts as one body where its width is below this share of its distance, squared.
const OPENING_SQUARED: f64 = 0.81;
const DEEPEST: u32 = 26;
const BODY: u32 = 1 << 31;
const EMPTY: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Cell {
    children: [u32; 4],
    x: f64,
    y: f64,
    mass: f64,
    width_squared: f64,
}

/// The tree; kept between uses for its memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bodies {
    cells: Vec<Cell>,
    stack: Vec<u32>,
}

impl Bodies {
    /// Builds the tree over all points (which must be finite).
    pub(crate) fn build(&mut self, x: &[f64], y: &[f64]) {
        self.cells.clear();
        let range = |v: &[f64]| v.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |r, &p| (r.0.min(p), r.1.max(p)));
        let ((left, right), (top, bottom)) = (range(x), range(y));
        let width = (right - left).max(bottom - top).max(1e-6);
        self.cells.push(cell(width));
        for body in 0..x.len() {
            self.insert(body as u32, x, y, (left, top), width);
        }
        // Children were made after their parents: backwards, every child is summed before it is needed.
        for at in (0..self.cells.len()).rev() {
            let Cell { children, x: own_x, y: own_y, mass: own, .. } = self.cells[at];
            let (mut sx, mut sy, mut mass) = (own_x, own_y, own);
            for child in children.into_iter().filter(|&c| c != EMPTY) {
                if child & BODY != 0 {
                    let body = (child & !BODY) as usize;
                    sx += x[body];
                    sy += y[body];
                    mass += 1.0;
                } else {
                    let c = &self.cells[child as usize];
                    sx += c.x * c.mass;
                    sy += c.y * c.mass;
                    mass += c.mass;
                }
            }
            let c = &mut self.cells[at];
            (c.x, c.y, c.mass) = (sx / mass, sy / mass, mass);
        }
    }

    fn insert(&mut self, body: u32, x: &[f64], y: &[f64], corner: (f64, f64), width: f64) {
        let (px, py) = (x[body as usize], y[body as usize]);
        let (mut left, mut top, mut width) = (corner.0, corner.1, width);
        let mut at = 0_usize;
        let mut depth = 0;
        loop {
            width *= 0.5;
            depth += 1;
            let quarter = |qx: f64, qy: f64| usize::from(qx >= left + width) + 2 * usize::from(qy >= top + width);
            let own = quarter(px, py);
            match self.cells[at].children[own] {
                EMPTY => {
                    self.cells[at].children[own] = BODY | body;
                    return;
                }
                taken if taken & BODY != 0 => {
                    if depth >= DEEPEST {
                        // As good as the same place: its mass counts, nothing more.
                        let c = &mut self.cells[at];
                        (c.x, c.y, c.mass) = (c.x + px, c.y + py, c.mass + 1.0);
                        return;
                    }
                    let (child_left, child_top) = (left + width * (own & 1) as f64, top + width * (own >> 1) as f64);
                    let former = (taken & !BODY) as usize;
                    let half = width * 0.5;
                    let place =
                        usize::from(x[former] >= child_left + half) + 2 * usize::from(y[former] >= child_top + half);
                    let mut made = cell(width);
                    made.children[place] = taken;
                    let index = self.cells.len();
                    self.cells.push(made);
                    self.cells[at].children[own] = index as u32;
                    (at, left, top) = (index, child_left, child_top);
                }
                child => {
                    (left, top) = (left + width * (own & 1) as f64, top + width * (own >> 1) as f64);
                    at = child as usize;
                }
            }
        }
    }

    /// The push on `body` by all others, falling with the distance.
    pub(crate) fn push(&mut self, body: usize, x: &[f64], y: &[f64]) -> (f64, f64) {
        let (px, py) = (x[body], y[body]);
        let (mut fx, mut fy) = (0.0, 0.0);
        self.stack.clear();
        self.stack.push(0);
        while let Some(at) = self.stack.pop() {
            let c = &self.cells[at as usize];
            let (dx, dy) = (px - c.x, py - c.y);
            let squared = dx * dx + dy * dy;
            if c.width_squared < OPENING_SQUARED * squared {
                let f = c.mass / squared.max(SOFT);
                fx += dx * f;
                fy += dy * f;
                continue;
            }
            for &child in &c.children {
                if child == EMPTY {
                    continue;
                }
                if child & BODY == 0 {
                    self.stack.push(child);
                } else {
                    let other = (child & !BODY) as usize;
                    let (dx, dy) = (px - x[other], py - y[other]);
                    let squared = (dx * dx + dy * dy).max(SOFT);
                    fx += dx / squared;
                    fy += dy / squared;
                }
            }
        }
        (fx, fy)
    }
}

/// Below this squared distance the push no longer grows.
const SOFT: f64 = 1e-3;

fn cell(width: f64) -> Cell {
    Cell { children: [EMPTY; 4], x: 0.0, y: 0.0, mass: 0.0, width_squared: width * width }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_close_to_the_sum_over_all_pairs() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1_u64 << 24) as f64
        };
        let (x, y): (Vec<f64>, Vec<f64>) = (0..300).map(|_| (next() * 20.0, next() * 9.0)).unzip();
        let mut bodies = Bodies::default();
        bodies.build(&x, &y);
        let (mut error, mut size) = (0.0, 0.0);
        for a in 0..x.len() {
            let (mut fx, mut fy) = (0.0, 0.0);
            for b in (0..x.len()).filter(|&b| b != a) {
                let (dx, dy) = (x[a] - x[b], y[a] - y[b]);
                let squared = (dx * dx + dy * dy).max(SOFT);
                fx += dx / squared;
                fy += dy / squared;
            }
            let (px, py) = bodies.push(a, &x, &y);
            error += (px - fx).hypot(py - fy);
            size += fx.hypot(fy);
        }
        assert!(error / size < 0.05, "{}", error / size);
    }

    #[test]
    fn bodies_in_one_place_do_no_harm() {
        let (x, y) = (vec![1.0; 50], vec![2.0; 50]);
        let mut bodies = Bodies::default();
        bodies.build(&x, &y);
        let (fx, fy) = bodies.push(3, &x, &y);
        assert!(fx.is_finite() && fy.is_finite());
    }
}
