//! What is wrong with the data, for the user: ids and parameters. The page puts them into words, in its language.

use crate::json::{object, string};

/// One remark; see `notes.ts` of the page for the sentence of each id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Which remark.
    pub id: &'static str,
    /// How many things it is about, where that is counted.
    pub count: Option<usize>,
    /// What is filled in, by name.
    pub values: Vec<(&'static str, String)>,
}

impl Note {
    /// A remark with nothing to fill in yet.
    #[must_use]
    pub fn new(id: &'static str) -> Self {
        Self { id, count: None, values: Vec::new() }
    }

    /// About so many things.
    #[must_use]
    pub fn count(mut self, count: usize) -> Self {
        self.count = Some(count);
        self
    }

    /// With something filled in.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// What is filled in under a name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|v| v.0 == name).map(|v| v.1.as_str())
    }

    /// Appends it as JSON: `{"id":"..","count":null,"values":{"name":"text"}}`.
    pub fn write(&self, out: &mut String) {
        let values = |out: &mut String| {
            out.push('{');
            for (place, (name, value)) in self.values.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                string(out, name);
                out.push(':');
                string(out, value);
            }
            out.push('}');
        };
        object(
            out,
            &[
                ("id", &|o| string(o, self.id)),
                ("count", &|o| match self.count {
                    Some(count) => o.push_str(&count.to_string()),
                    None => o.push_str("null"),
                }),
                ("values", &values),
            ],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_written_with_what_is_filled_in() {
        let mut out = String::new();
        Note::new("scopes").count(2).with("shown", "cluster=\"east\"").write(&mut out);
        assert_eq!(out, r#"{"id":"scopes","count":2,"values":{"shown":"cluster=\"east\""}}"#);
    }
}
