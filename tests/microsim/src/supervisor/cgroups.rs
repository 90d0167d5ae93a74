//! The cgroups of a run: one per process in each hierarchy that counts CPU or memory.
//!
//! Identity is read from the unified hierarchy, usage from wherever the machine counts it, so a
//! machine with both gets both. Where cgroups cannot be made the run goes on without.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

/// How long to wait for the kernel to let go of a cgroup whose processes have ended.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(3);

/// A cgroup that could not be made.
#[derive(Debug, Error)]
#[error("cannot make the cgroup {path}: {source}")]
pub struct CgroupError {
    path: PathBuf,
    source: io::Error,
}

/// Mount points of the hierarchies in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// The unified one (cgroup v2).
    pub unified: Option<PathBuf>,
    /// The v1 ones that hold cpu, cpuacct or memory.
    pub v1: Vec<PathBuf>,
}

impl Hierarchies {
    /// Those mounted on this machine.
    pub fn find() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Format: proc_pid_mountinfo(5).
    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let Some(mount_point) = before.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut after = after.split(' ');
            let (kind, options) = (after.next().unwrap_or_default(), after.nth(1).unwrap_or_default());
            let counts = || options.split(',').any(|option| ["cpu", "cpuacct", "memory"].contains(&option));
            match kind {
                "cgroup2" if found.unified.is_none() => found.unified = Some(mount_point),
                "cgroup" if counts() => found.v1.push(mount_point),
                _ => {}
            }
        }
        found
    }

    /// Directories of `NAME/MEMBER` in every hierarchy, the parents `NAME` last.
    pub fn directories(&self, name: &str, members: &[String]) -> Vec<PathBuf> {
        let parents: Vec<PathBuf> = self.unified.iter().chain(&self.v1).map(|mount| mount.join(name)).collect();
        let children = parents.iter().flat_map(|parent| members.iter().map(|member| parent.join(member)));
        children.chain(parents.iter().cloned()).collect()
    }

    /// `cgroup.procs` files that put a process into `NAME/MEMBER`.
    pub fn procs_files(&self, name: &str, member: &str) -> Vec<PathBuf> {
        let file = |mount: &PathBuf| mount.join(name).join(member).join("cgroup.procs");
        self.unified.iter().chain(&self.v1).map(file).collect()
    }

    /// Makes all of [`Self::directories`].
    ///
    /// # Errors
    /// [`CgroupError`]: not permitted, or a read-only mount.
    pub fn create(&self, name: &str, members: &[String]) -> Result<(), CgroupError> {
        for path in self.directories(name, members).iter().rev() {
            match fs::create_dir(path) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(CgroupError { path: path.clone(), source });
                }
                _ => {}
            }
            if let Some(unified) = &self.unified
                && self.v1.is_empty()
                && path == &unified.join(name)
            {
                // So that the members' files cpu.stat and memory.current exist. Where a manager
                // has delegated less, the run goes on without them.
                for directory in [unified, path] {
                    drop(fs::write(directory.join("cgroup.subtree_control"), "+cpu +memory"));
                }
            }
        }
        Ok(())
    }
}

/// Removes cgroups that no process is in any more; gives those that stayed.
pub fn remove(directories: &[PathBuf]) -> Vec<PathBuf> {
    let deadline = Instant::now() + REMOVAL_PATIENCE;
    let stays = |path: &Path| loop {
        match fs::remove_dir(path) {
            Ok(()) => return false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return true,
        }
    };
    directories.iter().filter(|path| stays(path)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hierarchy_are_found_and_others_left_alone() {
        let mountinfo = "\
            30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
            32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n\
            33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            34 30 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";
        let found = Hierarchies::parse(mountinfo);
        assert_eq!(found.unified, Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(found.v1, [PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"), "/sys/fs/cgroup/memory".into()]);
        let directories = found.directories("shop", &["cart".to_owned()]);
        assert_eq!(directories[0], PathBuf::from("/sys/fs/cgroup/unified/shop/cart"));
        assert_eq!(directories[5], PathBuf::from("/sys/fs/cgroup/memory/shop"));
    }
}
