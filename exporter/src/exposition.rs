//! A page of metrics, and its text form (Prometheus text format 0.0.4).
//!
//! Collectors fill a [`Page`]: samples with shared labels, not text, which would be ten times as large. The
//! text is made while it is sent, in pieces of about [`CHUNK_BYTES`], so that a page of any size takes
//! little memory.
//!
//! Guarantees: each family is written once, with its help and type, and with its samples together;
//! label values are escaped; histograms have cumulative buckets that end with `+Inf`, a sum and a
//! count that agree. A family without samples is left out.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write;
use std::sync::Arc;

use crate::histogram::Native;
use crate::limits::Shown;

/// Size that a piece of text reaches before it is sent.
pub const CHUNK_BYTES: usize = 64 * 1024;

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
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<str>);

impl Labels {
    /// Labels from names and values, in the order given; a value of `None` leaves its label out.
    #[must_use]
    pub fn new(pairs: &[(&str, Option<&str>)]) -> Self {
        let mut text = String::new();
        for (name, value) in pairs {
            if let Some(value) = value {
                push(&mut text, name, value);
            }
        }
        Self(Arc::from(text))
    }

    /// These labels and one more.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut text = self.0.to_string();
        push(&mut text, name, value);
        Self(Arc::from(text))
    }

    /// The text: `name="value"`, escaped, joined by commas.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bytes of the longest value, at most: an escaped character counts twice.
    #[must_use]
    pub fn longest_value(&self) -> usize {
        let (mut longest, mut length, mut is_inside, mut is_escaped) = (0, 0, false, false);
        for byte in self.0.bytes() {
            match byte {
                b'"' if !is_escaped => {
                    longest = longest.max(length);
                    (length, is_inside) = (0, !is_inside);
                }
                _ if is_inside => {
                    length += 1;
                    is_escaped = byte == b'\\' && !is_escaped;
                }
                _ => {}
            }
            if byte != b'\\' {
                is_escaped = false;
            }
        }
        longest
    }

    /// Names and values as they were given.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, String)> {
        let mut rest: &str = &self.0;
        std::iter::from_fn(move || {
            let (name, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let mut value = String::new();
            let mut characters = after.char_indices();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        rest = &after[at + 1..];
                        return Some((name, value));
                    }
                    '\\' => match characters.next()?.1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    other => value.push(other),
                }
            }
            None
        })
    }
}

fn push(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push('"');
}

/// The value of one sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter or gauge.
    Number(f64),
    /// Counts per bucket, not cumulative, the last one being unbounded; and the sum.
    /// Native buckets too, where there are any and they were asked for.
    Histogram(Box<[u64]>, f64, Option<Box<Native>>),
}

/// A family with its samples.
#[derive(Debug)]
pub struct Samples {
    /// What it is.
    pub metric: Metric,
    /// Its samples, in the order given.
    pub samples: Vec<(Labels, Value)>,
    is_shown: bool,
}

/// All families of one scrape.
#[derive(Debug, Default)]
pub struct Page {
    families: Vec<Samples>,
    shown: Arc<Shown>,
    with_native: bool,
}

impl Page {
    /// An empty one; samples of metrics that are not shown are dropped as they come.
    #[must_use]
    pub fn new(shown: Arc<Shown>) -> Self {
        Self { families: Vec::new(), shown, with_native: false }
    }

    /// With native buckets, which the text form cannot show.
    #[must_use]
    pub fn with_native(self) -> Self {
        Self { with_native: true, ..self }
    }

    /// Its families.
    pub fn into_families(self) -> impl Iterator<Item = Samples> {
        self.families.into_iter()
    }

    /// All families, to be changed.
    pub fn families_mut(&mut self) -> &mut [Samples] {
        &mut self.families
    }

    /// Begins a family; begin each once per page.
    pub fn family(&mut self, metric: &Metric) -> Family<'_> {
        // Most families of a page have a sample per edge: none of them grows by doubling.
        let capacity = self.families.last().map_or(0, |last| last.samples.len());
        let place = self.families.len();
        let is_shown = self.shown.shows(metric.name);
        let samples = if is_shown { Vec::with_capacity(capacity) } else { Vec::new() };
        self.families.push(Samples { metric: *metric, samples, is_shown });
        Family { samples: &mut self.families[place], with_native: self.with_native }
    }

    /// Series on the page.
    #[must_use]
    pub fn series(&self) -> usize {
        self.families.iter().map(|family| family.metric.series() * family.samples.len()).sum()
    }

    /// The page as text, piece by piece.
    #[must_use]
    pub fn into_text_chunks(self) -> TextChunks {
        TextChunks { families: self.families.into_iter(), current: None }
    }

    /// The page as one text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.into_text_chunks().collect()
    }
}

/// See [`Page::into_text_chunks`].
#[derive(Debug)]
pub struct TextChunks {
    families: std::vec::IntoIter<Samples>,
    current: Option<(Heading, std::vec::IntoIter<(Labels, Value)>)>,
}

/// What all samples of a family share, made once.
#[derive(Debug)]
struct Heading {
    name: &'static str,
    /// For histograms: `le="BOUND"} `, of each bucket.
    buckets: Vec<String>,
}

impl Heading {
    fn new(metric: &Metric) -> Self {
        let Kind::Histogram(bounds) = metric.kind else { return Self { name: metric.name, buckets: Vec::new() } };
        let bucket = |bound: &f64| {
            let mut text = "le=\"".to_owned();
            number(&mut text, *bound);
            text + "\"} "
        };
        Self { name: metric.name, buckets: bounds.iter().chain([&f64::INFINITY]).map(bucket).collect() }
    }
}

