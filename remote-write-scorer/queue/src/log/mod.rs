//! The durable log: records appended at its tail, leaving at its head.
//!
//! # Guarantees
//! - A record that [`Log::append`] took survives the end of the process at any point (`write(2)`; not
//!   the machine's loss of power: nothing is synced).
//! - Records leave in the order in which they came, each only by [`Log::leave`], or, counted, by
//!   [`Log::append`] making room (oldest file first). After a crash a record that has left may be read
//!   once more; none is skipped.
//! - Files never exceed `max_bytes` together.
//!
//! # Files
//! `<sequence of the first record>.log` hold [`record`]s; `head` holds the sequence number of the oldest
//! record that has not left, with a CRC. The head is written after the data it points past, to a new
//! file that then replaces the old one.
//!
//! # Recovery
//! Each file is cut at its first damaged record; cut bytes are counted. A file whose tail was cut is not
//! appended to again, and later files are kept: damage in one place does not lose what others hold. A
//! missing or damaged head means that every record still there has not left (the peer is told twice,
//! which remote write permits).

mod record;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::QueueError;
pub(crate) use record::{Header, MAX_BODY};
use segment::Segment;

const HEAD: &str = "head";
const HEAD_NEW: &str = "head.new";
const LOCK: &str = "lock";
/// Files hold a sixteenth of the bound each, within these limits.
const SEGMENT_BYTES: (u64, u64) = (4 << 10, 16 << 20);

/// What one append or opening cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Samples dropped, oldest first, to stay within the bound.
    pub overflow_samples: u64,
    /// Bytes cut because they were damaged.
    pub truncated_bytes: u64,
    /// Samples lost to damage that appeared after opening.
    pub damaged_samples: u64,
}

/// The log of one directory.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    /// Held for as long as the log is open.
    _lock: File,
    /// Oldest first; the last one is appended to. Never empty.
    segments: VecDeque<Segment>,
    max_bytes: u64,
    segment_bytes: u64,
    next_sequence: u64,
    scratch: Vec<u8>,
}

/// One record to be appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub newest_ms: i64,
    pub samples: u32,
    pub body: &'a [u8],
}

impl Log {
    /// Opens or makes the log of a directory and recovers what is there.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<(Self, Losses), QueueError> {
        let failed = QueueError::io(dir);
        std::fs::create_dir_all(dir).map_err(&failed)?;
        let lock = File::options().write(true).create(true).truncate(false).open(dir.join(LOCK)).map_err(&failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(QueueError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let head_sequence = read_head(&dir.join(HEAD)).map_err(&failed)?;
        let mut log = Self {
            dir: dir.to_owned(),
            _lock: lock,
            segments: VecDeque::new(),
            max_bytes,
            segment_bytes: (max_bytes / 16).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1),
            next_sequence: head_sequence,
            scratch: Vec::new(),
        };
        let losses = log.recover(head_sequence).map_err(&failed)?;
        Ok((log, losses))
    }

    fn recover(&mut self, head_sequence: u64) -> io::Result<Losses> {
        let mut files: Vec<(u64, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if let Some(first) = Segment::first_of(&path) {
                files.push((first, path));
            }
        }
        files.sort_unstable();
        let mut losses = Losses::default();
        for (first, path) in files {
            let recovered = Segment::recover(path, first, head_sequence)?;
            losses.truncated_bytes += recovered.cut_bytes;
            let after = recovered.last.map_or(first, |last| last.saturating_add(1));
            self.next_sequence = self.next_sequence.max(after);
            if recovered.segment.is_drained() {
                std::fs::remove_file(&recovered.segment.path)?;
            } else {
                self.segments.push_back(recovered.segment);
            }
        }
        self.rotate()?;
        Ok(losses)
    }

    /// Begins a new file.
    fn rotate(&mut self) -> io::Result<()> {
        let segment = Segment::create(&self.dir, self.next_sequence)?;
        self.segments.push_back(segment);
        Ok(())
    }

