//! What both binaries share: the work directory, the user's Ctrl-C, the logs shown after a failure.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::Error;

/// Lines of a log that are shown.
const TAIL: usize = 15;

/// A directory that stays only if it should.
#[derive(Debug)]
pub enum WorkFolder {
    /// Chosen by the user: stays.
    Chosen(PathBuf),
    /// Ours: goes, unless [`WorkFolder::keep`] is called.
    Temporary(tempfile::TempDir),
}

impl WorkFolder {
    /// `chosen`, made if it is not there, with what an earlier run left in it removed; else a temporary one.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Usage`] if `chosen` holds something that is not of an earlier run.
    pub fn new(chosen: Option<PathBuf>) -> Result<Self, Error> {
        const MARK: &str = "changes.txt";
        let Some(path) = chosen else {
            let folder = tempfile::Builder::new().prefix("quoll-demo-").tempdir().map_err(Error::file("temporary"))?;
            return Ok(Self::Temporary(folder));
        };
        let used = std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if used && !path.join(MARK).is_file() {
            return Err(Error::Usage(format!("{} holds something else; choose an empty folder", path.display())));
        }
        if used {
            std::fs::remove_dir_all(&path).map_err(Error::file(&path))?;
        }
        std::fs::create_dir_all(&path).map_err(Error::file(&path))?;
        let path = path.canonicalize().map_err(Error::file(&path))?;
        Ok(Self::Chosen(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Chosen(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }

    /// Lets it stay.
    pub fn keep(&mut self) {
        if let Self::Temporary(folder) = self {
            folder.disable_cleanup(true);
        }
    }
}

/// A flag that SIGINT and SIGTERM set. A second one ends the process at once (the kernel then ends the
/// children).
///
/// # Errors
/// The signals cannot be handled.
pub fn interrupt_flag() -> std::io::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order the first signal finds the flag unset and only sets it.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// The ends of the logs that tell most about a failure: that of the process named by `error`, else
/// those of scorer, exporter and training.
pub fn relevant_logs(folder: &Path, error: Option<&Error>) -> String {
    let named = match error {
        Some(Error::Ended { log, .. } | Error::NotReady { log, .. }) => vec![log.clone()],
        _ => ["scorer", "exporter", "training"].map(|name| folder.join(format!("logs/{name}.log"))).to_vec(),
    };
    let mut text = String::new();
    for log in named {
        let Ok(bytes) = std::fs::read(&log) else { continue };
        let content = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = content.lines().collect();
        text += &format!("--- the end of {}\n", log.display());
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_else_is_never_emptied() {
        let outer = tempfile::tempdir().unwrap();
        let chosen = outer.path().join("run");
        let folder = WorkFolder::new(Some(chosen.clone())).unwrap();
        std::fs::write(folder.path().join("changes.txt"), "").unwrap();
        std::fs::write(folder.path().join("old"), "").unwrap();
        WorkFolder::new(Some(chosen.clone())).unwrap();
        assert!(!chosen.join("old").exists());
        std::fs::write(chosen.join("precious"), "").unwrap();
        assert!(matches!(WorkFolder::new(Some(chosen.clone())), Err(Error::Usage(_))));
        assert!(chosen.join("precious").exists());
    }
}
