//! Why the programs do not run.

use std::io;

use aya::programs::ProgramError;

use crate::btf::BtfError;

/// Why the programs do not run.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel's types could not be read or lack a field.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The object was refused as a whole.
    #[error("cannot load the kernel-side programs: {0}")]
    Load(#[from] aya::EbpfError),
    /// One program was refused, also in its fallback form. The verifier's log can have thousands of
    /// lines; it is the source's text, and the log's at level debug.
    #[error("cannot attach {program}: {}", source.to_string().lines().next().unwrap_or_default())]
    Program {
        /// Name of the program.
        program: &'static str,
        /// What the kernel or aya said.
        source: Box<ProgramError>,
    },
    /// An iterator could not be attached or read.
    #[error("iterator {program}: {source}")]
    Iterator {
        /// Name of the program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A map could not be opened.
    #[error("map {map}: {reason}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// The object that was built lacks a part.
    #[error("the BPF object has no {0}: it was built from other sources")]
    Missing(&'static str),
}
