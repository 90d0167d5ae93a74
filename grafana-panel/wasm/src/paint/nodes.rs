//! Discs with what only some of them have: rings, arcs, statistics, marks.

use std::collections::BTreeMap;

use super::{NUMBER_RADIUS, Scene, percent};
use crate::camera::Point;
use crate::canvas::{Canvas, Dash, Font, Stroke};
use crate::colour::Colour;
use crate::drawn::DrawnNode;
use crate::geometry::{BADGE_RADIUS, Disc, Geometry};
use crate::looks::NodeLook;
use crate::marks::Mark;

/// Discs and triangles of one colour.
type Filled = (Vec<(Point, f64)>, Vec<[Point; 3]>);

impl Scene<'_> {
    pub(super) fn nodes(&self, canvas: &mut dyn Canvas) -> Vec<DrawnNode> {
        let mut drawn = Vec::with_capacity(self.marks.len());
        let mut backs: BTreeMap<u32, Vec<(Point, f64)>> = BTreeMap::new();
        let mut fills: BTreeMap<([u8; 3], u32), Filled> = BTreeMap::new();
        let mut hollow: BTreeMap<u32, Vec<(Point, f64)>> = BTreeMap::new();
        let mut outer = Vec::new();
        for (place, disc, mark) in self.discs() {
            let look = self.worn.node(place);
            let own = look.and_then(|l| l.fill).filter(|_| !self.past);
            let fill = own.or_else(|| mark.score.map(|score| self.theme.score.coarse(score, 64.0)));
            let body = fill.or_else(|| look.filter(|l| l.plain).map(|l| self.body(l)));
            let alpha = (self.alpha(place) * 100.0).round() as u32;
            if alpha < 100 || body.is_none() {
                // Lines and halos must not shine through.
                backs.entry((disc.presence * 100.0) as u32).or_default().push((disc.centre, disc.radius));
            }
            match body {
                Some(body) => {
                    let look = fills.entry((body.rgb, alpha)).or_default();
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
            canvas.circles(circles, Stroke { colour: self.theme.muted, alpha, width: 1.5, dash: Dash::USUAL });
        }
        if !outer.is_empty() {
            // A second rim says: there is more inside.
            canvas.circles(&outer, Stroke { colour: self.theme.muted, alpha: 0.9, width: 1.5, dash: Dash::SOLID });
        }
        for (place, disc, mark) in self.discs() {
            let fill = drawn[place].fill;
            let look = self.worn.node(place);
            if let Some(look) = look {
                self.rim(canvas, disc, look, self.alpha(place));
            }
            let ink = fill.map_or(self.theme.text, Colour::ink);
            if let Some(look) = look
                && mark.ring.is_none()
                && !mark.failed
                && !mark.spared
                && !(self.hypothetical && mark.halo.is_some())
            {
                self.content(canvas, disc, look, ink, self.alpha(place));
            }
            self.signs(canvas, place, disc, mark, ink);
        }
        drawn
    }

    /// The disc of a node of which no score is expected.
    fn body(&self, look: &NodeLook) -> Colour {
        let tint = look.rim.filter(|_| look.arcs.is_empty()).unwrap_or(self.theme.muted);
        self.theme.background.mix(tint, 0.22)
    }

    /// The circle around a node as its data has it: arcs, a colour, or a plain one.
    fn rim(&self, canvas: &mut dyn Canvas, disc: &Disc, look: &NodeLook, alpha: f64) {
        let thick = (disc.radius / 17.0 * 2.6).clamp(1.2, 5.0);
        let radius = (disc.radius - thick / 2.0).max(0.5);
        let dash = if look.outside { Dash::USUAL } else { Dash::SOLID };
        let stroke = |colour: Colour| Stroke { colour, alpha, width: thick, dash };
        if look.arcs.is_empty() {
            if let Some(colour) = look.rim.or(Some(self.theme.muted).filter(|_| look.plain)) {
                canvas.circles(&[(disc.centre, radius)], stroke(colour));
            }
        } else {
            let mut from = 0.0;
            for &(colour, share) in &look.arcs {
                // What adds up to more than a turn ends there.
                let share = share.min(1.0 - from);
                if share > 0.0 {
                    canvas.arc(disc.centre, radius, from, share, stroke(colour));
                }
                from += share;
            }
        }
        if look.highlighted {
            let circle = [(disc.centre, disc.radius + 3.5)];
            canvas.circles(
                &circle,
                Stroke { colour: self.theme.text, alpha: 0.85 * alpha, width: 2.0, dash: Dash::SOLID },
            );
        }
    }

    /// The icon or the statistics within a node, where they fit.
    fn content(&self, canvas: &mut dyn Canvas, disc: &Disc, look: &NodeLook, ink: Colour, alpha: f64) {
        if let Some(icon) = &look.icon {
            canvas.glyph(icon, disc.centre, disc.radius * 1.1, ink, alpha);
            return;
        }
        let (main, second) = self.statistics(canvas, disc, look);
        let (size, lift) = (statistic_size(disc), if main.is_some() && second.is_some() { 0.55 } else { 0.0 });
        for (text, bold, side) in [(main, true, -1.0), (second, false, 1.0)] {
            if let Some(text) = text {
                let at = Point { x: disc.centre.x, y: disc.centre.y + side * lift * size };
                canvas.text(text, at, Font { size, bold }, ink, None, alpha);
            }
        }
    }

    /// Those of a node's two statistics that fit into it.
    pub(super) fn statistics<'l>(
        &self,
        canvas: &mut dyn Canvas,
        disc: &Disc,
        look: &'l NodeLook,
    ) -> (Option<&'l str>, Option<&'l str>) {
        let size = statistic_size(disc);
        let mut fits = |text: &'l Option<String>, bold: bool| {
            let room = 2.0 * disc.radius * if look.second.is_some() && look.main.is_some() { 0.82 } else { 0.92 };
            let text = text.as_deref().filter(|_| disc.radius >= NUMBER_RADIUS && look.icon.is_none())?;
            (canvas.measure(text, Font { size, bold }) <= room - 4.0).then_some(text)
        };
        (fits(&look.main, true), fits(&look.second, false))
    }

    /// What only some nodes have: focus, posterior, suppositions, change, hidden neighbours.
    fn signs(&self, canvas: &mut dyn Canvas, place: usize, disc: &Disc, mark: &Mark, ink: Colour) {
        let (theme, alpha) = (self.theme, self.alpha(place));
        let plain = |colour: Colour, width: f64| Stroke { colour, alpha, width, dash: Dash::SOLID };
        if self.focus == Some(place) {
            canvas.circles(&[(disc.centre, disc.radius + 0.5)], Stroke { alpha: 1.0, ..plain(theme.text, 2.0) });
        }
        let numbers = disc.radius >= NUMBER_RADIUS;
        if let Some(p) = mark.ring {
            let thick = (disc.radius / 17.0 * 3.5).max(1.5);
            let radius = disc.radius + thick / 2.0 + 1.5;
            let colour = if self.hypothetical && !mark.failed { theme.inferred } else { self.conclusion() };
            let stroke = |alpha: f64, dash: Dash| Stroke { colour, alpha, width: thick, dash };
            canvas.circles(&[(disc.centre, radius)], stroke(0.22 * alpha, Dash::SOLID));
            let dash = if mark.failed { Dash::USUAL } else { Dash::SOLID };
            canvas.arc(disc.centre, radius, 0.0, p, stroke(alpha, dash));
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
                canvas.circles(&circle, Stroke { dash: Dash::USUAL, ..plain(theme.hypothetical, 2.0) });
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
}

fn statistic_size(disc: &Disc) -> f64 {
    (disc.radius * 0.46).clamp(8.0, 14.0)
}

fn square(centre: Point, half: f64) -> [[Point; 3]; 2] {
    let at = |dx: f64, dy: f64| Point { x: centre.x + dx * half, y: centre.y + dy * half };
    [[at(-1.0, -1.0), at(1.0, -1.0), at(1.0, 1.0)], [at(-1.0, -1.0), at(1.0, 1.0), at(-1.0, 1.0)]]
}
