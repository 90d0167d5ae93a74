//! Changes of a service, told once each: another image, version or executable, other replicas, a restart.
//!
//! - **Restart**: the latest start of its instances moved forward, and the new start lies after the service
//!   was last seen (less a minute, since clocks differ). A start that moves without that, such as when the
//!   oldest of several processes ends, is none. The first start seen tells nothing.
//! - **Image, version, executable**: an instance shows a value that no instance showed in the last five
//!   minutes. The first values seen tell nothing; so does one that merely ends.
//! - **Replicas**: the number asked for differs from the last one known.
//!
//! All of it is event time; state per service is bounded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::step::{Change, ChangeKind};
use crate::windows::FORGET_MS;

/// Starts closer together than this are one start: exporters round differently.
const SAME_START_S: f64 = 1.0;
/// How far the clocks behind start times and samples may differ.
const CLOCKS_MS: i64 = 60_000;
/// Values of one kind remembered per service; a rolling update has two.
const MAX_VALUES: usize = 8;

/// What is remembered of one service from step to step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Trail {
    /// Latest start in seconds since 1970, and the end of the step that last showed a start.
    start: Option<(f64, i64)>,
    replicas: Option<f64>,
    values: Vec<Value>,
    /// Found by [`Trail::describe`] for the step being closed.
    found: Option<Change>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Value {
    kind: ChangeKind,
    value: Arc<str>,
    seen_ms: i64,
}

impl Trail {
    /// Takes in what an instance shows in the step that ends at `end_ms`; before [`Trail::step`].
    pub fn describe(&mut self, end_ms: i64, info: &[(ChangeKind, Arc<str>)]) {
        for (kind, value) in info {
            if let Some(known) = self.values.iter_mut().find(|known| known.kind == *kind && known.value == *value) {
                if end_ms - known.seen_ms <= FORGET_MS {
                    known.seen_ms = end_ms;
                    continue;
                }
                // Gone for so long that it counts as new, unless nothing else was there meanwhile.
                known.seen_ms = end_ms;
                let others = self.values.iter().any(|known| known.kind == *kind && known.value != *value);
                if !others {
                    continue;
                }
            }
            let before = self.values.iter().filter(|known| known.kind == *kind && known.value != *value);
            let before = before.max_by(|a, b| (a.seen_ms, &a.value).cmp(&(b.seen_ms, &b.value)));
            if let Some(before) = before {
                let text = format!("{} {} -> {value}", word(*kind), before.value);
                self.find(Change { kind: *kind, text });
            }
            self.remember(*kind, value, end_ms);
        }
    }

    fn remember(&mut self, kind: ChangeKind, value: &Arc<str>, end_ms: i64) {
        self.values.retain(|known| known.kind != kind || known.value != *value);
        if self.values.iter().filter(|known| known.kind == kind).count() >= MAX_VALUES {
            let oldest = self.values.iter().enumerate().filter(|(_, known)| known.kind == kind);
            if let Some((at, _)) = oldest.min_by_key(|(_, known)| known.seen_ms) {
                self.values.remove(at);
            }
        }
        self.values.push(Value { kind, value: Arc::clone(value), seen_ms: end_ms });
    }

    fn find(&mut self, change: Change) {
        if self.found.as_ref().is_none_or(|found| change.kind < found.kind) {
            self.found = Some(change);
        }
    }

