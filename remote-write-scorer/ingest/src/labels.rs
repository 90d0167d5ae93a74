//! The labels of a scope's series, by handle: what describes them in the log and in a snapshot.
//!
//! Each text is held once and numbered; a series is the numbers of its names and values in turn, as varints, which
//! takes about four bytes per label. The number of a text that no series has any more is given to the next one.
//!
//! What a segment of the log was told is remembered here too: one bit per series and per text.

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use quoll_features::Sequence;
use quoll_prometheus_protocol::decode;
use quoll_prometheus_protocol::encode::put_varint;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::log::record::Description;

/// The labels of one scope's series.
#[derive(Debug, Default)]
pub(crate) struct LabelStore {
    texts: Vec<Text>,
    free: Vec<u32>,
    /// Numbers of texts, by text.
    index: HashTable<u32>,
    hasher: RandomState,
    /// By series handle; empty where the handle was not bound through here.
    series: Vec<Box<[u8]>>,
    known: usize,
    told_texts: Bits,
    told_series: Bits,
}

#[derive(Debug)]
struct Text {
    text: Box<str>,
    /// How often the series have it.
    uses: u32,
}

/// One bit for each of the first numbers; false beyond.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    #[inline]
    fn has(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    fn set(&mut self, number: u32, on: bool) {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if on {
            if self.0.len() <= word {
                self.0.resize(word + 1, 0);
            }
            self.0[word] |= bit;
        } else if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }
}

/// The numbers of a series' names and values.
pub(crate) fn numbers(packed: &[u8]) -> impl Iterator<Item = u32> + '_ {
    decode::v2::refs(packed).map_while(|number| u32::try_from(number.ok()?).ok())
}

impl LabelStore {
    /// Series that have labels here.
    pub(crate) fn len(&self) -> usize {
        self.known
    }

    /// Keeps the labels of a series, unless it has some already.
    pub(crate) fn set(&mut self, series: u32, labels: &[(&str, &str)]) {
        let at = series as usize;
        if self.series.len() <= at {
            // By an eighth: doubling would leave up to half of it unused.
            if self.series.capacity() <= at {
                self.series.reserve_exact(at + 1 - self.series.len() + self.series.len() / 8);
            }
            self.series.resize_with(at + 1, Box::default);
        }
        if !self.series[at].is_empty() || labels.is_empty() {
            return;
        }
        let mut packed = Vec::with_capacity(5 * labels.len());
        for text in labels.iter().flat_map(|&(name, value)| [name, value]) {
            put_varint(&mut packed, u64::from(self.intern(text)));
        }
        self.series[at] = packed.into_boxed_slice();
        self.known += 1;
    }

    /// Drops the labels of a series.
    pub(crate) fn forget(&mut self, series: u32) {
        let Some(packed) = self.series.get_mut(series as usize).map(std::mem::take).filter(|of| !of.is_empty()) else {
            return;
        };
        self.told_series.set(series, false);
        self.known -= 1;
        for number in numbers(&packed) {
            self.release(number);
        }
    }

    /// Handles given so far lie below this.
    pub(crate) fn handles(&self) -> usize {
        self.series.len()
    }

    fn intern(&mut self, text: &str) -> u32 {
        let Self { texts, index, hasher, .. } = self;
        let hash = hasher.hash_one(text);
        let found = index.find(hash, |&number| texts.get(number as usize).is_some_and(|known| *known.text == *text));
        if let Some(&number) = found {
            texts[number as usize].uses += 1;
            return number;
        }
        let new = Text { text: text.into(), uses: 1 };
        let number = match self.free.pop() {
            Some(number) => {
                texts[number as usize] = new;
                number
            }
            None => {
                texts.push(new);
                // Four billion texts do not fit in memory first.
                u32::try_from(texts.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let hash_of = |&number: &u32| hasher.hash_one(texts.get(number as usize).map_or("", |known| &*known.text));
        index.insert_unique(hash, number, hash_of);
        number
    }

    fn release(&mut self, number: u32) {
        let Some(known) = self.texts.get_mut(number as usize) else { return };
        known.uses -= 1;
        if known.uses > 0 {
            return;
        }
        let text = std::mem::take(&mut known.text);
        if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(&*text), |&other| other == number) {
            entry.remove();
        }
        self.told_texts.set(number, false);
        self.free.push(number);
    }

    /// A new segment was begun: it knows nothing yet.
    pub(crate) fn begin_segment(&mut self) {
        self.told_texts.0.clear();
        self.told_series.0.clear();
    }

    /// Whether the segment knows this series.
    #[inline]
    pub(crate) fn told(&self, series: u32) -> bool {
        self.told_series.has(series)
    }

    /// Hands over what the segment needs to know before this series is used in it.
    pub(crate) fn tell(&mut self, series: u32, mut put: impl FnMut(Description<'_>)) {
        let Some(packed) = self.series.get(series as usize).filter(|packed| !packed.is_empty()) else { return };
        for number in numbers(packed) {
            if !self.told_texts.has(number)
                && let Some(known) = self.texts.get(number as usize)
            {
                self.told_texts.set(number, true);
                put(Description::Text { number, text: &known.text });
            }
        }
        self.told_series.set(series, true);
        put(Description::Series { series, packed });
    }

    /// As they are, to be stored.
    pub(crate) fn store(&self) -> StoredLabels<'_> {
        let texts = || {
            let used = (0..).zip(&self.texts).filter(|(_, known)| known.uses > 0);
            used.map(|(number, known)| (number, Cow::Borrowed(&*known.text)))
        };
        let series = || {
            let known = (0..).zip(&self.series).filter(|(_, packed)| !packed.is_empty());
            known.map(|(series, packed)| (series, Packed(Cow::Borrowed(&**packed))))
        };
        StoredLabels { texts: Sequence::made(self.index.len(), texts), series: Sequence::made(self.known, series) }
    }
}

/// The labels of a scope's series, as stored: both sequences by ascending number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredLabels<'a> {
    texts: Sequence<'a, (u32, Cow<'a, str>)>,
    series: Sequence<'a, (u32, Packed<'a>)>,
}

