//! Making the kernel equal to what is wanted.

mod flows;
mod follow;

use std::io;

use weir_rules::align::align;
use weir_rules::diff::diff;
use weir_rules::learned::{adopt, may_outlive};
use weir_rules::nft::Ruleset;
use weir_rules::pieces::pieces;
use weir_rules::transaction::Transaction;

pub use flows::{CleanError, Cleaning, Connections, Flows, LiveConnections};
pub use follow::{Backoff, Follower};

use crate::kernel::{CommitError, Committed, DumpError, Kernel, Snapshot};

/// How often the kernel is read again because somebody else changed it before the commit.
const ATTEMPTS: u32 = 20;

/// How often weir insists that nobody changed nf_tables between its reading and its commit. The
/// generation counts changes to all tables, so that where others change theirs without rest it
/// would never come to an end. Its own tables are its own: it then commits all the same, and what
/// the kernel refuses (`ENOENT`, `EEXIST`) because it was read too early is read again.
const STRICT_ATTEMPTS: u32 = 4;

/// How many elements a transaction changes at most, but for those that must change together. For as
/// long as it lasts nobody else can change nf_tables: some 60 ms (kernel 6.18 took 52 to 104 ms for
/// 33,600 elements, 136 to 159 ms for 67,200).
const MOST_ELEMENTS: usize = 25_000;

/// Why the kernel could not be made equal.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The kernel's state could not be read.
    #[error("cannot learn what is programmed")]
    Dump(#[from] DumpError),
    /// The changes could not be committed.
    #[error("cannot program the changes")]
    Commit(#[from] CommitError),
}

impl ReconcileError {
    /// Whether trying again is of no use: nobody talks to the kernel any more.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            ReconcileError::Dump(DumpError::Gone) | ReconcileError::Commit(CommitError::Gone)
        )
    }
}

/// What one commit changed.
#[derive(Debug)]
pub struct Change {
    /// The changes.
    pub transaction: Transaction,
    /// The length of the batch in bytes.
    pub bytes: usize,
}

/// A kernel that is equal to what was wanted.
#[derive(Debug)]
pub struct Reconciled {
    /// What had to be changed; empty if it was equal already.
    pub changes: Vec<Change>,
    /// The generation at which it was equal; `None` if others changed nf_tables at the same time.
    pub generation: Option<u32>,
}

/// What reconciling needs of a kernel.
pub trait Tables {
    /// Reads weir's tables.
    fn dump(&self) -> Result<Snapshot, DumpError>;
    /// Commits a transaction; with a generation, if the ruleset is still of that one.
    fn commit(
        &self,
        transaction: Transaction,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError>;
    /// Whether a chain can be deleted together with the last element that goes to it. Kernels
    /// before 6.2 refuse that (`EBUSY`).
    fn frees_chains_at_once(&self) -> bool;
    /// The generation of the kernel's ruleset.
    fn generation(&self) -> Result<u32, DumpError>;
}

impl Tables for Kernel {
    fn dump(&self) -> Result<Snapshot, DumpError> {
        Kernel::dump(self)
    }

    fn commit(
        &self,
        transaction: Transaction,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        Kernel::commit(self, transaction, generation)
    }

    fn frees_chains_at_once(&self) -> bool {
        Kernel::frees_chains_at_once(self)
    }

    fn generation(&self) -> Result<u32, DumpError> {
        Kernel::generation(self)
    }
}

/// Makes the kernel equal to the desired ruleset, in one transaction; none if it is already, and
/// several where one would keep others from nf_tables for too long ([`pieces`]).
///
/// Chains go in a second transaction where the kernel cannot delete them together with the last
/// element that goes to them. So do clients that were learned between the reading and a transaction
/// that should have changed what is known of them: behind such a one the kernel is read again.
pub fn reconcile(kernel: &impl Tables, desired: &Ruleset) -> Result<Reconciled, ReconcileError> {
    let mut changes = Vec::new();
    let mut keep_chains = !kernel.frees_chains_at_once();
    let mut attempt = 1;
    // Before 6.3 the kernel refuses to delete what has expired. With many clients and a short
    // timeout some always have, and nothing else must wait for them.
    let mut keep_learned = false;
    loop {
        let Snapshot { ruleset, generation } = kernel.dump()?;
        let generation = generation.filter(|_| attempt <= STRICT_ATTEMPTS);
        let mut transaction = diff(&ruleset, &adopt(&ruleset, align(&ruleset, desired)));
        if keep_chains {
            let rest = transaction.clone().without_chain_deletions();
            // What is left is to delete chains, to which nothing goes any more.
            keep_chains = !rest.is_empty();
            if keep_chains {
                transaction = rest;
            }
        }
        let mut look_again = may_outlive(&transaction, desired);
        if std::mem::take(&mut keep_learned) {
            let rest = transaction.clone().without_learned();
            if !rest.is_empty() {
                transaction = rest;
                look_again = true;
            }
        }
        if transaction.is_empty() {
            return Ok(Reconciled { changes, generation });
        }
        match commit(kernel, transaction, generation, &mut changes) {
            Ok(generation) => {
                if !std::mem::take(&mut keep_chains) && !look_again {
                    return Ok(Reconciled { changes, generation });
                }
            }
            Err((error, piece)) if !keep_chains && is_busy_chain(&error, &piece) => {
                keep_chains = true;
            }
            Err((error, piece))
                if attempt < ATTEMPTS && was_read_too_early(&error, generation, &piece) =>
            {
                keep_learned = is_expired(&error, &piece);
                attempt += 1;
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// Commits a transaction piece by piece, and takes note of each. Gives the generation behind the
/// last, if it is known, or else why a piece failed. Then those behind it are not tried.
fn commit(
    kernel: &impl Tables,
    transaction: Transaction,
    mut generation: Option<u32>,
    changes: &mut Vec<Change>,
) -> Result<Option<u32>, (CommitError, Transaction)> {
    for piece in pieces(transaction, MOST_ELEMENTS) {
        match kernel.commit(piece.clone(), generation) {
            Ok(Committed { bytes }) => changes.push(Change { transaction: piece, bytes }),
            Err(error) => return Err((error, piece)),
        }
        // A commit counts the generation up, and this was the next one.
        generation = generation.map(|generation| generation.wrapping_add(1));
    }
    Ok(generation)
}

/// Whether a transaction failed because of what others did after the kernel was read.
fn was_read_too_early(
    error: &CommitError,
    generation: Option<u32>,
    transaction: &Transaction,
) -> bool {
    match error {
        CommitError::Stale => true,
        _ if is_expired(error, transaction) => true,
        CommitError::Refused { source, .. } => {
            let kind = source.kind();
            let is_there_or_not =
                kind == io::ErrorKind::NotFound || kind == io::ErrorKind::AlreadyExists;
            generation.is_none() && is_there_or_not
        }
        _ => false,
    }
}

/// Whether the kernel refused to delete a learned element because it has expired.
fn is_expired(error: &CommitError, transaction: &Transaction) -> bool {
    let CommitError::Refused { operation: Some(index), source, .. } = error else { return false };
    source.kind() == io::ErrorKind::NotFound
        && transaction.operations.get(*index).is_some_and(|o| o.changes_learned())
}

/// Whether the kernel refused to delete a chain because something still refers to it.
fn is_busy_chain(error: &CommitError, transaction: &Transaction) -> bool {
    let CommitError::Refused { operation: Some(index), source, .. } = error else { return false };
    source.kind() == io::ErrorKind::ResourceBusy
        && transaction.operations.get(*index).is_some_and(|o| o.deletes_chain())
        && !transaction.clone().without_chain_deletions().is_empty()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