impl Iterator for TextChunks {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut text = String::new();
        while text.len() < CHUNK_BYTES {
            let Some((heading, samples)) = &mut self.current else {
                let Some(family) = self.families.next() else { break };
                if !family.samples.is_empty() {
                    head(&mut text, &family.metric);
                    self.current = Some((Heading::new(&family.metric), family.samples.into_iter()));
                }
                continue;
            };
            if text.capacity() < CHUNK_BYTES {
                // Room for the sample that goes past the limit, too.
                text.reserve(CHUNK_BYTES + CHUNK_BYTES / 8);
            }
            match samples.next() {
                Some((labels, value)) => sample(&mut text, heading, &labels, &value),
                None => self.current = None,
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

/// One family of a page.
pub struct Family<'a> {
    samples: &'a mut Samples,
    with_native: bool,
}

impl Family<'_> {
    /// Adds a sample of a counter or gauge.
    pub fn sample(&mut self, labels: &Labels, value: f64) {
        if self.samples.is_shown {
            self.samples.samples.push((labels.clone(), Value::Number(value)));
        }
    }

    /// Adds a histogram. `counts` are per bucket, not cumulative, the last one being unbounded.
    pub fn histogram(&mut self, labels: &Labels, counts: &[u64], sum: f64, native: Option<&Native>) {
        if self.samples.is_shown {
            let native = native.filter(|_| self.with_native).cloned().map(Box::new);
            self.samples.samples.push((labels.clone(), Value::Histogram(counts.into(), sum, native)));
        }
    }
}

fn head(text: &mut String, metric: &Metric) {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let Metric { name, help, .. } = metric;
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(text: &mut String, heading: &Heading, labels: &Labels, value: &Value) {
    match value {
        Value::Number(value) => line(text, heading.name, "", labels, *value),
        Value::Histogram(counts, sum, _) => {
            let mut total = 0;
            for (count, bucket) in counts.iter().zip(&heading.buckets) {
                total += count;
                text.push_str(heading.name);
                text.push_str("_bucket{");
                if !labels.0.is_empty() {
                    text.push_str(&labels.0);
                    text.push(',');
                }
                text.push_str(bucket);
                integer(text, total);
                text.push('\n');
            }
            line(text, heading.name, "_sum", labels, *sum);
            line(text, heading.name, "_count", labels, total as f64);
        }
    }
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &Labels, value: f64) {
    text.push_str(name);
    text.push_str(suffix);
    if !labels.0.is_empty() {
        text.push('{');
        text.push_str(&labels.0);
        text.push('}');
    }
    text.push(' ');
    number(text, value);
    text.push('\n');
}

/// Up to here every whole number is an `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn number(text: &mut String, value: f64) {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if (0.0..EXACT).contains(&value) && value.is_sign_positive() && value.fract() == 0.0 {
        integer(text, value as u64);
    } else {
        let _ = write!(text, "{value}");
    }
}

/// Most numbers of a page are whole; this takes a third of the time of the general way.
fn integer(text: &mut String, mut value: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    // Digits are text.
    text.push_str(std::str::from_utf8(&digits[first..]).unwrap_or_default());
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
        let mut page = Page::default();
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
        assert_eq!(&*labels.0, "path=\"a\\\\b\\\"c\\nd\"");
        let labels = labels.with("b", ",x=\"");
        let pairs: Vec<_> = labels.pairs().collect();
        assert_eq!(pairs, [("path", "a\\b\"c\nd".to_owned()), ("b", ",x=\"".to_owned())]);
    }

    #[test]
    fn the_longest_value_is_found_between_its_quotes() {
        let labels = Labels::new(&[("a_rather_long_name", Some("xy")), ("b", Some("a\"b\\c"))]);
        assert_eq!(labels.longest_value(), 7);
        assert_eq!(Labels::default().longest_value(), 0);
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (7.0, "7"),
            (1234567890.0, "1234567890"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e300, &format!("{}", 1e300)),
            (-3.0, "-3"),
            (0.25, "0.25"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            let mut text = String::new();
            number(&mut text, value);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn histograms_are_cumulative_and_end_with_infinity() {
        let mut page = Page::default();
        page.family(&HISTOGRAM).histogram(&Labels::default(), &[1, 2, 3], 4.5, None);
        assert_eq!(page.series(), HISTOGRAM.series());
        let text = page.into_text();
        assert!(text.ends_with(
            "quoll_d_seconds_bucket{le=\"0.001\"} 1\nquoll_d_seconds_bucket{le=\"1\"} 3\n\
             quoll_d_seconds_bucket{le=\"+Inf\"} 6\nquoll_d_seconds_sum 4.5\nquoll_d_seconds_count 6\n"
        ));
    }

    #[test]
    fn pieces_of_a_large_page_are_small_and_make_up_the_whole() {
        let fill = || {
            let mut page = Page::default();
            for _ in 0..2 {
                let mut family = page.family(&HISTOGRAM);
                (0..5000).for_each(|_| family.histogram(&Labels::new(&[("a", Some("b"))]), &[1, 2, 3], 4.5, None));
            }
            page
        };
        let pieces: Vec<String> = fill().into_text_chunks().collect();
        assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() < 2 * CHUNK_BYTES));
        let lines: usize = pieces.concat().lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines, fill().series());
    }

    #[test]
    fn families_without_samples_are_left_out() {
        let mut page = Page::default();
        let _ = page.family(&COUNTER);
        assert_eq!(page.into_text(), "");
    }
}
