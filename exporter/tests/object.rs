//! The kernel-side programs for another architecture than this machine's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../build/bpf.rs"]
mod bpf;

use std::path::Path;

/// `EM_BPF`, at offset 18 of an ELF header (`include/uapi/linux/elf-em.h`).
const EM_BPF: [u8; 2] = 247_u16.to_le_bytes();

#[test]
fn the_programs_are_built_for_arm_too() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let linker = bpf::find_linker(repository).expect(bpf::NO_LINKER);
    // Kept between runs.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bpf-aarch64");
    std::fs::create_dir_all(&folder).unwrap();
    let object = folder.join("quoll.bpf.o");
    bpf::build(repository, &linker, "aarch64", false, &folder, &object).unwrap();
    let bytes = std::fs::read(object).unwrap();
    assert_eq!(bytes[18..20], EM_BPF);
    for program in ["tcp_state_btf", "syscall_exit_raw", "live_connections"] {
        assert!(bytes.windows(program.len()).any(|window| window == program.as_bytes()), "{program}");
    }
}
