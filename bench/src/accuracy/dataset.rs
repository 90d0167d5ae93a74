//! Labelled data: an npz with `NAME__train` [T, F], `NAME__test` [T', F] and `NAME__label` [T'].

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// A matrix of samples, row-major.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Samples.
    pub rows: usize,
    /// Features.
    pub columns: usize,
    /// [rows, columns].
    pub values: Vec<f32>,
}

impl Matrix {
    /// One sample.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.columns..(i + 1) * self.columns]
    }
}

/// One machine or service.
#[derive(Debug, Clone)]
pub struct Entity {
    /// Its name.
    pub name: String,
    /// Normal operation, mostly.
    pub train: Matrix,
    /// What is judged.
    pub test: Matrix,
    /// Samples between the end of `train` and the beginning of `test`.
    pub gap: usize,
    /// Whether each sample of `test` is anomalous.
    pub labels: Vec<bool>,
}

/// Reads all entities, sorted by name.
///
/// # Errors
/// A file that is no npz, arrays of other types or shapes, entities with unequal numbers of features.
pub fn load(path: &Path) -> Result<Vec<Entity>> {
    let mut archive = npyz::npz::NpzArchive::open(path).with_context(|| path.display().to_string())?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    let mut matrices: BTreeMap<String, Matrix> = BTreeMap::new();
    let mut labels: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for key in names {
        let array = archive.by_name(&key)?.with_context(|| format!("{key} is listed but not there"))?;
        let shape: Vec<usize> = array.shape().iter().map(|d| *d as usize).collect();
        ensure!(array.order() == npyz::Order::C, "{key}: not in C order");
        if key.ends_with("__label") {
            let values: Vec<i8> = array.into_vec().with_context(|| key.clone())?;
            labels.insert(key, values.into_iter().map(|v| v != 0).collect());
        } else {
            let [rows, columns] = shape[..] else { bail!("{key}: shape {shape:?}, two dimensions are needed") };
            let values: Vec<f32> = array.into_vec().with_context(|| key.clone())?;
            matrices.insert(key, Matrix { rows, columns, values });
        }
    }
    let mut entities = Vec::new();
    for (key, labels) in labels {
        let name = key.trim_end_matches("__label").to_owned();
        let mut take =
            |part: &str| matrices.remove(&format!("{name}__{part}")).with_context(|| format!("{name} has no {part}"));
        let (train, test) = (take("train")?, take("test")?);
        ensure!(test.rows == labels.len(), "{name}: {} samples, {} labels", test.rows, labels.len());
        ensure!(train.columns == test.columns, "{name}: {} and {} features", train.columns, test.columns);
        entities.push(Entity { name, train, test, gap: 0, labels });
    }
    ensure!(!entities.is_empty(), "{}: no NAME__label in it", path.display());
    let columns = entities[0].train.columns;
    if let Some(odd) = entities.iter().find(|e| e.train.columns != columns) {
        bail!("{}: {} features where {} has {columns}", odd.name, odd.train.columns, entities[0].name);
    }
    Ok(entities)
}
