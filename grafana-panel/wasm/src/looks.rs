//! What the data itself says about looks: thresholds and colours of a field's configuration, and the fields of
//! Grafana's node-graph frames (colours, arcs, statistics, icons, sizes, dashes).
//!
//! The page reads them from its frames and hands them over as one JSON text, beside the samples:
//! ```json
//! { "score": { "stepped": 1, "stops": [[null, "#73bf69"], [1.5, "#f2495c"]] },
//!   "errors": null,
//!   "nodes": { "shop/cart": { "fill": "#f2495c", "rim": "#5794f2", "arcs": [["#73bf69", 0.9], ["#f2495c", 0.1]],
//!              "main": "12 ms", "second": "40/s", "subtitle": "eu-west", "icon": "M4 4h16v16H4z", "radius": 40,
//!              "highlighted": 1, "plain": 1, "outside": 1 } },
//!   "edges": [["shop/web", "shop/cart", { "colour": "#f2495c", "width": 3, "dash": "4 2", "highlighted": 1 }]] }
//! ```
//! A stop's `null` is minus infinity. Whatever is missing or of another kind is left out; nothing fails.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::canvas::Dash;
use crate::colour::{Colour, Scale};
use crate::json::Value;
use crate::shown::Shown;

/// Radius, in Grafana's node graph, of a node whose data gives none (its documented default size).
const USUAL_RADIUS: f64 = 40.0;
/// Sizes are kept within these shares of the usual one.
const SIZES: (f64, f64) = (0.4, 2.5);
/// Nodes with statistics are this much larger, so that these fit.
const WITH_STATISTICS: f64 = 1.4;
/// Widths of lines, in pixels.
const WIDTHS: (f64, f64) = (0.5, 12.0);

/// How one node looks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeLook {
    /// Instead of the score's colour.
    pub fill: Option<Colour>,
    /// Around the node, where there are no arcs.
    pub rim: Option<Colour>,
    /// Parts of the circle around it, from the top; shares of a turn.
    pub arcs: Vec<(Colour, f64)>,
    /// Written into the node, where it fits.
    pub main: Option<String>,
    /// Below that.
    pub second: Option<String>,
    /// Written below the label.
    pub subtitle: Option<String>,
    /// Instead of the statistics: a path in a square of [`crate::canvas::GLYPH`] units.
    pub icon: Option<String>,
    /// Size as a share of the usual one.
    pub size: f64,
    /// Set off from the others.
    pub highlighted: bool,
    /// No score is expected of it.
    pub plain: bool,
    /// Nothing is measured in it: its rim is dashed.
    pub outside: bool,
}

/// How one edge looks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EdgeLook {
    /// Instead of the error ratio's colour.
    pub colour: Option<Colour>,
    /// In pixels.
    pub width: Option<f64>,
    /// Its dashes; a solid line for none.
    pub dash: Dash,
    /// Set off from the others.
    pub highlighted: bool,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Looks {
    /// Colours of scores.
    pub score: Option<Scale>,
    /// Colours of error ratios.
    pub errors: Option<Scale>,
    nodes: BTreeMap<String, Rc<NodeLook>>,
    edges: BTreeMap<String, BTreeMap<String, Rc<EdgeLook>>>,
}

/// The looks of what is shown, by position.
#[derive(Debug, Clone, Default)]
pub struct Worn {
    nodes: Vec<Option<Rc<NodeLook>>>,
    links: Vec<Option<Rc<EdgeLook>>>,
}

impl Worn {
    /// The look of a shown node.
    #[must_use]
    pub fn node(&self, place: usize) -> Option<&NodeLook> {
        self.nodes.get(place)?.as_deref()
    }

    /// The look of a shown link.
    #[must_use]
    pub fn link(&self, index: usize) -> Option<&EdgeLook> {
        self.links.get(index)?.as_deref()
    }
}

fn colour(value: &Value, name: &str) -> Option<Colour> {
    Colour::parse(value.field(name)?.text()?)
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.field(name)?.text().filter(|t| !t.is_empty()).map(str::to_owned)
}

fn number(value: &Value, name: &str) -> Option<f64> {
    value.field(name)?.number().filter(|n| n.is_finite())
}

fn truth(value: &Value, name: &str) -> bool {
    number(value, name).is_some_and(|n| n > 0.0)
}

fn scale(value: Option<&Value>) -> Option<Scale> {
    let value = value?;
    let stop = |pair: &Value| {
        let [at, colour] = pair.items() else { return None };
        Some((at.number().unwrap_or(f64::NEG_INFINITY), Colour::parse(colour.text()?)?))
    };
    let mut stops: Vec<(f64, Colour)> = value.field("stops")?.items().iter().filter_map(stop).collect();
    stops.sort_by(|a, b| a.0.total_cmp(&b.0));
    (!stops.is_empty()).then(|| Scale { stops: stops.into(), stepped: truth(value, "stepped") })
}

