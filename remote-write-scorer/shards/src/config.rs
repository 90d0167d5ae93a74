//! Whom the root listens to.

use std::sync::Arc;

/// Longest name of a leaf, in bytes.
const MAX_NAME: usize = 64;

/// Why leaves cannot be named so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeavesError {
    /// No leaves.
    #[error("a root needs the names of its leaves")]
    None,
    /// A name twice.
    #[error("leaf `{name}` is listed twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// Not a name.
    #[error("`{name}` cannot name a leaf: use 1 to {limit} letters, digits, `-`, `_` and `.`", limit = MAX_NAME)]
    BadName {
        /// The name.
        name: String,
    },
}

/// The leaves of a root, and how long it waits for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavesConfig {
    names: Vec<Arc<str>>,
    grace_ms: i64,
}

impl LeavesConfig {
    /// Leaves of these names. A step waits for a leaf that reports until others have reported a step that ends
    /// more than `grace_ms` later.
    ///
    /// # Errors
    /// Each case of [`LeavesError`].
    pub fn new(names: &[String], grace_ms: i64) -> Result<Self, LeavesError> {
        if names.is_empty() {
            return Err(LeavesError::None);
        }
        for (at, name) in names.iter().enumerate() {
            check_name(name)?;
            if names[..at].contains(name) {
                return Err(LeavesError::Twice { name: name.clone() });
            }
        }
        let mut names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(name.as_str())).collect();
        names.sort_unstable();
        Ok(Self { names, grace_ms: grace_ms.max(0) })
    }

    /// Names, sorted.
    #[must_use]
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// How much later than a step's end others may have reported before it closes without a leaf.
    #[must_use]
    pub fn grace_ms(&self) -> i64 {
        self.grace_ms
    }
}

/// Whether a leaf may have this name.
///
/// # Errors
/// [`LeavesError::BadName`].
pub fn check_name(name: &str) -> Result<(), LeavesError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
        return Err(LeavesError::BadName { name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_names_of_their_own() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(LeavesConfig::new(&[], 0), Err(LeavesError::None));
        assert_eq!(LeavesConfig::new(&names(&["a", "a"]), 0), Err(LeavesError::Twice { name: "a".into() }));
        assert!(matches!(LeavesConfig::new(&names(&["a b"]), 0), Err(LeavesError::BadName { .. })));
        assert!(matches!(LeavesConfig::new(&names(&[""]), 0), Err(LeavesError::BadName { .. })));
        let leaves = LeavesConfig::new(&names(&["b", "a-1.x_"]), 5).unwrap();
        assert_eq!(leaves.names().iter().map(|name| &**name).collect::<Vec<_>>(), ["a-1.x_", "b"]);
    }
}
