//! Paints what is shown: halos, then links, then nodes, then labels.
//!
//! Marks are grouped by look, so that a thousand of them cost a handful of strokes. What is too small to
//! see is left out (level of detail): arrow heads, labels, numbers, halos' outer rims. Everything painted
//! is noted in [`Drawn`] where it is painted.

use std::collections::BTreeMap;

use crate::camera::Point;
use crate::canvas::{Canvas, Font, Stroke};
use crate::colour::{Colour, Theme, on_scale};
use crate::drawn::{Drawn, DrawnEdge, DrawnNode};
use crate::geometry::{BADGE_RADIUS, Disc, Geometry};
use crate::labels::{Area, Taken};
use crate::marks::{Mark, VISIBLE};
use crate::model::Model;
use crate::shown::{Link, Shown};
use crate::what_if::Suppositions;

/// A posterior is written into its node from this radius up.
const NUMBER_RADIUS: f64 = 13.0;
/// Arrow heads are drawn from this radius up, or where there are few links.
const ARROW_RADIUS: f64 = 2.0;
const LABEL: f64 = 12.0;
/// Longest label in CSS pixels; the rest becomes an ellipsis.
const LABEL_WIDTH: f64 = 150.0;
/// Labels drawn at most; more would be a carpet.
const LABELS: usize = 220;
/// Flow: dots this far apart on a line, in pixels; slowest and fastest, in pixels per second.
const FLOW_GAP: f64 = 120.0;
const FLOW_SPEED: (f64, f64) = (18.0, 52.0);
/// Dots on at most this many links, the busiest.
const FLOW_LINKS: usize = 700;
/// Grades of the blast radius along links.
const GRADES: usize = 5;
/// In a crowd only links of a blast radius at least this likely are drawn wide.
const CROWD: f64 = 0.4;

/// All that a painting shows.
pub struct Scene<'a> {
    /// Services, for their labels.
    pub model: &'a Model,
    /// Nodes and links.
    pub shown: &'a Shown,
    /// Their shapes.
    pub geometry: &'a Geometry,
    /// What nodes tell.
    pub marks: &'a [Mark],
    /// What is supposed.
    pub suppositions: &'a Suppositions,
    /// Something is supposed.
    pub hypothetical: bool,
    /// Under the pointer, or focused: a position.
    pub focus: Option<usize>,
    /// Size of the canvas.
    pub size: Point,
    /// Colours.
    pub theme: &'a Theme,
    /// Something still moves: labels may wait.
    pub moving: bool,
}

/// A posterior for a disc: whole per cent, never 100 unless it is.
#[must_use]
pub fn percent(p: f64) -> String {
    if (0.995..1.0).contains(&p) {
        ">99%".to_owned()
    } else if p > 0.0 && p < 0.01 {
        "<1%".to_owned()
    } else {
        format!("{:.0}%", p * 100.0)
    }
}

/// Discs of one look, outer and inner ones.
type Shapes = (Vec<(Point, f64)>, Vec<(Point, f64)>);

/// Discs and triangles of one colour.
type Filled = (Vec<(Point, f64)>, Vec<[Point; 3]>);

/// Lines of one look.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    order: u8,
    dashed: bool,
    rgb: [u8; 3],
    /// Quarters of a pixel.
    width: u32,
    /// Hundredths.
    alpha: u32,
}

