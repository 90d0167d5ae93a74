//! Calling the network takes no memory that is not given back. In a program of its own, as resident memory is that of
//! all its tests.

#![allow(clippy::unwrap_used)]

mod common;

use common::onnxruntime;
use quoll_detect::metadata::Metadata;
use quoll_detect::runtime::{OnnxNetwork, Reconstruct};
use quoll_detect::window::{CHANNELS, SEEN};
use quoll_features::{Direction, FeatureSpec, Role, SeenBy};
use quoll_train::network::Network;
use quoll_train::onnx;
use quoll_train::random::Random;

/// Calls before memory is looked at, and calls then.
const WARM_UP: usize = 2_000;
const CALLS: usize = 40_000;
/// Bytes that a call may leave, on average: a type and its shape are three times that, and a runtime that keeps a few
/// mebibytes more for itself stays below.
const LEFT_BY_A_CALL: usize = 100;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn calls_of_the_network_leave_nothing_behind() {
    let feature = FeatureSpec {
        name: "requests".into(),
        unit: "requests/s".into(),
        direction: Direction::Both,
        min_deviation: 1.0,
        seen_by: SeenBy::Itself,
        role: Role::Traffic,
    };
    let metadata = Metadata::new(1_000, &[feature], "made-up", "id");
    let network = Network::new(1, &mut Random::new(9));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.onnx");
    std::fs::write(&path, onnx::encode(&network, &metadata)).unwrap();
    let mut loaded = OnnxNetwork::load(&path, &metadata, 1, Some(&onnxruntime())).unwrap();
    let (image, mut output) = ([0.5; CHANNELS * SEEN], Vec::new());
    for _ in 0..WARM_UP {
        loaded.reconstruct(&image, 1, &mut output).unwrap();
    }
    let before = resident_bytes();
    for _ in 0..CALLS {
        loaded.reconstruct(&image, 1, &mut output).unwrap();
    }
    let left = resident_bytes().saturating_sub(before);
    assert!(left <= CALLS * LEFT_BY_A_CALL, "{left} bytes were left by {CALLS} calls");
}
