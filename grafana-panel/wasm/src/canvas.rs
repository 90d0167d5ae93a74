//! What the painting code needs of a canvas: Canvas2D in the browser, a recorder in tests.

use crate::camera::Point;
use crate::colour::Colour;

/// Dashes and gaps along a line, in CSS pixels, in turn; all zero is a solid line.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Dash(pub [f32; 4]);

impl Dash {
    /// No gaps.
    pub const SOLID: Self = Self([0.0; 4]);
    /// What is only supposed or unknown.
    pub const USUAL: Self = Self([4.0, 3.0, 4.0, 3.0]);

    /// From SVG's `stroke-dasharray` (lengths separated by commas or spaces). An odd number of lengths is
    /// repeated, as SVG has it; of more than four the first four count. Anything else is a solid line.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let parts = text.split([',', ' ']).filter(|p| !p.is_empty());
        let lengths: Option<Vec<f32>> = parts.map(|p| p.trim_end_matches("px").parse().ok()).collect();
        let lengths = lengths.unwrap_or_default();
        let usable = lengths.iter().all(|l| l.is_finite() && *l >= 0.0) && lengths.iter().any(|l| *l > 0.0);
        if !usable {
            return Self::SOLID;
        }
        let once = match lengths.len() {
            1 | 2 | 4 => lengths.len(),
            3 => 2,
            _ => 4,
        };
        let mut dash = [0.0; 4];
        for (place, length) in dash.iter_mut().enumerate() {
            *length = lengths[place % once].min(200.0);
        }
        Self(dash)
    }

    /// Whether there are no gaps.
    #[must_use]
    pub fn is_solid(self) -> bool {
        self == Self::SOLID
    }
}

/// A line's look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    /// Colour of the line.
    pub colour: Colour,
    /// Opacity, 0 to 1.
    pub alpha: f64,
    /// Width in CSS pixels.
    pub width: f64,
    /// Dashed where it is only supposed or unknown, or where the data says so.
    pub dash: Dash,
}

/// A text's look; it is centred on its point both ways.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Font {
    /// Height in CSS pixels.
    pub size: f64,
    /// Heavier.
    pub bold: bool,
}

/// Units of a glyph's square.
pub const GLYPH: f64 = 24.0;

/// Somewhere to paint on, in CSS pixels.
pub trait Canvas {
    /// Makes everything transparent.
    fn clear(&mut self, width: f64, height: f64);
    /// Filled discs of one colour, by centre and radius.
    fn discs(&mut self, discs: &[(Point, f64)], fill: Colour, alpha: f64);
    /// Circles of one look, by centre and radius.
    fn circles(&mut self, circles: &[(Point, f64)], stroke: Stroke);
    /// Part of a circle, clockwise; `from` and `share` are parts of a turn, `from` 0 is the top.
    fn arc(&mut self, centre: Point, radius: f64, from: f64, share: f64, stroke: Stroke);
    /// Lines of one look, each through its points: one call, however many.
    fn lines(&mut self, lines: &[&[Point]], stroke: Stroke);
    /// Filled triangles of one colour.
    fn triangles(&mut self, triangles: &[[Point; 3]], fill: Colour, alpha: f64);
    /// Text centred on `at`, with an outline of `outline` to set it off from what it covers.
    fn text(&mut self, text: &str, at: Point, font: Font, fill: Colour, outline: Option<Colour>, alpha: f64);
    /// A picture given as an SVG path in a square of [`GLYPH`] units, `size` pixels wide, its middle at `at`.
    fn glyph(&mut self, path: &str, at: Point, size: f64, fill: Colour, alpha: f64);
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
        fn arc(&mut self, centre: Point, _: f64, _: f64, share: f64, stroke: Stroke) {
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
        fn glyph(&mut self, path: &str, at: Point, _: f64, _: Colour, _: f64) {
            self.texts.push((path.to_owned(), at));
        }
        fn measure(&mut self, text: &str, font: Font) -> f64 {
            text.chars().count() as f64 * font.size * 0.55
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_are_read_as_svg_reads_them() {
        assert_eq!(Dash::parse("4 2"), Dash([4.0, 2.0, 4.0, 2.0]));
        assert_eq!(Dash::parse("5"), Dash([5.0; 4]));
        assert_eq!(Dash::parse("8, 2,1 ,2"), Dash([8.0, 2.0, 1.0, 2.0]));
        for solid in ["", "none", "0", "-1 2", "4 x"] {
            assert!(Dash::parse(solid).is_solid(), "{solid}");
        }
    }
}
