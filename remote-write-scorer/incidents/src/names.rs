//! Sorted names, found in order.
//!
//! A step's services and edges come sorted, and so is what is known of them: looking each up costs one
//! comparison, that of a shared string with itself. What comes out of order is searched for.

use core::cmp::Ordering;

/// Finds keys in a sorted list without doubles.
pub(crate) struct Cursor<'a, T, K> {
    list: &'a [T],
    key: fn(&T) -> &K,
    /// Where the next key is expected.
    at: usize,
}

impl<'a, T, K: Ord> Cursor<'a, T, K> {
    pub(crate) fn new(list: &'a [T], key: fn(&T) -> &K) -> Self {
        Self { list, key, at: 0 }
    }

    /// The place of `wanted`.
    pub(crate) fn find(&mut self, wanted: &K) -> Option<usize> {
        let next = self.list.get(self.at);
        // Equal keys share their strings as a rule, which is seen without reading them.
        if next.is_some_and(|next| (self.key)(next) == wanted) {
            self.at += 1;
            return Some(self.at - 1);
        }
        let after = next.is_none_or(|next| (self.key)(next).cmp(wanted) == Ordering::Greater);
        let before = self.at == 0 || (self.key)(&self.list[self.at - 1]).cmp(wanted) == Ordering::Less;
        if after && before {
            return None;
        }
        match self.list.binary_search_by(|entry| (self.key)(entry).cmp(wanted)) {
            Ok(at) => {
                self.at = at + 1;
                Some(at)
            }
            Err(at) => {
                self.at = at;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_any_order_and_with_gaps() {
        let list = [1, 3, 5, 7, 9];
        for keys in [vec![1, 3, 5, 7, 9], vec![0, 1, 2, 3, 9, 10], vec![9, 9, 1, 1, 6, 5], vec![]] {
            let mut cursor = Cursor::new(&list, |key| key);
            for key in keys {
                assert_eq!(cursor.find(&key), list.binary_search(&key).ok(), "{key}");
            }
        }
    }
}