    /// Takes in one step (`start` and `replicas` are NaN where nothing tells) and says what changed in it.
    pub fn step(&mut self, end_ms: i64, step_ms: i64, start: f64, replicas: f64) -> Option<Change> {
        if start.is_finite() {
            match &mut self.start {
                None => self.start = Some((start, end_ms)),
                Some((known, seen_ms)) => {
                    let moved = start > *known + SAME_START_S;
                    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit 53 bits")]
                    let since_ms = (*seen_ms - step_ms - CLOCKS_MS) as f64;
                    let anew = moved && start * 1000.0 > since_ms;
                    // A start that went back means that the newest instance left.
                    (*known, *seen_ms) = (start, end_ms);
                    if anew {
                        self.find(Change {
                            kind: ChangeKind::Restart,
                            text: "an instance was started anew".to_owned(),
                        });
                    }
                }
            }
        }
        if replicas.is_finite()
            && let Some(before) = self.replicas.replace(replicas)
            && (before - replicas).abs() > 0.0
        {
            self.find(Change { kind: ChangeKind::Replicas, text: format!("replicas {before} -> {replicas}") });
        }
        self.found.take()
    }
}

fn word(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Image => "image",
        ChangeKind::Version => "version",
        ChangeKind::Executable => "executable",
        ChangeKind::Replicas => "replicas",
        ChangeKind::Restart => "start",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;

    fn image(value: &str) -> Vec<(ChangeKind, Arc<str>)> {
        vec![(ChangeKind::Image, Arc::from(value))]
    }

    #[test]
    fn a_later_start_is_a_restart_once_and_the_first_one_is_none() {
        let mut trail = Trail::default();
        assert_eq!(trail.step(1_000_000, 1000, 500.0, NAN), None);
        assert_eq!(trail.step(1_001_000, 1000, NAN, NAN), None);
        assert_eq!(trail.step(1_002_000, 1000, 1001.5, NAN).map(|c| c.kind), Some(ChangeKind::Restart));
        assert_eq!(trail.step(1_003_000, 1000, 1001.5, NAN), None);
    }

    #[test]
    fn the_oldest_process_of_several_that_ends_is_no_restart() {
        let mut trail = Trail::default();
        trail.step(1_000_000, 1000, 500.0, NAN);
        assert_eq!(trail.step(1_001_000, 1000, 800.0, NAN), None);
    }

    #[test]
    fn a_new_image_is_told_before_the_restart_it_brings_and_a_rolling_update_is_told_once() {
        let mut trail = Trail::default();
        trail.describe(1_000_000, &image("cart:1"));
        assert_eq!(trail.step(1_000_000, 1000, 500.0, 3.0), None);
        trail.describe(1_001_000, &image("cart:1"));
        trail.describe(1_001_000, &image("cart:2"));
        let change = trail.step(1_001_000, 1000, 1000.5, 4.0).unwrap();
        assert_eq!((change.kind, &*change.text), (ChangeKind::Image, "image cart:1 -> cart:2"));
        for end_ms in [1_002_000, 1_003_000] {
            trail.describe(end_ms, &image("cart:1"));
            trail.describe(end_ms, &image("cart:2"));
            assert_eq!(trail.step(end_ms, 1000, 1000.5, 4.0), None);
        }
        trail.describe(1_004_000, &image("cart:2"));
        assert_eq!(trail.step(1_004_000, 1000, 1000.5, 5.0).unwrap().text, "replicas 4 -> 5");
    }

    #[test]
    fn rolling_back_after_the_old_image_was_gone_is_a_change_and_a_gap_is_none() {
        let mut trail = Trail::default();
        trail.describe(0, &image("cart:1"));
        trail.describe(1000, &image("cart:2"));
        assert!(trail.step(1000, 1000, NAN, NAN).is_some());
        for end_ms in (2000..=400_000).step_by(1000) {
            trail.describe(end_ms, &image("cart:2"));
            assert_eq!(trail.step(end_ms, 1000, NAN, NAN), None);
        }
        trail.describe(401_000, &image("cart:1"));
        assert_eq!(trail.step(401_000, 1000, NAN, NAN).unwrap().text, "image cart:2 -> cart:1");
        let mut trail = Trail::default();
        trail.describe(0, &image("cart:1"));
        trail.describe(900_000, &image("cart:1"));
        assert_eq!(trail.step(900_000, 1000, NAN, NAN), None);
    }
}
