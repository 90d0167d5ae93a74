//! A reliability plot: how often what was said with a probability was true.

use std::fmt::Write as _;

/// Bins of one tenth.
const BINS: usize = 10;
const SIZE: f64 = 360.0;
const MARGIN: f64 = 48.0;

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

/// The plot as SVG.
pub fn svg(said: &[(f64, bool)]) -> String {
    let x = |p: f64| MARGIN + p * SIZE;
    let y = |p: f64| MARGIN + (1.0 - p) * SIZE;
    let total = SIZE + 2.0 * MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{total}\" height=\"{total}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{total}\" height=\"{total}\" fill=\"white\"/>\n\
         <path d=\"M{} {}H{}M{} {}V{}\" stroke=\"#333\" fill=\"none\"/>\n\
         <path d=\"M{} {}L{} {}\" stroke=\"#999\" stroke-dasharray=\"4 4\"/>\n",
        x(0.0),
        y(0.0),
        x(1.0),
        x(0.0),
        y(0.0),
        y(1.0),
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    for tick in 0..=5 {
        let p = f64::from(tick) / 5.0;
        let _ = writeln!(text, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{p:.1}</text>", x(p), y(0.0) + 18.0);
        let _ = writeln!(text, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{p:.1}</text>", x(0.0) - 8.0, y(p) + 4.0);
    }
    for (count, mean, share) in bins(said) {
        let radius = 3.0 + 1.5 * (count as f64).ln();
        let _ = writeln!(
            text,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"#1f77b4\" fill-opacity=\"0.6\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{count}</text>",
            x(mean),
            y(share),
            x(mean) + radius + 2.0,
            y(share) + 4.0
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">probability given</text>\n\
         <text x=\"{}\" y=\"24\" text-anchor=\"middle\">share that was true (numbers: how many were said)</text>\n</svg>",
        x(0.5),
        y(0.0) + 36.0,
        x(0.5)
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
}
