//! Where probes go in a copy of OpenSSL's libssl: offsets in its file, which is what uprobes want.
//!
//! A probe costs a trap into the kernel, and the instruction that it stands on. Few of them the x86 kernel carries out
//! itself ([`code::is_cheap`]); any other it lets the processor run by itself, out of line and one step, which takes
//! another exception: some ten times the rest on a virtual machine. What OpenSSL exports begins with `sub $24,%rsp` in most
//! builds, one of the others. But `SSL_read` and `SSL_read_ex` both hand on to one inner function, and so do the two that
//! write, which are large enough to begin with a push. So that is where the probes go, if it is sure what is there:
//!
//! 1. The `_ex` form hands its own arguments on as they are, before it decides anything ([`code::Code::hands_on_to`]). What
//!    it calls thus takes the same arguments and does its work.
//! 2. The other form calls it too, once. Nothing that is exported is taken, and nothing outside of the section (the
//!    PLT).
//! 3. It begins with an instruction that the kernel carries out.
//!
//! Else probes go to the exported functions, to the same instructions if these have them. An inner function is probed
//! instead of its callers, never besides, so that no call counts twice. OpenSSL's own `BIO_f_ssl` calls the inner ones and
//! is seen by them only.
//!
//! The file may be anything that a container brings: it is read as far as it makes sense, and refused otherwise.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

pub mod code;
#[cfg(feature = "sample")]
pub mod sample;

use std::fs;
use std::io;
use std::path::Path;

use object::{Architecture, Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionKind};
use quoll_ebpf_abi::tls::{COUNT_IS_FIFTH, FUNCTIONS, HAS_COUNT, READS, SHAKES_HANDS, WRITES};

use code::{Code, Function, is_cheap};

/// Files larger than this are no library of OpenSSL's, which has less than 2 MiB.
const MOST_BYTES: u64 = 16 << 20;

/// Why there are no offsets.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is too large to be what it should be.
    #[error("{bytes} bytes, at most {MOST_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// It is no ELF file.
    #[error(transparent)]
    Object(#[from] object::Error),
    /// Arguments are not where they are looked for.
    #[error("a library for 32-bit programs")]
    NarrowProgram,
    /// It exports none of them.
    #[error("it has none of OpenSSL's functions")]
    NoFunctions,
}

/// A place for a probe at an entry and for one at the return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// In the file, in bytes.
    pub offset: u64,
    /// What is called there: a kind of [`quoll_ebpf_abi::tls`].
    pub kind: u32,
}

/// Where probes go in a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Each once.
    pub places: Vec<Place>,
    /// Whether the kernel carries out itself what stands at those of reads and writes.
    pub is_quick: bool,
}

/// Reads a library.
///
/// # Errors
/// [`LibraryError`].
pub fn read(path: &Path) -> Result<Vec<u8>, LibraryError> {
    let bytes = fs::metadata(path)?.len();
    if bytes > MOST_BYTES {
        return Err(LibraryError::TooLarge { bytes });
    }
    Ok(fs::read(path)?)
}

/// Where probes go in a library, by its bytes. Without `looks_inside`, only in what it exports.
///
/// # Errors
/// [`LibraryError`], but for those of reading a file.
pub fn plan(bytes: &[u8], looks_inside: bool) -> Result<Plan, LibraryError> {
    let file = object::File::parse(bytes)?;
    if !file.is_64() {
        return Err(LibraryError::NarrowProgram);
    }
    let library = Library::new(bytes, &file);
    let [shaking, reading, writing] = [SHAKES_HANDS, READS, WRITES].map(|what| library.exported(what));
    let mut plan = Plan { places: Vec::new(), is_quick: true };
    for functions in [&reading, &writing] {
        let inner = looks_inside.then(|| library.inner(functions)).flatten();
        let places = match inner {
            Some(place) => vec![(place, true)],
            None => functions.iter().filter_map(|function| library.best(*function)).collect(),
        };
        plan.is_quick &= places.iter().all(|(_, is_cheap)| *is_cheap);
        plan.places.extend(places.into_iter().map(|(place, _)| place));
    }
    plan.places.extend(shaking.iter().filter_map(|function| library.best(*function)).map(|(place, _)| place));
    plan.places.sort_unstable();
    plan.places.dedup_by_key(|place| place.offset);
    if plan.places.is_empty() { Err(LibraryError::NoFunctions) } else { Ok(plan) }
}

