//! What a restart goes on from: everything, as of one position of the inbound log.
//!
//! # Files
//! In `<data_dir>/snapshots`: `<position>.snapshot` and, beside it, the [`Journal`] of the ticks since. A snapshot
//! is written to another name and then renamed; only then are the older ones deleted and the log before its
//! position given up. It survives the end of the process at any point, not the machine's loss of power.
//!
//! # Layout
//! [`MAGIC`], the version (u32 LE), then in postcard's encoding the receiving side and the scopes of the engine,
//! then the CRC-32 of all before it (u32 LE).
//!
//! # Failure
//! A snapshot of another version, for other features or another step, of a root where this is none (or the other
//! way round), or a damaged one, is not used: the start is
//! cold, says so in one line, and replays whatever the log holds.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quoll_detect::snapshot::{DetectorState, StoredDetector};
use quoll_features::FeatureSet;
use quoll_identity::Scope;
use quoll_incidents::Snapshot;
use quoll_ingest::{IngestConfig, Receiver, StoredReceiver};
use quoll_shards::LeavesConfig;
use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::incident_log::IncidentLog;
use crate::journal::Journal;
use crate::outputs::Alive;

/// First bytes of every snapshot.
const MAGIC: &[u8; 8] = b"QUOLLSNP";
/// Version of the layout; any change of what is stored is another one.
const VERSION: u32 = 6;

/// What the engine stores of one scope.
#[derive(Debug, Serialize)]
pub struct EngineScope<'a> {
    pub scope: &'a Scope,
    pub last_end_ms: i64,
    pub last_written_ms: i64,
    /// [`Inference`] as JSON.
    pub inference: String,
    /// Series of the last tick's results.
    pub alive: &'a Alive,
    pub detector: Option<DetectorState<'a>>,
    pub history: &'a History,
}

/// [`EngineScope`], read back.
#[derive(Debug, Deserialize)]
pub struct StoredScope {
    pub scope: Scope,
    pub last_end_ms: i64,
    pub last_written_ms: i64,
    pub inference: String,
    pub alive: Alive,
    pub detector: Option<StoredDetector>,
    pub history: History,
}

/// Incidents and what the interface tells of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Inference {
    pub incidents: Snapshot,
    pub log: IncidentLog,
}

/// Where snapshots lie.
fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("snapshots")
}

fn path(data_dir: &Path, position: u64) -> PathBuf {
    directory(data_dir).join(format!("{position:020}.snapshot"))
}

/// Positions of the files with this extension, ascending.
fn positions(data_dir: &Path, extension: &str) -> Vec<u64> {
    let entries = std::fs::read_dir(directory(data_dir)).into_iter().flatten().flatten();
    let paths =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|found| found == extension));
    let mut positions: Vec<u64> = paths.filter_map(|path| path.file_stem()?.to_str()?.parse().ok()).collect();
    positions.sort_unstable();
    positions
}

/// A snapshot being written. The receiving side is written at once, while no request can change it; the engine's
/// scopes once all that was closed by then is handled.
#[derive(Debug)]
pub struct Writing {
    data_dir: PathBuf,
    file: BufWriter<Checked>,
    position: u64,
}

/// A file and the checksum of what went into it.
#[derive(Debug)]
struct Checked {
    file: File,
    hasher: crc32fast::Hasher,
}

impl Write for Checked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn put<T: Serialize>(file: &mut BufWriter<Checked>, value: &T) -> io::Result<()> {
    postcard::to_io(value, file).map(|_| ()).map_err(io::Error::other)
}

impl Writing {
    /// Writes the receiving side.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn begin(data_dir: &Path, receiver: &StoredReceiver<'_>) -> io::Result<Self> {
        std::fs::create_dir_all(directory(data_dir))?;
        let file = File::create(directory(data_dir).join("new"))?;
        let mut file = BufWriter::with_capacity(1 << 18, Checked { file, hasher: crc32fast::Hasher::new() });
        file.write_all(MAGIC)?;
        file.write_all(&VERSION.to_le_bytes())?;
        put(&mut file, receiver)?;
        Ok(Self { data_dir: data_dir.to_owned(), file, position: receiver.position() })
    }

    /// Writes the scopes, puts the snapshot in its place, and begins the journal anew. Returns the position.
    ///
    /// # Errors
    /// Where the file cannot be written; the snapshot before then stays in use.
    pub fn finish(mut self, scopes: &[EngineScope<'_>], journal: &mut Journal) -> io::Result<u64> {
        put(&mut self.file, &scopes)?;
        let Checked { mut file, hasher } = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all(&hasher.finalize().to_le_bytes())?;
        std::fs::rename(directory(&self.data_dir).join("new"), path(&self.data_dir, self.position))?;
        journal.restart(self.position)?;
        for old in positions(&self.data_dir, "snapshot").into_iter().filter(|&old| old < self.position) {
            let _ = std::fs::remove_file(path(&self.data_dir, old));
        }
        for old in positions(&self.data_dir, "ticks").into_iter().filter(|&old| old < self.position) {
            let _ = std::fs::remove_file(Journal::path(&directory(&self.data_dir), old));
        }
        Ok(self.position)
    }
}

