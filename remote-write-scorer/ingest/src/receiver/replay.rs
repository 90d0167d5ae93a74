//! From the inbound log back to windows.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use quoll_features::FeatureSet;

use super::Receiver;
use crate::config::IngestConfig;
use crate::labels;
use crate::log::{self, Description, Entry, InboundLog, LogError, Staged};
use crate::scope::ClosedScopeStep;
use crate::stats::IngestStats;
use crate::table::Binding;

impl Receiver {
    /// A receiver that replays the log in `directory`, then goes on with it. Steps that the replay closes are
    /// handed to `replayed`, in order, and do not count as pending.
    ///
    /// # Errors
    /// Where the log cannot be read or begun.
    pub fn open(
        config: IngestConfig,
        set: Arc<FeatureSet>,
        step_ms: i64,
        directory: &Path,
        replayed: impl FnMut(ClosedScopeStep),
    ) -> Result<Self, LogError> {
        Self::in_memory(config, set, step_ms).with_log(directory, replayed)
    }

    /// Goes on with the log in `directory`: replays what is not in the windows yet, as [`Receiver::open`] does.
    ///
    /// # Errors
    /// Where the log cannot be read or begun.
    pub fn with_log(mut self, directory: &Path, mut replayed: impl FnMut(ClosedScopeStep)) -> Result<Self, LogError> {
        let receiver = &mut self;
        receiver.in_memory = false;
        let mut log = InboundLog::open(directory, receiver.config.log.clone())?;
        let segments = log::list(directory)?;
        let last_written = segments.iter().rev().map(|segment| segment.sequence).nth(1);
        let own = log.sequence();
        if receiver.position > 0 {
            log.keep_from(receiver.position);
        }
        let unseen = receiver.position..own;
        for segment in segments.iter().filter(|segment| unseen.contains(&segment.sequence)) {
            let mut replay = Replay::default();
            let repair = Some(segment.sequence) == last_written;
            let damaged = log::read(segment, repair, |entry| {
                receiver.replay_entry(&mut replay, entry);
                while let Some(step) = receiver.pending.pop_front() {
                    replayed(step);
                }
            })?;
            if damaged > 0 {
                tracing::warn!(path = %segment.path.display(), bytes = damaged, "inbound segment is damaged, read up to there");
            }
            receiver.stats.log_damaged_bytes += damaged;
            log.note_newest(segment.sequence, replay.newest_ms);
        }
        receiver.log = Some(log);
        Ok(self)
    }

    /// Replays a recording: the log that a receiver wrote, in use or copied elsewhere. Nothing in the directory
    /// is changed. The steps are those that the receiver closed, to the bit, from where the log begins.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn replay(
        config: IngestConfig,
        set: Arc<FeatureSet>,
        step_ms: i64,
        directory: &Path,
        mut replayed: impl FnMut(ClosedScopeStep),
    ) -> Result<IngestStats, LogError> {
        let mut receiver = Self::in_memory(config, set, step_ms);
        receiver.in_memory = false;
        for segment in &log::list(directory)? {
            let mut replay = Replay::default();
            let damaged = log::read(segment, false, |entry| {
                receiver.replay_entry(&mut replay, entry);
                while let Some(step) = receiver.pending.pop_front() {
                    replayed(step);
                }
            })?;
            receiver.stats.log_damaged_bytes += damaged;
        }
        Ok(receiver.stats())
    }

    fn replay_entry(&mut self, replay: &mut Replay, entry: Entry<'_>) {
        match entry {
            Entry::Scope { id, scope } => {
                if let Some(scope) = self.scope(scope) {
                    replay.scopes.insert(id, scope);
                }
            }
            Entry::Labels { scope, descriptions } => {
                let Some(&own) = replay.scopes.get(&scope) else { return };
                for description in descriptions {
                    match description {
                        Description::Text { number, text } => {
                            replay.texts.insert((scope, number), text.into());
                        }
                        Description::Series { series, packed } => {
                            let text = |number| replay.texts.get(&(scope, number)).map(|text| &**text);
                            // Labels were split when they were written: nothing of scope or replica is left.
                            let Some(labels) = labels::in_pairs(labels::numbers(packed), text) else { continue };
                            if let Binding::Selected { series: handle, .. } = self.bind(own, &labels, "") {
                                replay.series.insert((scope, series), (own, handle));
                            }
                        }
                    }
                }
            }
            Entry::Samples { samples, complete } => {
                for sample in samples {
                    replay.newest_ms = replay.newest_ms.max(sample.timestamp_ms);
                    if let Some(&(scope, series)) = replay.series.get(&(sample.scope, sample.series)) {
                        self.staged.push(Staged { scope, series, ..sample });
                    }
                }
                if complete {
                    self.stats.replayed_samples += self.staged.len() as u64;
                    if let Some(numbers) = self.apply() {
                        replay.renumber(&numbers);
                    }
                }
            }
        }
    }
}

/// What the numbers of one segment stand for now.
#[derive(Debug)]
struct Replay {
    scopes: HashMap<u32, u32>,
    texts: HashMap<(u32, u32), Box<str>>,
    series: HashMap<(u32, u32), (u32, u32)>,
    newest_ms: i64,
}

impl Replay {
    /// Scopes were forgotten, as they were when this was written.
    fn renumber(&mut self, numbers: &[Option<u32>]) {
        let renumber = |own: &mut u32| {
            let number = numbers.get(*own as usize).copied().flatten();
            *own = number.unwrap_or(*own);
            number.is_some()
        };
        self.scopes.retain(|_, own| renumber(own));
        self.series.retain(|_, (own, _)| renumber(own));
    }
}

impl Default for Replay {
    fn default() -> Self {
        let (scopes, texts, series) = Default::default();
        Self { scopes, texts, series, newest_ms: i64::MIN }
    }
}