/// What is looked at of a library.
struct Library<'a, 'data> {
    bytes: &'data [u8],
    file: &'a object::File<'data>,
    /// Functions that are watched, with their kind.
    functions: Vec<(Function, u32)>,
    /// Addresses of all that it exports, in order.
    exported: Vec<u64>,
    /// Empty where instructions are not known.
    code: Vec<Code<'data>>,
}

impl<'a, 'data> Library<'a, 'data> {
    fn new(bytes: &'data [u8], file: &'a object::File<'data>) -> Self {
        let mut functions = Vec::new();
        let mut exported = Vec::new();
        for symbol in file.dynamic_symbols().filter(ObjectSymbol::is_definition) {
            exported.push(symbol.address());
            let Ok(name) = symbol.name() else { continue };
            if let Some((_, kind)) = FUNCTIONS.iter().find(|(known, _)| *known == name) {
                functions.push((Function { address: symbol.address(), bytes: symbol.size() }, *kind));
            }
        }
        // Where there is the form with flags, `SSL_write_ex` is nothing but a jump to it (OpenSSL 3.3).
        if functions.iter().any(|(_, kind)| *kind == WRITES | COUNT_IS_FIFTH) {
            functions.retain(|(_, kind)| *kind != WRITES | HAS_COUNT);
        }
        exported.sort_unstable();
        let sections = file.sections().filter(|section| section.kind() == SectionKind::Text);
        let code =
            sections.filter_map(|section| Some(Code { address: section.address(), bytes: section.data().ok()? }));
        let is_known = file.architecture() == Architecture::X86_64;
        Self { bytes, file, functions, exported, code: if is_known { code.collect() } else { Vec::new() } }
    }

    /// Functions that do one thing.
    fn exported(&self, what: u32) -> Vec<(Function, u32)> {
        let does = |kind: u32| kind & !(HAS_COUNT | COUNT_IS_FIFTH) == what;
        self.functions.iter().filter(|(_, kind)| does(*kind)).copied().collect()
    }

    fn code_at(&self, address: u64) -> Option<&Code<'data>> {
        self.code.iter().find(|code| code.contains(address))
    }

    /// What both forms of a function hand on to, if the kernel carries out its first instruction.
    fn inner(&self, forms: &[(Function, u32)]) -> Option<Place> {
        let with_count = forms.iter().find(|(_, kind)| kind & (HAS_COUNT | COUNT_IS_FIFTH) != 0);
        let without = forms.iter().find(|(_, kind)| kind & (HAS_COUNT | COUNT_IS_FIFTH) == 0);
        let (((with_count, kind), (without, _)), true) = (with_count.zip(without)?, forms.len() == 2) else {
            return None;
        };
        let code = self.code_at(with_count.address)?;
        let inner = code.hands_on_to(*with_count)?;
        let is_its_own = self.exported.binary_search(&inner).is_err();
        if !is_its_own || !code.contains(without.address) || code.calls(*without, inner) != Some(1) {
            return None;
        }
        self.cheap(inner, *kind)
    }

    /// The cheap place at the beginning of a function, which has to be the same where the file is mapped.
    fn cheap(&self, function: u64, kind: u32) -> Option<Place> {
        let offset = self.offset(self.code_at(function)?.cheap(function)?)?;
        let is_there = is_cheap(self.bytes.get(usize::try_from(offset).ok()?..)?);
        is_there.then_some(Place { offset, kind })
    }

    /// The best place at the beginning of a function, and whether it is a cheap one.
    fn best(&self, (function, kind): (Function, u32)) -> Option<(Place, bool)> {
        let any = || Some((Place { offset: self.offset(function.address)?, kind }, false));
        self.cheap(function.address, kind).map(|place| (place, true)).or_else(any)
    }

    /// Where an address is in the file.
    fn offset(&self, address: u64) -> Option<u64> {
        let mut segments = self.file.segments();
        let segment = segments.find(|one| address.checked_sub(one.address()).is_some_and(|by| by < one.size()))?;
        (address - segment.address()).checked_add(segment.file_range().0)
    }
}

#[cfg(test)]
mod tests;
