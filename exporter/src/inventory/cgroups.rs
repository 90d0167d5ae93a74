//! The mounted cgroup hierarchies, and where processes are in them.
//!
//! Identity comes from the unified hierarchy: a socket carries the inode of its directory there.
//! Usage comes from wherever the controllers are: version 2, or version 1 in another place for each
//! controller ("hybrid" machines have both). See `usage.rs` for what is read there.

use std::collections::hash_map::Entry;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};

/// An inode that is not known is looked for at most this often: the cgroup may be gone already.
const WALK_EVERY: Duration = Duration::from_secs(1);
/// A cgroup that is gone stays known for so long: its sockets may still be closing.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// So many that are gone stay known at most, those that went last: some 100 bytes each. Where more go, as a flood of
/// short jobs does, a socket that is closed a minute after its cgroup is removed has no name of its own any more.
const MAX_GONE: usize = 16_384;
/// Those that are gone are looked for at least this often.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// Deeper nesting does not occur, and a loop of bind mounts must not hold us up.
const MAX_DEPTH: usize = 12;

/// Where the hierarchies are mounted, and which cgroup has which inode.
#[derive(Debug)]
pub struct Cgroups {
    unified: Option<PathBuf>,
    v1: HashMap<Hierarchy, PathBuf>,
    /// Path, and when it was last there.
    by_id: HashMap<u64, (Arc<str>, Instant)>,
    walked: Option<Instant>,
    /// Entries after the last walk.
    left: usize,
}

/// A mounted hierarchy that says something about a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hierarchy {
    /// Version 2.
    Unified,
    /// Version 1, by controller.
    Cpu,
    /// CPU time.
    Cpuacct,
    /// Memory.
    Memory,
    /// Disks.
    Blkio,
}

impl Hierarchy {
    /// Version 1, with the names that mounts and `/proc/<pid>/cgroup` give them.
    const V1: [(&str, Self); 4] =
        [("cpu", Self::Cpu), ("cpuacct", Self::Cpuacct), ("memory", Self::Memory), ("blkio", Self::Blkio)];
}

/// Where a process is in each hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Membership([Arc<str>; 5]);

impl Membership {
    /// From the text of `/proc/<pid>/cgroup` (`cgroups(7)`): lines `number:controllers:path`. Without a
    /// unified hierarchy systemd's own stands for it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let root: Arc<str> = Arc::from("/");
        let mut paths = std::array::from_fn(|_| root.clone());
        let mut stand_in = None;
        for line in text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            match controllers {
                "" => paths[0] = Arc::from(path),
                "name=systemd" => stand_in = Some(Arc::from(path)),
                _ => {
                    for (_, hierarchy) in
                        Hierarchy::V1.iter().filter(|(name, _)| controllers.split(',').any(|c| c == *name))
                    {
                        paths[*hierarchy as usize] = Arc::from(path);
                    }
                }
            }
        }
        if paths[0].as_ref() == "/"
            && let Some(path) = stand_in
        {
            paths[0] = path;
        }
        Self(paths)
    }

    /// Path in one hierarchy; `/` also where it is not mounted.
    #[must_use]
    pub fn path(&self, hierarchy: Hierarchy) -> &Arc<str> {
        &self.0[hierarchy as usize]
    }
}

