//! A user's own file of features: taken or refused with a reason, in bounded time.

use quoll_features::FeatureSet;

use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "features", shape: Shape::Lines, run, seeds };

/// Reads a text.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match FeatureSet::from_yaml(text) {
        Ok(set) => assert_eq!(set.hash(), FeatureSet::from_yaml(text).unwrap().hash()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Presets of the product, and files that grow when they are read.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "",
        include_str!("../../../../remote-write-scorer/features/presets/cadvisor.yaml"),
        include_str!("../../../../remote-write-scorer/features/presets/istio.yaml"),
        include_str!("../../../../remote-write-scorer/features/presets/hubble.yaml"),
        "presets: [quoll, cadvisor]\n",
        &"[".repeat(3000),
        "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: [*c, *c, *c, *c]\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
