//! Builds the kernel-side programs (`ebpf/`) into `OUT_DIR/quoll.bpf.o`; the one place that does.
//!
//! 1. `QUOLL_BPF_OBJECT` names a ready object: it is copied, and no BPF toolchain is needed.
//! 2. Else a compiler with a core library for BPF: rustup's nightly with `rust-src`, or Debian's
//!    `/usr/bin/rustc` (packages rustc-web and libstd-rust-web-dev-bpf).
//! 3. And bpf-linker, from `$QUOLL_TOOLCHAINS/bpf/bin` (default: `target/toolchains` of this
//!    checkout, where `scripts/setup` builds it), else from the PATH. Its LLVM must be the compiler's.
//!
//! Whatever is missing is named together with the way to get it.

#[path = "build/bpf.rs"]
mod bpf;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("quoll-exporter: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    for variable in ["QUOLL_BPF_OBJECT", "QUOLL_TOOLCHAINS", "PATH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(bpf::variable("OUT_DIR")?);
    let object = out.join("quoll.bpf.o");
    if let Some(ready) = env::var_os("QUOLL_BPF_OBJECT").map(PathBuf::from) {
        println!("cargo:rerun-if-changed={}", ready.display());
        return bpf::copy(&ready, &object);
    }
    let manifest = PathBuf::from(bpf::variable("CARGO_MANIFEST_DIR")?);
    let repository = manifest.parent().ok_or("the manifest has no parent folder")?;
    for watched in ["Cargo.toml", "Cargo.lock", "abi/Cargo.toml", "abi/src", "quoll-ebpf/Cargo.toml", "quoll-ebpf/src"]
    {
        println!("cargo:rerun-if-changed={}", repository.join("ebpf").join(watched).display());
    }
    let linker = bpf::find_linker(repository).ok_or(bpf::NO_LINKER)?;
    println!("cargo:rerun-if-changed={}", linker.display());
    let is_big_endian = bpf::variable("CARGO_CFG_TARGET_ENDIAN")? == "big";
    let architecture = bpf::variable("CARGO_CFG_TARGET_ARCH")?;
    bpf::build(repository, &linker, &architecture, is_big_endian, &out.join("bpf"), &object)
}
