//! Writes metrics in Prometheus' text format, such that `promtool check metrics` has nothing to say.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::borrow::Cow;
use std::fmt::Write;

/// Content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A growing exposition.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: Cow<'static, str>,
}

impl Exposition {
    /// Begins a metric; its samples follow.
    pub fn family(&mut self, name: impl Into<Cow<'static, str>>, kind: Kind, help: &str) -> &mut Self {
        let name = name.into();
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a String cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.name = name;
        self
    }

    /// Adds a sample to the metric begun last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.text.push_str(&self.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{name}=\"", if index == 0 { '{' } else { ',' });
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = match value {
            infinite if infinite.is_infinite() => {
                writeln!(self.text, " {}", if infinite > 0.0 { "+Inf" } else { "-Inf" })
            }
            value => writeln!(self.text, " {value}"),
        };
        self
    }

    /// A metric of one sample without labels.
    pub fn single(&mut self, name: impl Into<Cow<'static, str>>, kind: Kind, help: &str, value: f64) -> &mut Self {
        self.family(name, kind, help).sample(&[], value)
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped_and_values_spelt_as_the_format_wants() {
        let mut exposition = Exposition::default();
        exposition.family("x", Kind::Gauge, "Help.").sample(&[("a", "q\"\\\n"), ("b", "")], f64::INFINITY);
        exposition.single("y_total", Kind::Counter, "More.", 3.0);
        let expected = "# HELP x Help.\n# TYPE x gauge\nx{a=\"q\\\"\\\\\\n\",b=\"\"} +Inf\n\
                        # HELP y_total More.\n# TYPE y_total counter\ny_total 3\n";
        assert_eq!(exposition.finish(), expected);
    }
}
