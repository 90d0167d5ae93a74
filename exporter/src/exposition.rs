//! Writes the Prometheus text format 0.0.4.
//!
//! Guarantees: each family is written once, with its help and type, and with its samples together;
//! label values are escaped; histograms have cumulative buckets that end with `+Inf`, a sum and a
//! count that agree. A family without samples is left out.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write;

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only rises, or begins again at zero.
    Counter,
    /// May go anywhere.
    Gauge,
    /// Upper bounds of the buckets but `+Inf`, in the metric's unit.
    Histogram(&'static [f64]),
}

/// A metric family, declared beside the code that moves it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Full name, with prefix and unit.
    pub name: &'static str,
    /// One sentence, with the unit where the name has none.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Names of its labels, for people; what is written is what the collector gives.
    pub labels: &'static str,
}

impl Metric {
    /// Series that one combination of labels takes.
    #[must_use]
    pub fn series(&self) -> usize {
        match self.kind {
            Kind::Counter | Kind::Gauge => 1,
            Kind::Histogram(bounds) => bounds.len() + 3,
        }
    }
}

/// Rendered labels: `name="value"` joined by commas, without braces.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(String);

impl Labels {
    /// Labels from names and values, in the order given; a value of `None` leaves its label out.
    #[must_use]
    pub fn new(pairs: &[(&str, Option<&str>)]) -> Self {
        let mut labels = Self::default();
        for (name, value) in pairs {
            if let Some(value) = value {
                labels.push(name, value);
            }
        }
        labels
    }

    /// These labels and one more.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut labels = self.clone();
        labels.push(name, value);
        labels
    }

    fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
        self.0.push('"');
    }
}

/// A page under construction.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    series: usize,
}

impl Exposition {
    /// Begins a family. Its samples must all be written before the next family begins, which the
    /// borrow makes sure of; begin each family once per page.
    pub fn family(&mut self, metric: &Metric) -> Family<'_> {
        Family { page: self, metric: *metric, begun: false }
    }

    /// Series written so far.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series
    }

    /// The finished page.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// One family of a page.
pub struct Family<'a> {
    page: &'a mut Exposition,
    metric: Metric,
    begun: bool,
}

impl Family<'_> {
    /// Writes a sample of a counter or gauge.
    pub fn sample(&mut self, labels: &Labels, value: f64) {
        self.begin();
        self.line("", labels, None, value);
    }

    /// Writes a histogram. `counts` are per bucket, not cumulative, the last one being unbounded.
    pub fn histogram(&mut self, labels: &Labels, counts: &[u64], sum: f64) {
        let Kind::Histogram(bounds) = self.metric.kind else { return };
        self.begin();
        let mut total = 0;
        for (index, count) in counts.iter().enumerate().take(bounds.len() + 1) {
            total += count;
            self.line("_bucket", labels, Some(bounds.get(index).copied().unwrap_or(f64::INFINITY)), total as f64);
        }
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, total as f64);
    }

    fn begin(&mut self) {
        if self.begun {
            return;
        }
        self.begun = true;
        let kind = match self.metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let Metric { name, help, .. } = self.metric;
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a string cannot fail.
        let _ = writeln!(self.page.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, suffix: &str, labels: &Labels, bound: Option<f64>, value: f64) {
        self.page.series += 1;
        let text = &mut self.page.text;
        text.push_str(self.metric.name);
        text.push_str(suffix);
        if bound.is_some() || !labels.0.is_empty() {
            text.push('{');
            text.push_str(&labels.0);
            if let Some(bound) = bound {
                if !labels.0.is_empty() {
                    text.push(',');
                }
                text.push_str("le=\"");
                number(text, bound);
                text.push('"');
            }
            text.push('}');
        }
        text.push(' ');
        number(text, value);
        text.push('\n');
    }
}

fn number(text: &mut String, value: f64) {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        let _ = write!(text, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTER: Metric =
        Metric { name: "quoll_x_total", help: "A \\ thing.\nReally.", kind: Kind::Counter, labels: "" };
    const HISTOGRAM: Metric =
        Metric { name: "quoll_d_seconds", help: "How long.", kind: Kind::Histogram(&[0.001, 1.0]), labels: "" };

    #[test]
    fn help_and_type_come_once_and_are_escaped() {
        let mut page = Exposition::default();
        let mut family = page.family(&COUNTER);
        family.sample(&Labels::new(&[("a", Some("1"))]), 1.0);
        family.sample(&Labels::new(&[("a", Some("2")), ("b", None)]), 2.5);
        assert_eq!(
            page.into_text(),
            "# HELP quoll_x_total A \\\\ thing.\\nReally.\n# TYPE quoll_x_total counter\nquoll_x_total{a=\"1\"} 1\n\
             quoll_x_total{a=\"2\"} 2.5\n"
        );
    }

    #[test]
    fn label_values_are_escaped() {
        let labels = Labels::new(&[("path", Some("a\\b\"c\nd"))]);
        assert_eq!(labels.0, "path=\"a\\\\b\\\"c\\nd\"");
    }

    #[test]
    fn histograms_are_cumulative_and_end_with_infinity() {
        let mut page = Exposition::default();
        page.family(&HISTOGRAM).histogram(&Labels::default(), &[1, 2, 3], 4.5);
        assert_eq!(page.series(), HISTOGRAM.series());
        let text = page.into_text();
        assert!(text.ends_with(
            "quoll_d_seconds_bucket{le=\"0.001\"} 1\nquoll_d_seconds_bucket{le=\"1\"} 3\n\
             quoll_d_seconds_bucket{le=\"+Inf\"} 6\nquoll_d_seconds_sum 4.5\nquoll_d_seconds_count 6\n"
        ));
    }

    #[test]
    fn families_without_samples_are_left_out() {
        let mut page = Exposition::default();
        let _ = page.family(&COUNTER);
        assert_eq!(page.into_text(), "");
    }
}
