//! Everything a painting is made of, but for its texts, as one list of instances for a GPU.
//!
//! One instance is one piece of a line, one ring, disc or arc, or one triangle; the shaders (`shape.vert`,
//! `shape.frag`) work out how much of each pixel it covers. Instances are drawn in the order they were added,
//! in a single call, so the picture is that of Canvas2D.
//!
//! Layout of an instance, [`INSTANCE`] bytes, lengths in CSS pixels:
//! ```text
//! 0   4 x f32  a line's ends | a ring's centre, its radius, 0 | two corners of a triangle
//! 16  4 x f32  directions that bound a line's ends | a ring's start and share, in turns | the third corner
//! 32  f32      half the width
//! 36  f32      kind: 0 to 3 a line (1: it starts here, 2: it ends here), 4 a ring, 5 a triangle
//! 40  f32      length of the line before this piece, for its dashes
//! 44  4 x u8   red, green, blue, opacity
//! 48  4 x f32  dashes and gaps; all 0 for none
//! ```
//! Where two pieces of a line meet, each ends at the line that halves their angle, so that a translucent
//! line is nowhere painted twice.

use crate::camera::Point;
use crate::canvas::{Dash, Stroke};
use crate::colour::Colour;

/// Bytes of an instance.
pub const INSTANCE: usize = 64;

const STARTS: f32 = 1.0;
const ENDS: f32 = 2.0;
const RING: f32 = 4.0;
const TRIANGLE: f32 = 5.0;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
}

struct Shape {
    place: [f64; 4],
    more: [f64; 4],
    half: f64,
    kind: f32,
    before: f64,
    colour: Colour,
    alpha: f64,
    dash: Dash,
}

impl Batch {
    /// No shapes; keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Forgets all but the first so many instances.
    pub fn truncate(&mut self, instances: usize) {
        self.bytes.truncate(instances * INSTANCE);
    }

    /// Instances added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / INSTANCE
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All instances, in the layout of the module.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn push(&mut self, shape: &Shape) {
        let [r, g, b] = shape.colour.rgb;
        let alpha = (shape.alpha.clamp(0.0, 1.0) * 255.0).round() as u8;
        for value in shape.place.iter().chain(&shape.more).chain([&shape.half]) {
            self.bytes.extend((*value as f32).to_le_bytes());
        }
        self.bytes.extend(shape.kind.to_le_bytes());
        self.bytes.extend((shape.before as f32).to_le_bytes());
        self.bytes.extend([r, g, b, alpha]);
        for length in shape.dash.0 {
            self.bytes.extend(length.to_le_bytes());
        }
    }

    /// A filled disc.
    pub fn disc(&mut self, centre: Point, radius: f64, colour: Colour, alpha: f64) {
        let (place, more) = ([centre.x, centre.y, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]);
        self.push(&Shape { place, more, half: radius, kind: RING, before: 0.0, colour, alpha, dash: Dash::SOLID });
    }

    /// Part of a circle; `from` and `share` are parts of a turn, from the top, clockwise.
    pub fn arc(&mut self, centre: Point, radius: f64, from: f64, share: f64, stroke: Stroke) {
        let Stroke { colour, alpha, width, dash } = stroke;
        let (place, more) = ([centre.x, centre.y, radius.max(0.0), 0.0], [from, share.clamp(0.0, 1.0), 0.0, 0.0]);
        self.push(&Shape { place, more, half: width / 2.0, kind: RING, before: 0.0, colour, alpha, dash });
    }

    /// A filled triangle.
    pub fn triangle(&mut self, [a, b, c]: [Point; 3], colour: Colour, alpha: f64) {
        let (place, more) = ([a.x, a.y, b.x, b.y], [c.x, c.y, 0.0, 0.0]);
        self.push(&Shape { place, more, half: 0.0, kind: TRIANGLE, before: 0.0, colour, alpha, dash: Dash::SOLID });
    }

