//! Fuzz targets: one file per target in [`targets`], each with a `pub fn run(input)` that panics where a promise
//! is broken and returns otherwise. Two runners call them: this crate's own, on any stable compiler ([`mutate`],
//! `src/main.rs`, `tests/targets.rs`), and cargo-fuzz with coverage (`cargo-fuzz/`). See README.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a target reports what it finds by panicking"
)]

pub mod mutate;
pub mod random;
pub mod targets;

use std::path::{Path, PathBuf};

pub use mutate::Shape;

/// Something that reads bytes of others.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its file, and of its program under cargo-fuzz.
    pub name: &'static str,
    /// What the bytes are, so that changes go deeper than the first length.
    pub shape: Shape,
    /// Reads an input; panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Good and bad inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    targets::remote_write_v1::TARGET,
    targets::remote_write_v2::TARGET,
    targets::snappy::TARGET,
    targets::zstd::TARGET,
    targets::web_config::TARGET,
    targets::features::TARGET,
    targets::http1::TARGET,
    targets::http2::TARGET,
    targets::postgres::TARGET,
    targets::mysql::TARGET,
    targets::redis::TARGET,
    targets::dns::TARGET,
    targets::openssl::TARGET,
];

impl Target {
    /// The target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.iter().find(|target| target.name == name).copied()
    }

    /// Where inputs lie that once broke it: each is tried in every run.
    #[must_use]
    pub fn found(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("found").join(self.name)
    }

    /// Its seeds, and what was found before, in a fixed order.
    ///
    /// # Panics
    /// Where a file that lies there cannot be read.
    #[must_use]
    pub fn corpus(&self) -> Vec<Vec<u8>> {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(self.found()).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort_unstable();
        let mut corpus = (self.seeds)();
        corpus.extend(files.iter().map(|file| std::fs::read(file).unwrap()));
        corpus
    }
}
