//! The copies of OpenSSL's libssl that processes have mapped, by `/proc/PID/maps`.
//!
//! Reading the maps of a process costs some 50 us, so this is done seldom: a new process is looked at at once
//! and, since it may load a library later, again after 5, 15 and 60 seconds and then every five minutes. Those that
//! are installed on the node are known before anybody uses them ([`Libraries::install`]).
//!
//! A file that was replaced (an upgrade) is still used by whoever started before: it is kept as long as that, and the
//! new one is another file. There is no path to a replaced one that was not known before.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pauses between the first looks at a process; after these, the last one.
const LOOK_AGAIN: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(300)];
/// Processes that are looked at at once; the rest has its turn at the next look.
const MOST_LOOKS: usize = 1000;
/// Libraries at once; each takes two descriptors.
const MOST_LIBRARIES: usize = 256;
/// What `/proc/PID/maps` says behind the path of a file to which there is none any more.
const REPLACED: &str = " (deleted)";
/// A library that nobody uses stays for so long: whoever used it may start again.
const KEPT_UNUSED: Duration = Duration::from_secs(600);

/// Which file: device and inode, as `/proc/PID/maps` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Major and minor number.
    pub device: (u32, u32),
    /// Inode.
    pub inode: u64,
}

impl FileId {
    fn of(metadata: &fs::Metadata) -> Self {
        let device = metadata.dev();
        Self { device: (rustix::fs::major(device), rustix::fs::minor(device)), inode: metadata.ino() }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A library that was not there before.
    Found {
        /// Which.
        file: FileId,
        /// A way to it.
        path: PathBuf,
    },
    /// Nobody uses it any more.
    Unused(FileId),
}

#[derive(Debug)]
struct Process {
    start_ticks: u64,
    looks: usize,
    due: Instant,
    files: Vec<FileId>,
}

#[derive(Debug)]
struct Library {
    used_at: Instant,
    is_installed: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Libraries {
    processes: HashMap<u32, Process>,
    files: HashMap<FileId, Library>,
}

impl Libraries {
    /// Takes up the libraries in a folder, whether they are used or not. A folder that cannot be read has none.
    pub fn install(&mut self, folder: &Path, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // Links lead to one of the others.
            if is_openssl(&path.to_string_lossy())
                && let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                changes.extend(self.add(FileId::of(&metadata), path, now, true));
            }
        }
        changes
    }

    /// One could not be looked into since it is gone again: it may come back.
    pub fn forget(&mut self, file: FileId) {
        self.files.remove(&file);
    }

    fn add(&mut self, file: FileId, path: PathBuf, now: Instant, is_installed: bool) -> Option<Change> {
        if self.files.contains_key(&file) || self.files.len() >= MOST_LIBRARIES {
            return None;
        }
        self.files.insert(file, Library { used_at: now, is_installed });
        Some(Change::Found { file, path })
    }

    /// Looks at processes, given by number and start in clock ticks, as far as they are due. `maps` reads
    /// `/proc/PID/maps`; `None` where the process is gone or may not be looked at.
    pub fn look(
        &mut self,
        processes: impl Iterator<Item = (u32, u64)>,
        now: Instant,
        maps: impl Fn(u32) -> Option<String>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut present = HashSet::new();
        let mut looks = 0;
        for (pid, start_ticks) in processes {
            present.insert(pid);
            let known = self.processes.get(&pid).filter(|process| process.start_ticks == start_ticks);
            if known.is_some_and(|process| process.due > now) || looks == MOST_LOOKS {
                continue;
            }
            looks += 1;
            let looked = known.map_or(0, |process| process.looks);
            let text = maps(pid).unwrap_or_default();
            let found = openssl(&text);
            for (file, path) in found.iter().filter(|(_, path)| !path.ends_with(REPLACED)) {
                let path = PathBuf::from(format!("/proc/{pid}/root{path}"));
                changes.extend(self.add(*file, path, now, false));
            }
            let due = now + LOOK_AGAIN[looked.min(LOOK_AGAIN.len() - 1)];
            let files = found.into_iter().map(|(file, _)| file).collect();
            self.processes.insert(pid, Process { start_ticks, looks: looked + 1, due, files });
        }
        self.processes.retain(|pid, _| present.contains(pid));
        for file in self.processes.values().flat_map(|process| &process.files) {
            if let Some(library) = self.files.get_mut(file) {
                library.used_at = now;
            }
        }
        self.files.retain(|file, library| {
            let is_kept = library.is_installed || now.saturating_duration_since(library.used_at) < KEPT_UNUSED;
            if !is_kept {
                changes.push(Change::Unused(*file));
            }
            is_kept
        });
        changes
    }
}

