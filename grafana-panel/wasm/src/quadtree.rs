//! What lies near a point: a loose quadtree over boxes.
//!
//! A box is kept in the deepest cell whose width is at least the box's; cells reach half their width
//! beyond their borders, so that a box on a border sinks as deep as any other. A question visits the few
//! cells that reach its point.

use crate::camera::Point;
use crate::labels::Area;

const DEEPEST: u32 = 12;
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone)]
struct Cell {
    children: [u32; 4],
    entries: Vec<(Area, u32)>,
}

/// Boxes with a number each.
#[derive(Debug, Clone)]
pub struct Quadtree {
    centre: Point,
    half: f64,
    cells: Vec<Cell>,
}

fn empty() -> Cell {
    Cell { children: [NONE; 4], entries: Vec::new() }
}

impl Quadtree {
    /// Empty, over a square around `centre`. Boxes outside are kept and found, only more slowly.
    #[must_use]
    pub fn new(centre: Point, half: f64) -> Self {
        Self { centre, half: half.max(1.0), cells: vec![empty()] }
    }

    /// Adds a box; one that is no numbers is left out.
    pub fn insert(&mut self, area: Area, number: u32) {
        let numbers = [area.centre.x, area.centre.y, area.half.x, area.half.y];
        if numbers.iter().any(|n| !n.is_finite()) {
            return;
        }
        let size = area.half.x.max(area.half.y);
        let outside = (area.centre.x - self.centre.x).abs().max((area.centre.y - self.centre.y).abs()) > self.half;
        let (mut at, mut centre, mut half) = (0_usize, self.centre, self.half);
        for _ in 0..if outside { 0 } else { DEEPEST } {
            let quarter = half / 2.0;
            if size > quarter {
                break;
            }
            let (right, below) = (area.centre.x >= centre.x, area.centre.y >= centre.y);
            let child = usize::from(right) + 2 * usize::from(below);
            centre = step(centre, quarter, right, below);
            half = quarter;
            at = match self.cells[at].children[child] {
                NONE => {
                    self.cells.push(empty());
                    let made = self.cells.len() - 1;
                    self.cells[at].children[child] = made as u32;
                    made
                }
                known => known as usize,
            };
        }
        self.cells[at].entries.push((area, number));
    }

    /// Calls `found` with each number whose box is within `reach` of the point; one may come repeatedly.
    pub fn near(&self, point: Point, reach: f64, mut found: impl FnMut(u32)) {
        let mut stack = vec![(0_usize, self.centre, self.half)];
        while let Some((at, centre, half)) = stack.pop() {
            let cell = &self.cells[at];
            for (area, number) in &cell.entries {
                if (area.centre.x - point.x).abs() <= area.half.x + reach
                    && (area.centre.y - point.y).abs() <= area.half.y + reach
                {
                    found(*number);
                }
            }
            let quarter = half / 2.0;
            for (child, &index) in cell.children.iter().enumerate().filter(|(_, c)| **c != NONE) {
                let middle = step(centre, quarter, child & 1 == 1, child & 2 == 2);
                let limit = quarter * 2.0 + reach;
                if (middle.x - point.x).abs() <= limit && (middle.y - point.y).abs() <= limit {
                    stack.push((index as usize, middle, quarter));
                }
            }
        }
    }
}

fn step(centre: Point, by: f64, right: bool, below: bool) -> Point {
    let sign = |positive: bool| if positive { by } else { -by };
    Point { x: centre.x + sign(right), y: centre.y + sign(below) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_search_through_all_finds() {
        let mut state = 7_u64;
        let mut next = |range: f64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f64 / (1_u64 << 24) as f64 * range
        };
        let boxes: Vec<Area> = (0..500)
            .map(|_| Area {
                centre: Point { x: next(1200.0) - 100.0, y: next(900.0) - 100.0 },
                half: Point { x: next(40.0), y: next(40.0) },
            })
            .collect();
        let mut tree = Quadtree::new(Point { x: 400.0, y: 300.0 }, 400.0);
        for (number, area) in boxes.iter().enumerate() {
            tree.insert(*area, number as u32);
        }
        for _ in 0..300 {
            let point = Point { x: next(1300.0) - 150.0, y: next(1000.0) - 150.0 };
            let mut found = Vec::new();
            tree.near(point, 4.0, |n| found.push(n));
            found.sort_unstable();
            let close = |a: &Area| {
                (a.centre.x - point.x).abs() <= a.half.x + 4.0 && (a.centre.y - point.y).abs() <= a.half.y + 4.0
            };
            let expected: Vec<u32> = (0..500).filter(|&n| close(&boxes[n as usize])).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn boxes_that_are_no_numbers_are_left_out() {
        let mut tree = Quadtree::new(Point::default(), 10.0);
        tree.insert(Area { centre: Point { x: f64::NAN, y: 0.0 }, half: Point::default() }, 1);
        let mut found = 0;
        tree.near(Point::default(), 1e9, |_| found += 1);
        assert_eq!(found, 0);
    }
}
