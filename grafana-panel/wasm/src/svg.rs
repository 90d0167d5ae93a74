//! The picture as a drawing of its own: the same painting code on a canvas that writes SVG 1.1.

use std::fmt::Write as _;

use crate::camera::Point;
use crate::canvas::{Canvas, Dash, Font, GLYPH, Stroke};
use crate::colour::Colour;

/// Writes what is painted. Text widths come from `measure`, so that labels lie as they do on screen.
pub struct Svg<'a> {
    body: String,
    size: Point,
    measure: &'a mut dyn FnMut(&str, Font) -> f64,
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Not allowed in XML 1.0 (section 2.2).
            c if c < ' ' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

impl<'a> Svg<'a> {
    /// An empty drawing.
    #[must_use]
    pub fn new(measure: &'a mut dyn FnMut(&str, Font) -> f64) -> Self {
        Self { body: String::new(), size: Point::default(), measure }
    }

    /// The document, upon `background`.
    #[must_use]
    pub fn document(&self, background: Colour, title: &str) -> String {
        let Point { x, y } = self.size;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{x:.0}\" height=\"{y:.0}\" viewBox=\"0 0 {x:.0} {y:.0}\" \
             font-family=\"Inter, Helvetica, Arial, sans-serif\" text-anchor=\"middle\" stroke-linejoin=\"round\">\
             <title>{}</title><rect width=\"100%\" height=\"100%\" fill=\"{background}\"/>{}</svg>\n",
            escape(title),
            self.body
        )
    }

    fn stroke(stroke: Stroke) -> String {
        let Dash([a, b, c, d]) = stroke.dash;
        let dash =
            if stroke.dash.is_solid() { String::new() } else { format!(" stroke-dasharray=\"{a} {b} {c} {d}\"") };
        format!(
            "fill=\"none\" stroke=\"{}\" stroke-opacity=\"{:.2}\" stroke-width=\"{:.2}\"{dash}",
            stroke.colour, stroke.alpha, stroke.width
        )
    }

    // Writing to a string cannot fail.
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(text);
    }
}

impl Canvas for Svg<'_> {
    fn clear(&mut self, width: f64, height: f64) {
        self.body.clear();
        self.size = Point { x: width, y: height };
    }

    fn discs(&mut self, discs: &[(Point, f64)], fill: Colour, alpha: f64) {
        self.add(format_args!("<g fill=\"{fill}\" fill-opacity=\"{alpha:.2}\">"));
        for (p, r) in discs {
            self.add(format_args!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{r:.1}\"/>", p.x, p.y));
        }
        self.body.push_str("</g>");
    }

    fn circles(&mut self, circles: &[(Point, f64)], stroke: Stroke) {
        self.add(format_args!("<g {}>", Self::stroke(stroke)));
        for (p, r) in circles {
            self.add(format_args!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{r:.1}\"/>", p.x, p.y));
        }
        self.body.push_str("</g>");
    }

    fn arc(&mut self, centre: Point, radius: f64, from: f64, share: f64, stroke: Stroke) {
        if share >= 1.0 {
            return self.circles(&[(centre, radius)], stroke);
        }
        let at = |turns: f64| {
            let (sin, cos) = (turns * std::f64::consts::TAU).sin_cos();
            Point { x: centre.x + radius * sin, y: centre.y - radius * cos }
        };
        let (start, end) = (at(from), at(from + share.max(0.0)));
        let large = u8::from(share > 0.5);
        self.add(format_args!(
            "<path {} d=\"M{:.2} {:.2}A{radius:.2} {radius:.2} 0 {large} 1 {:.2} {:.2}\"/>",
            Self::stroke(stroke),
            start.x,
            start.y,
            end.x,
            end.y
        ));
    }

    fn lines(&mut self, lines: &[&[Point]], stroke: Stroke) {
        self.add(format_args!("<path {} d=\"", Self::stroke(stroke)));
        for line in lines {
            for (place, p) in line.iter().enumerate() {
                self.add(format_args!("{}{:.1} {:.1}", if place == 0 { 'M' } else { 'L' }, p.x, p.y));
            }
        }
        self.body.push_str("\"/>");
    }

    fn triangles(&mut self, triangles: &[[Point; 3]], fill: Colour, alpha: f64) {
        self.add(format_args!("<path fill=\"{fill}\" fill-opacity=\"{alpha:.2}\" d=\""));
        for [a, b, c] in triangles {
            self.add(format_args!("M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z", a.x, a.y, b.x, b.y, c.x, c.y));
        }
        self.body.push_str("\"/>");
    }

    fn text(&mut self, text: &str, at: Point, font: Font, fill: Colour, outline: Option<Colour>, alpha: f64) {
        let weight = if font.bold { " font-weight=\"600\"" } else { "" };
        let outline = match outline {
            Some(c) => format!(" stroke=\"{c}\" stroke-width=\"3\" stroke-opacity=\"0.85\" paint-order=\"stroke\""),
            None => String::new(),
        };
        self.add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" dy=\"0.35em\" font-size=\"{}\"{weight} fill=\"{fill}\" fill-opacity=\"{alpha:.2}\"{outline}>{}</text>",
            at.x,
            at.y,
            font.size,
            escape(text)
        ));
    }

    fn glyph(&mut self, path: &str, at: Point, size: f64, fill: Colour, alpha: f64) {
        let (x, y, scale) = (at.x - size / 2.0, at.y - size / 2.0, size / GLYPH);
        self.add(format_args!(
            "<path fill=\"{fill}\" fill-opacity=\"{alpha:.2}\" transform=\"translate({x:.1} {y:.1}) scale({scale:.3})\" d=\"{}\"/>",
            escape(path)
        ));
    }

    fn measure(&mut self, text: &str, font: Font) -> f64 {
        (self.measure)(text, font)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_document() {
        let mut measure = |text: &str, font: Font| text.len() as f64 * font.size * 0.5;
        let mut svg = Svg::new(&mut measure);
        svg.clear(100.0, 50.0);
        let (black, at) = (Colour::hex(0), Point { x: 1.0, y: 2.0 });
        svg.text("<script>\u{1}&\"", at, Font { size: 12.0, bold: true }, black, Some(black), 1.0);
        let text = svg.document(Colour::hex(0xff_ff_ff), "a<b");
        assert!(text.contains("&lt;script&gt; &amp;&quot;</text>") && text.contains("<title>a&lt;b</title>"), "{text}");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }

    #[test]
    fn arcs_close_only_when_full() {
        let mut measure = |_: &str, _: Font| 0.0;
        let mut svg = Svg::new(&mut measure);
        let stroke = Stroke { colour: Colour::hex(0), alpha: 1.0, width: 1.0, dash: Dash::USUAL };
        svg.arc(Point::default(), 5.0, 0.0, 0.75, stroke);
        svg.arc(Point::default(), 5.0, 0.0, 1.0, stroke);
        assert!(svg.body.contains("0 1 1 -5.00 0.00") && svg.body.contains("<circle"), "{}", svg.body);
    }
}
