//! Reading segments back.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use super::record::{Entry, HEADER_BYTES, parse};
use super::{LogError, MAGIC};

/// A segment that is no longer written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its number; later ones have higher numbers.
    pub sequence: u64,
    /// Its file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Newest event time in it; `i64::MIN` where there is none or it was not read yet.
    pub newest_ms: i64,
}

/// The segments of a directory, oldest first. Other files are left alone.
///
/// # Errors
/// Where the directory cannot be read.
pub fn list(directory: &Path) -> Result<Vec<Segment>, LogError> {
    let failed = |source| LogError { action: "reading", path: directory.to_owned(), source };
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (true, Some(sequence)) = (is_log, number) {
            let bytes = entry.metadata().map_err(failed)?.len();
            segments.push(Segment { sequence, path, bytes, newest_ms: i64::MIN });
        }
    }
    segments.sort_unstable_by_key(|segment| segment.sequence);
    Ok(segments)
}

/// Reads a segment, calls `each` for every record up to the first damaged one, and returns how many bytes
/// lie from there to the end. With `repair`, those are cut off.
///
/// # Errors
/// Where the file cannot be read or cut.
pub fn read(segment: &Segment, repair: bool, mut each: impl FnMut(Entry<'_>)) -> Result<u64, LogError> {
    let failed = |action| move |source| LogError { action, path: segment.path.clone(), source };
    let content = std::fs::read(&segment.path).map_err(failed("reading"))?;
    // What does not begin as a segment is damaged as a whole, and left as it is.
    let Some(mut rest) = content.strip_prefix(MAGIC) else { return Ok(content.len() as u64) };
    let mut sound = content.len() - rest.len();
    while let Some((entry, length)) = next(rest) {
        each(entry);
        rest = &rest[length..];
        sound += length;
    }
    let damaged = (content.len() - sound) as u64;
    if damaged > 0 && repair {
        let file = OpenOptions::new().write(true).open(&segment.path).map_err(failed("opening"))?;
        file.set_len(sound as u64).map_err(failed("cutting"))?;
    }
    Ok(damaged)
}

/// The first record and its whole length; `None` at the end and where it is damaged.
fn next(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let payload = rest.get(..length)?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*checksum) {
        return None;
    }
    Some((parse(payload)?, HEADER_BYTES + length))
}
