//! One file of the log.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::log::record::{self, HEADER, Header};

const SUFFIX: &str = ".log";

/// One file of the log with records of ascending sequence numbers.
#[derive(Debug)]
pub(crate) struct Segment {
    pub path: PathBuf,
    file: File,
    /// Bytes of whole records.
    pub bytes: u64,
    /// Where the oldest record that has not left begins.
    pub head: u64,
    /// Samples of the records that have not left.
    pub samples: u64,
    /// A failed write left bytes behind that could not be cut off: nothing may be appended.
    pub sealed: bool,
}

/// What a file held when it was opened.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub segment: Segment,
    /// Sequence number of its last record.
    pub last: Option<u64>,
    /// Bytes cut off because they were damaged.
    pub cut_bytes: u64,
}

impl Segment {
    /// A new, empty file.
    pub fn create(dir: &Path, first: u64) -> io::Result<Self> {
        let path = dir.join(format!("{first:020}{SUFFIX}"));
        let file = OpenOptions::new().read(true).append(true).create_new(true).open(&path)?;
        Ok(Self { path, file, bytes: 0, head: 0, samples: 0, sealed: false })
    }

    /// The sequence number that a file's name bears, if it is one of ours.
    pub fn first_of(path: &Path) -> Option<u64> {
        let stem = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
        if stem.len() == 20 { stem.parse().ok() } else { None }
    }

    /// Opens a file, reads it to its end, and cuts it at the first damaged record. Records before
    /// `head_sequence` have left already.
    pub fn recover(path: PathBuf, first: u64, head_sequence: u64) -> io::Result<Recovered> {
        let file = OpenOptions::new().read(true).append(true).open(&path)?;
        let length = file.metadata()?.len();
        let mut segment = Self { path, file, bytes: 0, head: 0, samples: 0, sealed: false };
        let mut last = None;
        let mut reader = io::BufReader::with_capacity(1 << 16, segment.file.try_clone()?);
        let mut body = Vec::new();
        while let Some(header) = read_record(&mut reader, &mut body)? {
            // Sequence numbers ascend from the file's name on; others are old bytes or damage.
            if header.sequence < last.map_or(first, |last: u64| last.saturating_add(1)) {
                break;
            }
            last = Some(header.sequence);
            segment.bytes += header.record_bytes();
            if header.sequence < head_sequence {
                segment.head = segment.bytes;
            } else {
                segment.samples += u64::from(header.samples);
            }
        }
        let cut_bytes = length - segment.bytes;
        if cut_bytes > 0 {
            segment.file.set_len(segment.bytes)?;
        }
        Ok(Recovered { segment, last, cut_bytes })
    }

    /// Whether every record has left.
    pub fn is_drained(&self) -> bool {
        self.head >= self.bytes
    }

    /// Appends whole records. After an error the file ends where it ended before.
    pub fn append(&mut self, records: &[u8], samples: u64) -> io::Result<()> {
        use std::io::Write;
        if let Err(error) = self.file.write_all(records) {
            self.sealed = self.file.set_len(self.bytes).is_err();
            return Err(error);
        }
        self.bytes += records.len() as u64;
        self.samples += samples;
        Ok(())
    }

    /// The header of the oldest record that has not left.
    pub fn peek(&self) -> io::Result<Option<Header>> {
        if self.is_drained() {
            return Ok(None);
        }
        let mut bytes = [0; HEADER];
        self.file.read_exact_at(&mut bytes, self.head)?;
        record::header(&bytes).map_or_else(|| Err(damaged(&self.path)), |header| Ok(Some(header)))
    }

    /// The oldest record that has not left; its body replaces what `body` holds.
    pub fn read(&self, body: &mut Vec<u8>) -> io::Result<Option<Header>> {
        if self.is_drained() {
            return Ok(None);
        }
        let mut bytes = [0; HEADER];
        self.file.read_exact_at(&mut bytes, self.head)?;
        let header = record::header(&bytes).ok_or_else(|| damaged(&self.path))?;
        body.resize(header.body_bytes, 0);
        self.file.read_exact_at(body, self.head + HEADER as u64)?;
        if record::is_intact(&header, &bytes, body) { Ok(Some(header)) } else { Err(damaged(&self.path)) }
    }

    /// The oldest record leaves.
    pub fn advance(&mut self, header: &Header) {
        self.head = (self.head + header.record_bytes()).min(self.bytes);
        self.samples = self.samples.saturating_sub(u64::from(header.samples));
    }

    /// What has not left is unreadable: gives it up and returns how many samples that were.
    pub fn give_up(&mut self) -> u64 {
        self.head = self.bytes;
        std::mem::take(&mut self.samples)
    }
}

fn damaged(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged record in {}", path.display()))
}

/// The next record; `None` at the end of the intact ones.
fn read_record(reader: &mut impl Read, body: &mut Vec<u8>) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER];
    if !fill(reader, &mut bytes)? {
        return Ok(None);
    }
    let Some(header) = record::header(&bytes) else { return Ok(None) };
    // Grown as bytes come, so that a damaged length allocates no more than the file holds.
    body.clear();
    let got = reader.by_ref().take(header.body_bytes as u64).read_to_end(body)?;
    Ok((got == header.body_bytes && record::is_intact(&header, &bytes, body)).then_some(header))
}

/// Whether the reader had enough to fill the buffer.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
