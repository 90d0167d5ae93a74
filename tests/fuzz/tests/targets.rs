//! Every target on its seeds, on what once broke it, and on a fixed number of changed inputs; and that cargo-fuzz
//! knows the same targets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use quoll_fuzz::{TARGETS, Target, mutate};

/// Changed inputs per target; `make soak` goes on for hours.
const INPUTS: u64 = 2000;

fn read(target: &Target, what: &str, input: &[u8]) {
    let run = std::panic::AssertUnwindSafe(|| (target.run)(input));
    if std::panic::catch_unwind(run).is_err() {
        panic!("{}: {what} broke it: {input:02x?}", target.name);
    }
}

#[test]
fn every_target_reads_its_seeds_and_what_once_broke_it() {
    for target in TARGETS {
        for (number, input) in target.corpus().iter().enumerate() {
            read(target, &format!("input {number} of its corpus"), input);
        }
    }
}

#[test]
fn every_target_reads_changed_inputs() {
    std::thread::scope(|scope| {
        for target in TARGETS {
            scope.spawn(|| {
                let corpus = target.corpus();
                for index in 0..INPUTS {
                    let input = mutate::input(&corpus, target.shape, 1, index);
                    read(target, &format!("changed input {index} of seed 1"), &input);
                }
            });
        }
    });
}

#[test]
fn cargo_fuzz_knows_the_same_targets() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cargo-fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for target in TARGETS {
        let entry = format!("name = \"{0}\"\npath = \"fuzz_targets/{0}.rs\"", target.name);
        assert!(manifest.contains(&entry), "tests/fuzz/cargo-fuzz/Cargo.toml lacks {}", target.name);
        let program = std::fs::read_to_string(folder.join("fuzz_targets").join(target.name).with_extension("rs"));
        let call = format!("quoll_fuzz::targets::{}::run(input)", target.name);
        assert!(program.unwrap().contains(&call), "{} does not call its target", target.name);
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
