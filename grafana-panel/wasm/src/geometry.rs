//! The shapes of everything shown, in pixels: worked out once per layout and camera, painted many times,
//! and searched by the pointer.

use crate::camera::{Camera, Point};
use crate::labels::Area;
use crate::looks::Worn;
use crate::path::{self, Ends, Path, Pull, path};
use crate::quadtree::Quadtree;
use crate::shown::Shown;
use crate::stage::Placed;

/// With more links than this in view lines are straight and thin, but for the busiest.
pub const FINE_LINKS: usize = 1500;
/// Of so many links, this share is drawn wider.
const BUSIEST: f64 = 0.08;
/// Links this far outside the canvas are left out.
const BESIDE: f64 = 60.0;
/// A closed namespace is this much larger than a service.
const CLUSTER: f64 = 1.45;
/// Links answer the pointer up to this many pixels beside their line, nodes beside their rim.
const REACH: (f64, f64) = (6.0, 4.0);
/// Lines are searched in pieces of about this many pixels.
const PIECE: f64 = 64.0;
/// Marks the numbers of links in the tree.
const LINK: u32 = 1 << 31;

/// A node's disc.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disc {
    /// In CSS pixels.
    pub centre: Point,
    /// In CSS pixels.
    pub radius: f64,
    /// How far it has eased in, 0 to 1.
    pub presence: f64,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Geometry {
    /// Per shown node.
    pub discs: Vec<Disc>,
    /// Per shown link.
    pub paths: Vec<Path>,
    /// Per shown link, its width in pixels.
    pub widths: Vec<f64>,
    /// Radius of a service.
    pub radius: f64,
    /// Few enough links in view for every detail.
    pub fine: bool,
    tree: Option<Quadtree>,
}

/// What lies under the pointer, by position among what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Under {
    /// A node.
    Node(usize),
    /// The mark of its hidden neighbours.
    Hidden(usize),
    /// A link.
    Link(usize),
}

/// Width in pixels of a link with `rate` requests per second, by its order of magnitude, in steps: many
/// links, few widths.
fn width(rate: Option<f64>, radius: f64) -> f64 {
    let full = 1.1 + (1.0 + rate.unwrap_or(0.0).max(0.0)).log10() * 1.5;
    (full.min(6.0) * (radius / 12.0).clamp(0.4, 1.0) * 4.0).round() / 4.0
}

/// The rate from which a link is among the busiest.
fn busiest(shown: &Shown) -> f64 {
    let mut rates: Vec<f64> = shown.links.iter().filter_map(|l| l.rate).collect();
    rates.sort_by(|a, b| b.total_cmp(a));
    rates.get((rates.len() as f64 * BUSIEST) as usize).copied().unwrap_or(f64::INFINITY)
}

impl Geometry {
    /// The shapes of what is shown. `ringed` says which nodes have a ring around them.
    #[must_use]
    pub fn of(shown: &Shown, placed: &Placed, camera: &Camera, ringed: &dyn Fn(usize) -> bool, worn: &Worn) -> Self {
        let radius = camera.radius();
        let discs: Vec<Disc> = shown
            .nodes
            .iter()
            .zip(placed.slots.iter().zip(&placed.presence))
            .enumerate()
            .map(|(place, (node, (slot, &presence)))| {
                let size = if node.cluster { CLUSTER } else { worn.node(place).map_or(1.0, |l| l.size) };
                let full = radius * size;
                Disc { centre: camera.project(*slot), radius: full * (0.4 + 0.6 * presence), presence }
            })
            .collect();
        let in_view = |link: &crate::shown::Link| {
            let (a, b) = (discs[link.from].centre, discs[link.to].centre);
            a.x.max(b.x) > -BESIDE
                && a.y.max(b.y) > -BESIDE
                && a.x.min(b.x) < camera.size.x + BESIDE
                && a.y.min(b.y) < camera.size.y + BESIDE
        };
        let fine = shown.links.iter().filter(|l| in_view(l)).count() <= FINE_LINKS;
        let busy = if fine { f64::INFINITY } else { busiest(shown) };
        let pull = match (camera.plane, camera.sideways) {
            (true, _) => Pull::Straight,
            (false, true) => Pull::Sideways,
            (false, false) => Pull::Downwards,
        };
        let rim = |node: usize| {
            let gap = if ringed(node) { 6.5 } else { 2.0 };
            discs[node].radius + gap * (discs[node].radius / 17.0).max(0.4)
        };
        let mut paths = Vec::with_capacity(shown.links.len());
        let mut widths = Vec::with_capacity(shown.links.len());
        for (index, (link, route)) in shown.links.iter().zip(&placed.routes).enumerate() {
            let busier = link.rate.is_some_and(|r| r >= busy);
            let own = worn.link(index);
            let usual = if fine { width(link.rate, radius) } else { 1.0 + f64::from(u8::from(busier)) * 0.75 };
            let width = own.and_then(|l| l.width).filter(|_| fine).unwrap_or(usual)
                + if own.is_some_and(|l| l.highlighted) { 1.5 } else { 0.0 };
            widths.push(width);
            if !in_view(link) {
                paths.push(Path::default());
                continue;
            }
            let (from, to) = (discs[link.from].centre, discs[link.to].centre);
            let ends = Ends { from, to, from_rim: rim(link.from), to_rim: rim(link.to), width };
            let way: Vec<_> = route.iter().map(|s| camera.project(*s)).collect();
            paths.push(path(ends, &way, pull, if link.two_way { 0.1 } else { 0.0 }, fine));
        }
        Self { discs, paths, widths, radius, fine, tree: None }
    }

