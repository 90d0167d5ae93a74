//! The mounted cgroup hierarchies, and names made from paths.
//!
//! Identity comes from the unified hierarchy: a socket carries the inode of its directory there.
//! Usage comes from wherever the controllers are: version 2 files in the same directory, or version 1
//! hierarchies in a directory of the same name ("hybrid" machines have both).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An inode that is not known is looked for at most this often: the cgroup may be gone already.
const WALK_EVERY: Duration = Duration::from_secs(1);
/// A cgroup that is gone stays known for so long: its sockets may still be closing.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// Those that are gone are looked for at least this often.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// Deeper nesting does not occur, and a loop of bind mounts must not hold us up.
const MAX_DEPTH: usize = 12;

/// Where the hierarchies are mounted, and which cgroup has which inode.
#[derive(Debug)]
pub struct Cgroups {
    unified: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
    memory: Option<PathBuf>,
    /// Path, and when it was last there.
    by_id: HashMap<u64, (Arc<str>, Instant)>,
    walked: Option<Instant>,
}

/// CPU and memory of one cgroup and all below it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Since the cgroup was made.
    pub cpu_seconds: Option<f64>,
    /// Memory in use less inactive file cache, which the kernel would give up first.
    pub working_set_bytes: Option<u64>,
}

impl Cgroups {
    /// Finds the mounts of this process's mount namespace.
    #[must_use]
    pub fn find() -> Self {
        Self::from_mounts(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
    }

    /// From the text of `/proc/self/mounts` (`fstab(5)`).
    fn from_mounts(mounts: &str) -> Self {
        let mut found = Self { unified: None, cpuacct: None, memory: None, by_id: HashMap::new(), walked: None };
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            let (Some(target), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let has = |controller: &str| options.split(',').any(|option| option == controller);
            let target = || Some(PathBuf::from(target));
            match kind {
                "cgroup2" if found.unified.is_none() => found.unified = target(),
                "cgroup" if has("cpuacct") => found.cpuacct = target(),
                "cgroup" if has("memory") => found.memory = target(),
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

    /// Looks for new cgroups and forgets old ones, if that was not done for a minute.
    pub fn tidy(&mut self) {
        if self.walked.is_none_or(|at| at.elapsed() >= TIDY_EVERY) {
            self.walk();
        }
    }

    /// Looks for new cgroups, if that was not done just now.
    pub fn walk(&mut self) -> bool {
        if self.walked.is_some_and(|at| at.elapsed() < WALK_EVERY) {
            return false;
        }
        self.walked = Some(Instant::now());
        if let Some(root) = self.unified.clone() {
            self.visit(&root, "/", MAX_DEPTH);
        }
        self.by_id.retain(|_, (_, seen)| seen.elapsed() < FORGET_AFTER);
        true
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

    /// CPU and memory of a cgroup; `None` where neither hierarchy counts for it.
    #[must_use]
    pub fn usage(&self, path: &str) -> Option<Usage> {
        let v2 = self.unified.as_deref().map(|root| below(root, path));
        let cpu_v1 = self.cpuacct.as_deref().map(|root| below(root, path).join("cpuacct.usage"));
        let memory_v1 = self.memory.as_deref().map(|root| below(root, path));
        let cpu_seconds = v2
            .as_deref()
            .and_then(|directory| field(&directory.join("cpu.stat"), "usage_usec"))
            // Without the controller, version 2 still counts CPU time; version 1 counts finer.
            .map(|microseconds| microseconds as f64 / 1e6);
        let cpu_seconds = cpu_v1.and_then(|file| number(&file)).map(|ns| ns as f64 / 1e9).or(cpu_seconds);
        let working_set = |directory: &Path, total: &str, inactive: &str| {
            let used = number(&directory.join(total))?;
            Some(used.saturating_sub(field(&directory.join("memory.stat"), inactive).unwrap_or(0)))
        };
        let working_set_bytes = v2
            .as_deref()
            .and_then(|directory| working_set(directory, "memory.current", "inactive_file"))
            .or_else(|| working_set(&memory_v1?, "memory.usage_in_bytes", "total_inactive_file"));
        (cpu_seconds.is_some() || working_set_bytes.is_some()).then_some(Usage { cpu_seconds, working_set_bytes })
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A line `name value` of a file of such lines.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).and_then(|value| value.trim().parse().ok())
}

/// A service's name from its cgroup's path: the last component that means something to people.
#[must_use]
pub fn service_name(path: &str) -> Option<String> {
    path.rsplit('/').find_map(meaningful)
}

/// Components that only say how a thing was started.
const GENERIC: [&str; 7] = ["init", "payload", "supervisor", "container", "app", "kubepods", "machine"];
/// What container runtimes put before an identifier.
const RUNTIMES: [&str; 4] = ["docker-", "cri-containerd-", "crio-", "libpod-"];
/// Digits of a container's identifier that people use.
const SHORT_ID: usize = 12;

fn meaningful(component: &str) -> Option<String> {
    if component.ends_with(".slice") || component == "init.scope" {
        return None;
    }
    let stem = component.strip_suffix(".service").or_else(|| component.strip_suffix(".scope")).unwrap_or(component);
    let id = RUNTIMES.iter().find_map(|runtime| stem.strip_prefix(runtime)).unwrap_or(stem);
    if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(id[..SHORT_ID].to_owned());
    }
    (!stem.is_empty() && !GENERIC.contains(&stem)).then(|| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_last_meaningful_component() {
        let id = "a".repeat(64);
        for (path, name) in [
            ("/system.slice/nginx.service", Some("nginx")),
            ("/quoll-shop/cart", Some("cart")),
            ("/quoll-shop/cart/init", Some("cart")),
            ("/", None),
            ("/init.scope", None),
            ("/user.slice/user-0.slice/session-3.scope", Some("session-3")),
            (&format!("/system.slice/docker-{id}.scope"), Some("aaaaaaaaaaaa")),
            (&format!("/docker/{id}"), Some("aaaaaaaaaaaa")),
        ] {
            assert_eq!(service_name(path).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn hybrid_mounts_are_told_apart() {
        let mounts = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = Cgroups::from_mounts(mounts);
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(found.cpuacct.as_deref(), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(found.memory.as_deref(), Some(Path::new("/sys/fs/cgroup/memory")));
    }

    #[test]
    fn usage_is_read_from_either_version() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("v2/a/cpu.stat", "usage_usec 1500000\nuser_usec 1\n");
        write("v2/a/memory.current", "1000\n");
        write("v2/a/memory.stat", "anon 1\ninactive_file 400\n");
        write("cpu/b/cpuacct.usage", "2500000000\n");
        write("mem/b/memory.usage_in_bytes", "1000\n");
        write("mem/b/memory.stat", "cache 1\ninactive_file 1\ntotal_inactive_file 300\n");
        fs::create_dir_all(folder.path().join("v2/b")).unwrap();
        let root = |name: &str| Some(folder.path().join(name));
        let cgroups = Cgroups {
            unified: root("v2"),
            cpuacct: root("cpu"),
            memory: root("mem"),
            by_id: HashMap::new(),
            walked: None,
        };
        let usage = |cpu, memory| Some(Usage { cpu_seconds: Some(cpu), working_set_bytes: Some(memory) });
        assert_eq!(cgroups.usage("/a"), usage(1.5, 600));
        assert_eq!(cgroups.usage("/b"), usage(2.5, 700));
        assert_eq!(cgroups.usage("/c"), None);
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
