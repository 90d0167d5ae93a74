//! What the painting code needs of a canvas: Canvas2D in the browser, a recorder in tests.

use crate::camera::Point;
use crate::colour::Colour;

/// A line's look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    /// Colour of the line.
    pub colour: Colour,
    /// Opacity, 0 to 1.
    pub alpha: f64,
    /// Width in CSS pixels.
    pub width: f64,
    /// Dashed where it is only supposed or unknown.
    pub dashed: bool,
}

/// A text's look; it is centred on its point both ways.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Font {
    /// Height in CSS pixels.
    pub size: f64,
    /// Heavier.
    pub bold: bool,
}

/// Somewhere to paint on, in CSS pixels.
pub trait Canvas {
    /// Makes everything transparent.
    fn clear(&mut self, width: f64, height: f64);
    /// Filled discs of one colour, by centre and radius.
    fn discs(&mut self, discs: &[(Point, f64)], fill: Colour, alpha: f64);
    /// Circles of one look, by centre and radius.
    fn circles(&mut self, circles: &[(Point, f64)], stroke: Stroke);
    /// Part of a circle, clockwise from the top; `share` 1 is all of it.
    fn arc(&mut self, centre: Point, radius: f64, share: f64, stroke: Stroke);
    /// Lines of one look, each through its points: one call, however many.
    fn lines(&mut self, lines: &[&[Point]], stroke: Stroke);
    /// Filled triangles of one colour.
    fn triangles(&mut self, triangles: &[[Point; 3]], fill: Colour, alpha: f64);
    /// Text centred on `at`, with an outline of `outline` to set it off from what it covers.
    fn text(&mut self, text: &str, at: Point, font: Font, fill: Colour, outline: Option<Colour>, alpha: f64);
    /// Width of a text in CSS pixels.
    fn measure(&mut self, text: &str, font: Font) -> f64;
}

#[cfg(test)]
pub(crate) mod recorder {
    use super::*;

    /// Keeps what was painted, in order, and takes letters to be 0.55 of their height wide.
    #[derive(Default)]
    pub(crate) struct Recorder {
        pub(crate) discs: Vec<(Point, f64, Colour)>,
        pub(crate) arcs: Vec<(Point, f64, Stroke)>,
        pub(crate) lines: usize,
        pub(crate) texts: Vec<(String, Point)>,
        pub(crate) strokes: Vec<Stroke>,
        pub(crate) triangles: usize,
    }

    impl Canvas for Recorder {
        fn clear(&mut self, _: f64, _: f64) {
            *self = Self::default();
        }
        fn discs(&mut self, discs: &[(Point, f64)], fill: Colour, _: f64) {
            self.discs.extend(discs.iter().map(|d| (d.0, d.1, fill)));
        }
        fn circles(&mut self, circles: &[(Point, f64)], stroke: Stroke) {
            self.arcs.extend(circles.iter().map(|c| (c.0, 1.0, stroke)));
        }
        fn arc(&mut self, centre: Point, _: f64, share: f64, stroke: Stroke) {
            self.arcs.push((centre, share, stroke));
        }
        fn lines(&mut self, lines: &[&[Point]], stroke: Stroke) {
            self.lines += lines.len();
            self.strokes.push(stroke);
        }
        fn triangles(&mut self, triangles: &[[Point; 3]], _: Colour, _: f64) {
            self.triangles += triangles.len();
        }
        fn text(&mut self, text: &str, at: Point, _: Font, _: Colour, _: Option<Colour>, _: f64) {
            self.texts.push((text.to_owned(), at));
        }
        fn measure(&mut self, text: &str, font: Font) -> f64 {
            text.chars().count() as f64 * font.size * 0.55
        }
    }
}
