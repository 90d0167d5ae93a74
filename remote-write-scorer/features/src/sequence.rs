//! Elements to be stored: made one by one as they are written, so that a snapshot takes no memory of its own.

use std::fmt;

use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sequence that is read as a whole, and written as it is made.
pub enum Sequence<'a, T> {
    /// Read.
    Whole(Vec<T>),
    /// To be written: how many there are, and each of them.
    Made(usize, Box<dyn Fn() -> Box<dyn Iterator<Item = T> + 'a> + 'a>),
}

impl<'a, T> Sequence<'a, T> {
    /// A sequence to be written, of `len` elements.
    pub fn made<I: Iterator<Item = T> + 'a>(len: usize, each: impl Fn() -> I + 'a) -> Self {
        Self::Made(len, Box::new(move || Box::new(each())))
    }

    /// All elements.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        match self {
            Self::Whole(all) => all,
            Self::Made(_, each) => each().collect(),
        }
    }
}

impl<T> fmt::Debug for Sequence<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = match self {
            Self::Whole(all) => all.len(),
            Self::Made(len, _) => *len,
        };
        write!(f, "{len} elements")
    }
}

impl<T: Serialize> Serialize for Sequence<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(all) => all.serialize(serializer),
            Self::Made(len, each) => {
                let mut sequence = serializer.serialize_seq(Some(*len))?;
                for element in each() {
                    sequence.serialize_element(&element)?;
                }
                sequence.end()
            }
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sequence<'_, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::Whole)
    }
}
