//! Splits off operations that need a transaction of their own.

use std::collections::HashSet;

use weir_rules::cluster::Family;
use weir_rules::nft::{Name, RawKey};
use weir_rules::transaction::{Action, Operation, Transaction};

/// The transaction with its new chains in one of their own before it, if a destination that is served
/// comes to lead to one.
///
/// A packet that is on its way when the transaction takes effect goes through each chain as it was
/// before, but finds elements as they are (`nft_do_chain`, `nft_map_lookup`): a chain that came with
/// the verdict is still empty for it.
pub(super) fn split_new_chains(transaction: Transaction) -> Vec<Transaction> {
    if !retargets_to_new_chain(&transaction) {
        return vec![transaction];
    }
    let made: HashSet<_> =
        new_chains(&transaction).map(|(family, name)| (family, name.clone())).collect();
    partition(transaction, |Operation { family, action }| match action {
        // What their rules look into.
        Action::AddSet { .. } | Action::AddChain { base: None, .. } => true,
        Action::ReplaceRules { chain, .. } => made.contains(&(*family, chain.clone())),
        _ => false,
    })
}

/// Whether a verdict is replaced by one that leads to a new chain, in tables that are there.
fn retargets_to_new_chain(transaction: &Transaction) -> bool {
    let is_table = |operation: &Operation| {
        matches!(operation.action, Action::AddTable { .. } | Action::DeleteTable { .. })
    };
    let made: HashSet<_> = new_chains(transaction).collect();
    if made.is_empty() || transaction.operations.iter().any(is_table) {
        return false;
    }
    let mut gone: HashSet<(Family, &Name, &RawKey)> = HashSet::new();
    transaction.operations.iter().any(|Operation { family, action }| match action {
        Action::DeleteElements { set, elements, .. } => {
            gone.extend(elements.keys().map(|key| (*family, set, key)));
            false
        }
        Action::AddElements { set, elements, .. } => elements.iter().any(|(key, element)| {
            let chain = element.data.chain().map(|name| (*family, name));
            chain.is_some_and(|chain| made.contains(&chain)) && gone.contains(&(*family, set, key))
        }),
        _ => false,
    })
}

/// The chains to which elements can lead.
fn new_chains(transaction: &Transaction) -> impl Iterator<Item = (Family, &Name)> {
    transaction.operations.iter().filter_map(|Operation { family, action }| match action {
        Action::AddChain { name, base: None, .. } => Some((*family, name)),
        _ => None,
    })
}

/// The transaction with its deletions of chains in one of their own behind it.
pub(super) fn split_chain_deletions(transaction: Transaction) -> Vec<Transaction> {
    partition(transaction, |operation| !operation.deletes_chain())
}

/// Those operations first that are to be, and then the others.
fn partition(transaction: Transaction, is_first: impl Fn(&Operation) -> bool) -> Vec<Transaction> {
    let (first, rest) = transaction.operations.into_iter().partition(is_first);
    let parts = [first, rest].map(|operations| Transaction { operations });
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}
