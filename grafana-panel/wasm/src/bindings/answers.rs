//! What the page asks: what lies at a point, what is beside what, reports and exports.

use wasm_bindgen::prelude::*;

use super::{Panel, id, number};
use crate::canvas::{Canvas, Font};
use crate::json::{object, string};
use crate::view::Hit;

#[wasm_bindgen]
impl Panel {
    /// What lies at a point, as JSON: `{"kind":"service","id":3}`, `{"kind":"cluster","id":..,"namespace":..}`,
    /// `{"kind":"hidden","id":3}` (the mark of a service's hidden neighbours), or
    /// `{"kind":"link","client":id,"server":id,"calls":[positions in the summary's calls]}`; `null` for nothing.
    pub fn pick(&mut self, x: f64, y: f64) -> String {
        let mut out = String::new();
        let plain = |o: &mut String, n: usize| o.push_str(&n.to_string());
        match self.view.hit(x, y) {
            None => out.push_str("null"),
            Some(Hit::Hidden(id)) => object(&mut out, &[("kind", &|o| string(o, "hidden")), ("id", &|o| plain(o, id))]),
            Some(Hit::Node(id)) => match self.view.namespace_of(id) {
                None => object(&mut out, &[("kind", &|o| string(o, "service")), ("id", &|o| plain(o, id))]),
                Some(name) => object(
                    &mut out,
                    &[
                        ("kind", &|o| string(o, "cluster")),
                        ("id", &|o| plain(o, id)),
                        ("namespace", &|o| string(o, name)),
                    ],
                ),
            },
            Some(Hit::Link(link)) => {
                let (client, server, calls) = self.view.link(link);
                object(
                    &mut out,
                    &[
                        ("kind", &|o| string(o, "link")),
                        ("client", &|o| plain(o, client)),
                        ("server", &|o| plain(o, server)),
                        ("calls", &|o| crate::json::list(o, calls, |o, c| plain(o, *c))),
                    ],
                );
            }
        }
        out
    }

    /// Id of the service at a point, or -1.
    pub fn service_at(&mut self, x: f64, y: f64) -> i32 {
        match self.view.hit(x, y) {
            Some(Hit::Node(id)) if self.view.namespace_of(id).is_none() => number(Some(id)),
            _ => -1,
        }
    }

    /// Position of the call at a point where there is no node, or -1 (also for several calls in one link).
    pub fn call_at(&mut self, x: f64, y: f64) -> i32 {
        match self.view.hit(x, y) {
            Some(Hit::Link(link)) => match self.view.link(link).2 {
                [call] => number(Some(*call)),
                _ => -1,
            },
            _ => -1,
        }
    }

    /// Emphasises a node; -1 none. True if that changed anything.
    pub fn focus(&mut self, node: i32) -> bool {
        self.view.set_focus(id(node))
    }

    /// The node beside another in a direction (`dx`, `dy` of -1, 0 or 1), or -1; from -1, the likeliest cause.
    #[must_use]
    pub fn beside(&self, node: i32, dx: f64, dy: f64) -> i32 {
        number(self.view.beside(id(node), dx, dy))
    }

    /// Brings a node to the middle; false where it is not shown.
    pub fn centre_on(&mut self, node: i32) -> bool {
        id(node).is_some_and(|id| self.view.centre_on(id))
    }

    /// The picture as an SVG document.
    pub fn svg(&mut self, now_ms: f64) -> String {
        let painter = &mut self.painter;
        let mut measure = |text: &str, font: Font| match painter {
            Some(painter) => painter.measure(text, font),
            None => text.chars().count() as f64 * font.size * 0.55,
        };
        self.view.svg(&mut measure, now_ms)
    }

    /// Everything known, concluded and painted, as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let (summary, drawn, saved) = (self.view.summary(), self.view.drawn_json(), self.view.save());
        let mut out = String::new();
        object(
            &mut out,
            &[
                ("report", &|o| o.push_str(&summary)),
                ("picture", &|o| o.push_str(&drawn)),
                ("arrangement", &|o| o.push_str(&saved)),
            ],
        );
        out
    }

    /// What was painted last, as JSON.
    #[must_use]
    pub fn drawn(&self) -> String {
        self.view.drawn_json()
    }

    /// The model and its conclusions, as JSON.
    #[must_use]
    pub fn summary(&self) -> String {
        self.view.summary()
    }
}