impl Scene<'_> {
    /// Paints and reports.
    pub fn paint(&self, canvas: &mut dyn Canvas) -> Drawn {
        canvas.clear(self.size.x, self.size.y);
        let mut drawn = Drawn { size: self.size, moving: self.moving, ..Drawn::default() };
        if self.hypothetical {
            drawn.hypothetical = self.suppositions.failed.as_ref().map(crate::model::Key::full);
        }
        self.halos(canvas);
        drawn.edges = self.links(canvas);
        drawn.nodes = self.nodes(canvas);
        self.labels(canvas, &mut drawn.nodes);
        drawn
    }

    fn conclusion(&self) -> Colour {
        if self.hypothetical { self.theme.hypothetical } else { self.theme.inferred }
    }

    fn alpha(&self, place: usize) -> f64 {
        self.geometry.discs[place].presence * if self.marks[place].dim { 0.22 } else { 1.0 }
    }

    fn discs(&self) -> impl Iterator<Item = (usize, &Disc, &Mark)> {
        self.geometry.discs.iter().zip(self.marks).enumerate().map(|(place, (disc, mark))| (place, disc, mark))
    }

    /// The blast radius: around those hit, and along the links it takes, as strong as it is likely.
    fn halos(&self, canvas: &mut dyn Canvas) {
        let colour = self.conclusion();
        let mut grades: Vec<Vec<&[Point]>> = vec![Vec::new(); GRADES];
        for (link, path) in self.shown.links.iter().zip(&self.geometry.paths) {
            // Faults go from the callee to the caller.
            let (from, to) = (self.marks[link.to].halo, self.marks[link.from].halo);
            if let (Some(from), Some(to)) = (from, to)
                && path.points.len() >= 2
                && !self.is_cut(link)
                && (self.geometry.fine || from.min(to) >= CROWD)
            {
                let grade = (from.min(to) * GRADES as f64) as usize;
                grades[grade.min(GRADES - 1)].push(&path.points);
            }
        }
        let wide = (self.geometry.radius * 0.6).clamp(3.0, 11.0);
        for (grade, lines) in grades.iter().enumerate().filter(|(_, l)| !l.is_empty()) {
            let share = (grade as f64 + 0.7) / GRADES as f64;
            let stroke =
                Stroke { colour, alpha: 0.09 + 0.26 * share, width: wide * (0.6 + 0.4 * share), dashed: false };
            canvas.lines(lines, stroke);
        }
        // In steps of a tenth: many halos, few looks.
        let mut discs: BTreeMap<(u32, u32), Shapes> = BTreeMap::new();
        for (place, disc, mark) in self.discs() {
            let alpha = self.alpha(place);
            if let Some(p) = mark.halo {
                let look = discs.entry(((p * 10.0).ceil() as u32, (alpha * 100.0) as u32)).or_default();
                look.0.push((disc.centre, disc.radius * (1.45 + 0.75 * p)));
                if self.geometry.fine {
                    look.1.push((disc.centre, disc.radius * 1.45));
                }
            }
        }
        for ((tenths, alpha), (outer, inner)) in &discs {
            let (p, alpha) = (f64::from(*tenths) / 10.0, f64::from(*alpha) / 100.0);
            canvas.discs(outer, colour, 0.30 * p.max(0.15) * alpha);
            if !inner.is_empty() {
                canvas.discs(inner, colour, 0.22 * p.max(0.15) * alpha);
            }
            if self.hypothetical && self.geometry.fine {
                let stroke = Stroke { colour, alpha: (0.25 + 0.6 * p) * alpha, width: 1.0, dashed: true };
                canvas.circles(outer, stroke);
            }
        }
        for (place, disc, mark) in self.discs() {
            let alpha = self.alpha(place);
            if let Some(p) = mark.before {
                // How far it reaches as things are.
                let stroke = Stroke { colour: self.theme.inferred, alpha: 0.9 * alpha, width: 1.5, dashed: true };
                canvas.circles(&[(disc.centre, disc.radius * (1.45 + 0.75 * p))], stroke);
            }
        }
    }

    fn is_cut(&self, link: &Link) -> bool {
        let key = |place: usize| &self.shown.nodes[place].key;
        self.hypothetical && self.suppositions.cuts(key(link.from), key(link.to))
    }

    fn links(&self, canvas: &mut dyn Canvas) -> Vec<DrawnEdge> {
        let links = &self.shown.links;
        let few = self.geometry.fine;
        let dense = if few { 1.0 } else { (0.55 - links.len() as f64 * 1e-5).max(0.2) };
        let mut looks: BTreeMap<Look, Vec<usize>> = BTreeMap::new();
        let mut drawn = Vec::with_capacity(links.len());
        for (index, link) in links.iter().enumerate() {
            // Steps of colour, as of width: many links, few looks.
            let errors = link.error_ratio.unwrap_or(0.0).clamp(0.0, 1.0);
            let colour = on_scale(self.theme.errors, (errors * 200.0).round() / 200.0);
            let near = self.focus.is_none_or(|f| f == link.from || f == link.to);
            let width = self.geometry.widths[index];
            drawn.push(DrawnEdge { colour, width });
            if self.geometry.paths[index].points.len() < 2 {
                continue;
            }
            let failing = errors >= 0.005;
            let emphasis = match (near, self.focus.is_some(), failing) {
                (true, true, _) => 0.95,
                (true, false, true) => 0.95 * dense.max(0.7),
                (true, false, false) => 0.95 * dense,
                (false, ..) => 0.3 * dense,
            };
            let alpha = emphasis * self.alpha(link.from).min(self.alpha(link.to));
            let look = Look {
                order: u8::from(failing) + 2 * u8::from(near && self.focus.is_some()),
                dashed: self.is_cut(link),
                rgb: colour.rgb,
                width: (width * 4.0) as u32,
                alpha: (alpha * 100.0) as u32,
            };
            looks.entry(look).or_default().push(index);
        }
        let arrows = few || self.geometry.radius >= ARROW_RADIUS;
        // Links with errors lie above those without, the focused ones above all.
        for (look, members) in &looks {
            let colour = Colour { rgb: look.rgb };
            let alpha = f64::from(look.alpha) / 100.0 * if look.dashed { 0.5 } else { 1.0 };
            let lines: Vec<&[Point]> = members.iter().map(|&m| self.geometry.paths[m].points.as_slice()).collect();
            let width = f64::from(look.width) / 4.0;
            canvas.lines(&lines, Stroke { colour, alpha, width, dashed: look.dashed });
            if arrows && !look.dashed {
                let heads: Vec<_> = members.iter().filter_map(|&m| self.geometry.paths[m].arrow).collect();
                canvas.triangles(&heads, colour, alpha);
            }
        }
        drawn
    }

    fn nodes(&self, canvas: &mut dyn Canvas) -> Vec<DrawnNode> {
        let mut drawn = Vec::with_capacity(self.marks.len());
        let mut backs: BTreeMap<u32, Vec<(Point, f64)>> = BTreeMap::new();
        let mut fills: BTreeMap<([u8; 3], u32), Filled> = BTreeMap::new();
        let mut hollow: BTreeMap<u32, Vec<(Point, f64)>> = BTreeMap::new();
        let mut outer = Vec::new();
        for (place, disc, mark) in self.discs() {
            // In steps of a 64th: many nodes, few looks.
            let fill = mark.score.map(|score| on_scale(self.theme.score, (score * 64.0).round() / 64.0));
            let alpha = (self.alpha(place) * 100.0).round() as u32;
            if alpha < 100 || fill.is_none() {
                // Lines and halos must not shine through.
                backs.entry((disc.presence * 100.0) as u32).or_default().push((disc.centre, disc.radius));
            }
            match fill {
                Some(fill) => {
                    let look = fills.entry((fill.rgb, alpha)).or_default();
                    if mark.host {
                        look.1.extend(square(disc.centre, disc.radius * 0.9));
                    } else {
                        look.0.push((disc.centre, disc.radius));
                    }
                }
                None => hollow.entry(alpha).or_default().push((disc.centre, (disc.radius - 0.75).max(0.5))),
            }
            if self.shown.nodes[place].cluster {
                outer.push((disc.centre, disc.radius + 3.0));
            }
            let ring = mark.ring;
            drawn.push(DrawnNode {
                centre: disc.centre,
                radius: disc.radius,
                fill,
                ring,
                halo: mark.halo,
                label: None,
            });
        }
        for (alpha, discs) in &backs {
            canvas.discs(discs, self.theme.background, f64::from(*alpha) / 100.0);
        }
        for ((rgb, alpha), (discs, squares)) in &fills {
            let (colour, alpha) = (Colour { rgb: *rgb }, f64::from(*alpha) / 100.0);
            if !discs.is_empty() {
                canvas.discs(discs, colour, alpha);
            }
            if !squares.is_empty() {
                canvas.triangles(squares, colour, alpha);
            }
        }
        for (alpha, circles) in &hollow {
            let alpha = f64::from(*alpha) / 100.0;
            canvas.circles(circles, Stroke { colour: self.theme.muted, alpha, width: 1.5, dashed: true });
        }
        if !outer.is_empty() {
            // A second rim says: there is more inside.
            canvas.circles(&outer, Stroke { colour: self.theme.muted, alpha: 0.9, width: 1.5, dashed: false });
        }
        for (place, disc, mark) in self.discs() {
            self.signs(canvas, place, disc, mark, drawn[place].fill);
        }
        drawn
    }

    /// What only some nodes have: focus, posterior, suppositions, change, hidden neighbours.
    fn signs(&self, canvas: &mut dyn Canvas, place: usize, disc: &Disc, mark: &Mark, fill: Option<Colour>) {
        let (theme, alpha) = (self.theme, self.alpha(place));
        let plain = |colour: Colour, width: f64| Stroke { colour, alpha, width, dashed: false };
        if self.focus == Some(place) {
            canvas.circles(&[(disc.centre, disc.radius + 0.5)], Stroke { alpha: 1.0, ..plain(theme.text, 2.0) });
        }
        let ink = fill.map_or(theme.text, Colour::ink);
        let numbers = disc.radius >= NUMBER_RADIUS;
        if let Some(p) = mark.ring {
            let thick = (disc.radius / 17.0 * 3.5).max(1.5);
            let radius = disc.radius + thick / 2.0 + 1.5;
            let colour = if self.hypothetical && !mark.failed { theme.inferred } else { self.conclusion() };
            let stroke = |alpha: f64, dashed: bool| Stroke { colour, alpha, width: thick, dashed };
            canvas.circles(&[(disc.centre, radius)], stroke(0.22 * alpha, false));
            canvas.arc(disc.centre, radius, p, stroke(alpha, mark.failed));
            if numbers && !mark.failed {
                canvas.text(&percent(p), disc.centre, Font { size: 11.0, bold: true }, ink, None, alpha);
            }
        } else if let (Some(p), true, true) = (mark.halo, self.hypothetical, numbers) {
            canvas.text(&percent(p), disc.centre, Font { size: 11.0, bold: false }, ink, None, alpha);
        }
        if mark.failed || (mark.spared && self.hypothetical) {
            let r = disc.radius * 0.42;
            let at = |dx: f64, dy: f64| Point { x: disc.centre.x + dx * r, y: disc.centre.y + dy * r };
            let (one, two) = ([at(-1.0, -1.0), at(1.0, 1.0)], [at(-1.0, 1.0), at(1.0, -1.0)]);
            let tick = [at(-1.0, 0.1), at(-0.25, 0.8), at(1.0, -0.8)];
            let stroke = plain(ink, (disc.radius / 7.0).max(1.2));
            if mark.failed {
                canvas.lines(&[&one, &two], stroke);
            } else if mark.ring.is_none() && mark.halo.is_none() {
                canvas.lines(&[&tick], stroke);
            }
            if mark.spared {
                let circle = [(disc.centre, disc.radius + 3.0)];
                canvas.circles(&circle, Stroke { dashed: true, ..plain(theme.hypothetical, 2.0) });
            }
        }
        if mark.changed && disc.radius >= BADGE_RADIUS {
            // A small triangle below left: something was deployed or restarted.
            let (x, y) = (disc.centre.x - disc.radius * 0.85, disc.centre.y + disc.radius * 0.85);
            let at = |dx: f64, dy: f64| Point { x: x + dx, y: y + dy };
            canvas.triangles(&[[at(0.0, -6.5), at(6.2, 4.5), at(-6.2, 4.5)]], theme.background, alpha);
            canvas.triangles(&[[at(0.0, -4.5), at(4.4, 3.3), at(-4.4, 3.3)]], theme.text, alpha);
        }
        let hidden = self.shown.nodes[place].hidden;
        if hidden > 0 && disc.radius >= BADGE_RADIUS {
            let at = Geometry::badge(disc);
            canvas.discs(&[(at, 7.5)], theme.background, alpha);
            canvas.circles(&[(at, 7.0)], plain(theme.muted, 1.0));
            let text = if hidden > 99 { "99+".to_owned() } else { format!("+{hidden}") };
            canvas.text(
                &text,
                at,
                Font { size: if hidden > 9 { 7.5 } else { 9.0 }, bold: true },
                theme.text,
                None,
                alpha,
            );
        }
        if mark.pinned && disc.radius >= BADGE_RADIUS {
            let at = Point { x: disc.centre.x, y: disc.centre.y - disc.radius };
            canvas.discs(&[(at, 2.6)], theme.text, alpha);
        }
    }

    fn importance(&self, place: usize, degree: &[usize]) -> f64 {
        let (mark, node) = (&self.marks[place], &self.shown.nodes[place]);
        let pointed = if self.focus == Some(place) || mark.failed { 1e6 } else { 0.0 };
        let hit = mark.halo.unwrap_or(0.0) * 60.0 + mark.ring.unwrap_or(0.0) * 1e4;
        let score = mark.score.unwrap_or(0.0).clamp(0.0, 50.0) * 10.0;
        pointed + hit + score + degree[place] as f64 * 0.1 + if node.cluster { 500.0 } else { 0.0 }
    }

    fn labels(&self, canvas: &mut dyn Canvas, drawn: &mut [DrawnNode]) {
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
            let (wide, high) = (canvas.measure(&text, font), LABEL + 3.0);
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
            canvas.text(&text, area.centre, font, self.theme.text, Some(self.theme.background), disc.presence);
            if let Some(drawn) = drawn.get_mut(place) {
                drawn.label = Some((text, area));
            }
        }
    }

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
            let colour = if errors >= 0.005 { on_scale(self.theme.errors, errors) } else { self.theme.text };
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

    /// Whether a hit probability is drawn at all; for lists beside the graph.
    #[must_use]
    pub fn visible(p: f64) -> bool {
        p >= VISIBLE
    }
}

fn square(centre: Point, half: f64) -> [[Point; 3]; 2] {
    let at = |dx: f64, dy: f64| Point { x: centre.x + dx * half, y: centre.y + dy * half };
    [[at(-1.0, -1.0), at(1.0, -1.0), at(1.0, 1.0)], [at(-1.0, -1.0), at(1.0, 1.0), at(-1.0, 1.0)]]
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
