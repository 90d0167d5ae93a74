//! Running the network: ONNX Runtime through `ort`, loaded at run time.
//!
//! ort before 2.0.0-rc.15 lost some 300 bytes with every call, the type of each output: `tests/inference_memory.rs` of
//! the training crate sees to it that none is lost.
//!
//! One intra-op thread: the scorer's share of the machine is small and known. Batches of at most
//! [`MAX_BATCH`] images: one call over ten thousand takes a gigabyte.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use crate::error::{ModelError, ScoreError};
use crate::metadata::Metadata;
use crate::window::{CHANNELS, SEEN};

/// Images per call.
pub const MAX_BATCH: usize = 128;

/// Name of the network's input, [windows, channels x features, [`SEEN`]].
pub const INPUT: &str = "image";

/// Columns of an image that errors are taken from, the newest: the others need not be reconstructed.
pub const NEWEST: usize = 3;

/// Name of the network's output, the newest [`NEWEST`] steps or more of what the input should be.
pub const OUTPUT: &str = "reconstruction";

/// Anything that reconstructs images: the ONNX network live, the trainer's own network while training.
pub trait Reconstruct {
    /// Reconstructs the newest [`NEWEST`] columns of `windows` images of [channels x features, [`SEEN`]] each, row-major
    /// and back to back. `output` is cleared first and has [`NEWEST`] numbers for each row of the images afterwards.
    ///
    /// # Errors
    /// [`ScoreError::Inference`] or [`ScoreError::OutputShape`].
    fn reconstruct(&mut self, images: &[f32], windows: usize, output: &mut Vec<f32>) -> Result<(), ScoreError>;
}

/// An autoencoder loaded from ONNX.
#[derive(Debug)]
pub struct OnnxNetwork {
    session: Session,
    features: usize,
    /// Columns of its input: [`SEEN`], or whole images in networks of earlier versions.
    columns: usize,
    /// Images as wide as that, for those.
    widened: Vec<f32>,
}

/// Where the library is looked for: what was asked for, else `ORT_DYLIB_PATH`, else the tool folder of a
/// source checkout, else the system's library path.
#[must_use]
pub fn library_path(asked: Option<&Path>) -> PathBuf {
    if let Some(path) = asked {
        return path.to_owned();
    }
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        return PathBuf::from(path);
    }
    let checkout = Path::new("target/toolchains/onnxruntime/libonnxruntime.so");
    if checkout.is_file() { checkout.to_owned() } else { PathBuf::from("libonnxruntime.so") }
}

/// The process's one environment, or why the library could not be loaded.
///
/// A second attempt in the same process is never made, the first reason is given again: ort allows one environment per
/// process, and its version 2.0.0-rc.14 took the library for loaded after a failed attempt and then jumped into
/// nothing. A path to a file is looked at before that, so that a wrong path costs no restart.
static ENVIRONMENT: Mutex<Option<Result<Environment, String>>> = Mutex::new(None);

fn environment(library: &Path) -> Result<Environment, String> {
    let is_path = library.components().count() > 1;
    let library = if is_path {
        let magic = std::fs::File::open(library)
            .and_then(|mut file| {
                let mut magic = [0; 4];
                file.read_exact(&mut magic).map(|()| magic)
            })
            .map_err(|e| e.to_string())?;
        if magic != *b"\x7FELF" {
            return Err("not a shared library".to_owned());
        }
        library.canonicalize().map_err(|e| e.to_string())?
    } else {
        library.to_owned()
    };
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    environment
        .get_or_insert_with(|| {
            ort::init_from(&library)
                .map_err(|e| e.to_string())?
                .with_telemetry(false)
                .build()
                .map_err(|e| e.to_string())
        })
        .clone()
        .map_err(|reason| format!("{reason}; restart once it is there"))
}

impl OnnxNetwork {
    /// Loads a network and checks what it was made for.
    ///
    /// # Errors
    /// Every case of [`ModelError`] but the calibration's.
    pub fn load(
        path: &Path,
        wanted: &Metadata,
        features: usize,
        onnxruntime: Option<&Path>,
    ) -> Result<Self, ModelError> {
        let library = library_path(onnxruntime);
        let runtime = |reason: String| ModelError::Runtime { path: library.clone(), reason };
        let refused = |reason: String| ModelError::Refused { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        let environment = environment(&library).map_err(runtime)?;
        let session = Session::builder(&environment)
            .map_err(|e| runtime(e.to_string()))?
            .with_intra_threads(1)
            .map_err(|e| runtime(e.to_string()))?
            .with_optimization_level(GraphOptimizationLevel::Level3)
            .map_err(|e| runtime(e.to_string()))?
            .commit_from_memory(&bytes)
            .map_err(|e| refused(e.to_string()))?;
        {
            let metadata = session.metadata().map_err(|e| refused(e.to_string()))?;
            wanted.check(path, |key| metadata.custom(key))?;
        }
        let shape = session.inputs().first().and_then(|input| input.dtype().tensor_shape());
        let columns = shape.and_then(|shape| usize::try_from(*shape.last()?).ok()).unwrap_or(0);
        if columns < SEEN {
            return Err(refused(format!("its input has {columns} columns, {SEEN} are needed")));
        }
        Ok(Self { session, features, columns, widened: Vec::new() })
    }
}

impl Reconstruct for OnnxNetwork {
    fn reconstruct(&mut self, images: &[f32], windows: usize, output: &mut Vec<f32>) -> Result<(), ScoreError> {
        let rows = CHANNELS * self.features;
        let image = rows * SEEN;
        output.clear();
        for batch in images[..windows * image].chunks(MAX_BATCH * image) {
            let count = batch.len() / image;
            let failed = |e: ort::Error| ScoreError::Inference { windows: count, reason: e.to_string() };
            let batch = if self.columns == SEEN {
                batch
            } else {
                // What is older than an image matters to no column that is looked at.
                self.widened.clear();
                self.widened.resize(count * rows * self.columns, 0.0);
                for (wide, row) in self.widened.chunks_exact_mut(self.columns).zip(batch.chunks_exact(SEEN)) {
                    wide[self.columns - SEEN..].copy_from_slice(row);
                }
                &self.widened[..]
            };
            let tensor = TensorRef::from_array_view(([count, rows, self.columns], batch)).map_err(failed)?;
            let outputs = self.session.run(ort::inputs![INPUT => tensor]).map_err(failed)?;
            let (_, values) = outputs[OUTPUT].try_extract_tensor::<f32>().map_err(failed)?;
            // Networks of earlier versions reconstruct whole images.
            let columns = values.len() / (count * rows).max(1);
            if columns < NEWEST || values.len() != count * rows * columns {
                return Err(ScoreError::OutputShape { found: values.len(), wanted: count * rows * NEWEST });
            }
            output.extend(values.chunks_exact(columns).flat_map(|row| &row[columns - NEWEST..]));
        }
        Ok(())
    }
}
