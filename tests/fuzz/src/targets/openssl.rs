//! Shared libraries that a container brings by OpenSSL's name: places for probes are few, different, and what is called
//! cheap stands in the file as such; or the library is refused. A good one is understood after any.

use quoll_ebpf_abi::tls::{FUNCTIONS, SHAKES_HANDS};
use quoll_openssl::code::is_cheap;
use quoll_openssl::plan;
use quoll_openssl::sample::{Sample, call, library, openssl};

use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "openssl", shape: Shape::Bytes, run, seeds };

const PUSH: &[u8] = &[0x41, 0x55];

/// Reads a library.
pub fn run(input: &[u8]) {
    for looks_inside in [false, true] {
        let Ok(found) = plan(input, looks_inside) else { continue };
        assert!(!found.places.is_empty());
        assert!(found.places.is_sorted_by(|one, next| one.offset < next.offset), "{found:?}");
        assert!(found.places.iter().all(|place| FUNCTIONS.iter().any(|(_, kind)| *kind == place.kind)), "{found:?}");
        let mut served = found.places.iter().filter(|place| place.kind != SHAKES_HANDS);
        let is_cheap_in_file = |offset: u64| input.get(offset as usize..).is_some_and(is_cheap);
        assert!(!found.is_quick || served.all(|place| is_cheap_in_file(place.offset)), "{found:?}");
    }
    assert!(plan(&openssl(PUSH), true).is_ok_and(|found| found.is_quick));
}

/// Libraries that are quick, slow, of another machine, with flags, and with forms that lead elsewhere.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let plain = [&[0x48, 0x83, 0xec, 0x18][..], &call(0x1044, 0x1000), &[0xc3]].concat();
    let marked = [&[0xf3, 0x0f, 0x1e, 0xfa][..], &call(0x1084, 0x1000), &[0xc3]].concat();
    let jump = [0xe9, 0xbb, 0xff, 0xff, 0xff];
    let forms: [Sample<'_>; 4] =
        [("", PUSH), ("SSL_write", &plain), ("SSL_write_ex2", &marked), ("SSL_write_ex", &jump)];
    vec![
        Vec::new(),
        openssl(PUSH),
        openssl(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55]),
        openssl(&[0x48, 0x83, 0xec, 0x18]),
        library(62, &forms),
        library(183, &forms),
        library(62, &[("SSL_read", PUSH), ("SSL_read_ex", &jump)]),
    ]
}
