//! Who owns a run's name, and what a crashed owner left behind.
//!
//! A lock file (flock, released by the kernel however the owner dies) says whether an instance
//! lives; a state file beside it lists what that instance made. Only what the list names is ever
//! removed, and only under the lock.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{cgroups, network};

/// Why a name cannot be had.
#[derive(Debug, Error)]
pub enum OwnershipError {
    /// Another live instance.
    #[error("another quoll-microsim named `{name}` is running (process {owner}); stop it, or choose another --name")]
    Taken {
        /// The name.
        name: String,
        /// Its process, as it wrote.
        owner: String,
    },
    /// Something of that name that no instance of ours has listed.
    #[error("{what} exists and was not made by quoll-microsim; remove it, or choose another --name")]
    Foreign {
        /// The thing.
        what: String,
    },
    /// The lock or state file could not be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What an instance has made.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Network namespaces.
    pub namespaces: Vec<String>,
    /// cgroup directories, children before parents.
    pub cgroups: Vec<PathBuf>,
    /// Processes: id, and start time in clock ticks since boot.
    pub processes: Vec<(i32, u64)>,
}

/// The right to a name, until dropped.
#[derive(Debug)]
pub struct Ownership {
    state_path: PathBuf,
    lock_path: PathBuf,
    /// Held for the lock on it.
    _lock: File,
    state: State,
}

impl Ownership {
    /// Takes `name`, and removes what a crashed owner left; gives also what was removed, in words.
    ///
    /// # Errors
    /// [`OwnershipError`].
    pub fn take(name: &str) -> Result<(Self, Option<String>), OwnershipError> {
        let directory = directory();
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| OwnershipError::File { path, source }
        };
        fs::create_dir_all(&directory).map_err(file_error(&directory))?;
        let lock_path = directory.join(format!("{name}.lock"));
        let state_path = directory.join(format!("{name}.json"));
        let mut lock = loop {
            let lock = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&lock_path)
                .map_err(file_error(&lock_path))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                let owner = fs::read_to_string(&lock_path).unwrap_or_default();
                return Err(OwnershipError::Taken { name: name.to_owned(), owner: owner.trim().to_owned() });
            }
            // An owner that ended between our two steps has removed the file we hold: take the new one.
            if same_file(&lock, &lock_path) {
                break lock;
            }
        };
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(file_error(&lock_path))?;
        let leftovers: Option<State> = fs::read(&state_path).ok().and_then(|state| serde_json::from_slice(&state).ok());
        let said = leftovers.as_ref().map(clear);
        let ownership = Self { state_path, lock_path, _lock: lock, state: State::default() };
        Ok((ownership, said))
    }

    /// Writes down what is about to be made, after checking that nobody else has it.
    ///
    /// # Errors
    /// [`OwnershipError::Foreign`] or [`OwnershipError::File`].
    pub fn announce(&mut self, namespaces: Vec<String>, cgroups: Vec<PathBuf>) -> Result<(), OwnershipError> {
        if let Some(taken) = namespaces.iter().find(|namespace| network::path(namespace).exists()) {
            return Err(OwnershipError::Foreign { what: format!("network namespace `{taken}`") });
        }
        if let Some(taken) = cgroups.iter().find(|path| path.exists()) {
            return Err(OwnershipError::Foreign { what: format!("cgroup `{}`", taken.display()) });
        }
        self.state.namespaces = namespaces;
        self.state.cgroups = cgroups;
        self.save()
    }

    /// Adds a process to the list.
    ///
    /// # Errors
    /// [`OwnershipError::File`].
    pub fn add_process(&mut self, id: u32) -> Result<(), OwnershipError> {
        if let Ok(id) = i32::try_from(id)
            && let Some(started) = start_time(id)
        {
            self.state.processes.push((id, started));
        }
        self.save()
    }

    /// Removes everything listed, then the files; says what.
    pub fn release(self) -> String {
        let said = clear(&self.state);
        drop(fs::remove_file(&self.state_path));
        drop(fs::remove_file(&self.lock_path));
        said
    }

    fn save(&self) -> Result<(), OwnershipError> {
        let file_error = |source| OwnershipError::File { path: self.state_path.clone(), source };
        let json = serde_json::to_vec(&self.state).map_err(|error| file_error(error.into()))?;
        let fresh = self.state_path.with_extension("json.new");
        fs::write(&fresh, json).and_then(|()| fs::rename(&fresh, &self.state_path)).map_err(file_error)
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => identity(held) == identity(named),
        _ => false,
    }
}

/// Ends what still runs and removes what is still there.
fn clear(state: &State) -> String {
    let mut killed = 0;
    for &(id, started) in &state.processes {
        if start_time(id) == Some(started)
            && let Some(pid) = Pid::from_raw(id)
        {
            killed += usize::from(kill_process(pid, Signal::KILL).is_ok());
        }
    }
    let made_cgroups = state.cgroups.iter().filter(|path| path.exists()).count();
    let made_namespaces = state.namespaces.iter().filter(|namespace| network::path(namespace).exists()).count();
    let cgroups = cgroups::remove(&state.cgroups);
    let namespaces = network::remove(&state.namespaces);
    let mut said = format!(
        "{killed} leftover processes, {} cgroups, {} network namespaces removed",
        made_cgroups - cgroups.len(),
        made_namespaces - namespaces.len()
    );
    for stayed in cgroups.iter().map(|path| path.display().to_string()).chain(namespaces) {
        said += &format!("; could not remove {stayed}");
    }
    said
}

/// Field 22 of `/proc/PID/stat` (proc_pid_stat(5)): tells a process from a later one with its id.
/// None for one that has ended and only waits to be reaped.
fn start_time(id: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in field 2 may hold anything, so count from its closing parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if ["Z", "X"].contains(&fields.next()?) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn directory() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/quoll-microsim");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => PathBuf::from(runtime).join("quoll-microsim"),
        None => std::env::temp_dir().join(format!("quoll-microsim-{}", rustix::process::geteuid().as_raw())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_was_listed_is_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        let started = start_time(id).unwrap();
        let other = State { processes: vec![(id, started + 1)], ..State::default() };
        assert!(clear(&other).starts_with("0 leftover processes"));
        assert!(child.try_wait().unwrap().is_none(), "a later process with the same id is left alone");
        let same = State { processes: vec![(id, started)], ..State::default() };
        assert!(clear(&same).starts_with("1 leftover process"));
        child.wait().unwrap();
        assert_eq!(start_time(id), None);
    }

    #[test]
    fn what_others_made_is_refused() {
        let name = format!("qmtest-own-{}", std::process::id());
        let (mut ownership, leftovers) = Ownership::take(&name).unwrap();
        assert_eq!(leftovers, None);
        assert!(matches!(Ownership::take(&name), Err(OwnershipError::Taken { .. })));
        let foreign = ownership.announce(Vec::new(), vec![std::env::temp_dir()]);
        assert!(matches!(foreign, Err(OwnershipError::Foreign { .. })));
        ownership.release();
        assert!(std::env::temp_dir().exists(), "it was not ours to remove");
        Ownership::take(&name).unwrap().0.release();
    }
}
