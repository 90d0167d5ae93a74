//! The engine behind one function over lists of numbers.
//!
//! [`answer`] is the same code natively and in WASM; `cargo xtask check-reference FILE --wasm` asks both
//! the same and compares the bits, `cargo xtask bench infer` times both. `run.mjs` asks it under node.
//!
//! A request is a list: the question's number, then what [`Question`] says. The answer is a list too: 1 and
//! the result, or 0 alone where the request is malformed or the engine refuses. Bits pass through both ways.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

#[path = "../../tests/fingerprint/mod.rs"]
mod fingerprint;
mod protocol;

pub use fingerprint::{BITS, SIZES, VERSION, fingerprint};
pub use protocol::{Question, answer};

/// [`answer`] for JavaScript: `Float64Array` in, `Float64Array` out.
#[cfg(target_arch = "wasm32")]
#[wasm_bindgen::prelude::wasm_bindgen(js_name = answer)]
#[must_use]
pub fn answer_js(request: &[f64]) -> Vec<f64> {
    answer(request)
}
