//! Processes that the kernel really kills for want of memory: they count for their service and for no other.
//!
//! It takes a cgroup with a memory limit, of version 1 or 2, whichever the machine has; where it has none that may be
//! used, the test says why it is skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::fs;
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use common::{Agent, Page};
use quoll_exporter::agent::SourceChoice;

const LIMIT_BYTES: u64 = 48 << 20;
/// What a shell says of a process that SIGKILL ended.
const KILLED: &str = "137";

/// The mounted hierarchies that a service needs to have: that of its identity, and that of its memory.
struct Hierarchies {
    unified: Option<PathBuf>,
    /// Version 1.
    memory: Option<PathBuf>,
}

impl Hierarchies {
    fn find() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let all: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
        let one = |kind: &str, option: &str| {
            let is_it = |fields: &&Vec<&str>| fields[2] == kind && fields[3].split(',').any(|own| own == option);
            all.iter().find(is_it).map(|fields| PathBuf::from(fields[1]))
        };
        Self { unified: one("cgroup2", "rw"), memory: one("cgroup", "memory") }
    }
}

/// Cgroups of the test's own, removed with it.
struct Cgroups {
    /// In each hierarchy, outermost first.
    folders: Vec<PathBuf>,
}

impl Cgroups {
    /// A cgroup with these inside; each has [`LIMIT_BYTES`] of memory, and no swap.
    fn make(hierarchies: &Hierarchies, outer: &str, inner: &[String]) -> io::Result<Self> {
        let mut made = Self { folders: Vec::new() };
        for root in [&hierarchies.unified, &hierarchies.memory].into_iter().flatten() {
            let is_for_memory = hierarchies.memory.as_ref().is_none_or(|memory| memory == root);
            let is_unified = hierarchies.unified.as_ref() == Some(root);
            let outer = made.add(root.join(outer))?;
            if is_for_memory && is_unified {
                for folder in [root, &outer] {
                    fs::write(folder.join("cgroup.subtree_control"), "+memory")?;
                }
            }
            for name in inner {
                let folder = made.add(outer.join(name))?;
                if is_for_memory {
                    let [limit, swap, none] = if is_unified {
                        ["memory.max", "memory.swap.max", "0"]
                    } else {
                        ["memory.limit_in_bytes", "memory.swappiness", "0"]
                    };
                    fs::write(folder.join(limit), LIMIT_BYTES.to_string())?;
                    // A kernel without swap has no such file.
                    let _ = fs::write(folder.join(swap), none);
                }
            }
        }
        Ok(made)
    }

    fn add(&mut self, folder: PathBuf) -> io::Result<PathBuf> {
        fs::create_dir(&folder)?;
        self.folders.push(folder.clone());
        Ok(folder)
    }

    /// Where a service has to be, in each hierarchy.
    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Path> {
        self.folders.iter().map(PathBuf::as_path).filter(move |folder| folder.ends_with(name))
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A shell in a cgroup, which runs one command after the other and says how each ended.
struct Service {
    shell: Child,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start<'a>(folders: impl Iterator<Item = &'a Path>) -> Self {
        let enter: String =
            folders.map(|folder| format!("echo $$ > {} || exit 1\n", folder.join("cgroup.procs").display())).collect();
        // Whatever it inherited, the kernel may kill what it runs.
        let script = format!(
            "{enter}echo 0 > /proc/$$/oom_score_adj\nwhile read -r line; do eval \"$line\" >/dev/null 2>&1; echo $?; done"
        );
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut service = Self { shell, answers };
        assert_eq!(service.run("true"), "0", "it cannot enter its cgroup");
        service
    }

    fn run(&mut self, command: &str) -> String {
        writeln!(self.shell.stdin.as_mut().unwrap(), "{command}").unwrap();
        self.answers.next().expect("the shell itself was killed").unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn a_process_killed_for_want_of_memory_counts_for_its_service_alone() {
    let pid = std::process::id();
    let names = ["greedy", "modest"].map(|name| format!("{name}-{pid}"));
    let cgroups = match Cgroups::make(&Hierarchies::find(), &format!("qxmemory-{pid}"), &names) {
        Ok(cgroups) if !cgroups.folders.is_empty() => cgroups,
        Ok(_) => return eprintln!("skipped: no cgroup hierarchy is mounted"),
        Err(error) => return eprintln!("skipped: no cgroup with a memory limit can be made: {error}"),
    };
    let mut services = names.each_ref().map(|name| Service::start(cgroups.of(name)));
    let agent = Agent::start(SourceChoice::Procfs, "services: []\n");
    let kills =
        |page: &Page| names.each_ref().map(|name| page.get(&format!("oom_kills_total{{service_name=\"{name}\"}}")));
    let page = agent.page();
    for name in &names {
        assert!(page.has(&format!("oom_kills_total{{service_name=\"{name}\"}}")), "{}", agent.text());
    }
    assert_eq!(kills(&page), [0.0, 0.0]);
    for killed in [1.0, 2.0] {
        // It takes in one line, which never ends.
        assert_eq!(services[0].run("tail /dev/zero"), KILLED);
        // Less than the limit.
        assert_eq!(services[1].run("head -c 8388608 /dev/zero | tail"), "0");
        assert_eq!(kills(&agent.page()), [killed, 0.0]);
    }
    drop(services);
}
