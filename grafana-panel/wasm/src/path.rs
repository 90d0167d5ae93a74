//! The line of a call: from caller to callee through its way points, ending at the rims of both.

use crate::camera::Point;

/// How a call runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Path {
    /// From rim to rim; at least two points, or empty where the services touch.
    pub points: Vec<Point>,
    /// The arrow head at the callee.
    pub arrow: Option<[Point; 3]>,
}

/// What decides a call's line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ends {
    /// Centre of the caller.
    pub from: Point,
    /// Centre of the callee.
    pub to: Point,
    /// Free room around the caller's centre.
    pub from_rim: f64,
    /// Free room around the callee's centre.
    pub to_rim: f64,
    /// Width of the line.
    pub width: f64,
}

/// Where lines leave and arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// Along the layers, which run left to right.
    Sideways,
    /// Along the layers, which run downwards.
    Downwards,
    /// Straight: the layout has no direction.
    Straight,
}

/// The path of a call. `bend` moves its middle to the right of its direction, as a share of its
/// length; calls in both directions bend apart. `fine` is false where so much is drawn that straight
/// lines must do.
#[must_use]
pub fn path(ends: Ends, way: &[Point], pull: Pull, bend: f64, fine: bool) -> Path {
    if pull == Pull::Straight && way.is_empty() && bend.abs() < 1e-9 {
        return straight(ends);
    }
    let mut knots = Vec::with_capacity(way.len() + 2);
    knots.push(ends.from);
    knots.extend_from_slice(way);
    knots.push(ends.to);
    let mut points = vec![ends.from];
    for pair in knots.windows(2) {
        let &[p, q] = pair else { continue };
        let pieces = if fine { ((p.distance(q) / 9.0) as usize).clamp(4, 20) } else { 1 };
        segment(&mut points, p, q, pull, bend, pieces);
    }
    // Between neighbours that nearly touch the head is smaller, so that some line is left.
    let gap = ends.from.distance(ends.to) - ends.from_rim - ends.to_rim;
    let length = (5.0 + ends.width * 1.3).min(gap * 0.6);
    let body = trim(&points, ends.from, ends.from_rim, ends.to, ends.to_rim + length);
    let points = if body.len() >= 2 { body } else { return Path::default() };
    let tail = points.last().copied().unwrap_or(ends.from);
    let left = tail.distance(ends.to);
    if left <= f64::EPSILON {
        return Path { points, arrow: None };
    }
    let tip = ends.to.towards(tail, (ends.to_rim + 1.0) / left);
    let (dx, dy) = ((tip.x - tail.x), (tip.y - tail.y));
    let half = (2.6 + ends.width * 0.75) / dx.hypot(dy).max(1e-9);
    let side = |sign: f64| Point { x: tail.x - dy * half * sign, y: tail.y + dx * half * sign };
    Path { points, arrow: Some([tip, side(1.0), side(-1.0)]) }
}

/// A line without any bend, in closed form.
fn straight(ends: Ends) -> Path {
    let length = ends.from.distance(ends.to);
    let gap = length - ends.from_rim - ends.to_rim;
    if gap <= 0.5 {
        return Path::default();
    }
    let at = |distance: f64| ends.from.towards(ends.to, distance / length);
    let (tip, head) = (length - ends.to_rim - 1.0, (5.0 + ends.width * 1.3).min(gap * 0.6));
    let (from, tail, tip) = (at(ends.from_rim), at(length - ends.to_rim - head), at(tip));
    let half = (2.6 + ends.width * 0.75) / length;
    let (dx, dy) = ((ends.to.x - ends.from.x) * half, (ends.to.y - ends.from.y) * half);
    let arrow = [tip, Point { x: tail.x - dy, y: tail.y + dx }, Point { x: tail.x + dy, y: tail.y - dx }];
    Path { points: vec![from, tail], arrow: Some(arrow) }
}

/// A cubic Bézier curve that leaves and arrives along the layers' direction, flattened.
fn segment(points: &mut Vec<Point>, p: Point, q: Point, pull: Pull, bend: f64, pieces: usize) {
    let (dx, dy) = (q.x - p.x, q.y - p.y);
    let (along, reach) = match pull {
        Pull::Sideways => (dx, Point { x: dx * 0.45, y: 0.0 }),
        Pull::Downwards => (dy, Point { x: 0.0, y: dy * 0.45 }),
        Pull::Straight => (1.0, Point { x: dx / 3.0, y: dy / 3.0 }),
    };
    let (mut c1, mut c2) = (Point { x: p.x + reach.x, y: p.y + reach.y }, Point { x: q.x - reach.x, y: q.y - reach.y });
    // Within one layer nothing pulls along, and the line must not run through those between.
    let bend = if along.abs() < 1.0 && bend.abs() < 1e-9 { 0.22 } else { bend };
    let (right_x, right_y) = (-dy * bend, dx * bend);
    for c in [&mut c1, &mut c2] {
        c.x += right_x;
        c.y += right_y;
    }
    for piece in 1..=pieces {
        let t = piece as f64 / pieces as f64;
        let u = 1.0 - t;
        let weigh =
            |a: f64, b: f64, c: f64, d: f64| u * u * u * a + 3.0 * u * u * t * b + 3.0 * u * t * t * c + t * t * t * d;
        points.push(Point { x: weigh(p.x, c1.x, c2.x, q.x), y: weigh(p.y, c1.y, c2.y, q.y) });
    }
}

