//! Where functions are in a shared library: offsets in its file, which is what uprobes want.

use std::fs;
use std::io;
use std::path::Path;

use object::{Object, ObjectSegment, ObjectSymbol};

/// Files larger than this are no library of OpenSSL's, which has less than 2 MiB.
const MOST_BYTES: u64 = 64 << 20;

/// Why there are no offsets.
#[derive(Debug, thiserror::Error)]
pub enum SymbolsError {
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
}

/// Offsets of those of the functions that the library exports.
///
/// # Errors
/// [`SymbolsError`].
pub fn offsets<'a>(path: &Path, functions: &[&'a str]) -> Result<Vec<(&'a str, u64)>, SymbolsError> {
    let bytes = fs::metadata(path)?.len();
    if bytes > MOST_BYTES {
        return Err(SymbolsError::TooLarge { bytes });
    }
    let data = fs::read(path)?;
    let file = object::File::parse(&*data)?;
    if !file.is_64() {
        return Err(SymbolsError::NarrowProgram);
    }
    let mut found = Vec::new();
    for symbol in file.dynamic_symbols().filter(|symbol| symbol.is_definition()) {
        let Ok(name) = symbol.name() else { continue };
        let Some(function) = functions.iter().find(|function| **function == name) else { continue };
        let address = symbol.address();
        let segment = file.segments().find(|one| (one.address()..one.address() + one.size()).contains(&address));
        if let Some(segment) = segment {
            found.push((*function, address - segment.address() + segment.file_range().0));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_a_library_are_found_and_others_are_not() {
        // The one shared library that a test surely has mapped.
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.lines().filter_map(|line| line.split_once(" /")).find(|(_, path)| path.contains("libc.so"));
        let (_, path) = libc.unwrap();
        let found = offsets(Path::new(&format!("/{}", path.trim())), &["getpid", "no_such_function"]).unwrap();
        let [(name, offset)] = found[..] else { panic!("{found:?}") };
        assert_eq!(name, "getpid");
        assert!(offset > 0);
    }

    #[test]
    fn what_is_no_library_is_refused() {
        assert!(matches!(offsets(Path::new("/proc/self/cmdline"), &["x"]), Err(SymbolsError::Object(_))));
        assert!(matches!(offsets(Path::new("/nowhere"), &["x"]), Err(SymbolsError::Read(_))));
    }
}
