//! From abstract layout coordinates to pixels: fit, zoom and pan.
//!
//! Layers run left to right or top to bottom, whichever leaves more room; the choice is sticky, so
//! that a refresh or a few pixels of resizing do not turn the picture. Both directions are scaled on
//! their own (a layered drawing bears that), within limits that keep small graphs from sprawling. A plane
//! layout has no direction and keeps its proportions.

use crate::layout::Slot;

/// A point in CSS pixels, origin at the upper left.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// Rightwards.
    pub x: f64,
    /// Downwards.
    pub y: f64,
}

impl Point {
    /// Distance to another point.
    #[must_use]
    pub fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// The point `share` of the way to `other`.
    #[must_use]
    pub fn towards(self, other: Self, share: f64) -> Self {
        Self { x: self.x + (other.x - self.x) * share, y: self.y + (other.y - self.y) * share }
    }
}

/// Room in pixels that a label of usual length wants beside its neighbour.
const LABEL_WIDTH: f64 = 104.0;
/// Height a service wants beside its neighbours in one layer, label included.
const ROW_HEIGHT: f64 = 62.0;
/// Height from one layer to the next where they run downwards: label, arrow and some line between.
const LAYER_HEIGHT: f64 = 96.0;
/// Neighbours are never further apart than this.
const SPACING_LIMIT: (f64, f64) = (230.0, 150.0);
/// Largest radius of a service.
const RADIUS: f64 = 17.0;
const MARGIN: f64 = 14.0;
/// A turned picture must offer this much more room before the direction changes.
const STICKINESS: f64 = 1.3;

/// How the layout is seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    /// Size of the canvas in CSS pixels.
    pub size: Point,
    /// Layers run left to right rather than top to bottom.
    pub sideways: bool,
    /// The layout has no direction: both axes have one scale.
    pub plane: bool,
    /// 1 shows everything.
    pub zoom: f64,
    /// Shift in pixels.
    pub pan: Point,
    /// Smallest layer and cross, then the extents.
    origin: Slot,
    extent: Slot,
}

impl Default for Camera {
    fn default() -> Self {
        let size = Point { x: 1.0, y: 1.0 };
        let origin = Slot::default();
        Self { size, sideways: true, plane: false, zoom: 1.0, pan: Point::default(), origin, extent: origin }
    }
}

impl Camera {
    /// Takes everything in `slots` into the picture. `fresh` forgets the former direction.
    pub fn fit(&mut self, slots: &[Slot], fresh: bool) {
        let range = |value: fn(&Slot) -> f64| {
            let mut range = (f64::INFINITY, f64::NEG_INFINITY);
            for slot in slots {
                range = (range.0.min(value(slot)), range.1.max(value(slot)));
            }
            if range.0 <= range.1 { range } else { (0.0, 0.0) }
        };
        let (layers, cross) = (range(|s| s.layer), range(|s| s.cross));
        self.origin = Slot { layer: layers.0, cross: cross.0 };
        self.extent = Slot { layer: layers.1 - layers.0, cross: cross.1 - cross.0 };
        let room = |columns: f64, rows: f64, height: f64| {
            (self.size.x / ((columns + 1.0) * LABEL_WIDTH)).min(self.size.y / ((rows + 1.0) * height))
        };
        let sideways = room(self.extent.layer, self.extent.cross, ROW_HEIGHT);
        let upright = room(self.extent.cross, self.extent.layer, LAYER_HEIGHT);
        let (now, other) = if self.sideways { (sideways, upright) } else { (upright, sideways) };
        if other > now * if fresh { 1.0 } else { STICKINESS } {
            self.sideways = !self.sideways;
        }
    }

    /// Pixels between layers and between neighbours within one, as (x, y).
    fn spacing(&self) -> (f64, f64) {
        let (columns, rows) =
            if self.sideways { (self.extent.layer, self.extent.cross) } else { (self.extent.cross, self.extent.layer) };
        // Labels hang half a label's width over the outermost services.
        let wide = self.size.x * self.zoom - 2.0 * MARGIN;
        let x = (wide / (columns + 1.0)).min((wide - LABEL_WIDTH * 0.8).max(wide * 0.8) / columns.max(1e-9));
        let high = self.size.y * self.zoom - 2.0 * MARGIN;
        let y = (high / (rows + 1.0)).max((high - ROW_HEIGHT) / rows.max(1e-9)).min(high / rows.max(0.7));
        let (x, y) = (x.clamp(1.0, SPACING_LIMIT.0 * self.zoom), y.clamp(1.0, SPACING_LIMIT.1 * self.zoom));
        if self.plane { (x.min(y), x.min(y)) } else { (x, y) }
    }

    /// Radius of a service in pixels.
    #[must_use]
    pub fn radius(&self) -> f64 {
        let (x, y) = self.spacing();
        (x.min(y) * 0.27).clamp(1.5, RADIUS)
    }

