//! Paints a model: halos, then calls, then services, then labels.
//!
//! Calls are grouped by look, so that a thousand of them cost a handful of strokes. Everything painted
//! is noted in [`Drawn`] where it is painted.

use std::collections::BTreeMap;

use crate::camera::{Camera, Point};
use crate::canvas::{Canvas, Font, Stroke};
use crate::colour::{Colour, Theme, on_scale};
use crate::drawn::{Drawn, DrawnEdge, DrawnNode};
use crate::inference::Inference;
use crate::labels::{Area, Taken};
use crate::model::{Call, Model};
use crate::path::{Ends, Path, path};
use crate::stage::Stage;

/// Posteriors and hit probabilities below this are not drawn.
const VISIBLE: f64 = 0.01;
/// Past this many calls lines are straight.
const FINE_CALLS: usize = 1500;
/// A posterior is written into its service from this radius up.
const NUMBER_RADIUS: f64 = 13.0;
const LABEL: f64 = 12.0;
/// Longest label in CSS pixels; the rest becomes an ellipsis.
const LABEL_WIDTH: f64 = 150.0;

/// All that a painting shows.
pub struct Scene<'a> {
    /// What is there.
    pub model: &'a Model,
    /// What follows from it.
    pub inference: &'a Inference,
    /// Who is hit how likely, by the likeliest root or the supposed one.
    pub hit: Option<&'a [f64]>,
    /// The supposed fault.
    pub hypothetical: Option<usize>,
    /// Under the pointer, or focused.
    pub focus: Option<usize>,
    /// Where services stand.
    pub stage: &'a Stage,
    /// How that is seen.
    pub camera: &'a Camera,
    /// Colours.
    pub theme: &'a Theme,
    /// Monotonic time.
    pub now_ms: f64,
    /// Newcomers ease in.
    pub animate: bool,
}

struct Node {
    centre: Point,
    radius: f64,
    alpha: f64,
    ring: Option<f64>,
    halo: Option<f64>,
}

