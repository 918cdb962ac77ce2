//! Comparing and committing until nothing differs.

use std::borrow::Cow;

use weir_rules::nft::Ruleset;
use weir_rules::transaction::Transaction;
use weir_rules::transaction::carry_over::{adopt, may_outlive};
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::slots::align;

use super::commit::{Setback, commit};
use super::{Change, SyncError, Tables};
use crate::kernel::Snapshot;

/// How often the kernel is looked at again because somebody else changed it before the commit.
const ATTEMPTS: u32 = 20;

/// How often weir insists that nobody changed nf_tables between its reading and its commit. The
/// generation counts changes to all tables, so that where others change theirs without rest it
/// would never come to an end. Its own tables are its own: it then commits all the same, and what
/// the kernel refuses (`ENOENT`, `EEXIST`) because it was read too early is read again.
pub(super) const STRICT_ATTEMPTS: u32 = 4;

/// What is compared, all of weir's tables or parts of them.
pub(super) trait View {
    /// What is there.
    fn observe(&mut self, kernel: &mut impl Tables) -> Result<Snapshot, Setback>;
    /// What should be there.
    fn desired(&self) -> &Ruleset;
    /// Takes note of what is programmed instead of what should be, as good as that.
    fn fitted(&mut self, _fitted: Ruleset) {}
    /// What of the transaction is to be committed.
    fn limit(&self, transaction: Transaction) -> Result<Transaction, Setback> {
        Ok(transaction)
    }
    /// Takes note of a commit.
    fn committed(&mut self, _transaction: &Transaction) {}
    /// Takes note of the generation behind weir's own commits.
    fn reached(&mut self, _generation: u32) {}
}

/// Makes the kernel equal to what should be there. Gives the generation at which it was equal; `None`
/// if others changed nf_tables at the same time.
///
/// Clients that were learned between the reading and a transaction that should have changed what is
/// known of them go in a second one: behind such a one the kernel is looked at again.
pub(super) fn bring(
    kernel: &mut impl Tables,
    view: &mut impl View,
    changes: &mut Vec<Change>,
) -> Result<Option<u32>, Setback> {
    // Before 6.3 the kernel refuses to delete what has expired. With many clients and a short
    // timeout some always have, and nothing else must wait for them.
    let mut keep_learned = false;
    for attempt in 1..=ATTEMPTS {
        let Snapshot { ruleset, generation } = view.observe(kernel)?;
        let generation = generation.filter(|_| attempt <= STRICT_ATTEMPTS);
        let fitted = adopt(&ruleset, align(&ruleset, view.desired()));
        let mut transaction = diff(&ruleset, &fitted);
        if let Cow::Owned(fitted) = fitted {
            view.fitted(fitted);
        }
        transaction = view.limit(transaction)?;
        let mut look_again = may_outlive(&transaction);
        if std::mem::take(&mut keep_learned) {
            let rest = transaction.clone().without_learned();
            if !rest.is_empty() {
                transaction = rest;
                look_again = true;
            }
        }
        if transaction.is_empty() {
            return Ok(generation);
        }
        let before = changes.len();
        let mut reached = generation;
        let result = commit(kernel, transaction, &mut reached, changes);
        let committed = changes[before..].iter().filter_map(|change| change.transaction.as_deref());
        committed.for_each(|transaction| view.committed(transaction));
        reached.into_iter().for_each(|generation| view.reached(generation));
        match result {
            Ok(()) if !look_again => return Ok(reached),
            Ok(()) | Err(Setback::Stale) => {}
            Err(Setback::Expired) => keep_learned = true,
            Err(setback) => return Err(setback),
        }
    }
    Err(SyncError::Unsteady.into())
}

#[cfg(test)]
#[path = "bring_tests.rs"]
mod tests;
