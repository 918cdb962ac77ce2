//! EndpointSlices, found by their own identity and by that of their Service.

use std::collections::{BTreeMap, btree_map};

use crate::cluster::{EndpointSlice, NamespacedName};

/// EndpointSlices by identity. Those of one Service are found at a cost that does not depend on
/// how many others there are.
#[derive(Debug, Clone, Default)]
pub struct Slices {
    by_name: BTreeMap<NamespacedName, EndpointSlice>,
    /// The identities of each Service's slices, in order. A Service without a slice is not there.
    of_service: BTreeMap<NamespacedName, Vec<NamespacedName>>,
}

impl Slices {
    /// Puts a slice in, and gives the one that it replaces, which may be of another Service.
    pub fn insert(&mut self, name: NamespacedName, slice: EndpointSlice) -> Option<EndpointSlice> {
        let before = self.remove(&name);
        // Most Services have one slice; a vector that grows by itself begins with room for four.
        let names =
            self.of_service.entry(slice.service.clone()).or_insert_with(|| Vec::with_capacity(1));
        if let Err(index) = names.binary_search(&name) {
            names.insert(index, name.clone());
        }
        self.by_name.insert(name, slice);
        before
    }

    /// Takes a slice out.
    pub fn remove(&mut self, name: &NamespacedName) -> Option<EndpointSlice> {
        let slice = self.by_name.remove(name)?;
        if let Some(names) = self.of_service.get_mut(&slice.service) {
            names.retain(|other| other != name);
            if names.is_empty() {
                self.of_service.remove(&slice.service);
            }
        }
        Some(slice)
    }

    /// The slice of this identity.
    pub fn get(&self, name: &NamespacedName) -> Option<&EndpointSlice> {
        self.by_name.get(name)
    }

    /// Whether there is a slice of this identity.
    pub fn contains_key(&self, name: &NamespacedName) -> bool {
        self.by_name.contains_key(name)
    }

    /// A Service's slices, ordered by their own names.
    pub fn of(&self, service: &NamespacedName) -> Vec<&EndpointSlice> {
        let names = self.of_service.get(service).map_or(&[][..], Vec::as_slice);
        names.iter().filter_map(|name| self.by_name.get(name)).collect()
    }

    /// The Services that have a slice, in order. They need not exist.
    pub fn services(&self) -> impl Iterator<Item = &NamespacedName> {
        self.of_service.keys()
    }

    /// All slices with their identities, in the order of these.
    pub fn iter(&self) -> btree_map::Iter<'_, NamespacedName, EndpointSlice> {
        self.by_name.iter()
    }

    /// The identities of all slices, in order.
    pub fn keys(&self) -> btree_map::Keys<'_, NamespacedName, EndpointSlice> {
        self.by_name.keys()
    }

    /// All slices, in the order of their identities.
    pub fn values(&self) -> btree_map::Values<'_, NamespacedName, EndpointSlice> {
        self.by_name.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// The index by Service follows from the slices.
impl PartialEq for Slices {
    fn eq(&self, other: &Self) -> bool {
        self.by_name == other.by_name
    }
}

impl Eq for Slices {}

impl FromIterator<(NamespacedName, EndpointSlice)> for Slices {
    fn from_iter<I: IntoIterator<Item = (NamespacedName, EndpointSlice)>>(slices: I) -> Self {
        let mut all = Self::default();
        for (name, slice) in slices {
            all.insert(name, slice);
        }
        all
    }
}

impl<const N: usize> From<[(NamespacedName, EndpointSlice); N]> for Slices {
    fn from(slices: [(NamespacedName, EndpointSlice); N]) -> Self {
        slices.into_iter().collect()
    }
}

impl IntoIterator for Slices {
    type Item = (NamespacedName, EndpointSlice);
    type IntoIter = btree_map::IntoIter<NamespacedName, EndpointSlice>;

    fn into_iter(self) -> Self::IntoIter {
        self.by_name.into_iter()
    }
}

impl<'a> IntoIterator for &'a Slices {
    type Item = (&'a NamespacedName, &'a EndpointSlice);
    type IntoIter = btree_map::Iter<'a, NamespacedName, EndpointSlice>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
