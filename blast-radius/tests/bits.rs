//! Equal [`ENGINE_VERSION`]s promise equal bits. This pins the bits of one version: if this test fails, the
//! change to the engine needs a new version, and the constants of `fingerprint` with it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod fingerprint;

use fingerprint::{BITS, SIZES, VERSION};
use quoll_blast_radius::ENGINE_VERSION;

#[test]
fn the_bits_of_this_engine_version() {
    let bits = SIZES.map(|services| format!("{:016x}", fingerprint::fingerprint(services).unwrap()));
    assert_eq!((ENGINE_VERSION, bits), (VERSION, BITS.map(|bits| format!("{bits:016x}"))));
}