/// Files and paths of OpenSSL's libraries among the mappings, each once (`proc_pid_maps(5)`).
fn openssl(maps: &str) -> Vec<(FileId, &str)> {
    let mut found: Vec<(FileId, &str)> = Vec::new();
    for line in maps.lines() {
        let Some((_, path)) = line.split_once(" /") else { continue };
        let path = &line[line.len() - path.len() - 1..];
        if !is_openssl(path) {
            continue;
        }
        let mut fields = line.split_ascii_whitespace().skip(3);
        let (Some(device), Some(inode)) = (fields.next(), fields.next()) else { continue };
        let numbers = device.split_once(':').and_then(|(major, minor)| {
            Some((u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?))
        });
        let (Some(device), Ok(inode)) = (numbers, inode.parse()) else { continue };
        let file = FileId { device, inode };
        if !found.iter().any(|(other, _)| *other == file) {
            found.push((file, path));
        }
    }
    found
}

/// `libssl.so.3`, or `libssl-8fdd1d3f.so.3` as Python's wheels bring it; not NSS's `libssl3.so`.
fn is_openssl(path: &str) -> bool {
    let Some((_, name)) = path.rsplit_once('/') else { return false };
    let Some(rest) = name.strip_prefix("libssl") else { return false };
    rest.starts_with(".so") || rest.starts_with('-') && rest.contains(".so")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NGINX: &str = "\
55d0c8a00000-55d0c8a2f000 r--p 00000000 fe:00 131 /usr/sbin/nginx
7f1be4000000-7f1be4021000 rw-p 00000000 00:00 0 
7f1be8a00000-7f1be8a1e000 r--p 00000000 fe:00 262 /usr/lib/x86_64-linux-gnu/libssl.so.3
7f1be8a1e000-7f1be8a7b000 r-xp 0001e000 fe:00 262 /usr/lib/x86_64-linux-gnu/libssl.so.3
7ffd3a5e2000-7ffd3a603000 rw-p 00000000 00:00 0 [stack]
";
    const OTHERS: &str = "\
7f0000000000-7f0000001000 r-xp 00000000 00:2f 77 /app/.venv/libs/psycopg2_binary.libs/libssl-3e69114b.so.1.1
7f0000000000-7f0000001000 r-xp 00000000 00:2f 78 /usr/lib/libssl3.so
7f0000000000-7f0000001000 r-xp 00000000 00:2f 79 /usr/lib/libssl.so.3 (deleted)
7f0000000000-7f0000001000 r-xp 00000000 00:2f 80 /usr/share/libssl/readme
";

    fn file(device: (u32, u32), inode: u64) -> FileId {
        FileId { device, inode }
    }

    #[test]
    fn libraries_are_known_by_their_names() {
        assert_eq!(openssl(NGINX), [(file((0xfe, 0), 262), "/usr/lib/x86_64-linux-gnu/libssl.so.3")]);
        let [(found, path), (replaced, _)] = openssl(OTHERS)[..] else { panic!("{:?}", openssl(OTHERS)) };
        assert_eq!((found, replaced), (file((0, 0x2f), 77), file((0, 0x2f), 79)));
        assert!(path.starts_with("/app") && path.ends_with("libssl-3e69114b.so.1.1"));
    }

    #[test]
    fn a_library_that_was_replaced_is_kept_while_it_is_used_and_cannot_be_found_anew() {
        let mut libraries = Libraries::default();
        let start = Instant::now();
        let replaced = NGINX.replace("libssl.so.3", "libssl.so.3 (deleted)");
        let new = NGINX.replace(" 262 ", " 300 ");
        let inodes = |changes: Vec<Change>| -> Vec<u64> {
            let file = |change| match change {
                Change::Found { file, .. } | Change::Unused(file) => file,
            };
            changes.into_iter().map(|change| file(change).inode).collect()
        };
        assert_eq!(inodes(libraries.look([(1, 5)].into_iter(), start, |_| Some(NGINX.to_owned()))), [262]);
        let both = |pid: u32| Some(if pid == 1 { replaced.clone() } else { new.clone() });
        let mut found = Vec::new();
        for minute in 1..60 {
            let now = start + Duration::from_secs(60 * minute);
            found.extend(inodes(libraries.look([(1, 5), (2, 6)].into_iter(), now, both)));
        }
        assert_eq!((found, libraries.files.len()), (vec![300], 2));
        let mut others = Libraries::default();
        assert_eq!(others.look([(1, 5)].into_iter(), start, both), []);
    }

    #[test]
    fn what_is_installed_is_known_before_it_is_used_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["libssl.so.3", "libcrypto.so.3"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("libssl.so.3", folder.path().join("libssl.so")).unwrap();
        let mut libraries = Libraries::default();
        let start = Instant::now();
        let path = folder.path().join("libssl.so.3");
        let file = FileId::of(&fs::metadata(&path).unwrap());
        assert_eq!(libraries.install(folder.path(), start), [Change::Found { file, path }]);
        assert_eq!(libraries.install(folder.path(), start), []);
        assert_eq!(libraries.install(Path::new("/nowhere"), start), []);
        assert_eq!(libraries.look([].into_iter(), start + 10 * KEPT_UNUSED, |_| None), []);
        assert_eq!(libraries.files.len(), 1);
    }

    #[test]
    fn a_library_is_found_once_and_left_when_nobody_used_it_for_long() {
        let mut libraries = Libraries::default();
        let start = Instant::now();
        let maps = |pid: u32| Some(if pid < 10 { NGINX } else { "" }.to_owned());
        let changes = libraries.look([(1, 5), (2, 6), (10, 7)].into_iter(), start, maps);
        let path = PathBuf::from("/proc/1/root/usr/lib/x86_64-linux-gnu/libssl.so.3");
        assert_eq!(changes, [Change::Found { file: file((0xfe, 0), 262), path }]);
        // One of two ends, then the other.
        let later = start + 2 * KEPT_UNUSED;
        assert_eq!(libraries.look([(2, 6)].into_iter(), later, maps), []);
        assert_eq!(libraries.look([].into_iter(), later + KEPT_UNUSED / 2, maps), []);
        let changes = libraries.look([].into_iter(), later + KEPT_UNUSED, maps);
        assert_eq!(changes, [Change::Unused(file((0xfe, 0), 262))]);
        assert!(libraries.files.is_empty() && libraries.processes.is_empty());
        // And comes back.
        assert_eq!(libraries.look([(3, 9)].into_iter(), later + 2 * KEPT_UNUSED, maps).len(), 1);
    }

    #[test]
    fn processes_are_looked_at_again_since_they_may_load_a_library_later() {
        use std::cell::Cell;
        let mut libraries = Libraries::default();
        let start = Instant::now();
        let looks = Cell::new(0);
        let maps = |_| {
            looks.set(looks.get() + 1);
            Some(if looks.get() < 3 { "" } else { NGINX }.to_owned())
        };
        let mut found_at = None;
        for second in 0..3600 {
            let changes = libraries.look([(1, 5)].into_iter(), start + Duration::from_secs(second), maps);
            if !changes.is_empty() {
                found_at = Some(second);
            }
        }
        assert_eq!(found_at, Some(20));
        assert!(looks.get() < 20, "{} looks in an hour", looks.get());
        // Another process of the same number.
        let before = looks.get();
        libraries.look([(1, 6)].into_iter(), start + Duration::from_secs(3600), maps);
        assert_eq!(looks.get(), before + 1);
    }

    #[test]
    fn there_are_bounds() {
        let mut libraries = Libraries::default();
        let maps = |pid: u32| Some(NGINX.replace("262", &format!("{}", 262 + pid)));
        let changes = libraries.look((0..5000).map(|pid| (pid, 1)), Instant::now(), maps);
        assert_eq!((changes.len(), libraries.files.len()), (MOST_LIBRARIES, MOST_LIBRARIES));
        assert_eq!(libraries.processes.len(), MOST_LOOKS);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let maps = |pid: u32| fs::read_to_string(format!("/proc/{pid}/maps")).ok();
        let mut libraries = Libraries::default();
        let changes = libraries.look([(std::process::id(), 1)].into_iter(), Instant::now(), maps);
        assert_eq!(changes, [], "nothing here uses OpenSSL");
    }
}
