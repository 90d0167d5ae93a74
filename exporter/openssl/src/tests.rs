use super::sample::{ADDRESS, OFFSET, OTHER_ADDRESS, call, library, openssl};
use super::*;

const PUSH: &[u8] = &[0x41, 0x55];
const SUB: &[u8] = &[0x48, 0x83, 0xec, 0x18];
const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
const RET: &[u8] = &[0xc3];
const X86_64: u16 = 62;
const AARCH64: u16 = 183;

fn places(file: &[u8]) -> (Vec<(u64, u32)>, bool) {
    let Plan { places, is_quick } = plan(file, true).unwrap();
    (places.iter().map(|place| (place.offset - OFFSET, place.kind)).collect(), is_quick)
}

/// A library of an inner function and two forms that read, at 0, 64 and 128.
fn reading(inner: &[u8], plain: &[u8], with_count: &[u8]) -> (Vec<(u64, u32)>, bool) {
    places(&library(X86_64, &[("", inner), ("SSL_read", plain), ("SSL_read_ex", with_count)]))
}

const EXPORTED: [(u64, u32); 2] = [(64, READS), (128, READS | HAS_COUNT)];
const INNER: [(u64, u32); 1] = [(0, READS | HAS_COUNT)];

/// The code of a function at an address: some instructions, then a call.
fn calling(before: &[u8], from: u64, to: u64) -> Vec<u8> {
    [before, &call(from + before.len() as u64, to), RET].concat()
}

fn forms() -> [Vec<u8>; 2] {
    [ADDRESS + 64, ADDRESS + 128].map(|from| calling(SUB, from, ADDRESS))
}

#[test]
fn what_both_forms_hand_on_to_is_probed_instead_of_them() {
    let (found, is_quick) = places(&openssl(PUSH));
    assert_eq!(found, [(0, READS | HAS_COUNT), (64, WRITES | HAS_COUNT), (384, SHAKES_HANDS)]);
    assert!(is_quick);
    // Behind the mark of an indirect branch's target, which is none of those that the kernel carries out.
    let (found, is_quick) = places(&openssl(&[ENDBR64, PUSH].concat()));
    assert_eq!(found, [(4, READS | HAS_COUNT), (68, WRITES | HAS_COUNT), (384, SHAKES_HANDS)]);
    assert!(is_quick);
}

#[test]
fn where_that_would_be_no_better_the_exported_functions_are_probed() {
    let exported =
        [(128, READS), (192, READS | HAS_COUNT), (256, WRITES), (320, WRITES | HAS_COUNT), (384, SHAKES_HANDS)];
    for prologue in [SUB, &[ENDBR64, SUB].concat()[..], ENDBR64, &[]] {
        assert_eq!(places(&openssl(prologue)), (exported.to_vec(), false), "{prologue:02x?}");
    }
    let Plan { places, is_quick } = plan(&openssl(PUSH), false).unwrap();
    assert_eq!((places.len(), places[0].offset - OFFSET, is_quick), (5, 128, false));
}

#[test]
fn exported_functions_may_be_quick_themselves() {
    let [push, marked] = [[PUSH, RET].concat(), [ENDBR64, &[0x55], RET].concat()];
    assert_eq!(reading(RET, &push, &marked), (vec![(64, READS), (132, READS | HAS_COUNT)], true));
}

#[test]
fn the_form_with_flags_says_where_its_count_is() {
    let [inner, plain, with_flags] = [ADDRESS, ADDRESS + 64, ADDRESS + 128];
    let jump = [0xe9, 0, 0, 0, 0];
    let functions: [(&str, &[u8]); 4] = [
        ("", &[PUSH, RET].concat()),
        ("SSL_write", &calling(SUB, plain, inner)),
        ("SSL_write_ex2", &calling(SUB, with_flags, inner)),
        ("SSL_write_ex", &jump),
    ];
    assert_eq!(places(&library(X86_64, &functions)), (vec![(0, WRITES | COUNT_IS_FIFTH)], true));
    // Where it is not found, neither is what jumps to the other one probed.
    let functions = [("", RET), functions[1], functions[2], functions[3]];
    assert_eq!(places(&library(X86_64, &functions)), (vec![(64, WRITES), (128, WRITES | COUNT_IS_FIFTH)], false));
}

#[test]
fn what_may_leave_arguments_as_they_are_before_a_call_is_known() {
    let [plain, _] = forms();
    let inner = [PUSH, RET].concat();
    let before: [&[u8]; 6] = [
        &[],
        ENDBR64,
        // push %rbp; mov %rsp,%rbp
        &[0x55, 0x48, 0x89, 0xe5],
        // sub $24,%rsp; mov %fs:40,%rax; mov %rax,8(%rsp); xor %eax,%eax
        &[
            0x48, 0x83, 0xec, 0x18, 0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, 0x48, 0x89, 0x44, 0x24, 0x08, 0x31,
            0xc0,
        ],
        // and $-16,%rsp; nop
        &[0x48, 0x83, 0xe4, 0xf0, 0x90],
        // mov %rdi,-8(%rbp)
        &[0x48, 0x89, 0x7d, 0xf8],
    ];
    for before in before {
        let form = calling(before, ADDRESS + 128, ADDRESS);
        assert_eq!(reading(&inner, &plain, &form), (INNER.to_vec(), true), "{before:02x?}");
    }
    let before: [&[u8]; 10] = [
        // mov %edx,%esi; xor %ecx,%ecx; lea 8(%rsp),%rcx; pop %rdi: another argument
        &[0x89, 0xd6],
        &[0x31, 0xc9],
        &[0x48, 0x8d, 0x4c, 0x24, 0x08],
        &[0x5f],
        // xchg %rax,%rdi; rep movsb
        &[0x48, 0x97],
        &[0xf3, 0xa4],
        // test %edx,%edx; js: a decision
        &[0x85, 0xd2, 0x78, 0x02],
        // jmp over; call *%rax; syscall
        &[0xeb, 0x00],
        &[0xff, 0xd0],
        &[0x0f, 0x05],
    ];
    for before in before {
        let form = calling(before, ADDRESS + 128, ADDRESS);
        assert_eq!(reading(&inner, &plain, &form), (EXPORTED.to_vec(), false), "{before:02x?}");
    }
}

