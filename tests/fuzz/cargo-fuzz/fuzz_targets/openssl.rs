#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quoll_fuzz::targets::openssl::run(input));
