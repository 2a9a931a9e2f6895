//! A table that is looked up by hash with the same work whether what is asked for is there or not.
//!
//! Responsible for the search. Not responsible for hashing, nor for what a caller does with what is found.
//!
//! A tree would end early where it finds a hash, and lead to an entry that nothing else reads. Here every search takes as many
//! steps, and comes upon an entry in any case: the one that is asked for, or the one that it would stand before. Whoever works
//! with that entry, and only then asks whether it is the one, has done the same for both.

use alloc::vec::Vec;

use subtle::ConstantTimeEq;

/// Entries by their hashes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ByHash<T> {
    /// Sorted by hash, each hash once.
    entries: Vec<([u8; 32], T)>,
}

impl<T> Default for ByHash<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

/// Of entries with the same hash the first counts.
impl<T> FromIterator<([u8; 32], T)> for ByHash<T> {
    fn from_iter<I: IntoIterator<Item = ([u8; 32], T)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        // A stable sort, so that the first of equals stays the first.
        entries.sort_by_key(|(hash, _)| *hash);
        entries.dedup_by_key(|(hash, _)| *hash);
        Self { entries }
    }
}

impl<T> ByHash<T> {
    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry, unless there is one of this hash.
    pub(super) fn add(&mut self, hash: [u8; 32], entry: T) {
        let at = self.place(&hash);
        if self.entries.get(at).is_none_or(|(held, _)| *held != hash) {
            self.entries.insert(at, (hash, entry));
        }
    }

    /// Keeps those that `keep` says.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.entries.retain(|(_, entry)| keep(entry));
    }

    /// The entry of this hash, or else some other one, and whether it is the one. `None` only when there are no entries.
    pub(super) fn nearest(&self, hash: &[u8; 32]) -> Option<(&T, bool)> {
        let last = self.entries.len().checked_sub(1)?;
        let (held, entry) = self.entries.get(self.place(hash).min(last))?;
        Some((entry, held.ct_eq(hash).into()))
    }

    /// Where this hash is, or would be.
    fn place(&self, hash: &[u8; 32]) -> usize {
        self.entries
            .partition_point(|(held, _)| precedes(held, hash))
    }
}

/// Whether one hash is sorted before the other, without a branch that says how much of them is equal.
fn precedes(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let ([one_high, one_low], [other_high, other_low]) = (halves(one), halves(other));
    (one_high < other_high) | ((one_high == other_high) & (one_low < other_low))
}

fn halves(hash: &[u8; 32]) -> [u128; 2] {
    let (halves, _) = hash.as_chunks::<16>();
    match halves {
        [high, low] => [u128::from_be_bytes(*high), u128::from_be_bytes(*low)],
        _ => [0; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash that begins and ends so.
    fn hash(first: u8, last: u8) -> [u8; 32] {
        let mut hash = [7; 32];
        hash[0] = first;
        hash[31] = last;
        hash
    }

    fn table() -> ByHash<u8> {
        let entries = [(hash(5, 1), 1), (hash(2, 9), 2), (hash(5, 2), 3)];
        entries.into_iter().chain([(hash(2, 9), 4)]).collect()
    }

    #[test]
    fn what_is_there_is_found_and_of_two_the_first() {
        let table = table();
        assert_eq!(table.len(), 3);
        assert_eq!(table.nearest(&hash(5, 1)), Some((&1, true)));
        assert_eq!(table.nearest(&hash(5, 2)), Some((&3, true)));
        assert_eq!(table.nearest(&hash(2, 9)), Some((&2, true)));
    }

    /// what is not there comes upon an entry too, so that the same can be done with it.
    #[test]
    fn what_is_not_there_comes_upon_another() {
        let table = table();
        for absent in [
            hash(0, 0),
            hash(2, 8),
            hash(5, 0),
            hash(5, 3),
            hash(255, 255),
        ] {
            let found = table.nearest(&absent);
            assert!(matches!(found, Some((_, false))), "{absent:?}: {found:?}");
        }
        assert_eq!(ByHash::<u8>::default().nearest(&hash(0, 0)), None);
    }

    #[test]
    fn the_order_is_that_of_the_bytes() {
        let hashes = [
            hash(0, 0),
            hash(0, 1),
            hash(1, 0),
            hash(128, 0),
            hash(128, 255),
        ];
        for (place, one) in hashes.iter().enumerate() {
            for (other_place, other) in hashes.iter().enumerate() {
                assert_eq!(precedes(one, other), place < other_place);
                assert_eq!(one < other, place < other_place);
            }
        }
    }

    #[test]
    fn an_entry_is_added_once_and_kept_as_it_is_told() {
        let mut table = table();
        table.add(hash(3, 3), 9);
        table.add(hash(5, 1), 8);
        assert_eq!(table.nearest(&hash(3, 3)), Some((&9, true)));
        assert_eq!(table.nearest(&hash(5, 1)), Some((&1, true)));
        table.retain(|entry| *entry > 2);
        assert_eq!((table.len(), table.is_empty()), (2, false));
        assert!(ByHash::<u8>::default().is_empty());
        assert!(matches!(table.nearest(&hash(5, 1)), Some((_, false))));
    }
}
