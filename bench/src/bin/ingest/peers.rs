//! Processor time of whole processes on one stream, over HTTP: the real `quoll-scorer`, Prometheus and
//! VictoriaMetrics, side by side, request by request in turn.
//!
//! Receiving without storage against receiving with: the scorer keeps windows and a log of minutes, the peers
//! a database. What it tells is what a user pays for one more receiver on the path, not who decodes better.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use quoll_bench::process::{Receiver, free_port};

/// The scorer, without a model: it takes every sample and keeps windows of those its preset selects.
pub fn scorer(program: &Path, directory: &Path) -> anyhow::Result<Receiver> {
    let port = free_port()?;
    std::fs::create_dir_all(directory)?;
    let config = directory.join("scorer.yaml");
    let text = format!("listen: 127.0.0.1:{port}\ndata_dir: {}/data\nstep: 15s\n", directory.display());
    std::fs::write(&config, text)?;
    Receiver::start(program, &["serve".into(), "--config".into(), config.display().to_string()], directory, port)
}

/// A Prometheus that scrapes nothing.
pub fn prometheus(program: &Path, directory: &Path) -> anyhow::Result<Receiver> {
    let port = free_port()?;
    std::fs::create_dir_all(directory)?;
    let config = directory.join("prometheus.yml");
    std::fs::write(&config, "global:\n  scrape_interval: 1h\n")?;
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", directory.join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-remote-write-receiver".to_owned(),
    ];
    Receiver::start(program, &arguments, directory, port)
}

/// A single-node VictoriaMetrics.
pub fn victoria_metrics(program: &Path, directory: &Path) -> anyhow::Result<Receiver> {
    let port = free_port()?;
    std::fs::create_dir_all(directory)?;
    let arguments = [
        format!("-storageDataPath={}", directory.join("data").display()),
        format!("-httpListenAddr=127.0.0.1:{port}"),
        "-retentionPeriod=1d".to_owned(),
    ];
    Receiver::start(program, &arguments, directory, port)
}

/// The release build of the scorer beside this program, built now.
pub fn scorer_program() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--quiet", "--release", "-p", "quoll-scorer"]).status()?;
    ensure!(built.success(), "cannot build quoll-scorer");
    Ok(std::env::current_exe()?.with_file_name("quoll-scorer"))
}

/// A program among the fetched peers, else on the path.
pub fn program(name: &str) -> Option<PathBuf> {
    let toolchains = std::env::var_os("QUOLL_TOOLCHAINS").map_or_else(|| "target/toolchains".into(), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![toolchains.join("peers")];
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}
