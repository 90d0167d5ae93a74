//! A small model of the three services of [`crate::scorer::shop`], for tests that need scores.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use quoll_features::{FeatureSet, ScopeWindows};
use quoll_train::{TrainOptions, train};

use crate::shop::shop;

/// Seconds of normal operation that it is trained on.
const HISTORY_SECONDS: i64 = 300;

/// ONNX Runtime, as `scripts/setup` unpacks it.
#[must_use]
pub fn onnxruntime() -> PathBuf {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return PathBuf::from(path);
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/toolchains");
    std::env::var_os("QUOLL_TOOLCHAINS").map_or(checkout, PathBuf::from).join("onnxruntime/libonnxruntime.so")
}

/// The directory of the model, trained once per process.
///
/// # Panics
/// Where it cannot be trained or stored.
pub fn shop_model() -> &'static Path {
    static MODEL: OnceLock<tempfile::TempDir> = OnceLock::new();
    let directory = MODEL.get_or_init(|| {
        let set = Arc::new(FeatureSet::preset("quoll").unwrap());
        let mut windows = ScopeWindows::new(Arc::clone(&set), 1000);
        for second in 0..HISTORY_SECONDS {
            for (labels, timestamp_ms, value) in shop(second, 1_700_000_000_000 + second * 1000) {
                let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, &**value)).collect();
                if let Some(series) = windows.bind(&labels) {
                    windows.push(series, timestamp_ms, value);
                }
            }
        }
        let mut steps = Vec::new();
        windows.close(&mut steps);
        let options = TrainOptions { min_updates: 60, max_updates: 60, ..TrainOptions::default() };
        let directory = tempfile::tempdir().unwrap();
        train(&steps, &set, &options, &mut |_| ()).unwrap().save(directory.path()).unwrap();
        directory
    });
    directory.path()
}
