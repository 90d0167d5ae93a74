//! Runs wasm-bindgen over the compiled panel.