/// What a start goes on from.
#[derive(Debug)]
pub struct Resumed {
    /// The receiving side, still without its log.
    pub receiver: Receiver,
    /// The engine's scopes.
    pub scopes: Vec<StoredScope>,
    /// The ticks since.
    pub journal: Journal,
}

/// The newest snapshot, or a cold start.
///
/// # Errors
/// Where the journal cannot be read or written.
pub fn resume(
    data_dir: &Path,
    ingest: &IngestConfig,
    set: &Arc<FeatureSet>,
    step_ms: i64,
    leaves: Option<&LeavesConfig>,
) -> io::Result<Resumed> {
    std::fs::create_dir_all(directory(data_dir))?;
    if let Some(&position) = positions(data_dir, "snapshot").last() {
        let path = path(data_dir, position);
        match std::fs::read(&path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| parse(&bytes, ingest, set, step_ms, leaves))
        {
            Ok((receiver, scopes)) => {
                let journal = Journal::open(&directory(data_dir), position)?;
                return Ok(Resumed { receiver, scopes, journal });
            }
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "the snapshot is not used: a cold start from the log");
                let _ = std::fs::rename(&path, path.with_extension("refused"));
            }
        }
        // Ticks noted after it would be taken for handled by a state that is gone.
        for old in positions(data_dir, "ticks") {
            let _ = std::fs::remove_file(Journal::path(&directory(data_dir), old));
        }
    }
    let mut receiver = Receiver::in_memory(ingest.clone(), Arc::clone(set), step_ms);
    if let Some(leaves) = leaves {
        receiver = receiver.of_leaves(leaves.clone());
    }
    Ok(Resumed { receiver, scopes: Vec::new(), journal: Journal::open(&directory(data_dir), 0)? })
}

fn parse(
    bytes: &[u8],
    ingest: &IngestConfig,
    set: &Arc<FeatureSet>,
    step_ms: i64,
    leaves: Option<&LeavesConfig>,
) -> Result<(Receiver, Vec<StoredScope>), String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it is no snapshot")?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or("it is cut short")?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Err(format!("it is of version {version}, this is {VERSION}"));
    }
    let (content, checksum) = rest.split_last_chunk::<4>().ok_or("it is cut short")?;
    if crc32fast::hash(&bytes[..bytes.len() - 4]) != u32::from_le_bytes(*checksum) {
        return Err("it is damaged: its checksum does not fit".to_owned());
    }
    let (receiver, content) = postcard::take_from_bytes(content).map_err(|error| error.to_string())?;
    let receiver = Receiver::restore(ingest.clone(), set, step_ms, leaves, receiver).map_err(|e| e.to_string())?;
    let scopes = postcard::from_bytes(content).map_err(|error| error.to_string())?;
    Ok((receiver, scopes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resumed(data_dir: &Path, step_ms: i64) -> Resumed {
        let set = Arc::new(FeatureSet::preset("quoll").unwrap());
        resume(data_dir, &IngestConfig::default(), &set, step_ms, None).unwrap()
    }

    fn write(data_dir: &Path) -> u64 {
        let Resumed { receiver, mut journal, .. } = resumed(data_dir, 1000);
        let mut receiver = receiver.with_log(&data_dir.join("inbound"), |_| {}).unwrap();
        let mut body = quoll_prometheus_protocol::encode::WriteRequestEncoder::new();
        body.push(&[("__name__", "quoll_memory_working_set_bytes"), ("service_name", "a")], &[(5000, 1.0)]);
        receiver.write("", quoll_ingest::Body::V1(body.as_bytes()), 5000).unwrap();
        let writing = Writing::begin(data_dir, &receiver.store().unwrap()).unwrap();
        writing.finish(&[], &mut journal).unwrap()
    }

    #[test]
    fn a_newer_snapshot_replaces_the_older_ones_and_their_journals() {
        let directory = tempfile::tempdir().unwrap();
        let first = write(directory.path());
        let second = write(directory.path());
        assert!(second > first);
        assert_eq!(positions(directory.path(), "snapshot"), [second]);
        assert_eq!(positions(directory.path(), "ticks"), [second]);
    }

    #[test]
    fn damage_another_version_and_another_step_are_cold_starts_that_work() {
        type Spoil = fn(&mut Vec<u8>);
        let spoils: [Spoil; 4] =
            [|_| {}, |bytes| bytes[20] ^= 1, |bytes| bytes[8] = 9, |bytes| bytes.truncate(bytes.len() / 2)];
        for (at, spoil) in spoils.into_iter().enumerate() {
            let directory = tempfile::tempdir().unwrap();
            let position = write(directory.path());
            let path = path(directory.path(), position);
            let mut bytes = std::fs::read(&path).unwrap();
            spoil(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            // The first of them is whole, but of another step.
            drop(resumed(directory.path(), if at == 0 { 2000 } else { 1000 }));
            assert!(path.with_extension("refused").is_file(), "{at}");
            assert_eq!(positions(directory.path(), "ticks"), [0], "{at}");
            write(directory.path());
        }
    }
}
