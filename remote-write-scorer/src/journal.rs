//! Which ticks were handled since the last snapshot, by which clock, and whether their results were queued.
//!
//! A restart handles them again, since state follows from them, and must come to the same end: by the same clock,
//! and without writing results twice. Each tick is noted before it is handled and after its results are in the
//! outbound queue; one that was only begun is handled by its clock again and written, at worst a second time, byte
//! for byte.
//!
//! One line per note: CRC-32 of the rest in hexadecimal, a space, JSON. Reading stops at the first damaged line,
//! and the file is cut there; ticks behind it count as new.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use quoll_api::view::ScopeKey;
use serde::{Deserialize, Serialize};

/// What is known of a tick from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handled {
    /// The clock it was handled by, in milliseconds since the epoch.
    pub clock_ms: i64,
    /// Whether its results are in the outbound queue.
    pub done: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    tenant: String,
    partition: BTreeMap<String, String>,
    end_ms: i64,
    /// `None`: done.
    clock_ms: Option<i64>,
}

/// The journal of the ticks since one snapshot.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    file: File,
    known: BTreeMap<(ScopeKey, i64), Handled>,
}

impl Journal {
    /// The file of a position.
    pub fn path(directory: &Path, position: u64) -> PathBuf {
        directory.join(format!("{position:020}.ticks"))
    }

    /// Reads what was noted since the snapshot of this position, and goes on with it.
    ///
    /// # Errors
    /// Where the file cannot be read, cut or written.
    pub fn open(directory: &Path, position: u64) -> io::Result<Self> {
        let path = Self::path(directory, position);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let mut known = BTreeMap::new();
        let mut sound = 0;
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let Some(note) = parse(line) else { break };
            sound += line.len() as u64;
            let key = ScopeKey { tenant: note.tenant, partition: note.partition };
            match note.clock_ms {
                Some(clock_ms) => {
                    known.insert((key, note.end_ms), Handled { clock_ms, done: false });
                }
                None => {
                    if let Some(handled) = known.get_mut(&(key, note.end_ms)) {
                        handled.done = true;
                    }
                }
            }
        }
        let file = File::options().create(true).append(true).open(&path)?;
        if sound < text.len() as u64 {
            tracing::warn!(path = %path.display(), bytes = text.len() as u64 - sound, "cut damage off the journal of ticks");
            file.set_len(sound)?;
        }
        Ok(Self { directory: directory.to_owned(), file, known })
    }

    /// What is known of a tick from before; said once.
    pub fn take(&mut self, scope: &ScopeKey, end_ms: i64) -> Option<Handled> {
        if self.known.is_empty() { None } else { self.known.remove(&(scope.clone(), end_ms)) }
    }

    /// A tick is about to be handled by this clock.
    ///
    /// # Errors
    /// Where it cannot be noted.
    pub fn begin(&mut self, scope: &ScopeKey, end_ms: i64, clock_ms: i64) -> io::Result<()> {
        self.note(scope, end_ms, Some(clock_ms))
    }

    /// A tick's results are in the outbound queue.
    ///
    /// # Errors
    /// Where it cannot be noted.
    pub fn done(&mut self, scope: &ScopeKey, end_ms: i64) -> io::Result<()> {
        self.note(scope, end_ms, None)
    }

    fn note(&mut self, scope: &ScopeKey, end_ms: i64, clock_ms: Option<i64>) -> io::Result<()> {
        let note = Note { tenant: scope.tenant.clone(), partition: scope.partition.clone(), end_ms, clock_ms };
        let json = serde_json::to_string(&note)?;
        self.file.write_all(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).as_bytes())
    }

    /// Begins anew after a snapshot of this position.
    ///
    /// # Errors
    /// Where the new file cannot be made; the old one then stays in use.
    pub fn restart(&mut self, position: u64) -> io::Result<()> {
        self.file = File::options().create(true).append(true).open(Self::path(&self.directory, position))?;
        self.known.clear();
        Ok(())
    }
}

fn parse(line: &[u8]) -> Option<Note> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (checksum, json) = line.split_once(' ')?;
    if u32::from_str_radix(checksum, 16).ok()? != crc32fast::hash(json.as_bytes()) {
        return None;
    }
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_known_after_a_restart_up_to_the_first_damage() {
        let directory = tempfile::tempdir().unwrap();
        let scope = ScopeKey { tenant: "t".into(), partition: BTreeMap::from([("cluster".into(), "eu".into())]) };
        let mut journal = Journal::open(directory.path(), 3).unwrap();
        journal.begin(&scope, 1000, 1005).unwrap();
        journal.done(&scope, 1000).unwrap();
        journal.begin(&scope, 2000, 2005).unwrap();
        let path = Journal::path(directory.path(), 3);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"00000000 {\"tenant\":\"t\"").unwrap();
        let mut journal = Journal::open(directory.path(), 3).unwrap();
        assert_eq!(journal.take(&scope, 1000), Some(Handled { clock_ms: 1005, done: true }));
        assert_eq!(journal.take(&scope, 1000), None);
        assert_eq!(journal.take(&scope, 2000), Some(Handled { clock_ms: 2005, done: false }));
        assert_eq!(journal.take(&ScopeKey::default(), 2000), None);
        journal.done(&scope, 2000).unwrap();
        let mut journal = Journal::open(directory.path(), 3).unwrap();
        assert_eq!(journal.take(&scope, 2000), Some(Handled { clock_ms: 2005, done: true }));
        journal.restart(4).unwrap();
        assert_eq!(journal.take(&scope, 1000), None);
        assert!(Journal::path(directory.path(), 4).is_file());
    }
}
