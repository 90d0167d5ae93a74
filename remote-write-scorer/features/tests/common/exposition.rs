//! Fixtures in Prometheus' text form, replayed as scrapes.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use super::Feed;

/// One series: labels (`__name__` included, sorted), whether it counts, and its value.
pub struct Line {
    pub labels: Vec<(String, String)>,
    pub counts: bool,
    pub value: f64,
}

/// Reads a scrape.
pub fn parse(text: &str) -> Vec<Line> {
    let mut counts = false;
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            counts = !declared.ends_with(" gauge");
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        let (inside, value) = rest.rsplit_once("} ").unwrap();
        let mut labels = vec![("__name__".to_owned(), name.to_owned())];
        for pair in inside.split_inclusive("\",").map(|pair| pair.trim_end_matches(',')) {
            let (name, value) = pair.split_once('=').unwrap();
            labels.push((name.to_owned(), value.trim_matches('"').to_owned()));
        }
        labels.sort();
        lines.push(Line { labels, counts, value: value.parse().unwrap() });
    }
    lines
}

/// What is counted over so many seconds.
const SECONDS: f64 = 1000.0;

impl Feed {
    /// Replays scrapes from `first` to `last` (in steps), of which the fixtures show the one after 1000
    /// seconds. `change` sees each series and may drop it or change its value per second.
    pub fn replay(&mut self, lines: &[Line], first: i64, last: i64, change: impl Fn(&Line, i64, f64) -> Option<f64>) {
        let step_ms = 15_000;
        for at in first..=last {
            for line in lines {
                let labels: Vec<(&str, &str)> = line.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let Some(bound) = self.windows.bind(&labels) else { continue };
                let seconds = if line.counts { f64::from(i32::try_from(at).unwrap()) * 15.0 / SECONDS } else { 1.0 };
                if let Some(value) = change(line, at, line.value * seconds) {
                    self.windows.push(
                        bound,
                        1_700_000_000_000 - 1_700_000_000_000 % step_ms + at * step_ms - 700,
                        value,
                    );
                }
            }
        }
    }
}