impl Cgroups {
    /// Finds the mounts of this process's mount namespace.
    #[must_use]
    pub fn find() -> Self {
        Self::from_mounts(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
    }

    /// From the text of `/proc/self/mounts` (`fstab(5)`).
    fn from_mounts(mounts: &str) -> Self {
        let mut found = Self { unified: None, v1: HashMap::new(), by_id: HashMap::new(), walked: None, left: 0 };
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            let (Some(target), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let has = |controller: &str| options.split(',').any(|option| option == controller);
            match kind {
                "cgroup2" if found.unified.is_none() => found.unified = Some(PathBuf::from(target)),
                "cgroup" => {
                    let controllers = Hierarchy::V1.iter().filter(|(name, _)| has(name));
                    found.v1.extend(controllers.map(|(_, hierarchy)| (*hierarchy, PathBuf::from(target))));
                }
                _ => {}
            }
        }
        found
    }

    /// Inode of a cgroup; where there is no unified hierarchy, a stand-in that is the same each time.
    pub fn id_of(&mut self, path: &Arc<str>) -> u64 {
        let directory = self.unified.as_deref().map(|root| below(root, path));
        let id = directory.and_then(|directory| Some(fs::metadata(directory).ok()?.ino())).unwrap_or_else(|| {
            // FNV-1a, with the top bit set so that it is no inode.
            let hash = path
                .bytes()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            hash | 1 << 63
        });
        let now = Instant::now();
        self.by_id.entry(id).and_modify(|known| known.1 = now).or_insert_with(|| (path.clone(), now));
        id
    }

    /// Path of the cgroup with this inode, if it is known.
    #[must_use]
    pub fn path_of(&self, id: u64) -> Option<&Arc<str>> {
        self.by_id.get(&id).map(|(path, _)| path)
    }

    /// Looks for new cgroups and forgets old ones, if that was not done for a minute or many came since; gives whether
    /// it did.
    pub fn tidy(&mut self) -> bool {
        let are_many = self.by_id.len() > self.left + MAX_GONE;
        (are_many || self.walked.is_none_or(|at| at.elapsed() >= TIDY_EVERY)) && self.walk()
    }

    /// Looks for new cgroups, if that was not done just now; gives whether it did.
    pub fn walk(&mut self) -> bool {
        if self.walked.is_some_and(|at| at.elapsed() < WALK_EVERY) {
            return false;
        }
        let began = Instant::now();
        self.walked = Some(began);
        if let Some(root) = self.unified.clone() {
            self.visit(&root, "/", MAX_DEPTH);
        }
        self.forget(began);
        true
    }

    /// Forgets those that were not there in the walk that began at `now`: the ones that went long ago, and the first of
    /// too many.
    fn forget(&mut self, now: Instant) {
        self.by_id.retain(|_, (_, seen)| now.saturating_duration_since(*seen) < FORGET_AFTER);
        let mut gone: Vec<Instant> = self.by_id.values().map(|(_, seen)| *seen).filter(|seen| *seen < now).collect();
        if let Some(beyond) = gone.len().checked_sub(MAX_GONE).filter(|beyond| *beyond > 0) {
            let (_, last, _) = gone.select_nth_unstable(beyond - 1);
            self.by_id.retain(|_, (_, seen)| *seen > *last);
        }
        self.left = self.by_id.len();
    }

    fn visit(&mut self, directory: &Path, path: &str, depth: usize) {
        let Ok(metadata) = fs::metadata(directory) else { return };
        // Inodes of the root stay; those of others may be given to a new cgroup.
        match self.by_id.entry(metadata.ino()) {
            Entry::Occupied(mut known) if known.get().0.as_ref() == path => known.get_mut().1 = Instant::now(),
            entry => {
                entry.insert_entry((Arc::from(path), Instant::now()));
            }
        }
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name();
                let inner = format!("{}/{}", path.trim_end_matches('/'), name.to_string_lossy());
                self.visit(&entry.path(), &inner, depth - 1);
            }
        }
    }

    /// The folder of a cgroup in one hierarchy; `None` where that is not mounted, and for the root, which
    /// says nothing about one service.
    #[must_use]
    pub fn folder(&self, hierarchy: Hierarchy, path: &str) -> Option<PathBuf> {
        let root = match hierarchy {
            Hierarchy::Unified => self.unified.as_deref(),
            other => self.v1.get(&other).map(PathBuf::as_path),
        };
        (path.len() > 1).then(|| below(root.unwrap_or(Path::new("")), path)).filter(|_| root.is_some())
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_mounts_are_told_apart() {
        let mounts = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = Cgroups::from_mounts(mounts);
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(found.folder(Hierarchy::Cpuacct, "/a").as_deref(), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct/a")));
        assert_eq!(found.folder(Hierarchy::Memory, "/a").as_deref(), Some(Path::new("/sys/fs/cgroup/memory/a")));
        assert_eq!(found.folder(Hierarchy::Memory, "/"), None);
        assert_eq!(found.folder(Hierarchy::Blkio, "/a"), None);
    }

    #[test]
    fn a_process_may_be_elsewhere_in_each_hierarchy() {
        let hybrid =
            "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/system.slice/x.scope\n";
        let found = Membership::parse(hybrid);
        assert_eq!(found.path(Hierarchy::Unified).as_ref(), "/system.slice/x.scope");
        assert_eq!(found.path(Hierarchy::Memory).as_ref(), "/docker/abc");
        assert_eq!(found.path(Hierarchy::Cpuacct).as_ref(), "/docker/abc");
        assert_eq!(found.path(Hierarchy::Blkio).as_ref(), "/");
        let old = Membership::parse("3:memory:/a\n1:name=systemd:/system.slice/nginx.service\n");
        assert_eq!(old.path(Hierarchy::Unified).as_ref(), "/system.slice/nginx.service");
        let new = Membership::parse("0::/system.slice/a:b.service\n");
        assert_eq!(new.path(Hierarchy::Unified).as_ref(), "/system.slice/a:b.service");
    }

    #[test]
    fn of_cgroups_that_are_gone_the_last_ones_stay_known_for_minutes() {
        let mut cgroups = Cgroups::from_mounts("");
        let start = Instant::now();
        let went = |number: u64| start + Duration::from_millis(number);
        let known = |cgroups: &Cgroups| {
            let mut all: Vec<u64> = cgroups.by_id.keys().copied().collect();
            all.sort_unstable();
            (all.len(), all.first().copied(), all.last().copied())
        };
        let count = 3 * MAX_GONE as u64;
        cgroups.by_id.extend((0..count).map(|number| (number, (Arc::from("/job"), went(number)))));
        // One more is there.
        let now = went(count);
        cgroups.by_id.insert(count, (Arc::from("/shop"), now));
        cgroups.forget(now);
        assert_eq!(known(&cgroups), (MAX_GONE + 1, Some(count - MAX_GONE as u64), Some(count)));
        cgroups.by_id.insert(count, (Arc::from("/shop"), now + FORGET_AFTER));
        cgroups.forget(now + FORGET_AFTER);
        assert_eq!(known(&cgroups), (1, Some(count), Some(count)));
    }

    #[test]
    fn a_cgroup_has_the_same_identity_each_time() {
        let mut cgroups = Cgroups::from_mounts("");
        let path: Arc<str> = Arc::from("/a");
        let id = cgroups.id_of(&path);
        assert_eq!(cgroups.id_of(&path), id);
        assert_eq!(cgroups.path_of(id), Some(&path));
    }
}
