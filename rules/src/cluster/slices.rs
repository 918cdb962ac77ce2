//! EndpointSlices, indexed by their own name and by their Service.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::mem;

use crate::cluster::compact::compact;
use crate::cluster::{EndpointSlice, NamespacedName};

/// EndpointSlices by identity. Those of one Service are found at a cost that does not depend on
/// how many others there are.
#[derive(Debug, Clone, Default)]
pub struct Slices {
    by_name: BTreeMap<NamespacedName, EndpointSlice>,
    /// Each Service with the identity of each of its slices, in order.
    of_service: BTreeSet<(NamespacedName, NamespacedName)>,
}

impl Slices {
    /// Inserts a slice, and returns the one that it replaces, which may be of another Service.
    pub fn insert(&mut self, name: NamespacedName, slice: EndpointSlice) -> Option<EndpointSlice> {
        let before = self.remove(&name);
        self.of_service.insert((slice.service.clone(), name.clone()));
        self.by_name.insert(name, slice);
        before
    }

    /// Takes a slice out.
    pub fn remove(&mut self, name: &NamespacedName) -> Option<EndpointSlice> {
        let slice = self.by_name.remove(name)?;
        self.of_service.remove(&(slice.service.clone(), name.clone()));
        Some(slice)
    }

    /// Takes no more memory than is needed for so many, once many have been put in.
    pub fn compact(&mut self) {
        compact(&mut self.by_name);
        self.of_service = mem::take(&mut self.of_service).into_iter().collect();
    }

    /// The slice of this identity.
    pub fn get(&self, name: &NamespacedName) -> Option<&EndpointSlice> {
        self.by_name.get(name)
    }

    /// Whether there is a slice of this identity.
    pub fn contains_key(&self, name: &NamespacedName) -> bool {
        self.by_name.contains_key(name)
    }

    /// A Service's name as its slices have it, if it has any: that text is in memory.
    pub fn name_of(&self, service: &NamespacedName) -> Option<&NamespacedName> {
        self.pairs_of(service).next().map(|(name, _)| name)
    }

    /// A Service's slices, ordered by their own names.
    pub fn of(&self, service: &NamespacedName) -> Vec<&EndpointSlice> {
        self.pairs_of(service).filter_map(|(_, name)| self.by_name.get(name)).collect()
    }

    fn pairs_of(
        &self,
        service: &NamespacedName,
    ) -> impl Iterator<Item = &(NamespacedName, NamespacedName)> {
        let from = (service.clone(), NamespacedName::least());
        self.of_service.range(from..).take_while(move |(of, _)| of == service)
    }

    /// The Services that have a slice, in order. They need not exist.
    pub fn services(&self) -> impl Iterator<Item = &NamespacedName> {
        let mut last = None;
        let services = self.of_service.iter().map(|(service, _)| service);
        services.filter(move |service| last.replace(*service) != Some(*service))
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
