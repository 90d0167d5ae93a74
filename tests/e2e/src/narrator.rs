//! What a run tells its user: one line per event with the seconds since the start, and a line that
//! rewrites itself while it waits (on a terminal; elsewhere now and then a line of its own).

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Without a terminal, how often a wait says how far it is.
const QUIET: Duration = Duration::from_secs(20);

/// Prints to standard output.
#[derive(Debug)]
pub struct Narrator {
    started: Instant,
    terminal: bool,
    waiting: bool,
    last_progress: Option<Instant>,
}

impl Default for Narrator {
    fn default() -> Self {
        Self::new()
    }
}

impl Narrator {
    /// Time starts now.
    pub fn new() -> Self {
        Self { started: Instant::now(), terminal: std::io::stdout().is_terminal(), waiting: false, last_progress: None }
    }

    /// An event.
    pub fn say(&mut self, text: impl Display) {
        let mut out = std::io::stdout().lock();
        if std::mem::take(&mut self.waiting) {
            let _ = write!(out, "\r\x1b[K");
        }
        self.last_progress = None;
        let _ = writeln!(out, "[{:6.1} s] {text}", self.started.elapsed().as_secs_f64());
        let _ = out.flush();
    }

    /// A line that belongs to the last event.
    pub fn detail(&mut self, text: impl Display) {
        let mut out = std::io::stdout().lock();
        if std::mem::take(&mut self.waiting) {
            let _ = write!(out, "\r\x1b[K");
        }
        let _ = writeln!(out, "             {text}");
        let _ = out.flush();
    }

    /// How far a wait is.
    pub fn progress(&mut self, text: impl Display) {
        let seconds = self.started.elapsed().as_secs_f64();
        let mut out = std::io::stdout().lock();
        if self.terminal {
            let _ = write!(out, "\r\x1b[K[{seconds:6.1} s] {text}");
            self.waiting = true;
        } else {
            let last = *self.last_progress.get_or_insert_with(Instant::now);
            if last.elapsed() < QUIET {
                return;
            }
            self.last_progress = Some(Instant::now());
            let _ = writeln!(out, "[{seconds:6.1} s] {text}");
        }
        let _ = out.flush();
    }
}
