//! A small reader of BTF, the kernel's description of its own types.
//!
//! It answers two questions: at which byte a field lies in a structure of the running kernel, and which
//! number a function or type has, which is what a program is attached by. aya's own reader answers the
//! second only, and takes four times the memory of the data; this one keeps the data as it is and an
//! index of 12 bytes per type.
//!
//! Format: `Documentation/bpf/btf.rst` in the kernel's sources. The data is not trusted: each read is
//! checked, and a malformed blob gives an error, never a panic or an endless loop.

use std::path::Path;

/// Where the kernel publishes its types (since 5.4, with `CONFIG_DEBUG_INFO_BTF`).
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;
/// Real types nest a few levels deep; more is a loop.
const MAX_DEPTH: usize = 16;

/// Why a field's offset could not be found.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file could not be read; before 5.4 it does not exist.
    #[error("cannot read the kernel's types from {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The data does not follow the format.
    #[error("malformed BTF at byte {offset}: {reason}")]
    Malformed {
        /// Byte offset in the data.
        offset: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// This kernel has no such structure or field.
    #[error("this kernel has no field {structure}.{path}")]
    NoField {
        /// Name of the structure.
        structure: String,
        /// Dotted path of the field.
        path: String,
    },
    /// This kernel has no such function or type, so nothing can be attached to it.
    #[error("this kernel's types have no {0}")]
    NoType(&'static str),
}

/// All types of one kernel.
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Byte offset of each type's header; index 0 is `void`.
    types: Vec<u32>,
    /// Hash of the name and number of each structure, union, function and typedef, sorted.
    by_name: Vec<(u32, u32)>,
}

struct Header {
    kind: u32,
    members: usize,
    has_bitfields: bool,
}

impl Btf {
    /// Reads the types of the running kernel.
    ///
    /// # Errors
    /// [`BtfError::Read`] or [`BtfError::Malformed`].
    pub fn of_running_kernel() -> Result<Self, BtfError> {
        let path = Path::new(KERNEL_BTF);
        let data = std::fs::read(path).map_err(|source| BtfError::Read { path: KERNEL_BTF.to_owned(), source })?;
        Self::parse(data)
    }

    /// Indexes a BTF blob in the machine's byte order.
    ///
    /// # Errors
    /// [`BtfError::Malformed`] with the offending offset.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let malformed = |offset, reason| BtfError::Malformed { offset, reason };
        if data.get(..2) != Some(&MAGIC.to_ne_bytes()[..]) {
            return Err(malformed(0, "wrong magic number"));
        }
        let field = |offset| u32_at(&data, offset).map(|value| value as usize);
        let header = field(4).ok_or(malformed(4, "truncated header"))?;
        let (Some(type_offset), Some(type_length), Some(string_offset)) = (field(8), field(12), field(16)) else {
            return Err(malformed(8, "truncated header"));
        };
        let strings = header.checked_add(string_offset).ok_or(malformed(16, "offset out of range"))?;
        let mut position = header.checked_add(type_offset).ok_or(malformed(8, "offset out of range"))?;
        let end = position.checked_add(type_length).ok_or(malformed(12, "length out of range"))?;
        // The shortest type takes 12 bytes: nothing grows by doubling.
        let most = type_length.min(data.len()) / 12;
        let mut types = Vec::with_capacity(most + 1);
        types.push(0);
        let mut btf = Self { data, strings, types, by_name: Vec::new() };
        while position < end {
            let truncated = malformed(position, "truncated type");
            let name = u32_at(&btf.data, position).ok_or(truncated)?;
            let Header { kind, members, .. } = btf.header(position).ok_or(malformed(position, "truncated type"))?;
            if matches!(kind, KIND_STRUCT | KIND_UNION | KIND_FUNC | KIND_TYPEDEF) {
                let id = btf.types.len() as u32;
                let name = btf.string(name).ok_or(malformed(position, "name out of range"))?;
                btf.by_name.push((hash(name), id));
            }
            btf.types.push(position as u32);
            position += 12
                + match kind {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => members * 12,
                    KIND_ENUM | KIND_FUNC_PROTO => members * 8,
                    0 => return Err(malformed(position, "type of kind 0")),
                    other if other > KIND_ENUM64 => return Err(malformed(position, "type of unknown kind")),
                    _ => 0,
                };
        }
        btf.by_name.sort_unstable();
        Ok(btf)
    }

    /// How many types there are, `void` included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.types.len()
    }

    /// Number of the function called `name`.
    ///
    /// # Errors
    /// [`BtfError::NoType`].
    pub fn function(&self, name: &'static str) -> Result<u32, BtfError> {
        self.named(name.as_bytes(), &[KIND_FUNC]).next().ok_or(BtfError::NoType(name))
    }

    /// Number of the typedef called `name`.
    ///
    /// # Errors
    /// [`BtfError::NoType`].
    pub fn typedef(&self, name: &'static str) -> Result<u32, BtfError> {
        self.named(name.as_bytes(), &[KIND_TYPEDEF]).next().ok_or(BtfError::NoType(name))
    }

    /// Types of one name and some kinds, in the order of their numbers.
    fn named<'a>(&'a self, name: &'a [u8], kinds: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        let hash = hash(name);
        let first = self.by_name.partition_point(|entry| entry.0 < hash);
        let same_hash = self.by_name[first..].iter().take_while(move |entry| entry.0 == hash);
        same_hash.map(|entry| entry.1).filter(move |id| {
            let Some(&position) = self.types.get(*id as usize) else { return false };
            let is_kind = self.header(position as usize).is_some_and(|header| kinds.contains(&header.kind));
            is_kind && u32_at(&self.data, position as usize).and_then(|name| self.string(name)) == Some(name)
        })
    }

    /// Byte offset of a field, such as `("sock", "__sk_common.skc_num")`. Anonymous members are
    /// looked through. Structures of one name are tried in turn.
    ///
    /// # Errors
    /// [`BtfError::NoField`].
    pub fn offset(&self, structure: &str, path: &str) -> Result<u32, BtfError> {
        self.named(structure.as_bytes(), &[KIND_STRUCT, KIND_UNION])
            .find_map(|id| {
                path.split('.')
                    .try_fold((id, 0), |(id, bytes), field| {
                        let (offset, id) = self.member(self.resolve(id)?, field, MAX_DEPTH)?;
                        Some((id, bytes + offset))
                    })
                    .map(|(_, bytes)| bytes)
            })
            .ok_or_else(|| BtfError::NoField { structure: structure.to_owned(), path: path.to_owned() })
    }

    /// Byte offset and type of one member, or of a member of an anonymous one.
    fn member(&self, id: u32, field: &str, depth: usize) -> Option<(u32, u32)> {
        let position = *self.types.get(id as usize)? as usize;
        let header = self.header(position)?;
        if depth == 0 || (header.kind != KIND_STRUCT && header.kind != KIND_UNION) {
            return None;
        }
        (0..header.members).find_map(|index| {
            let member = position + 12 + index * 12;
            let name = self.string(u32_at(&self.data, member)?)?;
            let type_id = u32_at(&self.data, member + 4)?;
            let raw = u32_at(&self.data, member + 8)?;
            let bytes = if header.has_bitfields { raw & 0x00ff_ffff } else { raw } / 8;
            if name == field.as_bytes() {
                return Some((bytes, type_id));
            }
            if !name.is_empty() {
                return None;
            }
            let (inner, type_id) = self.member(self.resolve(type_id)?, field, depth - 1)?;
            Some((bytes + inner, type_id))
        })
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            let position = *self.types.get(id as usize)?;
            if id == 0 {
                return None;
            }
            match self.header(position as usize)?.kind {
                KIND_TYPEDEF..=KIND_RESTRICT | KIND_TYPE_TAG => id = u32_at(&self.data, position as usize + 8)?,
                _ => return Some(id),
            }
        }
        None
    }

    fn header(&self, position: usize) -> Option<Header> {
        let info = u32_at(&self.data, position + 4)?;
        Some(Header { kind: (info >> 24) & 0x1f, members: (info & 0xffff) as usize, has_bitfields: info >> 31 == 1 })
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.data.get(self.strings.checked_add(offset as usize)?..)?;
        Some(&rest[..rest.iter().position(|byte| *byte == 0)?])
    }
}

