//! What the user arranged, as JSON: layout, open namespaces and pinned nodes, to be kept by the page.

use std::collections::BTreeSet;

use crate::json::{Field, Value, list, number, object, optional_string, string};
use crate::layout::{Arrangement, Slot};
use crate::model::Key;
use crate::view::View;

/// Of the written form.
const VERSION: f64 = 1.0;

impl View {
    /// Everything arranged by hand.
    #[must_use]
    pub fn save(&self) -> String {
        let mut out = String::new();
        let pin = |o: &mut String, (key, slot): (&Key, Slot)| {
            let fields: &[Field<'_>] = &[
                ("namespace", &|o| optional_string(o, key.namespace.as_deref())),
                ("name", &|o| string(o, &key.name)),
                ("layer", &|o| number(o, slot.layer)),
                ("cross", &|o| number(o, slot.cross)),
            ];
            object(o, fields);
        };
        let fields: &[Field<'_>] = &[
            ("version", &|o| number(o, VERSION)),
            ("layout", &|o| string(o, self.stage.wanted().name())),
            ("open", &|o| list(o, self.opened(), |o, n| string(o, n))),
            ("closed", &|o| list(o, self.closed(), |o, n| string(o, n))),
            ("pinned", &|o| list(o, self.stage.pinned(), pin)),
        ];
        object(&mut out, fields);
        out
    }

    /// Takes [`View::save`]'s text back and lays everything out by it; false, and nothing changed, for any
    /// other text. May come before the first tick.
    pub fn restore(&mut self, saved: &str, now_ms: f64) -> bool {
        let Some(saved) = Value::read(saved) else { return false };
        if saved.field("version").and_then(Value::number).is_none_or(|v| v.to_bits() != VERSION.to_bits()) {
            return false;
        }
        let layout = saved.field("layout").and_then(Value::text).and_then(Arrangement::parse);
        let names = |field: &str| -> BTreeSet<String> {
            let items = saved.field(field).map(Value::items).unwrap_or_default();
            items.iter().filter_map(Value::text).map(str::to_owned).collect()
        };
        self.open_and_close(&names("open"), &names("closed"));
        self.stage.unpin(None);
        for pin in saved.field("pinned").map(Value::items).unwrap_or_default() {
            let text = |field: &str| pin.field(field).and_then(Value::text).map(str::to_owned);
            let place = pin.field("layer").and_then(Value::number).zip(pin.field("cross").and_then(Value::number));
            if let (Some(name), Some((layer, cross))) = (text("name"), place) {
                self.stage.pin(&Key { namespace: text("namespace"), name }, Slot { layer, cross });
            }
        }
        self.stage.choose(layout.unwrap_or_default(), None);
        self.rearrange(now_ms);
        true
    }
}
