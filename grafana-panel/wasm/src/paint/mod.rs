//! Paints what is shown: halos, then links, then nodes, then labels.
//!
//! Marks are grouped by look, so that a thousand of them cost a handful of strokes. What is too small to
//! see is left out (level of detail): arrow heads, labels, numbers, halos' outer rims. Everything painted
//! is noted in [`Drawn`] where it is painted.

mod flow;
mod nodes;
mod text;

use std::collections::BTreeMap;

use crate::camera::Point;
use crate::canvas::{Canvas, Dash, Stroke};
use crate::colour::{Colour, Theme};
use crate::drawn::{Drawn, DrawnEdge};
use crate::geometry::{Disc, Geometry};
use crate::looks::Worn;
use crate::marks::{Mark, VISIBLE};
use crate::model::Model;
use crate::shown::{Link, Shown};
use crate::what_if::Suppositions;

/// A posterior is written into its node from this radius up.
const NUMBER_RADIUS: f64 = 13.0;
/// Arrow heads are drawn from this radius up, or where there are few links.
const ARROW_RADIUS: f64 = 2.0;
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
    /// What the data says about their looks.
    pub worn: &'a Worn,
    /// Another time than now is shown: what is known of now only is left out.
    pub past: bool,
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

/// Lines of one look.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    order: u8,
    cut: bool,
    /// Quarters of a pixel.
    dash: [u32; 4],
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
                Stroke { colour, alpha: 0.09 + 0.26 * share, width: wide * (0.6 + 0.4 * share), dash: Dash::SOLID };
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
                let stroke = Stroke { colour, alpha: (0.25 + 0.6 * p) * alpha, width: 1.0, dash: Dash::USUAL };
                canvas.circles(outer, stroke);
            }
        }
        for (place, disc, mark) in self.discs() {
            let alpha = self.alpha(place);
            if let Some(p) = mark.before {
                // How far it reaches as things are.
                let stroke = Stroke { colour: self.theme.inferred, alpha: 0.9 * alpha, width: 1.5, dash: Dash::USUAL };
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
            let errors = link.error_ratio.filter(|_| !self.past).unwrap_or(0.0).clamp(0.0, 1.0);
            let own = self.worn.link(index);
            let colour = own.and_then(|l| l.colour).unwrap_or_else(|| self.theme.errors.coarse(errors, 200.0));
            let highlighted = own.is_some_and(|l| l.highlighted);
            let near = self.focus.is_none_or(|f| f == link.from || f == link.to);
            let width = self.geometry.widths[index];
            drawn.push(DrawnEdge { colour, width });
            if self.geometry.paths[index].points.len() < 2 {
                continue;
            }
            let failing = errors >= 0.005 || highlighted || own.is_some_and(|l| l.colour.is_some());
            let emphasis = match (near, self.focus.is_some(), failing) {
                (true, true, _) => 0.95,
                (true, false, true) => 0.95 * dense.max(0.7),
                (true, false, false) => 0.95 * dense,
                (false, ..) => 0.3 * dense,
            };
            let alpha = emphasis * self.alpha(link.from).min(self.alpha(link.to));
            let look = Look {
                order: u8::from(failing) + 2 * u8::from(near && self.focus.is_some()),
                cut: self.is_cut(link),
                dash: own.map_or(Dash::SOLID, |l| l.dash).0.map(|d| (d * 4.0) as u32),
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
            let alpha = f64::from(look.alpha) / 100.0 * if look.cut { 0.5 } else { 1.0 };
            let dash = if look.cut { Dash::USUAL } else { Dash(look.dash.map(|d| d as f32 / 4.0)) };
            let lines: Vec<&[Point]> = members.iter().map(|&m| self.geometry.paths[m].points.as_slice()).collect();
            let width = f64::from(look.width) / 4.0;
            canvas.lines(&lines, Stroke { colour, alpha, width, dash });
            if arrows && !look.cut {
                let heads: Vec<_> = members.iter().filter_map(|&m| self.geometry.paths[m].arrow).collect();
                canvas.triangles(&heads, colour, alpha);
            }
        }
        drawn
    }

    /// Whether a hit probability is drawn at all; for lists beside the graph.
    #[must_use]
    pub fn visible(p: f64) -> bool {
        p >= VISIBLE
    }
}