/// The same, read back.
#[derive(Debug)]
pub(crate) struct RestoredLabels<'a> {
    texts: Vec<(u32, Cow<'a, str>)>,
    series: Vec<(u32, Packed<'a>)>,
}

impl<'a> StoredLabels<'a> {
    pub(crate) fn restore(self) -> RestoredLabels<'a> {
        RestoredLabels { texts: self.texts.into_vec(), series: self.series.into_vec() }
    }
}

impl RestoredLabels<'_> {
    /// The labels of a series.
    pub(crate) fn of(&self, series: u32) -> Option<Vec<(&str, &str)>> {
        let found = self.series.binary_search_by_key(&series, |(series, _)| *series).ok()?;
        let (_, packed) = self.series.get(found)?;
        in_pairs(numbers(&packed.0), |number| {
            let found = self.texts.binary_search_by_key(&number, |(number, _)| *number).ok()?;
            self.texts.get(found).map(|(_, text)| &**text)
        })
    }
}

/// Names and values from numbers; `None` where one stands for nothing.
pub(crate) fn in_pairs<'a>(
    mut numbers: impl Iterator<Item = u32>,
    text: impl Fn(u32) -> Option<&'a str>,
) -> Option<Vec<(&'a str, &'a str)>> {
    let mut labels = Vec::new();
    while let Some(name) = numbers.next() {
        labels.push((text(name)?, text(numbers.next()?)?));
    }
    Some(labels)
}

/// Bytes as a whole, not one by one.
#[derive(Debug)]
pub(crate) struct Packed<'a>(Cow<'a, [u8]>);

impl Serialize for Packed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Packed<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: &'de [u8] = Deserialize::deserialize(deserializer)?;
        Ok(Self(Cow::Owned(bytes.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const SOME: [(&str, &str); 2] = [("__name__", "up"), ("pod", "cart-1")];
    const OTHER: [(&str, &str); 2] = [("__name__", "up"), ("pod", "cart-2")];

    fn told(store: &mut LabelStore, series: u32) -> Vec<String> {
        let mut all = Vec::new();
        store.tell(series, |description| all.push(format!("{description:?}")));
        all
    }

    #[test]
    fn a_segment_is_told_each_text_once() {
        let mut store = LabelStore::default();
        store.set(0, &SOME);
        store.set(7, &OTHER);
        assert!(!store.told(0));
        assert_eq!(told(&mut store, 0).len(), 5);
        assert!(store.told(0) && !store.told(7));
        assert_eq!(told(&mut store, 7).len(), 2, "one text and the series");
        assert!(told(&mut store, 3).is_empty(), "nothing was bound there");
        store.begin_segment();
        assert!(!store.told(0));
        assert_eq!(told(&mut store, 7).len(), 5);
    }

    #[test]
    fn a_number_that_is_given_anew_is_told_anew() {
        let mut store = LabelStore::default();
        store.set(0, &SOME);
        told(&mut store, 0);
        store.forget(0);
        assert_eq!((store.len(), store.told(0)), (0, false));
        store.set(0, &OTHER);
        assert_eq!(told(&mut store, 0).len(), 5);
        assert_eq!(store.texts.len(), 4, "no number was wasted");
    }

    proptest! {
        /// Against a plain map, with series that come, go and come back under the same handle.
        #[test]
        fn labels_come_back_as_they_were_set(
            steps in proptest::collection::vec((0_u32..8, proptest::option::of((0..5, 0..5))), 1..80),
        ) {
            let (mut store, mut model) = (LabelStore::default(), HashMap::new());
            for (series, labels) in steps {
                match labels {
                    Some((a, b)) => {
                        let labels = [("a".to_owned(), format!("{a}")), ("b".to_owned(), format!("{b}"))];
                        store.set(series, &labels.each_ref().map(|(name, value)| (&**name, &**value)));
                        model.entry(series).or_insert(labels);
                    }
                    None => {
                        store.forget(series);
                        model.remove(&series);
                    }
                }
                prop_assert_eq!(store.len(), model.len());
                let stored = store.store().restore();
                for series in 0..8 {
                    let expected = model.get(&series).map(|labels| {
                        labels.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>()
                    });
                    prop_assert_eq!(stored.of(series), expected);
                }
            }
        }
    }
}