/// The part of a line outside both discs.
fn trim(points: &[Point], from: Point, from_rim: f64, to: Point, to_rim: f64) -> Vec<Point> {
    if from.distance(to) <= from_rim + to_rim + 0.5 {
        return Vec::new();
    }
    let start = points.iter().position(|p| p.distance(from) > from_rim);
    let end = points.iter().rposition(|p| p.distance(to) > to_rim);
    let (Some(start), Some(end)) = (start, end) else { return Vec::new() };
    let (Some(before), Some(after)) = (start.checked_sub(1).and_then(|i| points.get(i)), points.get(end + 1)) else {
        return Vec::new();
    };
    let mut kept = vec![rim(points[start], *before, from, from_rim)];
    kept.extend_from_slice(points.get(start..=end).unwrap_or_default());
    kept.push(rim(points[end], *after, to, to_rim));
    kept
}

/// Where the way from `outside` to `inside` crosses the circle, by bisection.
fn rim(outside: Point, inside: Point, centre: Point, radius: f64) -> Point {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..16 {
        let middle = (low + high) / 2.0;
        if outside.towards(inside, middle).distance(centre) > radius { low = middle } else { high = middle }
    }
    outside.towards(inside, low)
}

/// Distance from a point to a line.
#[must_use]
pub fn distance(points: &[Point], at: Point) -> f64 {
    let mut least = f64::INFINITY;
    for pair in points.windows(2) {
        let &[p, q] = pair else { continue };
        let (dx, dy) = (q.x - p.x, q.y - p.y);
        let length = dx * dx + dy * dy;
        let t = if length > 0.0 { (((at.x - p.x) * dx + (at.y - p.y) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
        least = least.min(p.towards(q, t).distance(at));
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(x: f64, y: f64) -> Ends {
        Ends { from: Point::default(), to: Point { x, y }, from_rim: 20.0, to_rim: 20.0, width: 2.0 }
    }

    #[test]
    fn runs_from_rim_to_rim_with_the_arrow_at_the_callee() {
        for (x, y) in [(200.0, 0.0), (200.0, 90.0), (-200.0, 40.0), (0.0, 200.0), (3.0, -150.0)] {
            for pull in [Pull::Sideways, Pull::Downwards, Pull::Straight] {
                for fine in [true, false] {
                    let path = path(ends(x, y), &[], pull, 0.0, fine);
                    let (first, last) = (path.points[0], *path.points.last().unwrap());
                    assert!((first.distance(Point::default()) - 20.0).abs() < 0.1);
                    assert!(last.distance(Point { x, y }) > 20.0);
                    let tip = path.arrow.unwrap()[0];
                    assert!((tip.distance(Point { x, y }) - 21.0).abs() < 0.1, "{tip:?}");
                }
            }
        }
    }

    #[test]
    fn opposite_calls_bend_apart() {
        let there = path(ends(200.0, 0.0), &[], Pull::Straight, 0.12, true);
        let mut back = ends(200.0, 0.0);
        std::mem::swap(&mut back.from, &mut back.to);
        let back = path(back, &[], Pull::Straight, 0.12, true);
        let middle = |p: &Path| p.points[p.points.len() / 2].y;
        assert!(middle(&there) > 10.0 && middle(&back) < -10.0);
    }

    #[test]
    fn touching_services_have_no_line() {
        assert_eq!(path(ends(10.0, 0.0), &[], Pull::Sideways, 0.0, true), Path::default());
        assert_eq!(path(ends(0.0, 0.0), &[], Pull::Sideways, 0.0, true), Path::default());
    }

    #[test]
    fn distance_is_to_the_nearest_piece() {
        let line = [Point::default(), Point { x: 10.0, y: 0.0 }, Point { x: 10.0, y: 10.0 }];
        assert!((distance(&line, Point { x: 5.0, y: 3.0 }) - 3.0).abs() < 1e-12);
        assert!((distance(&line, Point { x: 14.0, y: 13.0 }) - 5.0).abs() < 1e-12);
    }
}
