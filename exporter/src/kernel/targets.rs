//! What the programs are attached to, as aya wants to be told.
//!
//! aya finds the number of a kernel function or type by walking through all types of the kernel, each an
//! allocation: some 20 MB for a moment. It gets a list of as many types instead, in which all but those
//! that our programs are attached to are empty.

use aya::Endianness;

use crate::btf::{Btf, BtfError};

/// `BTF_KIND_FWD`, `BTF_KIND_TYPEDEF` and `BTF_KIND_FUNC`, `Documentation/bpf/btf.rst`; none of them is
/// followed by further data.
const FORWARD: u32 = 7;
const TYPEDEF: u32 = 8;
const FUNCTION: u32 = 12;
const MAGIC: u16 = 0xeb9f;
/// Of the header and of one type.
const HEADER_BYTES: u32 = 24;
const TYPE_BYTES: usize = 12;

/// Tracepoints have a typedef each (`include/trace/bpf_probe.h`).
const TRACEPOINTS: [&str; 2] = ["btf_trace_inet_sock_set_state", "btf_trace_sys_exit"];
/// Iterators a function (`DEFINE_BPF_ITER_FUNC`, `include/linux/bpf.h`).
const ITERATORS: [&str; 2] = ["bpf_iter_bpf_map_elem", "bpf_iter_task_file"];

/// The targets, each with the number that it has in `btf`.
///
/// # Errors
/// [`BtfError::NoType`] with the first iterator that this kernel lacks. A tracepoint may be missing: it
/// is then attached in its raw form, by name.
pub fn list(btf: &Btf) -> Result<aya::Btf, BtfError> {
    let mut targets = Vec::new();
    for name in TRACEPOINTS {
        if let Ok(id) = btf.typedef(name) {
            targets.push((id, TYPEDEF, name));
        }
    }
    for name in ITERATORS {
        targets.push((btf.function(name)?, FUNCTION, name));
    }
    let count = targets.iter().map(|(id, ..)| *id).max().unwrap_or_default() as usize;
    // Numbers begin at 1, for the type that comes first in the data.
    let mut types: Vec<[u32; 3]> = vec![[0, FORWARD << 24, 0]; count];
    let mut names = vec![0];
    for (id, kind, name) in targets {
        if let Some(slot) = types.get_mut((id as usize).wrapping_sub(1)) {
            *slot = [names.len() as u32, kind << 24, 0];
        }
        names.extend(name.bytes().chain([0]));
    }
    let mut data = Vec::with_capacity(HEADER_BYTES as usize + types.len() * TYPE_BYTES + names.len());
    data.extend(MAGIC.to_ne_bytes());
    // Version and flags.
    data.extend([1, 0]);
    let type_bytes = (types.len() * TYPE_BYTES) as u32;
    for word in [HEADER_BYTES, 0, type_bytes, type_bytes, names.len() as u32] {
        data.extend(word.to_ne_bytes());
    }
    types.iter().flatten().for_each(|word| data.extend(word.to_ne_bytes()));
    data.extend(names);
    aya::Btf::parse(&data, Endianness::default())
        .map_err(|_| BtfError::Malformed { offset: 0, reason: "the list of targets" })
}
