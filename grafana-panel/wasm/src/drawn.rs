//! What was painted last, written down by the painting code as it paints: for tests and assistive use.

use crate::camera::Point;
use crate::colour::Colour;
use crate::geometry::Geometry;
use crate::json::{Field, list, number, object, optional, optional_string, string};
use crate::labels::Area;
use crate::shown::Shown;

/// One node as painted.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnNode {
    /// Centre in CSS pixels.
    pub centre: Point,
    /// Radius in CSS pixels.
    pub radius: f64,
    /// Colour of the disc; `None` for a hollow one (no score).
    pub fill: Option<Colour>,
    /// Posterior shown as a ring.
    pub ring: Option<f64>,
    /// Probability of being hit, shown as a halo.
    pub halo: Option<f64>,
    /// The label painted, and where.
    pub label: Option<(String, Area)>,
}

/// One link as painted.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnEdge {
    /// Colour of the line.
    pub colour: Colour,
    /// Its width in CSS pixels.
    pub width: f64,
}

/// The last painting.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Drawn {
    /// Size of the canvas in CSS pixels.
    pub size: Point,
    /// Per shown node.
    pub nodes: Vec<DrawnNode>,
    /// Per shown link.
    pub edges: Vec<DrawnEdge>,
    /// `namespace/name` of the service assumed to have failed.
    pub hypothetical: Option<String>,
    /// Something still moves.
    pub moving: bool,
}

fn point(out: &mut String, p: &Point) {
    list(out, [p.x, p.y], |o, v| number(o, (v * 100.0).round() / 100.0));
}

impl Drawn {
    /// As JSON, with the names and lines of what was shown. Nodes are `namespace/name`, closed namespaces
    /// `namespace/`; lines go from rim to rim, with the arrow's tip last, and have no points where nodes touch.
    #[must_use]
    pub fn json(&self, shown: &Shown, geometry: &Geometry) -> String {
        let mut out = String::new();
        let edges = || shown.links.iter().zip(&self.edges).zip(&geometry.paths);
        object(
            &mut out,
            &[
                ("size", &|o| point(o, &self.size)),
                ("nodes", &|o| {
                    list(o, shown.nodes.iter().zip(&self.nodes), |o, (shown, drawn)| node(o, &shown.key.full(), drawn));
                }),
                ("edges", &|o| {
                    list(o, edges(), |o, ((link, drawn), path)| {
                        let key = |place: usize| shown.nodes[place].key.full();
                        let points = path.points.iter().copied().chain(path.arrow.map(|a| a[0]));
                        let fields: &[Field<'_>] = &[
                            ("client", &|o| string(o, &key(link.from))),
                            ("server", &|o| string(o, &key(link.to))),
                            ("colour", &|o| string(o, &drawn.colour.to_string())),
                            ("width", &|o| number(o, drawn.width)),
                            ("points", &|o| list(o, points.clone(), |o, p| point(o, &p))),
                        ];
                        object(o, fields);
                    });
                }),
                ("hypothetical", &|o| optional_string(o, self.hypothetical.as_deref())),
                ("moving", &|o| o.push_str(if self.moving { "true" } else { "false" })),
            ],
        );
        out
    }
}

fn node(out: &mut String, id: &str, node: &DrawnNode) {
    let fill = node.fill.map(|c| c.to_string());
    let fields: &[Field<'_>] = &[
        ("id", &|o| string(o, id)),
        ("centre", &|o| point(o, &node.centre)),
        ("radius", &|o| number(o, node.radius)),
        ("fill", &|o| optional_string(o, fill.as_deref())),
        ("ring", &|o| optional(o, node.ring)),
        ("halo", &|o| optional(o, node.halo)),
        ("label", &|o| optional_string(o, node.label.as_ref().map(|l| l.0.as_str()))),
        ("label_box", &|o| match &node.label {
            Some((_, a)) => list(o, [a.centre.x, a.centre.y, a.half.x, a.half.y], number),
            None => o.push_str("null"),
        }),
    ];
    object(out, fields);
}
