//! Labels that never overlap at rest.
//!
//! Important services choose first among the places below, above, right and left; a label that finds no
//! free one is not drawn (pointing at the service still shows it). A grid of taken boxes keeps this
//! linear.

use std::collections::HashMap;

use crate::camera::Point;

/// An upright box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// Its middle.
    pub centre: Point,
    /// Half its size.
    pub half: Point,
}

impl Area {
    /// Whether two boxes share any inner point.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        (self.centre.x - other.centre.x).abs() < self.half.x + other.half.x
            && (self.centre.y - other.centre.y).abs() < self.half.y + other.half.y
    }
}

const CELL: f64 = 48.0;

/// What is taken on the canvas.
#[derive(Debug, Default)]
pub struct Taken {
    cells: HashMap<(i32, i32), Vec<Area>>,
}

fn cells(area: &Area) -> impl Iterator<Item = (i32, i32)> {
    let index = |v: f64| (v / CELL).floor() as i32;
    let (left, right) = (index(area.centre.x - area.half.x), index(area.centre.x + area.half.x));
    let (top, bottom) = (index(area.centre.y - area.half.y), index(area.centre.y + area.half.y));
    (left..=right).flat_map(move |x| (top..=bottom).map(move |y| (x, y)))
}

impl Taken {
    /// Takes a box.
    pub fn take(&mut self, area: Area) {
        for cell in cells(&area) {
            self.cells.entry(cell).or_default().push(area);
        }
    }

    /// Whether nothing taken overlaps.
    #[must_use]
    pub fn free(&self, area: &Area) -> bool {
        cells(area).all(|cell| self.cells.get(&cell).is_none_or(|taken| taken.iter().all(|t| !t.overlaps(area))))
    }

    /// The first free place for a label of size `width` x `height` around a disc, inside the canvas.
    pub fn place(&mut self, disc: Point, radius: f64, width: f64, height: f64, canvas: Point) -> Option<Area> {
        let half = Point { x: width / 2.0 + 2.0, y: height / 2.0 };
        let (down, side) = (radius + half.y + 2.0, radius + half.x + 2.0);
        let at = |dx: f64, dy: f64| Area { centre: Point { x: disc.x + dx, y: disc.y + dy }, half };
        let inside = |a: &Area| {
            a.centre.x - half.x >= 0.0
                && a.centre.x + half.x <= canvas.x
                && a.centre.y - half.y >= 0.0
                && a.centre.y + half.y <= canvas.y
        };
        let places = [at(0.0, down), at(0.0, -down), at(side, 0.0), at(-side, 0.0)];
        let area = places.into_iter().find(|a| inside(a) && self.free(a))?;
        self.take(area);
        Some(area)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_move_aside_and_are_left_out_where_nothing_is_free() {
        let canvas = Point { x: 300.0, y: 100.0 };
        let mut taken = Taken::default();
        let mut areas = Vec::new();
        for i in 0..12 {
            let disc = Point { x: 60.0 + f64::from(i) * 14.0, y: 50.0 };
            areas.extend(taken.place(disc, 5.0, 60.0, 14.0, canvas));
        }
        assert!(areas.len() > 3 && areas.len() < 12, "{}", areas.len());
        for (i, a) in areas.iter().enumerate() {
            assert!(areas[i + 1..].iter().all(|b| !a.overlaps(b)));
            assert!(a.centre.x - a.half.x >= 0.0 && a.centre.y + a.half.y <= canvas.y);
        }
    }
}