    /// Where the mark of hidden neighbours sits on a disc.
    #[must_use]
    pub fn badge(disc: &Disc) -> Point {
        Point { x: disc.centre.x + disc.radius * 0.9, y: disc.centre.y - disc.radius * 0.9 }
    }

    /// What lies at a point: marks before nodes before links, the nearest of each.
    pub fn under(&mut self, shown: &Shown, at: Point) -> Option<Under> {
        let tree = self.tree.take().unwrap_or_else(|| self.index());
        let (mut nodes, mut links) = (Vec::new(), Vec::new());
        tree.near(at, REACH.0, |number| {
            if number & LINK == 0 { nodes.push(number as usize) } else { links.push((number & !LINK) as usize) }
        });
        self.tree = Some(tree);
        let marked = nodes.iter().find(|&&n| {
            shown.nodes[n].hidden > 0
                && self.discs[n].radius >= BADGE_RADIUS
                && Self::badge(&self.discs[n]).distance(at) <= 8.0
        });
        if let Some(&node) = marked {
            return Some(Under::Hidden(node));
        }
        let gap = |n: usize| self.discs[n].centre.distance(at) - self.discs[n].radius;
        let near = nodes.into_iter().map(|n| (n, gap(n))).filter(|n| n.1 <= REACH.1);
        if let Some((node, _)) = near.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))) {
            return Some(Under::Node(node));
        }
        links.sort_unstable();
        links.dedup();
        let near = links.into_iter().map(|l| (l, path::distance(&self.paths[l].points, at)));
        near.filter(|l| l.1 <= REACH.0).min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))).map(|l| Under::Link(l.0))
    }

    fn index(&self) -> Quadtree {
        let fold = |value: fn(&Disc) -> f64| {
            self.discs.iter().map(value).fold((f64::INFINITY, f64::NEG_INFINITY), |r, v| (r.0.min(v), r.1.max(v)))
        };
        let (x, y) = (fold(|d| d.centre.x), fold(|d| d.centre.y));
        let centre = Point { x: (x.0 + x.1) / 2.0, y: (y.0 + y.1) / 2.0 };
        let half = ((x.1 - x.0).max(y.1 - y.0) / 2.0 + 40.0).max(1.0);
        let centre = if centre.x.is_finite() && centre.y.is_finite() { centre } else { Point::default() };
        let mut tree = Quadtree::new(centre, if half.is_finite() { half } else { 1.0 });
        for (number, disc) in self.discs.iter().enumerate() {
            // The mark of hidden neighbours reaches a little over the disc.
            let half = Point { x: disc.radius + 6.0, y: disc.radius + 6.0 };
            tree.insert(Area { centre: disc.centre, half }, number as u32);
        }
        for (number, path) in self.paths.iter().enumerate() {
            for pair in path.points.windows(2) {
                let &[a, b] = pair else { continue };
                let pieces = (a.distance(b) / PIECE).ceil().clamp(1.0, 200.0);
                for piece in 0..pieces as usize {
                    let (p, q) = (a.towards(b, piece as f64 / pieces), a.towards(b, (piece + 1) as f64 / pieces));
                    let centre = p.towards(q, 0.5);
                    let half = Point { x: (p.x - q.x).abs() / 2.0, y: (p.y - q.y).abs() / 2.0 };
                    tree.insert(Area { centre, half }, number as u32 | LINK);
                }
            }
        }
        tree
    }

    /// The nearest node from `node` in a direction (within 60 degrees of it), for the arrow keys.
    #[must_use]
    pub fn beside(&self, node: usize, dx: f64, dy: f64) -> Option<usize> {
        let from = self.discs.get(node)?.centre;
        let score = |other: &Disc| {
            let (x, y) = (other.centre.x - from.x, other.centre.y - from.y);
            let along = x * dx + y * dy;
            let aside = (x * dy - y * dx).abs();
            (along > 1e-6 && aside <= along * 1.732).then_some(along + 2.0 * aside)
        };
        let scored =
            self.discs.iter().enumerate().filter(|(n, _)| *n != node).filter_map(|(n, d)| Some((n, score(d)?)));
        scored.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))).map(|s| s.0)
    }
}

/// Marks of hidden neighbours are drawn from this radius up.
pub const BADGE_RADIUS: f64 = 6.0;
