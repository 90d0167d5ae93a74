//! Processes under test.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A port that nobody listens on. It lies below those from which Linux gives outgoing connections theirs (32768
/// to 60999, `ip_local_port_range` in the kernel's Documentation/networking/ip-sysctl), so that nobody takes it
/// while a process is away for a moment.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Several test processes run at once; each looks elsewhere.
    let own = std::process::id().wrapping_mul(97);
    loop {
        let port = 12_000 + (own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A process that ends when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with its output in `log`.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn start(program: &Path, arguments: &[String], log: PathBuf) -> Self {
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self { child, log }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// That it still runs.
    ///
    /// # Panics
    /// Where it has ended, so that nobody waits for it in vain.
    pub fn is_alive(&mut self) -> bool {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "{} ended: {ended:?}\n{}", self.log.display(), self.log());
        true
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it with SIGTERM and returns whether it ended well.
    pub fn terminate(&mut self) -> bool {
        let killed = Command::new("kill").arg(self.id().to_string()).status();
        killed.is_ok_and(|status| status.success()) && self.child.wait().is_ok_and(|status| status.success())
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// The scorer's binary of this checkout, built if it is not: `QUOLL_SCORER_BIN` names another.
///
/// # Panics
/// Where it cannot be built.
pub fn scorer_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("QUOLL_SCORER_BIN") {
            return PathBuf::from(given);
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "--quiet", "--locked", "-p", "quoll-scorer"]).status();
        assert!(built.is_ok_and(|status| status.success()), "cargo build -p quoll-scorer failed");
        // This test lies in TARGET/debug/deps, the binary in TARGET/debug.
        let test = std::env::current_exe().unwrap();
        let binary = test.ancestors().nth(2).unwrap().with_file_name("debug").join("quoll-scorer");
        assert!(binary.is_file(), "{} is missing", binary.display());
        binary
    })
}
