//! Tracks which differences of the tables weir's own commits explain.

use std::collections::{BTreeMap, BTreeSet};

use weir_rules::cluster::Family;
use weir_rules::compile::names;
use weir_rules::nft::{Name, RawKey};
use weir_rules::transaction::{Action, Operation, Transaction};

/// What weir's own changes since the kernel was last equal may have made different from what is desired: what
/// the cluster has come to ask for, and commits of which nobody knows whether they were made.
#[derive(Debug, Default)]
pub(super) struct Explained {
    tables: BTreeMap<Family, ExplainedTable>,
}

#[derive(Debug, Default)]
struct ExplainedTable {
    /// All of it: the table is made or goes.
    is_all: bool,
    /// Sets and chains, and the rules of these.
    named: BTreeSet<Name>,
    elements: BTreeMap<Name, BTreeSet<RawKey>>,
}

impl Explained {
    /// Adds a transaction of weir's own, if it is committed in full.
    pub(super) fn add(&mut self, change: &Transaction) {
        for Operation { family, action } in &change.operations {
            let table = self.tables.entry(*family).or_default();
            match action {
                Action::AddTable { .. } | Action::DeleteTable { .. } => table.is_all = true,
                Action::AddSet { name, .. }
                | Action::DeleteSet { name, .. }
                | Action::AddChain { name, .. }
                | Action::DeleteChain { name, .. }
                | Action::ReplaceRules { chain: name, .. } => {
                    table.named.insert(name.clone());
                }
                Action::AddElements { set, elements, .. }
                | Action::DeleteElements { set, elements, .. } => {
                    let known = table.elements.entry(set.clone()).or_default();
                    known.extend(elements.keys().map(|key| place(set, key)));
                }
            }
        }
    }

    /// The kernel is equal: from now on nothing is explained.
    pub(super) fn clear(&mut self) {
        self.tables.clear();
    }

    /// Whether all that a transaction puts right is weir's own doing, or that of packets.
    pub(super) fn explains(&self, transaction: &Transaction) -> bool {
        transaction.operations.iter().all(|operation| self.explains_one(operation))
    }

    fn explains_one(&self, operation: &Operation) -> bool {
        // A packet may be learned just after the transaction that should have prevented it.
        if operation.changes_learned() {
            return true;
        }
        let Some(table) = self.tables.get(&operation.family) else { return false };
        let has_element = |set: &Name, key: &RawKey| {
            table.elements.get(set).is_some_and(|known| known.contains(&place(set, key)))
        };
        table.is_all
            || match &operation.action {
                Action::AddTable { .. } | Action::DeleteTable { .. } => false,
                Action::AddSet { name, .. }
                | Action::DeleteSet { name, .. }
                | Action::AddChain { name, .. }
                | Action::DeleteChain { name, .. }
                | Action::ReplaceRules { chain: name, .. } => table.named.contains(name),
                // Those of a set that is added or deleted are announced with it.
                Action::AddElements { set, elements, .. }
                | Action::DeleteElements { set, elements, .. } => {
                    table.named.contains(set) || elements.keys().all(|key| has_element(set, key))
                }
            }
    }
}

/// Where an element is. All slots of a destination are one place: which of them endpoints are in depends on what
/// was there before.
fn place(set: &Name, key: &RawKey) -> RawKey {
    let bytes = key.as_bytes();
    match set.as_str() {
        names::ENDPOINTS | names::NODEPORT_ENDPOINTS => bytes
            .split_last_chunk::<4>()
            .and_then(|(destination, _)| RawKey::from_bytes(destination))
            .unwrap_or(*key),
        _ => *key,
    }
}

#[cfg(test)]
#[path = "explained_tests.rs"]
mod tests;
