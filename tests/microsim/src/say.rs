//! Lines for the person at the terminal.
//!
//! A reader that has gone away (`| head`, a closed pipe) must not end the run, so write errors
//! are ignored; `println!` would panic on them.

use std::io::{self, Write};

/// One line on stdout.
pub fn line(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// One line on stderr, under the program's name.
pub fn error(text: &str) {
    drop(writeln!(io::stderr(), "quoll-microsim: {text}"));
}
