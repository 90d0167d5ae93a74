//! A reliability plot: how often what was said with a probability was true.

use std::fmt::Write as _;

/// Bins of one tenth.
const BINS: usize = 10;
const SIZE: f64 = 400.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 60.0;
const RIGHT: f64 = 40.0;
const BOTTOM: f64 = 64.0;
/// Standard deviations of the normal distribution that hold 95 per cent.
const Z: f64 = 1.96;

/// (said, true) pairs as counts, mean said, share true per bin; empty bins left out.
pub fn bins(said: &[(f64, bool)]) -> Vec<(usize, f64, f64)> {
    let mut bins = vec![(0usize, 0.0, 0.0); BINS];
    for &(probability, is) in said {
        let bin = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += 1;
        bin.1 += probability;
        bin.2 += f64::from(u8::from(is));
    }
    bins.into_iter().filter(|bin| bin.0 > 0).map(|(n, p, t)| (n, p / n as f64, t / n as f64)).collect()
}

/// Where the true share lies with 95 per cent (Wilson, "Probable inference, the law of succession, and statistical
/// inference", JASA 22, 1927).
fn interval(count: usize, share: f64) -> (f64, f64) {
    let n = count as f64;
    let centre = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// The plot as SVG: a point per bin with its 95 per cent interval and how many were said.
pub fn svg(said: &[(f64, bool)]) -> String {
    let x = |p: f64| LEFT + p * SIZE;
    let y = |p: f64| TOP + (1.0 - p) * SIZE;
    let (width, height) = (LEFT + SIZE + RIGHT, TOP + SIZE + BOTTOM);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"16\" font-weight=\"bold\">How often what was said was true</text>\n\
         <text x=\"{LEFT}\" y=\"44\" fill=\"#555\">per tenth of the scale, with 95 % interval and count</text>\n"
    );
    // Writing to a string cannot fail.
    for tick in 0..=5 {
        let p = f64::from(tick) / 5.0;
        let (at_x, at_y) = (x(p), y(p));
        let _ = writeln!(
            text,
            "<path d=\"M{at_x:.1} {:.1}V{:.1}M{:.1} {at_y:.1}H{:.1}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{at_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{p:.1}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{p:.1}</text>",
            y(0.0),
            y(1.0),
            x(0.0),
            x(1.0),
            y(0.0) + 20.0,
            x(0.0) - 8.0,
            at_y + 4.5
        );
    }
    let _ = writeln!(
        text,
        "<path d=\"M{:.1} {:.1}V{:.1}H{:.1}\" stroke=\"#222\" fill=\"none\"/>\
         <path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#888\" stroke-dasharray=\"5 5\"/>",
        x(0.0),
        y(1.0),
        y(0.0),
        x(1.0),
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    for (count, mean, share) in bins(said) {
        let (low, high) = interval(count, share);
        // Beside the bar, on the side that has room.
        let (beside, anchor) = if mean > 0.9 { (-8.0, "end") } else { (8.0, "start") };
        let _ = writeln!(
            text,
            "<path d=\"M{0:.1} {1:.1}V{2:.1}\" stroke=\"#1f77b4\" stroke-width=\"2\"/>\
             <circle cx=\"{0:.1}\" cy=\"{3:.1}\" r=\"5\" fill=\"#1f77b4\"/>\
             <text x=\"{4:.1}\" y=\"{5:.1}\" text-anchor=\"{anchor}\" fill=\"#1f77b4\">{count}</text>",
            x(mean),
            y(low),
            y(high),
            y(share),
            x(mean) + beside,
            y(share) - 6.0
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">probability that was said</text>\n\
         <text transform=\"translate(20 {:.1}) rotate(-90)\" text-anchor=\"middle\">share that was true</text>\n</svg>",
        x(0.5),
        y(0.0) + 46.0,
        y(0.5)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_what_was_said_and_what_was_true() {
        assert_eq!(bins(&[(0.05, false), (0.95, true), (1.0, false)]).len(), 2);
        assert_eq!(bins(&[(0.95, true), (1.0, false)])[0], (2, 0.975, 0.5));
        assert!(svg(&[(0.5, true)]).ends_with("</svg>\n"));
    }

    #[test]
    fn intervals_are_wilsons() {
        // Wilson's interval of 8 in 10: 0.49 to 0.94.
        let (low, high) = interval(10, 0.8);
        assert!((low - 0.490).abs() < 1e-3 && (high - 0.943).abs() < 1e-3, "{low} {high}");
        assert_eq!(interval(5, 0.0).0, 0.0);
    }
}
