//! Labels: the important ones choose their places first, and none overlaps another.

use super::{NUMBER_RADIUS, Scene, percent};
use crate::camera::Point;
use crate::canvas::{Canvas, Font};
use crate::drawn::DrawnNode;
use crate::labels::{Area, Taken};

const LABEL: f64 = 12.0;
/// What stands below a label.
const SUBLABEL: f64 = 10.5;
/// Longest label in CSS pixels; the rest becomes an ellipsis.
const LABEL_WIDTH: f64 = 150.0;
/// Labels drawn at most; more would be a carpet.
const LABELS: usize = 220;

impl Scene<'_> {
    fn importance(&self, place: usize, degree: &[usize]) -> f64 {
        let (mark, node) = (&self.marks[place], &self.shown.nodes[place]);
        let pointed = if self.focus == Some(place) || mark.failed { 1e6 } else { 0.0 };
        let hit = mark.halo.unwrap_or(0.0) * 60.0 + mark.ring.unwrap_or(0.0) * 1e4;
        let score = mark.score.unwrap_or(0.0).clamp(0.0, 50.0) * 10.0;
        pointed + hit + score + degree[place] as f64 * 0.1 + if node.cluster { 500.0 } else { 0.0 }
    }

    /// The subtitle of a node, and the statistics that do not fit into it.
    fn sublabel(&self, canvas: &mut dyn Canvas, place: usize) -> Option<String> {
        let look = self.worn.node(place)?;
        let (main, second) = self.statistics(canvas, &self.geometry.discs[place], look);
        let left = |text: &Option<String>, fits: bool| text.clone().filter(|_| !fits && look.icon.is_none());
        let parts = [look.subtitle.clone(), left(&look.main, main.is_some()), left(&look.second, second.is_some())];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" · ");
        (!text.is_empty()).then_some(text)
    }

    pub(super) fn labels(&self, canvas: &mut dyn Canvas, drawn: &mut [DrawnNode]) {
        let discs = &self.geometry.discs;
        let mut taken = Taken::default();
        for (_, disc, mark) in self.discs() {
            let r = disc.radius + if mark.ring.is_some() { 4.0 } else { 0.0 };
            taken.take(Area { centre: disc.centre, half: Point { x: r, y: r } });
        }
        let mut degree = vec![0_usize; discs.len()];
        for link in &self.shown.links {
            degree[link.from] += 1;
            degree[link.to] += 1;
        }
        let mut order: Vec<(f64, usize)> = (0..discs.len()).map(|p| (self.importance(p, &degree), p)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let tiny = self.geometry.radius < 2.5;
        let mut left = LABELS;
        for (_, place) in order {
            let (disc, mark) = (&discs[place], &self.marks[place]);
            let telling = mark.ring.is_some() || mark.halo.is_some() || mark.score.is_some_and(|s| s >= 1.0);
            let wanted = self.focus == Some(place) || (!mark.dim && (!tiny || telling) && left > 0);
            let inside = (0.0..=self.size.x).contains(&disc.centre.x) && (0.0..=self.size.y).contains(&disc.centre.y);
            if disc.presence < 0.3 || !inside || !wanted {
                continue;
            }
            let strong = mark.ring.is_some_and(|p| p >= 0.5) || self.focus == Some(place);
            let font = Font { size: LABEL, bold: strong };
            let number = mark.ring.filter(|_| disc.radius < NUMBER_RADIUS && !mark.failed);
            let suffix = number.map(|p| format!(" {}", percent(p))).unwrap_or_default();
            let text = shorten(canvas, &self.shown.nodes[place].label, font) + &suffix;
            let small = Font { size: SUBLABEL, bold: false };
            let below = self.sublabel(canvas, place).map(|t| shorten(canvas, &t, small));
            let sub = if below.is_some() { SUBLABEL + 2.0 } else { 0.0 };
            let wide = canvas.measure(&text, font).max(below.as_deref().map_or(0.0, |t| canvas.measure(t, small)));
            let high = LABEL + 3.0 + sub;
            let rim = disc.radius + if mark.ring.is_some() || self.shown.nodes[place].cluster { 5.0 } else { 1.0 };
            let area = match taken.place(disc.centre, rim, wide, high, self.size) {
                Some(area) => area,
                // Pointing at a node always names it.
                None if self.focus == Some(place) => {
                    let half = Point { x: wide / 2.0, y: high / 2.0 };
                    let x = disc.centre.x.clamp(half.x, (self.size.x - half.x).max(half.x));
                    Area { centre: Point { x, y: disc.centre.y + rim + half.y + 2.0 }, half }
                }
                None => continue,
            };
            left = left.saturating_sub(1);
            let outline = Some(self.theme.background);
            let at = Point { x: area.centre.x, y: area.centre.y - sub / 2.0 };
            canvas.text(&text, at, font, self.theme.text, outline, disc.presence);
            if let Some(below) = below {
                let at = Point { x: area.centre.x, y: area.centre.y + LABEL / 2.0 + 1.0 };
                canvas.text(&below, at, small, self.theme.muted, outline, disc.presence);
            }
            if let Some(drawn) = drawn.get_mut(place) {
                drawn.label = Some((text, area));
            }
        }
    }
}

fn shorten(canvas: &mut dyn Canvas, text: &str, font: Font) -> String {
    if canvas.measure(text, font) <= LABEL_WIDTH {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().take(60).collect();
    while kept.len() > 1 {
        kept.pop();
        let short: String = kept.iter().collect::<String>() + "…";
        if canvas.measure(&short, font) <= LABEL_WIDTH {
            return short;
        }
    }
    text.chars().take(1).collect()
}
