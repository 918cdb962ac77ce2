//! Stores the fragment of every Service, encoded, in one buffer.
//!
//! Fragments live as long as their Service, and most are about a hundred bytes. An allocation for each would
//! cost a third more memory.

use std::collections::HashMap;

use super::codec::{pack, unpack};
use crate::cluster::NamespacedName;
use crate::compile::Fragment;
use crate::nft::Table;

/// How much garbage the buffer may always hold before it is compacted, in bytes.
const FEW: usize = 64 * 1024;

/// Fragments by Service; none that is empty.
#[derive(Debug, Clone, Default)]
pub(super) struct FragmentStore {
    places: HashMap<NamespacedName, ByteRange>,
    bytes: Vec<u8>,
    /// How many of the bytes belong to no fragment any more.
    garbage: usize,
    /// Rare records, which have no encoding.
    rest: HashMap<NamespacedName, Fragment>,
}

/// Where the bytes of one fragment are.
#[derive(Debug, Clone, Copy)]
struct ByteRange {
    start: u32,
    length: u32,
}

impl ByteRange {
    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..][..self.length as usize]
    }
}

impl FragmentStore {
    pub(super) fn contains(&self, name: &NamespacedName) -> bool {
        self.places.contains_key(name)
    }

    /// About how many elements a Service adds: an endpoint's record is some ten bytes long.
    pub(super) fn estimated_elements(&self, name: &NamespacedName) -> usize {
        self.places.get(name).map_or(0, |place| place.length as usize / 10)
    }

    /// A Service's fragment.
    pub(super) fn get(&self, name: &NamespacedName) -> Fragment {
        self.places.get(name).map(|place| self.unpack(name, *place)).unwrap_or_default()
    }

    /// Has a Service add something else.
    pub(super) fn replace(&mut self, name: NamespacedName, fragment: Fragment) {
        if let Some(place) = self.places.remove(&name) {
            self.garbage += place.length as usize;
            self.rest.remove(&name);
        }
        if !fragment.is_empty() {
            let start = self.bytes.len();
            let rest = pack(fragment, &mut self.bytes);
            if !rest.is_empty() {
                self.rest.insert(name.clone(), rest);
            }
            let number = |bytes: usize| {
                u32::try_from(bytes).expect("all fragments together have less than 4 GiB")
            };
            let place =
                ByteRange { start: number(start), length: number(self.bytes.len() - start) };
            self.places.insert(name, place);
        }
        if self.garbage > FEW.max(self.bytes.len() / 4) {
            self.compact();
        }
    }

    /// The Services.
    pub(super) fn names(&self) -> impl Iterator<Item = &NamespacedName> {
        self.places.keys()
    }

    /// What each Service adds.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&NamespacedName, Fragment)> {
        self.places.iter().map(|(name, place)| (name, self.unpack(name, *place)))
    }

    /// The sets and chains that each has of its own, if it has any.
    pub(super) fn own(&self) -> impl Iterator<Item = &Table> {
        self.rest.values().filter_map(|rest| rest.own.as_deref())
    }

    fn unpack(&self, name: &NamespacedName, place: ByteRange) -> Fragment {
        let rest = self.rest.get(name).cloned().unwrap_or_default();
        unpack(place.of(&self.bytes), rest)
    }

    fn compact(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.garbage);
        for place in self.places.values_mut() {
            let start = bytes.len() as u32;
            bytes.extend(place.of(&self.bytes));
            place.start = start;
        }
        (self.bytes, self.garbage) = (bytes, 0);
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