    /// Appends records, making room for them where needed. On an error none of them is in the log.
    pub fn append(&mut self, entries: &[Entry<'_>]) -> Result<Losses, QueueError> {
        let failed = QueueError::io(&self.dir);
        self.scratch.clear();
        if self.segments.back().is_some_and(|last| last.sealed) {
            // The sealed file may bear this number in its name.
            self.next_sequence += 1;
        }
        let mut sequence = self.next_sequence;
        let mut samples = 0;
        for entry in entries {
            record::write(&mut self.scratch, sequence, entry.newest_ms, entry.samples, entry.body);
            sequence += 1;
            samples += u64::from(entry.samples);
        }
        let bytes = self.scratch.len() as u64;
        if bytes > self.max_bytes {
            return Err(QueueError::TooLarge { bytes, limit: self.max_bytes });
        }
        let full = |last: &Segment| last.sealed || (last.bytes > 0 && last.bytes + bytes > self.segment_bytes);
        if self.segments.back().is_none_or(full) {
            self.rotate().map_err(&failed)?;
        }
        let mut losses = Losses::default();
        while self.bytes() + bytes > self.max_bytes {
            losses.overflow_samples += self.drop_oldest().map_err(&failed)?;
        }
        if self.segments.is_empty() {
            self.rotate().map_err(&failed)?;
        }
        let Some(last) = self.segments.back_mut() else { return Err(QueueError::Closed) };
        if let Err(error) = last.append(&self.scratch, samples) {
            return Err(failed(error));
        }
        self.next_sequence = sequence;
        Ok(losses)
    }

    /// Drops the oldest file and returns how many samples had not left.
    fn drop_oldest(&mut self) -> io::Result<u64> {
        let Some(oldest) = self.segments.pop_front() else { return Ok(0) };
        std::fs::remove_file(&oldest.path)?;
        if self.segments.is_empty() {
            self.rotate()?;
        }
        Ok(oldest.samples)
    }

    /// The oldest record that has not left; its body replaces what `body` holds. What turns out to be
    /// damaged is given up and counted in `losses`.
    pub fn read(&mut self, body: &mut Vec<u8>, losses: &mut Losses) -> Result<Option<Header>, QueueError> {
        let failed = QueueError::io(&self.dir);
        loop {
            self.discard_drained().map_err(&failed)?;
            let Some(oldest) = self.segments.front_mut() else { return Ok(None) };
            match oldest.read(body) {
                Ok(header) => return Ok(header),
                Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                    losses.damaged_samples += oldest.give_up();
                    if self.segments.len() == 1 {
                        self.rotate().map_err(&failed)?;
                    }
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// The header of the oldest record that has not left.
    pub fn peek(&self) -> Option<Header> {
        self.segments.iter().find(|segment| !segment.is_drained())?.peek().ok().flatten()
    }

    /// The record leaves, if it is still the oldest one (it may have been dropped to make room). Returns
    /// whether it was.
    pub fn leave(&mut self, header: &Header) -> Result<bool, QueueError> {
        let failed = QueueError::io(&self.dir);
        if self.peek().is_none_or(|oldest| oldest.sequence != header.sequence) {
            return Ok(false);
        }
        if let Some(segment) = self.segments.iter_mut().find(|segment| !segment.is_drained()) {
            segment.advance(header);
        }
        write_head(&self.dir, header.sequence + 1).map_err(&failed)?;
        self.discard_drained().map_err(&failed)?;
        Ok(true)
    }

    /// Removes files whose records have all left. The file appended to is replaced once it is worth it.
    fn discard_drained(&mut self) -> io::Result<()> {
        while let Some(oldest) = self.segments.front() {
            let last = self.segments.len() == 1;
            if !oldest.is_drained() || (last && oldest.bytes < self.segment_bytes / 2) {
                return Ok(());
            }
            std::fs::remove_file(&oldest.path)?;
            self.segments.pop_front();
            if last {
                self.rotate()?;
            }
        }
        Ok(())
    }

    /// Samples that have not left.
    pub fn samples(&self) -> u64 {
        self.segments.iter().map(|segment| segment.samples).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// The head's sequence number; 0 where there is none or it is damaged.
fn read_head(path: &Path) -> io::Result<u64> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let (Some(sequence), Some(crc)) = (bytes.first_chunk::<8>(), bytes.get(8..).and_then(<[u8]>::first_chunk::<4>))
    else {
        return Ok(0);
    };
    let intact = bytes.len() == 12 && crc32fast::hash(sequence) == u32::from_le_bytes(*crc);
    Ok(if intact { u64::from_le_bytes(*sequence) } else { 0 })
}

fn write_head(dir: &Path, sequence: u64) -> io::Result<()> {
    let mut bytes = sequence.to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let new = dir.join(HEAD_NEW);
    std::fs::write(&new, &bytes)?;
    std::fs::rename(&new, dir.join(HEAD))
}