/// Width in pixels of a call with `rate` requests per second: by its order of magnitude.
fn width(rate: Option<f64>, radius: f64) -> f64 {
    let full = 1.1 + (1.0 + rate.unwrap_or(0.0).max(0.0)).log10() * 1.5;
    full.min(6.0) * (radius / 12.0).clamp(0.4, 1.0)
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

impl Scene<'_> {
    /// Paints and reports.
    pub fn paint(&self, canvas: &mut dyn Canvas) -> Drawn {
        canvas.clear(self.camera.size.x, self.camera.size.y);
        let nodes = self.nodes();
        let mut drawn = Drawn {
            size: self.camera.size,
            hypothetical: self.hypothetical.map(|s| self.model.services[s].key.full()),
            moving: self.animate && nodes.iter().any(|n| n.alpha < 1.0),
            ..Drawn::default()
        };
        self.halos(canvas, &nodes);
        drawn.edges = self.calls(canvas, &nodes);
        drawn.nodes = self.services(canvas, &nodes);
        self.labels(canvas, &nodes, &mut drawn.nodes);
        drawn
    }

    fn conclusion(&self) -> Colour {
        if self.hypothetical.is_some() { self.theme.hypothetical } else { self.theme.inferred }
    }

    fn nodes(&self) -> Vec<Node> {
        let full = self.camera.radius();
        let each = |(id, service): (usize, &crate::model::Service)| {
            let presence = if self.animate { self.stage.presence(&service.key, self.now_ms) } else { 1.0 };
            let ring = match self.hypothetical {
                Some(supposed) => (supposed == id).then_some(1.0),
                None => self.inference.root_cause.get(id).copied().flatten().filter(|p| *p >= VISIBLE),
            };
            Node {
                centre: self.camera.project(self.stage.slot(&service.key)),
                radius: full * (0.4 + 0.6 * presence),
                alpha: presence,
                ring,
                halo: self.hit.and_then(|h| h.get(id)).copied().filter(|p| *p >= VISIBLE),
            }
        };
        self.model.services.iter().enumerate().map(each).collect()
    }

    fn halos(&self, canvas: &mut dyn Canvas, nodes: &[Node]) {
        let colour = self.conclusion();
        for node in nodes {
            if let Some(p) = node.halo {
                let outer = node.radius * (1.45 + 0.75 * p);
                canvas.disc(node.centre, outer, colour, 0.30 * p.max(0.15) * node.alpha);
                canvas.disc(node.centre, node.radius * 1.45, colour, 0.22 * p.max(0.15) * node.alpha);
                let stroke = Stroke { colour, alpha: (0.25 + 0.6 * p) * node.alpha, width: 1.0, dashed: true };
                if self.hypothetical.is_some() {
                    canvas.arc(node.centre, outer, 1.0, stroke);
                }
            }
        }
    }

    fn calls(&self, canvas: &mut dyn Canvas, nodes: &[Node]) -> Vec<DrawnEdge> {
        let calls = &self.model.calls;
        let fine = calls.len() <= FINE_CALLS;
        let mut looks: BTreeMap<([u8; 3], u32, u32, u32), Vec<usize>> = BTreeMap::new();
        let mut paths: Vec<Path> = Vec::with_capacity(calls.len());
        let mut drawn = Vec::with_capacity(calls.len());
        for call in calls {
            let (from, to) = (&nodes[call.client], &nodes[call.server]);
            // Steps of width and colour: many calls, few looks.
            let width = (width(call.rate, from.radius) * 4.0).round() / 4.0;
            let errors = call.error_ratio.unwrap_or(0.0).clamp(0.0, 1.0);
            let colour = on_scale(self.theme.errors, (errors * 200.0).round() / 200.0);
            let near = self.focus.is_none_or(|f| f == call.client || f == call.server);
            let emphasis = if near { 0.95 } else { 0.3 };
            let alpha = emphasis * from.alpha.min(to.alpha);
            let dense = if fine { 1.0 } else { 0.55 };
            let order = u32::from(errors >= 0.005);
            let look = (colour.rgb, (width * 4.0) as u32, (alpha * dense * 100.0) as u32, order);
            looks.entry(look).or_default().push(paths.len());
            paths.push(self.path_of(call, nodes, width, fine));
        }
        // Calls with errors lie above those without.
        let mut looks: Vec<_> = looks.into_iter().collect();
        looks.sort_by_key(|(look, _)| look.3);
        for ((rgb, width, alpha, _), members) in &looks {
            let (colour, alpha) = (Colour { rgb: *rgb }, f64::from(*alpha) / 100.0);
            let lines: Vec<&[Point]> =
                members.iter().map(|&m| paths[m].points.as_slice()).filter(|p| p.len() >= 2).collect();
            let heads: Vec<_> = members.iter().filter_map(|&m| paths[m].arrow).collect();
            canvas.lines(&lines, Stroke { colour, alpha, width: f64::from(*width) / 4.0, dashed: false });
            canvas.triangles(&heads, colour, alpha);
        }
        let mut look_of = vec![(Colour::hex(0), 0.0); calls.len()];
        for ((rgb, width, _, _), members) in looks {
            for member in members {
                look_of[member] = (Colour { rgb }, f64::from(width) / 4.0);
            }
        }
        for ((call, path), (colour, width)) in calls.iter().zip(paths).zip(look_of) {
            let mut points = path.points;
            points.extend(path.arrow.map(|a| a[0]));
            drawn.push(DrawnEdge {
                client: self.model.services[call.client].key.full(),
                server: self.model.services[call.server].key.full(),
                colour,
                width,
                points,
            });
        }
        drawn
    }

    fn path_of(&self, call: &Call, nodes: &[Node], width: f64, fine: bool) -> Path {
        let (from, to) = (&nodes[call.client], &nodes[call.server]);
        let keys = (&self.model.services[call.client].key, &self.model.services[call.server].key);
        let way: Vec<_> = self.stage.route(keys.0, keys.1).iter().map(|s| self.camera.project(*s)).collect();
        let two_way =
            self.model.calls.binary_search_by(|c| (c.client, c.server).cmp(&(call.server, call.client))).is_ok();
        let rim = |n: &Node| {
            let gap = if n.ring.is_some() { 6.5 } else { 2.0 };
            n.radius + gap * (n.radius / 17.0).max(0.4)
        };
        let ends = Ends { from: from.centre, to: to.centre, from_rim: rim(from), to_rim: rim(to), width };
        path(ends, &way, self.camera.sideways, if two_way { 0.1 } else { 0.0 }, fine)
    }

    fn services(&self, canvas: &mut dyn Canvas, nodes: &[Node]) -> Vec<DrawnNode> {
        let mut drawn = Vec::with_capacity(nodes.len());
        for (id, (node, service)) in nodes.iter().zip(&self.model.services).enumerate() {
            let fill = service.score.map(|score| on_scale(self.theme.score, score));
            // The background first: lines and halos must not shine through.
            canvas.disc(node.centre, node.radius, self.theme.background, node.alpha);
            match fill {
                Some(fill) => canvas.disc(node.centre, node.radius, fill, node.alpha),
                None => {
                    let stroke = Stroke { colour: self.theme.muted, alpha: node.alpha, width: 1.5, dashed: true };
                    canvas.arc(node.centre, node.radius - 0.75, 1.0, stroke);
                }
            }
            if self.focus == Some(id) {
                let stroke = Stroke { colour: self.theme.text, alpha: 1.0, width: 2.0, dashed: false };
                canvas.arc(node.centre, node.radius + 0.5, 1.0, stroke);
            }
            if let Some(p) = node.ring {
                let thick = (node.radius / 17.0 * 3.5).max(1.5);
                let radius = node.radius + thick / 2.0 + 1.5;
                let colour = self.conclusion();
                let stroke = |alpha: f64, dashed: bool| Stroke { colour, alpha, width: thick, dashed };
                canvas.arc(node.centre, radius, 1.0, stroke(0.22 * node.alpha, false));
                canvas.arc(node.centre, radius, p, stroke(node.alpha, self.hypothetical.is_some()));
                if node.radius >= NUMBER_RADIUS && self.hypothetical.is_none() {
                    let font = Font { size: 11.0, bold: true };
                    let ink = fill.map_or(self.theme.text, Colour::ink);
                    canvas.text(&percent(p), node.centre, font, ink, None, node.alpha);
                }
            } else if let (Some(p), Some(_), true) = (node.halo, self.hypothetical, node.radius >= NUMBER_RADIUS) {
                let ink = fill.map_or(self.theme.text, Colour::ink);
                canvas.text(&percent(p), node.centre, Font { size: 11.0, bold: false }, ink, None, node.alpha);
            }
            drawn.push(DrawnNode {
                id: service.key.full(),
                centre: node.centre,
                radius: node.radius,
                fill,
                ring: node.ring,
                halo: node.halo,
                label: None,
            });
        }
        drawn
    }

    fn labels(&self, canvas: &mut dyn Canvas, nodes: &[Node], drawn: &mut [DrawnNode]) {
        let mut taken = Taken::default();
        for node in nodes {
            let r = node.radius + if node.ring.is_some() { 4.0 } else { 0.0 };
            taken.take(Area { centre: node.centre, half: Point { x: r, y: r } });
        }
        let mut calls = vec![0_usize; nodes.len()];
        for call in &self.model.calls {
            calls[call.client] += 1;
            calls[call.server] += 1;
        }
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        let importance = |id: usize| {
            let score = self.model.services[id].score.unwrap_or(0.0);
            let pointed = if self.focus == Some(id) || self.hypothetical == Some(id) { 1e6 } else { 0.0 };
            pointed + nodes[id].ring.unwrap_or(0.0) * 1e4 + score.clamp(0.0, 50.0) * 10.0 + calls[id] as f64 * 0.1
        };
        order.sort_by(|&a, &b| importance(b).total_cmp(&importance(a)).then(a.cmp(&b)));
        for id in order {
            let (node, service) = (&nodes[id], &self.model.services[id]);
            if node.alpha < 0.3 || node.centre.x < 0.0 || node.centre.x > self.camera.size.x {
                continue;
            }
            let strong = node.ring.is_some_and(|p| p >= 0.5) || self.focus == Some(id);
            let font = Font { size: LABEL, bold: strong };
            let number = node.ring.filter(|_| node.radius < NUMBER_RADIUS && self.hypothetical.is_none());
            let suffix = number.map(|p| format!(" {}", percent(p))).unwrap_or_default();
            let text = shorten(canvas, &service.label, font) + &suffix;
            let (wide, high) = (canvas.measure(&text, font), LABEL + 3.0);
            let rim = node.radius + if node.ring.is_some() { 5.0 } else { 1.0 };
            let place = taken.place(node.centre, rim, wide, high, self.camera.size);
            let area = match place {
                Some(area) => area,
                // Pointing at a service always names it.
                None if self.focus == Some(id) => {
                    let half = Point { x: wide / 2.0, y: high / 2.0 };
                    let x = node.centre.x.clamp(half.x, (self.camera.size.x - half.x).max(half.x));
                    Area { centre: Point { x, y: node.centre.y + rim + half.y + 2.0 }, half }
                }
                None => continue,
            };
            canvas.text(&text, area.centre, font, self.theme.text, Some(self.theme.background), node.alpha);
            if let Some(drawn) = drawn.get_mut(id) {
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
