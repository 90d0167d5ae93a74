//! The blast-radius panel: from the samples of one tick to a painted, explorable graph.
//!
//! ```text
//! samples ─► model ─┬─► shown (filters, namespaces) ─► stage (layout) ─► geometry ─┬─► paint ─► canvas, SVG
//!                   └─► inference, what_if (quoll-blast-radius) ─► marks ──────────┘      └──► drawn, summary
//! ```
//!
//! # Guarantees
//! - Equal samples give equal pictures, whatever their order; a refresh moves no service.
//! - Posteriors and blast radii come from the engine the scorer uses and are checked against the
//!   written ones; see [`inference`].
//! - No input fails or panics: missing, doubled or contradictory data shows what can be shown and says
//!   the rest in a sentence.
//! - Everything but [`mod@bindings`] runs, and is tested, without a browser.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

pub mod batch;
#[cfg(target_arch = "wasm32")]
pub mod bindings;
pub mod camera;
pub mod canvas;
pub mod colour;
pub mod drawn;
pub mod geometry;
pub mod inference;
pub mod json;
pub mod labels;
pub mod layout;
pub mod looks;
pub mod marks;
pub mod model;
pub mod notes;
pub mod paint;
pub mod path;
pub mod quadtree;
pub mod samples;
mod saved;
pub mod shown;
pub mod stage;
mod summary;
pub mod svg;
pub mod timeline;
pub mod view;
pub mod what_if;