/// FNV-1a of 32 bits.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn u32_at(data: &[u8], offset: usize) -> Option<u32> {
    let bytes = data.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct s { int a; union { char b; int c; }; }` as a compiler would describe it.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0char\0s\0a\0b\0c\0";
        let (int, char, s, a, b, c) = (1u32, 5u32, 10u32, 12u32, 14u32, 16u32);
        let mut types: Vec<u32> = Vec::new();
        types.extend([int, KIND_INT << 24, 4, 32]); // 1
        types.extend([char, KIND_INT << 24, 1, 8]); // 2
        types.extend([0, KIND_UNION << 24 | 2, 4, b, 2, 0, c, 1, 0]); // 3
        types.extend([s, KIND_STRUCT << 24 | 2, 8, a, 1, 0, 0, 3, 32]); // 4
        types.extend([a, KIND_TYPEDEF << 24, 4]); // 5
        types.extend([a, KIND_FUNC << 24, 0]); // 6
        let mut blob = Vec::new();
        blob.extend(MAGIC.to_ne_bytes());
        blob.extend([1, 0]);
        let type_bytes: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        for word in [24, 0, type_bytes.len() as u32, type_bytes.len() as u32, strings.len() as u32] {
            blob.extend(word.to_ne_bytes());
        }
        blob.extend(type_bytes);
        blob.extend(strings);
        blob
    }

    #[test]
    fn anonymous_members_are_looked_through() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("s", "a").unwrap(), 0);
        assert_eq!(btf.offset("s", "b").unwrap(), 4);
        assert_eq!(btf.offset("s", "c").unwrap(), 4);
    }

    #[test]
    fn functions_and_typedefs_of_one_name_are_told_apart() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!((btf.typedef("a").unwrap(), btf.function("a").unwrap(), btf.count()), (5, 6, 7));
        assert_eq!(btf.function("s").unwrap_err().to_string(), "this kernel's types have no s");
    }

    #[test]
    fn missing_fields_and_structures_are_named() {
        let btf = Btf::parse(sample()).unwrap();
        let error = btf.offset("s", "a.z").unwrap_err();
        assert_eq!(error.to_string(), "this kernel has no field s.a.z");
        assert!(btf.offset("t", "a").is_err());
    }

    #[test]
    fn damaged_data_gives_an_error_or_a_missing_field_but_no_panic() {
        let good = sample();
        for length in 0..good.len() {
            if let Ok(btf) = Btf::parse(good[..length].to_vec()) {
                let _ = btf.offset("s", "c");
            }
        }
        for index in 0..good.len() {
            for value in [0, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[index] = value;
                if let Ok(btf) = Btf::parse(bad) {
                    let _ = btf.offset("s", "c");
                }
            }
        }
    }
}
