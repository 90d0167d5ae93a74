//! Dots that run along busy links.

use std::collections::BTreeMap;

use super::Scene;
use crate::camera::Point;
use crate::canvas::Canvas;
use crate::colour::Colour;

/// Dots are this far apart on a line, in pixels.
const FLOW_GAP: f64 = 120.0;
/// Slowest and fastest, in pixels per second.
const FLOW_SPEED: (f64, f64) = (18.0, 52.0);
/// Dots on at most this many links, the busiest.
const FLOW_LINKS: usize = 700;

impl Scene<'_> {
    /// Dots that run along the busiest links at `now_ms`, the faster the more requests; nothing else.
    pub fn flow(&self, canvas: &mut dyn Canvas, now_ms: f64) {
        let mut busy: Vec<(usize, f64)> = self
            .shown
            .links
            .iter()
            .enumerate()
            .filter(|(index, link)| self.geometry.paths[*index].points.len() >= 2 && !self.is_cut(link))
            .filter_map(|(index, link)| Some((index, link.rate.filter(|r| *r > 0.0)?)))
            .filter(|(index, _)| {
                let link = &self.shown.links[*index];
                self.focus.is_none_or(|f| f == link.from || f == link.to)
                    && !self.marks[link.from].dim
                    && !self.marks[link.to].dim
            })
            .collect();
        busy.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        busy.truncate(FLOW_LINKS);
        let mut dots: BTreeMap<[u8; 3], Vec<(Point, f64)>> = BTreeMap::new();
        for (index, rate) in busy {
            let points = &self.geometry.paths[index].points;
            let length: f64 = points.windows(2).map(|p| p[0].distance(p[1])).sum();
            if length < 24.0 {
                continue;
            }
            let errors = self.shown.links[index].error_ratio.unwrap_or(0.0);
            let colour = if errors >= 0.005 { self.theme.errors.coarse(errors, 200.0) } else { self.theme.text };
            let speed = FLOW_SPEED.0 + (FLOW_SPEED.1 - FLOW_SPEED.0) * ((1.0 + rate).log10() / 4.0).min(1.0);
            let gap = FLOW_GAP.min(length);
            // Each link has a phase of its own, or dots would march in step.
            let phase = (index as f64 * 0.618_034).fract() * gap;
            let mut at = (now_ms / 1000.0 * speed + phase) % gap;
            let radius = (self.geometry.widths[index] * 0.55 + 0.6).clamp(1.0, 2.4);
            while at < length {
                if let Some(point) = along(points, at) {
                    dots.entry(colour.rgb).or_default().push((point, radius));
                }
                at += gap;
            }
        }
        for (rgb, discs) in &dots {
            canvas.discs(discs, Colour { rgb: *rgb }, 0.75);
        }
    }
}

/// The point this many pixels along a line.
fn along(points: &[Point], mut distance: f64) -> Option<Point> {
    for pair in points.windows(2) {
        let length = pair[0].distance(pair[1]);
        if distance <= length {
            return Some(pair[0].towards(pair[1], if length > 0.0 { distance / length } else { 0.0 }));
        }
        distance -= length;
    }
    None
}
