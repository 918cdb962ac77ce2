//! Compares and commits until nothing differs.

use std::borrow::Cow;

use weir_rules::nft::Ruleset;
use weir_rules::transaction::Transaction;
use weir_rules::transaction::carry_over::{carry_over, may_leave_stale};
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::slots::assign_slots;

use super::commit::{ApplyError, commit};
use super::{Commit, NfTables, SyncError};
use crate::kernel::Snapshot;

/// How often the kernel is looked at again because somebody else changed it before the commit.
const ATTEMPTS: u32 = 20;

/// How often weir insists that nobody changed nf_tables between its reading and its commit. The
/// generation counts changes to all tables, so that where others change theirs without rest it
/// would never come to an end. Its own tables are its own: it then commits all the same, and what
/// the kernel refuses (`ENOENT`, `EEXIST`) because it was read too early is read again.
pub(super) const STRICT_ATTEMPTS: u32 = 4;

/// What is compared, all of weir's tables or parts of them.
pub(super) trait Scope {
    /// What is there.
    fn read(&mut self, kernel: &mut impl NfTables) -> Result<Snapshot, ApplyError>;
    /// What should be there.
    fn desired(&self) -> &Ruleset;
    /// Accepts what is programmed in place of what should be, where it is equivalent.
    fn accept_slots(&mut self, _fitted: Ruleset) {}
    /// What of the transaction is to be committed.
    fn check(&self, transaction: Transaction) -> Result<Transaction, ApplyError> {
        Ok(transaction)
    }
    /// Records a commit.
    fn on_commit(&mut self, _transaction: &Transaction) {}
    /// Records the generation after weir's own commits.
    fn reached(&mut self, _generation: u32) {}
}

/// Makes the kernel equal to what should be there. Returns the generation at which it was equal;
/// `None` if others changed nf_tables at the same time.
///
/// Clients that were learned between the reading and a transaction that should have changed what is
/// known of them go in a second one: behind such a one the kernel is looked at again.
pub(super) fn converge(
    kernel: &mut impl NfTables,
    scope: &mut impl Scope,
    commits: &mut Vec<Commit>,
) -> Result<Option<u32>, ApplyError> {
    // Before 6.3 the kernel refuses to delete what has expired. With many clients and a short
    // timeout some always have, and nothing else must wait for them.
    let mut keep_learned = false;
    for attempt in 1..=ATTEMPTS {
        let Snapshot { ruleset, generation } = scope.read(kernel)?;
        let generation = generation.filter(|_| attempt <= STRICT_ATTEMPTS);
        let aligned = carry_over(&ruleset, assign_slots(&ruleset, scope.desired()));
        let mut transaction = diff(&ruleset, &aligned);
        if let Cow::Owned(aligned) = aligned {
            scope.accept_slots(aligned);
        }
        transaction = scope.check(transaction)?;
        let mut rescan = may_leave_stale(&transaction);
        if std::mem::take(&mut keep_learned) {
            let rest = transaction.clone().without_learned();
            if !rest.is_empty() {
                transaction = rest;
                rescan = true;
            }
        }
        if transaction.is_empty() {
            return Ok(generation);
        }
        let before = commits.len();
        let mut reached = generation;
        let result = commit(kernel, transaction, &mut reached, commits);
        let committed = commits[before..].iter().filter_map(|commit| commit.transaction.as_deref());
        committed.for_each(|transaction| scope.on_commit(transaction));
        reached.into_iter().for_each(|generation| scope.reached(generation));
        match result {
            Ok(()) if !rescan => return Ok(reached),
            Ok(()) | Err(ApplyError::Stale) => {}
            Err(ApplyError::Expired) => keep_learned = true,
            Err(apply_error) => return Err(apply_error),
        }
    }
    Err(SyncError::Unsteady.into())
}

#[cfg(test)]
#[path = "converge_tests.rs"]
mod tests;
