//! Attributes a rejected object to its Services, and freezes quarantined ones.

use std::collections::HashSet;

use super::{Mirror, Plan, TableMirror, index};
use crate::cluster::{Family, NamespacedName};
use crate::compile::lists::list_of_client;
use crate::compile::{Entry, Fragment, Map, names};
use crate::nft::{Name, RawKey};
use crate::transaction::{Action, Operation};

/// Something in a table of which an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RejectedObject {
    /// An element of a set.
    Element(Name, RawKey),
    /// A set or chain, or a rule of the chain.
    Named(Name),
}

impl RejectedObject {
    /// What a part of an operation is about, as [`Operation::command`] counts them. Of elements the
    /// first stands for all.
    pub fn of(operation: &Operation, part: usize) -> Option<Self> {
        match &operation.action {
            Action::AddElements { set, elements, .. }
            | Action::DeleteElements { set, elements, .. } => {
                elements.keys().nth(part).map(|key| RejectedObject::Element(set.clone(), *key))
            }
            Action::AddSet { name, .. }
            | Action::DeleteSet { name, .. }
            | Action::AddChain { name, .. }
            | Action::DeleteChain { name, .. } => Some(RejectedObject::Named(name.clone())),
            Action::ReplaceRules { chain, .. } => Some(RejectedObject::Named(chain.clone())),
            Action::AddTable { .. } | Action::DeleteTable { .. } => None,
        }
    }
}

impl Fragment {
    fn needs(&self, object: &RejectedObject) -> bool {
        let has_own = |name: &Name| {
            let own = |table: &crate::nft::Table| {
                table.sets.contains_key(name) || table.chains.contains_key(name)
            };
            self.own.as_deref().is_some_and(own)
        };
        match object {
            RejectedObject::Element(set, key) => {
                let is_it = |name: &str, other: &RawKey| name == set.as_str() && other == key;
                self.elements.iter().any(|(map, other, _)| is_it(map.name(), other))
                    || self.shared.iter().any(|(map, other)| is_it(map.name(), other))
                    || has_own(set)
                    || set.as_str().starts_with(names::AFFINITY_CLIENTS)
                        && list_of_client(key)
                            .is_some_and(|list| self.client_lists().any(|other| other == list))
            }
            RejectedObject::Named(name) => {
                has_own(name) || self.balancers.iter().any(|balancer| balancer.name() == *name)
            }
        }
    }
}

impl Plan {
    /// The Services of this plan that need an object, or need it no longer.
    pub fn owners_of(
        &self,
        family: Family,
        object: &RejectedObject,
        before: &Mirror,
    ) -> Vec<NamespacedName> {
        let Some(table) = &self.tables[index(family)] else { return Vec::new() };
        let needed = |name: &NamespacedName| {
            let state = before.tables[index(family)].as_ref();
            state.is_some_and(|state| state.store.get(name).needs(object))
        };
        let users =
            table.fragments.iter().filter(|(name, after)| after.needs(object) || needed(name));
        // A Service that yields asks for nothing.
        let users = users.filter(|(name, _)| !before.frozen.contains(name));
        users.map(|(name, _)| name.clone()).collect()
    }
}

impl Mirror {
    /// The Services that need an object. This walks all fragments.
    pub fn owners_of(&self, family: Family, object: &RejectedObject) -> Vec<NamespacedName> {
        let store = self.tables[index(family)].iter().flat_map(|state| state.store.iter());
        let users = store.filter(|(_, fragment)| fragment.needs(object));
        users.map(|(name, _)| name.clone()).collect()
    }

    /// Freezes exactly these Services: they stay as they are, whatever changes.
    pub fn freeze(&mut self, services: HashSet<NamespacedName>) {
        self.frozen = services;
    }

    /// The fragments of frozen Services that have a destination which another comes to have.
    pub(super) fn yield_contested(
        &self,
        state: &TableMirror,
        others: &[(NamespacedName, Fragment)],
    ) -> Vec<(NamespacedName, Fragment)> {
        let frozen = self.frozen.iter().map(|name| (name, state.store.get(name)));
        let frozen = frozen.filter(|(_, fragment)| !fragment.is_empty());
        let frozen: Vec<_> = frozen.collect();
        if frozen.is_empty() {
            return Vec::new();
        }
        let elements = others.iter().flat_map(|(_, other)| &other.elements);
        let taken: HashSet<RawKey> =
            elements.filter_map(|(map, key, _)| destination(*map, key)).collect();
        let is_taken =
            |(map, key, _): &Entry| destination(*map, key).is_some_and(|it| taken.contains(&it));
        let concerned = frozen.into_iter().filter(|(_, of)| of.elements.iter().any(is_taken));
        let kept = concerned.map(|(name, mut fragment)| {
            let elements = fragment.elements.into_iter().filter(|entry| !is_taken(entry));
            fragment.elements = elements.collect();
            (name.clone(), fragment)
        });
        kept.collect()
    }

    /// Drops a Service from the mirror until it changes again.
    pub fn forget(&mut self, name: &NamespacedName) {
        let states = self.tables.iter_mut().flatten();
        states.for_each(|state| state.put(name.clone(), Fragment::default()));
    }
}

/// The destination that an element is about: its key, without the slot.
pub(super) fn destination(map: Map, key: &RawKey) -> Option<RawKey> {
    let bytes = key.as_bytes();
    let length = if map.has_slots() { bytes.len().checked_sub(4)? } else { bytes.len() };
    RawKey::from_bytes(&bytes[..length])
}
