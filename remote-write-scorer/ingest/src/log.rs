//! The inbound log: selected samples, on disk before they are acknowledged.
//!
//! # Layout
//! A directory of segments, `00000000000000000001.log` and on. A segment opens with 8 bytes of magic and
//! holds records: length (u32), CRC32 of the payload (u32), payload; all integers little-endian. The first
//! byte of a payload is its kind ([`record`]): a scope's labels, labels of series, or samples. Scopes and
//! series are named by numbers that mean something only within their segment, and are described there
//! before they are used, so that any segment can be read alone and old ones can be deleted.
//!
//! # Failure
//! - All records of a request go out in one `write(2)`. What was written survives the end of the process, not
//!   a loss of power; nothing is synced.
//! - Reading stops at the first damaged record of a segment, and goes on with the next segment. The tail of the
//!   newest segment is cut off there. A restart always begins a new segment.
//! - A failed write is taken back (the segment is cut to its length before) and a new segment is begun, at once or, on
//!   a disk that is full, before the next write; the request is not acknowledged.
//! - Segments are deleted when all of their samples are older than the retention, in event time, or,
//!   oldest first and counted, when all together are larger than allowed.

pub mod record;
mod segments;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use quoll_identity::Scope;
use thiserror::Error;

pub use record::{Description, Entry, Staged};
pub use segments::{Segment, list, read};

use crate::config::LogConfig;

/// First bytes of every segment.
pub const MAGIC: &[u8; 8] = b"QUOLLIN2";

/// Why the log could not be used.
#[derive(Debug, Error)]
#[error("inbound log, {action} {}: {source}", path.display())]
pub struct LogError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The writing end.
#[derive(Debug)]
pub struct InboundLog {
    directory: PathBuf,
    config: LogConfig,
    path: PathBuf,
    file: File,
    sequence: u64,
    bytes: u64,
    oldest_ms: i64,
    newest_ms: i64,
    closed: VecDeque<Segment>,
    buffer: Vec<u8>,
    overflowed: u64,
    /// From this segment on, nothing is deleted for its age: no snapshot has it yet.
    keep_from: u64,
    /// A write failed, and so did the beginning of a new segment. In this one nothing more is written: what it
    /// describes is not certain.
    spoilt: bool,
}

impl InboundLog {
    /// Begins a new segment after those in `directory`, which is made if missing.
    ///
    /// # Errors
    /// Where the directory cannot be made or read, or the segment not created.
    pub fn open(directory: &Path, config: LogConfig) -> Result<Self, LogError> {
        std::fs::create_dir_all(directory).map_err(|source| LogError {
            action: "creating",
            path: directory.to_owned(),
            source,
        })?;
        let closed: VecDeque<Segment> = list(directory)?.into();
        let sequence = closed.back().map_or(0, |segment| segment.sequence) + 1;
        let (path, file) = create(directory, sequence)?;
        Ok(Self {
            directory: directory.to_owned(),
            config,
            path,
            file,
            sequence,
            bytes: MAGIC.len() as u64,
            oldest_ms: i64::MAX,
            newest_ms: i64::MIN,
            closed,
            buffer: Vec::new(),
            overflowed: 0,
            keep_from: u64::MAX,
            spoilt: false,
        })
    }

    /// Segments from this one on are needed, whatever their age; those before it go by their age.
    pub fn keep_from(&mut self, sequence: u64) {
        self.keep_from = sequence;
    }

    /// Begins a new segment now, and returns its number.
    ///
    /// # Errors
    /// Where it cannot be created. The present one then stays in use.
    pub fn cut(&mut self) -> Result<u64, LogError> {
        self.begin_segment()?;
        Ok(self.sequence)
    }