#[test]
fn a_function_for_errors_that_both_forms_call_is_not_taken_for_an_inner_one() {
    // As LibreSSL does: test, a jump over the call for the error, and then a call of the other form, which is exported.
    let form = |at: u64, next: u64| {
        let mut code = vec![0x53, 0x85, 0xd2, 0x79, 0x05];
        code.extend(call(at + 5, ADDRESS));
        code.extend(call(at + 10, next));
        code.push(0xc3);
        code
    };
    let [plain, with_count] = [form(ADDRESS + 64, ADDRESS + 192), form(ADDRESS + 128, ADDRESS + 64)];
    assert_eq!(reading(&[PUSH, RET].concat(), &plain, &with_count), (EXPORTED.to_vec(), true));
}

#[test]
fn calls_that_lead_elsewhere_are_not_followed() {
    let inner = [PUSH, RET].concat();
    let [plain, with_count] = forms();
    assert_eq!(reading(&inner, &plain, &with_count), (INNER.to_vec(), true));
    let to = |target| calling(SUB, ADDRESS + 128, target);
    // The PLT, another place than the other form's, what is exported, nowhere, within itself.
    for target in [OTHER_ADDRESS, ADDRESS + 1, ADDRESS + 64, 0, u64::MAX, ADDRESS + 130] {
        assert_eq!(reading(&inner, &plain, &to(target)), (EXPORTED.to_vec(), false), "{target:x}");
    }
    // The other form calls it never, twice, or by a jump.
    let twice = [&plain[..plain.len() - 1], &call(ADDRESS + 73, ADDRESS), RET].concat();
    for plain in [calling(SUB, ADDRESS + 64, OTHER_ADDRESS), twice, [0xe9, 0xbb, 0xff, 0xff, 0xff].to_vec()] {
        assert_eq!(reading(&inner, &plain, &with_count), (EXPORTED.to_vec(), false), "{plain:02x?}");
    }
    assert_eq!(reading(&inner, &plain, &with_count), (INNER.to_vec(), true), "good again");
}

#[test]
fn what_cannot_be_read_is_not_guessed() {
    let inner = [PUSH, RET].concat();
    let [plain, with_count] = forms();
    // Cut within the call, before it, and an instruction that is none.
    for length in [2, 4, 8] {
        assert_eq!(reading(&inner, &plain, &with_count[..length]), (EXPORTED.to_vec(), false), "{length}");
    }
    let invalid = [&[0x06], &plain[..]].concat();
    assert_eq!(reading(&inner, &invalid, &with_count), (EXPORTED.to_vec(), false));
    // Too long to be one that only hands on.
    let long = [&plain[..], &[0x90; 5000]].concat();
    let functions = [("", &inner[..]), ("SSL_read_ex", &with_count), ("SSL_read", &long)];
    assert!(!plan(&library(X86_64, &functions), true).unwrap().is_quick);
    // One of both forms is missing.
    let (found, is_quick) = places(&library(X86_64, &[("", &inner), ("SSL_read", &plain)]));
    assert_eq!((found, is_quick), (vec![(64, READS)], false));
}

#[test]
fn other_machines_instructions_are_not_read() {
    let [plain, with_count] = forms();
    let functions = [("", &[PUSH, RET].concat()[..]), ("SSL_read", &plain), ("SSL_read_ex", &with_count)];
    assert_eq!(places(&library(AARCH64, &functions)), (EXPORTED.to_vec(), false));
}

#[test]
fn what_is_no_library_is_refused() {
    assert!(matches!(plan(b"#!/bin/sh", true), Err(LibraryError::Object(_))));
    assert!(matches!(plan(&library(X86_64, &[("SSL_new", RET)]), true), Err(LibraryError::NoFunctions)));
    assert!(matches!(read(Path::new("/nowhere")), Err(LibraryError::Read(_))));
    let mut narrow = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x03\0\x01\0\0\0".to_vec();
    narrow.resize(52, 0);
    assert!(matches!(plan(&narrow, true), Err(LibraryError::NarrowProgram)));
    let folder = std::env::temp_dir().join(format!("quoll-openssl-{}", std::process::id()));
    fs::write(&folder, []).unwrap();
    fs::File::options().write(true).open(&folder).unwrap().set_len(MOST_BYTES + 1).unwrap();
    assert!(matches!(read(&folder), Err(LibraryError::TooLarge { bytes }) if bytes == MOST_BYTES + 1));
    fs::remove_file(&folder).unwrap();
}

#[test]
fn a_library_that_is_cut_anywhere_gives_an_error_or_places_within_it() {
    let whole = openssl(PUSH);
    for length in 0..whole.len() {
        if let Ok(plan) = plan(&whole[..length], true) {
            assert!(plan.places.iter().all(|place| place.offset >= OFFSET), "{length}");
        }
    }
}
