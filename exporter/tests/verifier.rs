//! What the kernel's verifier takes to look at the programs: it looks at no more than a million instructions of each
//! (`BPF_COMPLEXITY_LIMIT_INSNS`, `include/linux/bpf.h`), each as often as it reaches it in another state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::fs;

use common::can_load;
use quoll_exporter::kernel::{Kernel, Settings};
use quoll_exporter::tls::TlsChoice;

/// What is left is for kernels that reach a state more.
const MOST: u64 = 900_000;

/// Instructions that the verifier looked at, of each program that this process holds.
fn verified() -> Vec<u64> {
    let entries = fs::read_dir("/proc/self/fdinfo").unwrap().map(|entry| entry.unwrap().path());
    let texts: Vec<String> = entries.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.filter_map(|line| line.strip_prefix("verified_insns:")?.trim().parse().ok()).collect()
}

#[test]
fn the_verifier_has_room_for_every_program_with_everything_on() {
    if !can_load() {
        return;
    }
    // The raw ones take more.
    for (by_method, raw_only) in [(0, true), (1, true), (0, false)] {
        let mut settings = Settings { tls: TlsChoice::True, raw_only, ..Settings::default() };
        settings.protocols.by_method = by_method;
        let kernel = Kernel::load(settings).unwrap();
        let mut verified = verified();
        verified.sort_unstable();
        println!("by method: {by_method}, raw: {raw_only}: {verified:?}");
        assert!(verified.len() >= 6 && verified.iter().all(|count| *count <= MOST), "{verified:?}");
        drop(kernel);
    }
}
