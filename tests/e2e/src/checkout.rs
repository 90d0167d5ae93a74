//! Where the files and programs of a run lie.
//!
//! Product binaries are taken from the directory of the running executable, so that one target
//! directory is one consistent build; everything else from the checkout this crate was built in.

use std::path::{Path, PathBuf};

use crate::Error;

/// The root of the checkout: `provisioning/`, `dashboards/`, `tests/` lie below it.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// A binary of the product, beside the running executable.
///
/// # Errors
/// [`Error::ProgramMissing`] with the build command.
pub fn product_binary(name: &str) -> Result<PathBuf, Error> {
    let executable = std::env::current_exe().map_err(Error::file("/proc/self/exe"))?;
    let folder = executable.parent().unwrap_or(Path::new("/"));
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let release = if folder.ends_with("release") { "--release " } else { "" };
    Err(Error::ProgramMissing {
        program: name.to_owned(),
        looked: format!("looked for {}", path.display()),
        remedy: format!("build it: cargo build {release}--locked -p {name}"),
    })
}

/// A program of the system, by any of its names on the PATH.
pub fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    names
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|p| p.is_file())
}

/// A program of the system that the stack cannot do without.
///
/// # Errors
/// [`Error::ProgramMissing`] with the way to get it.
pub fn system_program(names: &[&str]) -> Result<PathBuf, Error> {
    on_path(names).ok_or_else(|| Error::ProgramMissing {
        program: names.join(" or "),
        looked: "not on the PATH".to_owned(),
        remedy: "run scripts/setup".to_owned(),
    })
}

/// ONNX Runtime's shared library: `ORT_DYLIB_PATH`, else the one that `scripts/setup` unpacks.
///
/// # Errors
/// [`Error::ProgramMissing`] with both ways out.
pub fn onnxruntime() -> Result<PathBuf, Error> {
    let path = std::env::var_os("ORT_DYLIB_PATH").map_or_else(
        || {
            let toolchains =
                std::env::var_os("QUOLL_TOOLCHAINS").map_or_else(|| root().join("target/toolchains"), PathBuf::from);
            toolchains.join("onnxruntime/libonnxruntime.so")
        },
        PathBuf::from,
    );
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::ProgramMissing {
        program: "ONNX Runtime".to_owned(),
        looked: format!("looked for {}", path.display()),
        remedy: "run scripts/setup, or set ORT_DYLIB_PATH to a libonnxruntime.so".to_owned(),
    })
}

/// The console's files, if `grafana-panel/build` has made them.
pub fn console() -> Option<PathBuf> {
    let folder = root().join("grafana-panel/dist-console");
    folder.join("index.html").is_file().then_some(folder)
}