    /// Where `slot` is seen.
    #[must_use]
    pub fn project(&self, slot: Slot) -> Point {
        let (step_x, step_y) = self.spacing();
        let along = slot.layer - self.origin.layer - self.extent.layer / 2.0;
        let across = slot.cross - self.origin.cross - self.extent.cross / 2.0;
        let (x, y) = if self.sideways { (along, across) } else { (across, along) };
        // Labels hang below: the picture's middle is a little above the services'.
        let lift = if self.radius() >= RADIUS * 0.5 { 7.0 } else { 0.0 };
        Point { x: self.size.x / 2.0 + self.pan.x + x * step_x, y: self.size.y / 2.0 + self.pan.y + y * step_y - lift }
    }

    /// What is seen at a point: the opposite of [`Camera::project`].
    #[must_use]
    pub fn unproject(&self, point: Point) -> Slot {
        let (step_x, step_y) = self.spacing();
        let origin = self.project(Slot { layer: 0.0, cross: 0.0 });
        let (x, y) = ((point.x - origin.x) / step_x, (point.y - origin.y) / step_y);
        let (layer, cross) = if self.sideways { (x, y) } else { (y, x) };
        Slot { layer, cross }
    }

    /// Moves the picture so that `point` (as seen now) comes to the middle.
    pub fn centre_on(&mut self, point: Point) {
        self.pan.x += self.size.x / 2.0 - point.x;
        self.pan.y += self.size.y / 2.0 - point.y;
    }

    /// Zooms by `factor`, keeping what lies under `at` in place.
    pub fn zoom_at(&mut self, at: Point, factor: f64) {
        let before = self.spacing();
        self.zoom = (self.zoom * factor).clamp(1.0, 40.0);
        let after = self.spacing();
        let centre = Point { x: self.size.x / 2.0, y: self.size.y / 2.0 };
        self.pan.x = at.x - centre.x - (at.x - centre.x - self.pan.x) * after.0 / before.0;
        self.pan.y = at.y - centre.y - (at.y - centre.y - self.pan.y) * after.1 / before.1;
        if self.zoom <= 1.0 {
            self.pan = Point::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots() -> Vec<Slot> {
        (0..4).flat_map(|l| (0..3).map(move |c| Slot { layer: f64::from(l), cross: f64::from(c) })).collect()
    }

    fn camera(x: f64, y: f64) -> Camera {
        let mut camera = Camera { size: Point { x, y }, ..Camera::default() };
        camera.fit(&slots(), true);
        camera
    }

    #[test]
    fn everything_is_inside_at_any_size() {
        for (x, y) in [(900.0, 500.0), (320.0, 600.0), (120.0, 80.0), (2000.0, 300.0)] {
            let camera = camera(x, y);
            for slot in slots() {
                let p = camera.project(slot);
                let r = camera.radius();
                assert!(p.x - r >= 0.0 && p.x + r <= x && p.y - r >= 0.0 && p.y + r <= y, "{p:?} r={r} in {x}x{y}");
            }
        }
    }

    #[test]
    fn wide_panels_run_sideways_and_tall_ones_downwards() {
        assert!(camera(900.0, 400.0).sideways);
        assert!(!camera(380.0, 900.0).sideways);
    }

    #[test]
    fn a_small_change_of_size_does_not_turn_the_picture() {
        let mut camera = camera(900.0, 400.0);
        camera.size = Point { x: 620.0, y: 500.0 };
        camera.fit(&slots(), false);
        assert!(camera.sideways);
    }

    #[test]
    fn zooming_keeps_the_point_under_the_pointer() {
        let mut camera = camera(900.0, 500.0);
        let slot = Slot { layer: 3.0, cross: 0.0 };
        let before = camera.project(slot);
        camera.zoom_at(Point { x: before.x, y: before.y + 7.0 }, 1.7);
        let after = camera.project(slot);
        assert!(before.distance(after) < 16.0, "{before:?} {after:?}");
        camera.zoom_at(before, 1e-9);
        assert_eq!(camera.pan, Point::default());
    }

    #[test]
    fn what_is_projected_is_found_again() {
        for plane in [false, true] {
            let mut camera = camera(640.0, 700.0);
            camera.plane = plane;
            camera.zoom_at(Point { x: 10.0, y: 80.0 }, 2.3);
            for slot in slots() {
                let back = camera.unproject(camera.project(slot));
                assert!((back.layer - slot.layer).abs() < 1e-9 && (back.cross - slot.cross).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn one_service_or_none_is_fine() {
        let mut camera = Camera { size: Point { x: 100.0, y: 100.0 }, ..Camera::default() };
        camera.fit(&[], true);
        camera.fit(&[Slot { layer: 5.0, cross: 2.0 }], true);
        assert!(camera.project(Slot { layer: 5.0, cross: 2.0 }).distance(Point { x: 50.0, y: 50.0 }) < 10.0);
    }
}
