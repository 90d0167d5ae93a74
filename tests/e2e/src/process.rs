//! Child processes that never outlive us.
//!
//! Guarantees:
//! - A child is ended by SIGTERM, and by SIGKILL if it does not go within its grace period; always by
//!   its own pid, in the reverse order of start, also when the [`Supervisor`] is dropped.
//! - If this process dies in whatever way, the kernel sends each child SIGTERM (`PR_SET_PDEATHSIG`).
//!   The signal is tied to the *thread* that started the child: start from a thread that lives.
//! - Ctrl-C in the terminal reaches only this process (children have process groups of their own), so
//!   that teardown keeps its order.
//!
//! `PR_SET_PDEATHSIG` has to be set in the child, after the fork and before the program. Instead of
//! unsafe code between fork and exec, a child first runs our own executable again
//! ([`become_child_if_asked`]), which sets it, checks that its parent still lives, and turns into the
//! program. The setting survives `execve` of ordinary executables (man `PR_SET_PDEATHSIG`).

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getppid, kill_process, nice, set_parent_process_death_signal};

use crate::Error;
use crate::usage::Usage;

/// First argument that makes an executable of ours become somebody else's child.
const EXEC: &str = "--exec-supervised";

/// How long a process may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// To be called first in `main`: where this process was started by a [`Supervisor`], it turns into
/// the program asked for and never returns.
pub fn become_child_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != EXEC) {
        return;
    }
    let mut number = || arguments.next().and_then(|a| a.to_str()?.parse::<i32>().ok()).unwrap_or(0);
    let (parent, niceness) = (number(), number());
    let Some(program) = arguments.next() else {
        eprintln!("{EXEC}: no program given");
        std::process::exit(127);
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        eprintln!("cannot tie {} to its parent's life: {error}", program.display());
        std::process::exit(127);
    }
    // The parent may have died before the kernel knew what to do then.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        std::process::exit(127);
    }
    if niceness > 0 {
        // Failing to be nice is no reason to fail.
        let _ = nice(niceness);
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("cannot run {}: {error}", program.display());
    std::process::exit(127);
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// Name within the stack; names the log file.
    pub name: &'static str,
    /// Executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment variables beside the inherited ones.
    pub environment: Vec<(&'static str, OsString)>,
    /// Niceness, 0 for that of this process.
    pub niceness: i32,
}

impl Program {
    /// A program with arguments, neither environment nor niceness.
    pub fn new(name: &'static str, path: PathBuf, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { name, path, arguments, environment: Vec::new(), niceness: 0 }
    }
}

/// One running, or ended, child.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    log: PathBuf,
    child: Child,
    ended: Option<ExitStatus>,
    last_usage: Usage,
}

impl Process {
    /// Name within the stack.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// File that holds its standard output and error.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// CPU and memory so far; of an ended process what was last seen.
    pub fn usage(&mut self) -> Usage {
        if self.ended.is_none()
            && let Some(usage) = Usage::of(self.child.id())
        {
            self.last_usage = usage;
        }
        self.last_usage
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text =
            std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Ends it: SIGTERM, then SIGKILL after the grace period.
    pub fn stop(&mut self) {
        self.usage();
        if self.ended().is_some() {
            return;
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while self.ended().is_none() {
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                self.ended = self.child.wait().ok();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The children of one run.
#[derive(Debug)]
pub struct Supervisor {
    launcher: PathBuf,
    logs: PathBuf,
    processes: Vec<Process>,
}

impl Supervisor {
    /// `launcher` is an executable whose `main` calls [`become_child_if_asked`] first; log files go to
    /// `logs`, which must exist.
    pub fn new(launcher: PathBuf, logs: PathBuf) -> Self {
        Self { launcher, logs, processes: Vec::new() }
    }

    /// Starts `program` without adding it to the supervised ones.
    ///
    /// # Errors
    /// [`Error::File`] for the log, [`Error::Start`] for the process.
    pub fn spawn(&self, program: &Program) -> Result<Process, Error> {
        let log = self.logs.join(format!("{}.log", program.name));
        let output = File::create(&log).map_err(Error::file(&log))?;
        let errors = output.try_clone().map_err(Error::file(&log))?;
        let child = Command::new(&self.launcher)
            .arg(EXEC)
            .arg(std::process::id().to_string())
            .arg(program.niceness.to_string())
            .arg(&program.path)
            .args(&program.arguments)
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Start { name: program.name.to_owned(), program: program.path.clone(), source })?;
        Ok(Process { name: program.name, log, child, ended: None, last_usage: Usage::default() })
    }

    /// Starts `program`, to be ended with the others.
    ///
    /// # Errors
    /// As [`Supervisor::spawn`].
    pub fn start(&mut self, program: &Program) -> Result<(), Error> {
        let process = self.spawn(program)?;
        self.processes.push(process);
        Ok(())
    }

    /// Fails if a process that should run has ended; refreshes what is known of their usage.
    ///
    /// # Errors
    /// [`Error::Ended`] for the first such.
    pub fn check(&mut self) -> Result<(), Error> {
        for process in &mut self.processes {
            process.usage();
            if let Some(status) = process.ended() {
                return Err(Error::Ended { name: process.name.to_owned(), status, log: process.log.clone() });
            }
        }
        Ok(())
    }

    /// Asks `ready` about the process started last every 100 ms until it says so.
    ///
    /// # Errors
    /// [`Error::Ended`] if any process ends meanwhile, [`Error::NotReady`] after `patience`.
    pub fn wait_ready(
        &mut self,
        patience: Duration,
        mut ready: impl FnMut() -> Result<(), Error>,
    ) -> Result<Duration, Error> {
        let started = Instant::now();
        loop {
            self.check()?;
            match ready() {
                Ok(()) => return Ok(started.elapsed()),
                Err(error) if started.elapsed() >= patience => {
                    let (name, log) =
                        self.processes.last().map_or_else(Default::default, |p| (p.name.to_owned(), p.log.clone()));
                    return Err(Error::NotReady { name, waited: patience, last: error.to_string(), log });
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// The supervised process of that name.
    pub fn get(&mut self, name: &str) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.name == name)
    }

    /// All supervised processes, in order of start.
    pub fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.processes.iter_mut()
    }

    /// Ends all, the last one first.
    pub fn stop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            process.stop();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
    }
}
