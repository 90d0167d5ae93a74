//! What a bench prints: a readable table while it runs, one line of JSON at the end.

use std::fmt::Write as _;
use std::io::Write as _;

/// The figures of one bench. Rows appear as they are measured; [`Report::print`] ends with one line
/// `{"bench":"NAME","figures":{..}}` that a program can read. A figure that was not measured is left out.
#[derive(Debug, Clone)]
pub struct Report {
    bench: String,
    figures: Vec<(String, f64)>,
}

impl Report {
    /// An empty report of the bench called `bench`.
    #[must_use]
    pub fn new(bench: &str) -> Self {
        Self { bench: bench.to_owned(), figures: Vec::new() }
    }

    /// Adds a figure, and prints its row at once. Figures that are not finite are shown but kept out of the JSON.
    #[must_use]
    pub fn figure(mut self, name: &str, value: f64) -> Self {
        self.add(name, value);
        self
    }

    /// [`Report::figure`] for a report that is built in a loop.
    pub fn add(&mut self, name: &str, value: f64) {
        self.note(&format!("{name:<48} {}", readable(value)));
        self.figures.push((name.to_owned(), value));
    }

    /// Prints a line that is no figure: what is being measured, a peer's result, progress.
    pub fn note(&self, text: &str) {
        // Whoever closed the pipe wants no more of it.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// The last line: all finite figures, in the order they were added.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = format!("{{\"bench\":{},\"figures\":{{", quoted(&self.bench));
        for (place, (name, value)) in self.figures.iter().filter(|(_, value)| value.is_finite()).enumerate() {
            let comma = if place == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}{}:{value}", quoted(name));
        }
        text.push_str("}}");
        text
    }

    /// Prints the last line.
    pub fn print(&self) {
        self.note(&self.json());
    }
}

/// A number with about four significant digits, thousands separated.
fn readable(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() || magnitude == 0.0 {
        return format!("{value}");
    }
    if magnitude < 1e-3 {
        return format!("{value:.3e}");
    }
    if magnitude < 1000.0 {
        let digits = if magnitude < 1.0 {
            4
        } else if magnitude < 100.0 {
            3
        } else {
            1
        };
        return format!("{value:.digits$}");
    }
    let whole = format!("{magnitude:.0}");
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                result.push('\\');
                result.push(character);
            }
            control if u32::from(control) < 0x20 => {
                let _ = write!(result, "\\u{:04x}", u32::from(control));
            }
            other => result.push(other),
        }
    }
    result.push('"');
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_json_in_the_order_of_measurement() {
        let report = Report::new("infer").figure("b", 1.5).figure("a", 2_000_000.0).figure("missing", f64::NAN);
        assert_eq!(report.json(), r#"{"bench":"infer","figures":{"b":1.5,"a":2000000}}"#);
    }

    #[test]
    fn rows_are_readable() {
        assert_eq!(readable(6_123_456.0), "6 123 456");
        assert_eq!(readable(-0.25), "-0.2500");
        assert_eq!(readable(1e-9), "1.000e-9");
        assert_eq!(readable(0.0), "0");
    }
}
