//! What tests that call ONNX Runtime share.

use std::path::{Path, PathBuf};

/// The library of ONNX Runtime: `ORT_DYLIB_PATH`, or where `scripts/setup` puts it.
pub fn onnxruntime() -> PathBuf {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return PathBuf::from(path);
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/toolchains");
    std::env::var_os("QUOLL_TOOLCHAINS").map_or(checkout, PathBuf::from).join("onnxruntime/libonnxruntime.so")
}