    /// A line through its points.
    pub fn line(&mut self, points: &[Point], stroke: Stroke) {
        let Stroke { colour, alpha, width, dash } = stroke;
        // Pieces without a length have no direction.
        let mut path: Vec<Point> = Vec::with_capacity(points.len());
        for &point in points {
            if path.last().is_none_or(|last| last.distance(point) > 1e-6) {
                path.push(point);
            }
        }
        let direction = |at: usize| {
            let (a, b) = (path[at], path[at + 1]);
            let length = a.distance(b);
            ((b.x - a.x) / length, (b.y - a.y) / length)
        };
        // Between two pieces: along both of them together.
        let between = |at: usize| {
            let (a, b) = (direction(at), direction(at + 1));
            let (x, y) = (a.0 + b.0, a.1 + b.1);
            let length = x.hypot(y);
            if length > 1e-6 { (x / length, y / length) } else { a }
        };
        let pieces = path.len().saturating_sub(1);
        let mut before = 0.0;
        for at in 0..pieces {
            let (a, b) = (path[at], path[at + 1]);
            let (starts, ends) = (at == 0, at + 1 == pieces);
            let own = direction(at);
            let start = if starts { own } else { between(at - 1) };
            let end = if ends { own } else { between(at) };
            let kind = if starts { STARTS } else { 0.0 } + if ends { ENDS } else { 0.0 };
            let (place, more) = ([a.x, a.y, b.x, b.y], [start.0, start.1, end.0, end.1]);
            self.push(&Shape { place, more, half: width / 2.0, kind, before, colour, alpha, dash });
            before += a.distance(b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, y: f64) -> Point {
        Point { x, y }
    }

    fn number(batch: &Batch, instance: usize, word: usize) -> f32 {
        let start = instance * INSTANCE + word * 4;
        f32::from_le_bytes(batch.bytes()[start..start + 4].try_into().unwrap())
    }

    const RED: Colour = Colour::hex(0xff_00_00);

    #[test]
    fn pieces_of_a_line_share_the_direction_where_they_meet_and_know_its_ends() {
        let mut batch = Batch::default();
        let stroke = Stroke { colour: RED, alpha: 0.5, width: 3.0, dash: Dash::USUAL };
        batch.line(&[at(0.0, 0.0), at(4.0, 0.0), at(4.0, 0.0), at(4.0, 3.0)], stroke);
        assert_eq!(batch.len(), 2, "a piece without length is none");
        assert_eq!([number(&batch, 0, 9), number(&batch, 1, 9)], [STARTS, ENDS]);
        for word in [0, 1] {
            assert_eq!(number(&batch, 0, 6 + word), number(&batch, 1, 4 + word), "one end is the other's start");
        }
        assert!((number(&batch, 0, 6) - 0.5_f32.sqrt()).abs() < 1e-6);
        assert_eq!([number(&batch, 0, 10), number(&batch, 1, 10)], [0.0, 4.0]);
        assert_eq!(&batch.bytes()[44..48], [255, 0, 0, 128]);
        assert_eq!(number(&batch, 0, 12), 4.0);
    }

    #[test]
    fn shapes_keep_their_order_and_can_be_taken_back() {
        let mut batch = Batch::default();
        batch.disc(at(1.0, 2.0), 5.0, RED, 1.0);
        batch.triangle([at(0.0, 0.0), at(1.0, 0.0), at(0.0, 1.0)], RED, 1.0);
        let stroke = Stroke { colour: RED, alpha: 1.0, width: 2.0, dash: Dash::SOLID };
        batch.arc(at(0.0, 0.0), 9.0, 0.25, 7.0, stroke);
        assert_eq!([0, 1, 2].map(|i| number(&batch, i, 9)), [RING, TRIANGLE, RING]);
        assert_eq!([number(&batch, 2, 2), number(&batch, 2, 4), number(&batch, 2, 5)], [9.0, 0.25, 1.0]);
        batch.truncate(1);
        assert_eq!((batch.len(), batch.bytes().len()), (1, INSTANCE));
        batch.line(&[at(3.0, 3.0)], stroke);
        assert_eq!(batch.len(), 1, "one point is no line");
    }
}
