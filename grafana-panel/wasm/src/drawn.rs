//! What was painted last, written down by the painting code as it paints: for tests and assistive use.

use crate::camera::Point;
use crate::colour::Colour;
use crate::json::{Field, list, number, object, optional, optional_string, string};
use crate::labels::Area;

/// One service as painted.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnNode {
    /// `namespace/name`.
    pub id: String,
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

/// One call as painted.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnEdge {
    /// `namespace/name` of the caller.
    pub client: String,
    /// `namespace/name` of the callee.
    pub server: String,
    /// Colour of the line.
    pub colour: Colour,
    /// Its width in CSS pixels.
    pub width: f64,
    /// Its points, rim to rim; the arrow's tip last.
    pub points: Vec<Point>,
}

/// The last painting.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Drawn {
    /// Size of the canvas in CSS pixels.
    pub size: Point,
    /// In id order.
    pub nodes: Vec<DrawnNode>,
    /// Sorted by (client, server); calls between touching services have no points.
    pub edges: Vec<DrawnEdge>,
    /// `namespace/name` of the service assumed to have failed.
    pub hypothetical: Option<String>,
    /// Something still eases in.
    pub moving: bool,
}

fn point(out: &mut String, p: &Point) {
    list(out, [p.x, p.y], |o, v| number(o, (v * 100.0).round() / 100.0));
}

impl Drawn {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let mut out = String::new();
        object(
            &mut out,
            &[
                ("size", &|o| point(o, &self.size)),
                ("nodes", &|o| list(o, &self.nodes, node)),
                ("edges", &|o| list(o, &self.edges, edge)),
                ("hypothetical", &|o| optional_string(o, self.hypothetical.as_deref())),
                ("moving", &|o| o.push_str(if self.moving { "true" } else { "false" })),
            ],
        );
        out
    }
}

fn node(out: &mut String, node: &DrawnNode) {
    let fill = node.fill.map(|c| c.to_string());
    let fields: &[Field<'_>] = &[
        ("id", &|o| string(o, &node.id)),
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

fn edge(out: &mut String, edge: &DrawnEdge) {
    let fields: &[Field<'_>] = &[
        ("client", &|o| string(o, &edge.client)),
        ("server", &|o| string(o, &edge.server)),
        ("colour", &|o| string(o, &edge.colour.to_string())),
        ("width", &|o| number(o, edge.width)),
        ("points", &|o| list(o, &edge.points, point)),
    ];
    object(out, fields);
}
