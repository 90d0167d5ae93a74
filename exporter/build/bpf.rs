//! Compiles the kernel-side programs; the build script does so for the machine that is built for, and a test for
//! others.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const NO_COMPILER: &str = "no Rust compiler for BPF. Any of these helps:
  - scripts/setup, which does all of the following as fits the machine
  - rustup toolchain install nightly --component rust-src
  - on Debian 12: apt-get install rustc-web libstd-rust-web-dev-bpf
  - QUOLL_BPF_OBJECT=FILE with an object built elsewhere";
pub const NO_LINKER: &str = "no bpf-linker. Any of these helps:
  - scripts/setup, which builds it once under target/toolchains
  - QUOLL_TOOLCHAINS=DIR where DIR/bpf/bin/bpf-linker is
  - bpf-linker on the PATH
  - QUOLL_BPF_OBJECT=FILE with an object built elsewhere";

/// Who compiles for BPF.
enum Toolchain {
    /// rustup's nightly; holds its `bin` folder. Builds `core` itself.
    Nightly(PathBuf),
    /// A compiler that brings a compiled `core` for BPF.
    Prebuilt(PathBuf),
}

/// Builds the programs for machines of this architecture, whose registers and system calls they know, into
/// `object`; what is made on the way is kept in `target_dir`.
pub fn build(
    repository: &Path,
    linker: &Path,
    architecture: &str,
    is_big_endian: bool,
    target_dir: &Path,
    object: &Path,
) -> Result<(), String> {
    let toolchain = find_toolchain().ok_or(NO_COMPILER)?;
    let target = if is_big_endian { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let mut command = match &toolchain {
        Toolchain::Nightly(bin) => Command::new(bin.join("cargo")),
        Toolchain::Prebuilt(_) => Command::new(variable("CARGO")?),
    };
    command
        .current_dir(repository.join("ebpf"))
        .args(["build", "--release", "--locked", "--package", "quoll-ebpf", "--target", target, "--target-dir"])
        .arg(target_dir);
    // What the outer cargo set for the host must not reach the inner one.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let of_outer_build = text.starts_with("CARGO_BUILD_")
            || text.starts_with("CARGO_PROFILE_")
            || text.starts_with("CARGO_TARGET_")
            || text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_FEATURE_")
            || matches!(
                text.as_ref(),
                "RUSTC" | "RUSTC_WRAPPER" | "RUSTC_WORKSPACE_WRAPPER" | "RUSTFLAGS" | "RUSTUP_TOOLCHAIN" | "RUSTDOC"
            );
        if of_outer_build {
            command.env_remove(name);
        }
    }
    let flags = [
        "-Dwarnings".to_owned(),
        format!("--cfg=bpf_target_arch=\"{architecture}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // Or each memset and memmove is a call, and a loop over bytes.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        format!("-Clinker={}", linker.display()),
    ];
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    match &toolchain {
        Toolchain::Nightly(bin) => {
            command.env("RUSTC", bin.join("rustc")).args(["-Z", "build-std=core"]);
        }
        Toolchain::Prebuilt(rustc) => {
            // aya-ebpf uses unstable features of the BPF target; a stable compiler allows them to
            // the crates named here only.
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "aya_ebpf");
        }
    }
    let status = command.status().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !status.success() {
        return Err(format!(
            "the kernel-side programs did not build ({status}). If it is bpf-linker that complains, its LLVM may not \
             be the compiler's: remove {} and run scripts/setup again",
            linker.display()
        ));
    }
    copy(&target_dir.join(target).join("release/quoll-ebpf"), object)
}

pub fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}; build with cargo"))
}

pub fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to)
        .map(|_| ())
        .map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), to.display()))
}

pub fn find_linker(repository: &Path) -> Option<PathBuf> {
    let toolchains =
        env::var_os("QUOLL_TOOLCHAINS").map_or_else(|| repository.join("target/toolchains"), PathBuf::from);
    let own = toolchains.join("bpf/bin/bpf-linker");
    if own.is_file() {
        return Some(own);
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join("bpf-linker")).find(|file| file.is_file())
}

fn find_toolchain() -> Option<Toolchain> {
    let sysroot = |command: &mut Command| {
        let output = command.args(["--print", "sysroot"]).env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").output();
        output.ok().filter(|o| o.status.success()).map(|o| PathBuf::from(String::from_utf8_lossy(&o.stdout).trim()))
    };
    if let Some(root) = sysroot(Command::new("rustup").args(["run", "nightly", "rustc"]))
        && root.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
    {
        return Some(Toolchain::Nightly(root.join("bin")));
    }
    let debian = PathBuf::from("/usr/bin/rustc");
    let root = sysroot(&mut Command::new(&debian))?;
    root.join("lib/rustlib/bpfel-unknown-none/lib").is_dir().then_some(Toolchain::Prebuilt(debian))
}
