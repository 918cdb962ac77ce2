//! Keeping a transaction away from Services that are set aside.
//!
//! What the kernel has of such a Service stays as it is, whatever that is: it was good once, and it
//! is better than nothing.

use std::collections::HashSet;

use crate::cluster::Family;
use crate::compile::{Fragment, names};
use crate::nft::{Name, RawKey};
use crate::transaction::{Action, Operation, Transaction};

/// What belongs to Services that are set aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Destinations as the keys of verdict maps have them: with an address, or a node port.
    destinations: HashSet<(Family, RawKey)>,
    /// Sets and chains.
    objects: HashSet<(Family, Name)>,
}

impl Held {
    /// Whether nothing is set aside.
    pub fn is_empty(&self) -> bool {
        self.destinations.is_empty() && self.objects.is_empty()
    }

    /// Adds what belongs to others.
    pub fn merge(&mut self, other: &Held) {
        self.destinations.extend(other.destinations.iter().copied());
        self.objects.extend(other.objects.iter().cloned());
    }

    /// Adds what a Service would add to a table.
    pub(crate) fn add(&mut self, family: Family, fragment: &Fragment) {
        let slotless = fragment.elements.iter().filter(|(map, ..)| !map.has_slots());
        self.destinations.extend(slotless.map(|(_, key, _)| (family, *key)));
        let ips = fragment.shared.iter().filter(|(map, _)| map.name() == names::CLUSTER_IPS);
        self.destinations.extend(ips.map(|(_, key)| (family, *key)));
        if let Some(own) = &fragment.own {
            let names = own.sets.keys().chain(own.chains.keys());
            self.objects.extend(names.map(|name| (family, name.clone())));
        }
    }

    /// The transaction without all that concerns these Services. Chains that go stay then, since
    /// what is kept may lead to them.
    pub fn keep_from(&self, mut transaction: Transaction) -> Transaction {
        if self.is_empty() {
            return transaction;
        }
        transaction.operations.retain_mut(|operation| self.allows(operation));
        transaction
    }

    fn allows(&self, Operation { family, action }: &mut Operation) -> bool {
        let is_free = |name: &Name| !self.objects.contains(&(*family, name.clone()));
        match action {
            Action::DeleteChain { .. } => false,
            // Emptied only to be deleted.
            Action::ReplaceRules { chain, new, .. } => !new.is_empty() && is_free(chain),
            Action::AddSet { name, .. }
            | Action::DeleteSet { name, .. }
            | Action::AddChain { name, .. } => is_free(name),
            Action::AddElements { set, elements, .. }
            | Action::DeleteElements { set, elements, .. } => {
                elements.retain(|key, _| {
                    let destination = destination(set, key);
                    destination.is_none_or(|key| !self.destinations.contains(&(*family, key)))
                });
                !elements.is_empty() && is_free(set)
            }
            Action::AddTable { .. } | Action::DeleteTable { .. } => true,
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
        | names::AFFINITY_NODEPORTS
        | names::CLUSTER_IPS => Some(*key),
        _ => None,
    }
}
