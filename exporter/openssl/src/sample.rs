//! Libraries of a few hundred bytes: an ELF header, one segment, and the sections that are looked at.

/// A function of a sample: its name if it is exported, and its instructions.
pub type Sample<'a> = (&'a str, &'a [u8]);

/// Where the code of a sample is, and the offset of its file that is mapped there.
pub const ADDRESS: u64 = 0x1000;
/// Where its section of other code is, as a PLT.
pub const OTHER_ADDRESS: u64 = 0x3000;
const ELF_HEAD_BYTES: u64 = 64;
const SEGMENT_HEAD_BYTES: u64 = 56;
/// Of the first byte in the file.
pub const OFFSET: u64 = ELF_HEAD_BYTES + SEGMENT_HEAD_BYTES;
const EXECUTABLE: u64 = 6;
const X86_64: u16 = 62;

/// A call, and what it calls: by name, by address.
#[must_use]
pub fn call(from: u64, to: u64) -> [u8; 5] {
    let [a, b, c, d] = (to.wrapping_sub(from.wrapping_add(5)) as i32).to_le_bytes();
    [0xe8, a, b, c, d]
}

/// A library for a machine (62: x86-64), with functions one after the other, each at a multiple of 64 from [`ADDRESS`] on.
#[must_use]
pub fn library(machine: u16, functions: &[Sample<'_>]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut names = vec![0];
    let mut symbols = vec![0; 24];
    for (name, code) in functions {
        text.resize(text.len().next_multiple_of(64), 0xcc);
        if !name.is_empty() {
            symbols.extend((names.len() as u32).to_le_bytes());
            // A global function in the first section.
            symbols.extend([0x12, 0, 1, 0]);
            symbols.extend((ADDRESS + text.len() as u64).to_le_bytes());
            symbols.extend((code.len() as u64).to_le_bytes());
            names.extend(name.bytes());
            names.push(0);
        }
        text.extend_from_slice(code);
    }
    let section_names = b"\0.text\0.dynsym\0.dynstr\0.shstrtab\0.plt\0";
    let contents: [&[u8]; 5] = [&text, &symbols, &names, section_names, &[0xcc; 64]];
    let mut file = vec![0; OFFSET as usize];
    let mut offsets = [0; 5];
    for (offset, content) in offsets.iter_mut().zip(contents) {
        *offset = file.len() as u64;
        file.extend_from_slice(content);
        file.resize(file.len().next_multiple_of(8), 0);
    }
    let sections = file.len() as u64;
    file.extend([0; 64]);
    // Name, kind, flags, address, link, alignment, size of an entry.
    let heads: [[u64; 7]; 5] = [
        [1, 1, EXECUTABLE, ADDRESS, 0, 16, 0],
        [7, 11, 2, 0, 3, 8, 24],
        [15, 3, 2, 0, 0, 1, 0],
        [23, 3, 0, 0, 0, 1, 0],
        [33, 1, EXECUTABLE, OTHER_ADDRESS, 0, 16, 0],
    ];
    for (([name, kind, flags, address, link, alignment, entry], offset), content) in
        heads.into_iter().zip(offsets).zip(contents)
    {
        file.extend((name as u32).to_le_bytes());
        file.extend((kind as u32).to_le_bytes());
        let size = content.len() as u64;
        for wide in [flags, address, offset, size] {
            file.extend(wide.to_le_bytes());
        }
        // The first symbol that is not local.
        file.extend((link as u32).to_le_bytes());
        file.extend(u32::from(kind == 11).to_le_bytes());
        file.extend(alignment.to_le_bytes());
        file.extend(entry.to_le_bytes());
    }
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
    head.extend(machine.to_le_bytes());
    head.extend(1_u32.to_le_bytes());
    for wide in [0, ELF_HEAD_BYTES, sections] {
        head.extend(wide.to_le_bytes());
    }
    head.extend(0_u32.to_le_bytes());
    for narrow in [ELF_HEAD_BYTES as u16, SEGMENT_HEAD_BYTES as u16, 1, 64, 6, 4] {
        head.extend(narrow.to_le_bytes());
    }
    // One segment, to be loaded, read and executed: all of the code.
    head.extend(1_u32.to_le_bytes());
    head.extend(5_u32.to_le_bytes());
    let bytes = text.len() as u64;
    for wide in [OFFSET, ADDRESS, ADDRESS, bytes, bytes, 16] {
        head.extend(wide.to_le_bytes());
    }
    file[..head.len()].copy_from_slice(&head);
    file
}

/// As OpenSSL 3.0 is built by Debian: two forms that hand on, and two inner functions which begin with `prologue`.
#[must_use]
pub fn openssl(prologue: &[u8]) -> Vec<u8> {
    let [read_inner, write_inner] = [ADDRESS, ADDRESS + 64];
    let inner = [prologue, &[0xc3]].concat();
    let plain = |at: u64, inner: u64| {
        // sub $24,%rsp; test %edx,%edx; js over; mov %rsp,%rcx; call inner; over: call elsewhere; add $24,%rsp; ret
        let mut code = vec![0x48, 0x83, 0xec, 0x18, 0x85, 0xd2, 0x78, 0x08, 0x48, 0x89, 0xe1];
        code.extend(call(at + code.len() as u64, inner));
        code.extend(call(at + code.len() as u64, OTHER_ADDRESS));
        code.extend([0x48, 0x83, 0xc4, 0x18, 0xc3]);
        code
    };
    let with_count = |at: u64, inner: u64| {
        // sub $8,%rsp; call inner; add $8,%rsp; ret
        let mut code = vec![0x48, 0x83, 0xec, 0x08];
        code.extend(call(at + 4, inner));
        code.extend([0x48, 0x83, 0xc4, 0x08, 0xc3]);
        code
    };
    library(
        X86_64,
        &[
            ("", &inner),
            ("", &inner),
            ("SSL_read", &plain(ADDRESS + 128, read_inner)),
            ("SSL_read_ex", &with_count(ADDRESS + 192, read_inner)),
            ("SSL_write", &plain(ADDRESS + 256, write_inner)),
            ("SSL_write_ex", &with_count(ADDRESS + 320, write_inner)),
            ("SSL_do_handshake", &[0x53, 0x5b, 0xc3]),
        ],
    )
}
