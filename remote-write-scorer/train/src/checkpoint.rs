//! Where an interrupted training goes on.
//!
//! # Layout
//! One file: [`MAGIC`], the run it belongs to (u64 LE, a digest of everything training depends on), the state in
//! postcard's encoding, then the FNV-1a digest of all before it (u64 LE). It is written to another name and then
//! renamed.
//!
//! # Failure
//! A file that is missing, damaged, of another version or of another run (another history, other options) is no
//! checkpoint: training begins at the beginning.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::TrainError;
use crate::history::ServiceHistory;
use crate::network::NetworkState;
use crate::options::TrainOptions;
use crate::random::Random;

/// First bytes of every checkpoint; the last is the version of the layout.
const MAGIC: &[u8; 8] = b"QUOLLTR\x01";

/// File name inside the model directory.
pub const CHECKPOINT_FILE: &str = "training.checkpoint";

/// Updates between two checkpoints by default: some seconds.
const EVERY_UPDATES: usize = 50;

/// Which file, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The file.
    pub path: PathBuf,
    /// Updates of the weights between two checkpoints, at least 1.
    pub every_updates: usize,
}

/// What the rest of a run depends on, besides its history and options.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunState {
    /// Updates done.
    pub updates: usize,
    /// Loss, averaged over the last few of them.
    pub recent: f64,
    /// Losses of the last windows.
    pub losses: Vec<f64>,
    /// Where the random numbers are.
    pub random: Random,
    /// The weights.
    pub network: NetworkState,
}

impl Checkpoint {
    /// The checkpoint of a model directory.
    #[must_use]
    pub fn of_model(model_dir: &Path) -> Self {
        Self { path: model_dir.join(CHECKPOINT_FILE), every_updates: EVERY_UPDATES }
    }

    /// Names a run: what it learns from and how.
    #[must_use]
    pub fn run(&self, histories: &[ServiceHistory], options: &TrainOptions) -> u64 {
        let mut digest = Digest::default();
        digest.eat(format!("{options:?}").as_bytes());
        for history in histories {
            digest.eat(history.service.to_string().as_bytes());
            digest.eat(&(history.held_out_from as u64).to_le_bytes());
            for code in &history.codes {
                digest.eat(&code.to_le_bytes());
            }
        }
        digest.value()
    }

    /// The state of `run`, if the file holds one.
    #[must_use]
    pub fn read(&self, run: u64) -> Option<RunState> {
        let bytes = std::fs::read(&self.path).ok()?;
        let (content, sum) = bytes.split_last_chunk::<8>()?;
        let mut digest = Digest::default();
        digest.eat(content);
        if digest.value() != u64::from_le_bytes(*sum) {
            return None;
        }
        let (found, state) = content.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        (u64::from_le_bytes(*found) == run).then(|| postcard::from_bytes(state).ok())?
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn write(&self, run: u64, state: &RunState) -> Result<(), TrainError> {
        let failed = |source| TrainError::Write { path: self.path.clone(), source };
        let mut bytes = [MAGIC.as_slice(), &run.to_le_bytes()].concat();
        bytes = postcard::to_extend(state, bytes).map_err(|e| failed(std::io::Error::other(e)))?;
        let mut digest = Digest::default();
        digest.eat(&bytes);
        bytes.extend(digest.value().to_le_bytes());
        let directory = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        file.persist(&self.path).map_err(|e| failed(e.error))?;
        Ok(())
    }

    /// Deletes the file: the run is done. One that cannot be deleted is of no harm, as it belongs to this run only.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