fn node(value: &Value) -> NodeLook {
    let arc = |pair: &Value| {
        let [colour, share] = pair.items() else { return None };
        Some((Colour::parse(colour.text()?)?, share.number().filter(|s| *s > 0.0)?))
    };
    let arcs = value.field("arcs").map_or(&[][..], Value::items).iter().filter_map(arc).collect();
    let (main, second, icon) = (text(value, "main"), text(value, "second"), text(value, "icon"));
    let usual = if main.is_some() || second.is_some() || icon.is_some() { WITH_STATISTICS } else { 1.0 };
    let size = number(value, "radius").filter(|r| *r > 0.0).map_or(usual, |r| r / USUAL_RADIUS * WITH_STATISTICS);
    NodeLook {
        fill: colour(value, "fill"),
        rim: colour(value, "rim"),
        arcs,
        main,
        second,
        subtitle: text(value, "subtitle"),
        icon,
        size: size.clamp(SIZES.0, SIZES.1),
        highlighted: truth(value, "highlighted"),
        plain: truth(value, "plain"),
        outside: truth(value, "outside"),
    }
}

fn edge(value: &Value) -> EdgeLook {
    EdgeLook {
        colour: colour(value, "colour"),
        width: number(value, "width").filter(|w| *w > 0.0).map(|w| w.clamp(WIDTHS.0, WIDTHS.1)),
        dash: text(value, "dash").map_or(Dash::SOLID, |d| Dash::parse(&d)),
        highlighted: truth(value, "highlighted"),
    }
}

impl Looks {
    /// Reads what the page hands over; an empty text is no looks at all.
    #[must_use]
    pub fn read(json: &str) -> Self {
        let Some(all) = Value::read(json) else { return Self::default() };
        let mut looks =
            Self { score: scale(all.field("score")), errors: scale(all.field("errors")), ..Self::default() };
        for (name, value) in all.field("nodes").map_or(&[][..], Value::fields) {
            looks.nodes.insert(name.clone(), Rc::new(node(value)));
        }
        for item in all.field("edges").map_or(&[][..], Value::items) {
            if let [client, server, value] = item.items()
                && let (Some(client), Some(server)) = (client.text(), server.text())
            {
                let of_client = looks.edges.entry(client.to_owned()).or_default();
                of_client.insert(server.to_owned(), Rc::new(edge(value)));
            }
        }
        looks
    }

    /// The looks of what is shown. Closed namespaces, and links that stand for several calls, have none.
    #[must_use]
    pub fn worn(&self, shown: &Shown) -> Worn {
        let mut worn = Worn::default();
        if !self.nodes.is_empty() {
            let look = |n: &crate::shown::Node| self.nodes.get(&n.key.full()).cloned();
            worn.nodes = shown.nodes.iter().map(|n| if n.cluster { None } else { look(n) }).collect();
        }
        if !self.edges.is_empty() {
            let look = |l: &crate::shown::Link| {
                let of_client = self.edges.get(&shown.nodes[l.from].key.full())?;
                of_client.get(&shown.nodes[l.to].key.full()).cloned()
            };
            worn.links = shown.links.iter().map(look).collect();
        }
        worn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_page_writes_is_read_and_nonsense_is_left_out() {
        let looks = Looks::read(
            r##"{"score":{"stepped":1,"stops":[[1.5,"#ff0000"],[null,"#008000"],["x"]]},"errors":null,
                "nodes":{"a":{"rim":"tomato","arcs":[["#fff",0.75],["#000",-1],3],"main":"12 ms","radius":20},
                         "b":{"radius":4000,"highlighted":1}},
                "edges":[["a","b",{"dash":"4 2","width":99,"colour":"#123456"}],[1,2]]}"##,
        );
        let score = looks.score.unwrap();
        assert_eq!((score.stops.len(), score.stops[0].0, score.stepped), (2, f64::NEG_INFINITY, true));
        assert!(looks.errors.is_none());
        let a = &looks.nodes["a"];
        assert_eq!((a.rim, a.arcs.len(), a.main.as_deref(), a.size), (None, 1, Some("12 ms"), 0.7));
        assert_eq!((looks.nodes["b"].size, looks.nodes["b"].highlighted), (2.5, true));
        let edge = &looks.edges["a"]["b"];
        assert_eq!((edge.width, edge.dash), (Some(12.0), Dash([4.0, 2.0, 4.0, 2.0])));
    }

    #[test]
    fn no_text_is_no_looks() {
        for text in ["", "{", "[]", "{\"nodes\":3,\"edges\":{}}"] {
            let looks = Looks::read(text);
            assert!(looks.nodes.is_empty() && looks.edges.is_empty() && looks.score.is_none(), "{text}");
        }
    }
}