    /// Number of the segment being written. Descriptions written to another one do not count.
    #[inline]
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes + self.closed.iter().map(|segment| segment.bytes).sum::<u64>()
    }

    /// Segments on disk.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.closed.len() + 1
    }

    /// Segments deleted for size before their time.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Adds the description of a scope to what the next [`InboundLog::commit`] writes.
    pub fn scope(&mut self, id: u32, scope: &Scope) {
        record::put_scope(&mut self.buffer, id, scope);
    }

    /// Adds labels of series to what the next commit writes: what `tell` hands over.
    pub fn labels(&mut self, scope: u32, tell: impl FnOnce(&mut dyn FnMut(Description<'_>))) {
        record::put_labels(&mut self.buffer, scope, tell);
    }

    /// Adds samples to what the next commit writes; `complete` where they end their request.
    pub fn samples(&mut self, samples: &[Staged], complete: bool) {
        record::put_samples(&mut self.buffer, samples, complete);
        for sample in samples {
            self.newest_ms = self.newest_ms.max(sample.timestamp_ms);
            self.oldest_ms = self.oldest_ms.min(sample.timestamp_ms);
        }
    }

    /// Writes what was added. After this returns, it survives the end of the process.
    ///
    /// # Errors
    /// Where the segment could not be written. Nothing of it stays, and a new segment is begun, now or by the next
    /// [`InboundLog::rotate_if_full`], so that everything must be described anew.
    pub fn commit(&mut self) -> Result<(), LogError> {
        let written = self.file.write_all(&self.buffer);
        let length = self.buffer.len() as u64;
        self.buffer.clear();
        match written {
            Ok(()) => {
                self.bytes += length;
                Ok(())
            }
            Err(source) => {
                let error = LogError { action: "writing", path: self.path.clone(), source };
                // The space taken is given back where the system lets us; a reader stops at the damage anyway.
                let _ = self.file.set_len(self.bytes);
                self.spoilt = self.begin_segment().is_err();
                Err(error)
            }
        }
    }

    /// Begins a new segment if this one has reached its size or half of the retention, or a write to it failed, and
    /// deletes what is no longer needed. To be called before anything is described.
    ///
    /// # Errors
    /// Where a segment cannot be created. Nothing may then be written.
    pub fn rotate_if_full(&mut self) -> Result<(), LogError> {
        let span = self.newest_ms.saturating_sub(self.oldest_ms);
        let long = self.newest_ms > self.oldest_ms && span > self.config.retention_ms / 2;
        if self.bytes < self.config.segment_bytes && !long && !self.spoilt {
            return Ok(());
        }
        self.begin_segment()
    }

    fn begin_segment(&mut self) -> Result<(), LogError> {
        let (path, file) = create(&self.directory, self.sequence + 1)?;
        let newest_ms = self.newest_ms;
        let path = std::mem::replace(&mut self.path, path);
        self.closed.push_back(Segment { sequence: self.sequence, path, bytes: self.bytes, newest_ms });
        self.file = file;
        self.spoilt = false;
        self.sequence += 1;
        self.bytes = MAGIC.len() as u64;
        self.oldest_ms = i64::MAX;
        self.newest_ms = i64::MIN;
        self.delete_unneeded(newest_ms);
        Ok(())
    }

    fn delete_unneeded(&mut self, newest_ms: i64) {
        let keep_from = newest_ms.saturating_sub(self.config.retention_ms);
        while let Some(oldest) = self.closed.front() {
            let expired = oldest.newest_ms < keep_from && oldest.sequence < self.keep_from;
            if !expired && self.bytes() <= self.config.max_bytes {
                break;
            }
            if let Err(error) = std::fs::remove_file(&oldest.path) {
                tracing::warn!(path = %oldest.path.display(), %error, "cannot delete an inbound segment");
            }
            self.overflowed += u64::from(!expired);
            self.closed.pop_front();
        }
    }

    /// Tells the newest event time of a segment that was there at the start, as found by reading it.
    pub fn note_newest(&mut self, sequence: u64, newest_ms: i64) {
        if let Some(segment) = self.closed.iter_mut().find(|segment| segment.sequence == sequence) {
            segment.newest_ms = newest_ms;
        }
    }
}

fn create(directory: &Path, sequence: u64) -> Result<(PathBuf, File), LogError> {
    let path = directory.join(format!("{sequence:020}.log"));
    let created = OpenOptions::new().create_new(true).append(true).open(&path).and_then(|mut file| {
        // On a full disk a file can be made but not written, and in its place there would never be another.
        file.write_all(MAGIC).inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        Ok(file)
    });
    match created {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(LogError { action: "creating", path, source }),
    }
}

#[cfg(test)]
mod tests;
