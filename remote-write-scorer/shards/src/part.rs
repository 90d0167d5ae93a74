//! Reports under way and whole ones that wait for the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Reports of one process that may be under way or wait at a time.
const MAX_PARTS: usize = 4096;
/// The largest time that a report may be of, in milliseconds since the epoch.
const MAX_END_MS: f64 = 4_503_599_627_370_496.0;

/// The samples of one report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub end_ms: Option<i64>,
    pub previous_ms: Option<i64>,
    /// Samples that it has, by its own word.
    announced: Option<u64>,
    pub model: u8,
    /// Those of them that are about the report itself.
    marks: u64,
    /// Handle and value of all others.
    pub samples: Vec<(u32, f64)>,
}

/// A mark of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Tick,
    Previous,
    Samples,
    Model,
}

/// A time as reports carry it; `None` where it is no time.
pub(crate) fn milliseconds(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "within 2^52")]
    (ms.abs() <= MAX_END_MS).then_some(ms as i64)
}

impl Part {
    fn mark(&mut self, mark: Mark, value: f64) {
        self.marks += 1;
        match mark {
            Mark::Tick => self.end_ms = milliseconds(value),
            Mark::Previous => self.previous_ms = milliseconds(value),
            // Saturates; no report has so many.
            Mark::Samples => self.announced = Some(value as u64),
            Mark::Model => self.model = value as u8,
        }
    }

    fn whole(&self) -> bool {
        self.announced.is_some_and(|announced| self.samples.len() as u64 + self.marks >= announced)
    }
}

/// One process that reports: a leaf, or one of several of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reporter {
    /// Index of its leaf.
    pub leaf: usize,
    pub process: Arc<str>,
    /// By timestamp: under way.
    pub open: BTreeMap<i64, Part>,
    /// By end: whole.
    pub whole: BTreeMap<i64, Part>,
    /// Series that are bound.
    #[serde(skip)]
    pub handles: usize,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The report is still under way.
    Open,
    /// The report of the step with this end is whole.
    Whole(i64),
    /// There are too many reports under way.
    TooMany,
}

impl Reporter {
    pub fn new(leaf: usize, process: &str) -> Self {
        Self { leaf, process: Arc::from(process), open: BTreeMap::new(), whole: BTreeMap::new(), handles: 0 }
    }

    /// Takes a sample; `Err` names it, where it is a mark.
    pub fn take(&mut self, timestamp_ms: i64, what: Result<u32, Mark>, value: f64) -> Taken {
        if self.open.len() + self.whole.len() >= MAX_PARTS && !self.open.contains_key(&timestamp_ms) {
            return Taken::TooMany;
        }
        let part = self.open.entry(timestamp_ms).or_default();
        match what {
            Ok(handle) => part.samples.push((handle, value)),
            Err(mark) => part.mark(mark, value),
        }
        if !part.whole() {
            return Taken::Open;
        }
        let Some(part) = self.open.remove(&timestamp_ms) else { return Taken::Open };
        let Some(end_ms) = part.end_ms else { return Taken::Open };
        // What is under way and older is lost: reports come in order.
        self.open.retain(|&other_ms, _| other_ms > timestamp_ms);
        self.whole.insert(end_ms, part);
        Taken::Whole(end_ms)
    }

    /// Whether the process had nothing to report of a step, rather than that its report was lost.
    pub fn skipped(&self, end_ms: i64) -> bool {
        let next = self.whole.range(end_ms + 1..).next();
        next.is_some_and(|(_, part)| part.previous_ms.is_none_or(|previous_ms| previous_ms < end_ms))
    }
}
