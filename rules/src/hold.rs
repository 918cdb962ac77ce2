//! Keeping a transaction away from Services that are set aside.
//!
//! What the kernel has of such a Service stays as it is, whatever that is: it was good once, and it
//! is better than nothing. What that is shows where a transaction would delete it: sets and chains
//! of its own have its name in theirs, and destinations in their comment. What several Services
//! share stays too, since what is kept may need it.

use std::collections::HashSet;

use crate::cluster::{Family, NamespacedName};
use crate::compile::{Fragment, learning, names};
use crate::nft::{Element, Name, RawKey};
use crate::pieces::owner;
use crate::transaction::{Action, Operation, Transaction};

/// What belongs to Services that are set aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Namespaces and names, as names of chains and comments have them.
    services: HashSet<String>,
    /// Destinations as the keys of verdict maps have them: with an address, or a node port.
    destinations: HashSet<(Family, RawKey)>,
}

impl Held {
    /// Nothing is known of this Service but its name.
    pub(crate) fn of(name: &NamespacedName) -> Self {
        Self { services: [name.to_string()].into(), destinations: HashSet::new() }
    }

    /// Whether nothing is set aside.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Adds what belongs to others.
    pub fn merge(&mut self, other: &Held) {
        self.services.extend(other.services.iter().cloned());
        self.destinations.extend(other.destinations.iter().copied());
    }

    /// Adds what a Service would add to a table.
    pub(crate) fn add(&mut self, family: Family, fragment: &Fragment) {
        let slotless = fragment.elements.iter().filter(|(map, ..)| !map.has_slots());
        self.destinations.extend(slotless.map(|(_, key, _)| (family, *key)));
    }

    /// The transaction without all that would take something away from these Services.
    pub fn keep_from(&self, mut transaction: Transaction) -> Transaction {
        if self.is_empty() {
            return transaction;
        }
        let kept = self.kept(&transaction);
        transaction.operations.retain_mut(|operation| self.allows(operation, &kept));
        transaction
    }

    /// Whether a transaction makes or deletes chains or sets that Services share. What the kernel
    /// has of these is not known while Services are set aside of which it is not known what they
    /// have there.
    pub fn concerns(&self, transaction: &Transaction) -> bool {
        let is_shared = |action: &Action| match action {
            Action::AddSet { name, .. }
            | Action::DeleteSet { name, .. }
            | Action::AddChain { name, .. }
            | Action::DeleteChain { name, .. } => owner(name).is_none(),
            _ => false,
        };
        !self.is_empty() && transaction.operations.iter().any(|it| is_shared(&it.action))
    }

    /// The destinations that are these Services' and that no other comes to have, and what goes in
    /// any case.
    fn kept(&self, transaction: &Transaction) -> Kept {
        let mut destinations = self.destinations.clone();
        for Operation { family, action } in &transaction.operations {
            if let Action::DeleteElements { set, elements, .. } = action {
                let own = elements.iter().filter(|(_, element)| self.has(element));
                let found = own.filter_map(|(key, _)| destination(set, key));
                destinations.extend(found.map(|key| (*family, key)));
            }
        }
        for Operation { family, action } in &transaction.operations {
            if let Action::AddElements { set, elements, .. } = action {
                for key in elements.keys().filter_map(|key| destination(set, key)) {
                    destinations.remove(&(*family, key));
                }
            }
        }
        let addresses = destinations.iter().filter_map(|(family, key)| {
            let length = match family {
                Family::Ipv4 => 4,
                Family::Ipv6 => 16,
            };
            Some((*family, RawKey::from_bytes(key.as_bytes().get(..length)?)?))
        });
        let chains =
            transaction.operations.iter().filter_map(|Operation { family, action }| match action {
                Action::DeleteChain { name, base: Some(_), .. } => Some((*family, name.clone())),
                _ => None,
            });
        let learning = learning();
        let is_foreign = |(_, name): &(Family, Name)| !learning.chains.contains_key(name);
        let foreign = chains.filter(is_foreign).collect();
        Kept { addresses: addresses.collect(), destinations, foreign }
    }

    /// Whether an element has the name of one of these Services for a comment, and a port's behind
    /// it.
    fn has(&self, element: &Element) -> bool {
        let comment = element.comment.as_deref().unwrap_or_default();
        comment.split(':').next().is_some_and(|service| self.services.contains(service))
    }

    fn allows(&self, Operation { family, action }: &mut Operation, kept: &Kept) -> bool {
        let is_anothers = |name: &Name| owner(name).is_some_and(|it| !self.services.contains(&it));
        match action {
            Action::DeleteSet { name, .. } => is_anothers(name),
            Action::DeleteChain { name, .. } => is_anothers(name) || kept.is_foreign(*family, name),
            // Emptied only to be deleted.
            Action::ReplaceRules { chain, new, .. } => {
                !new.is_empty() || is_anothers(chain) || kept.is_foreign(*family, chain)
            }
            Action::DeleteElements { set, elements, .. } => {
                elements.retain(|key, _| !kept.has(*family, set, key));
                !elements.is_empty()
            }
            Action::AddTable { .. }
            | Action::DeleteTable { .. }
            | Action::AddSet { .. }
            | Action::AddChain { .. }
            | Action::AddElements { .. } => true,
        }
    }
}

/// Destinations of which nothing goes.
struct Kept {
    destinations: HashSet<(Family, RawKey)>,
    /// Their addresses.
    addresses: HashSet<(Family, RawKey)>,
    /// Base chains that go, to which no element can lead: others have made them.
    foreign: HashSet<(Family, Name)>,
}

impl Kept {
    fn is_foreign(&self, family: Family, chain: &Name) -> bool {
        self.foreign.contains(&(family, chain.clone()))
    }

    fn has(&self, family: Family, set: &Name, key: &RawKey) -> bool {
        match set.as_str() {
            // It is not known whose endpoints these are.
            names::HAIRPIN_CONNECTIONS => true,
            names::CLUSTER_IPS => self.addresses.contains(&(family, *key)),
            _ => {
                destination(set, key).is_some_and(|key| self.destinations.contains(&(family, key)))
            }
        }
    }
}

/// The destination that an element is about, in a map that has such.
fn destination(set: &Name, key: &RawKey) -> Option<RawKey> {
    let bytes = key.as_bytes();
    match set.as_str() {
        names::ENDPOINTS | names::NODEPORT_ENDPOINTS => {
            RawKey::from_bytes(bytes.get(..bytes.len().checked_sub(4)?)?)
        }
        names::SERVICES
        | names::NO_ENDPOINT_SERVICES
        | names::NODEPORTS
        | names::NO_ENDPOINT_NODEPORTS
        | names::FIREWALL_IPS
        | names::AFFINITY_SERVICES
        | names::AFFINITY_NODEPORTS => Some(*key),
        _ => None,
    }
}
