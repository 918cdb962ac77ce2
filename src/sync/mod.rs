//! Making the kernel equal to what is wanted.

mod flows;
mod follow;

use weir_rules::diff::diff;
use weir_rules::nft::Ruleset;
use weir_rules::transaction::Transaction;

pub use flows::{CleanError, Connections, Flows, LiveConnections};
pub use follow::{Backoff, Follower};

use crate::kernel::{CommitError, Committed, DumpError, Kernel, Snapshot};

/// How often the kernel is read again because somebody else changed it before the commit.
const ATTEMPTS: u32 = 20;

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
    /// The generation at which it was equal.
    pub generation: u32,
}

/// What reconciling needs of a kernel.
pub trait Tables {
    /// Reads weir's tables.
    fn dump(&self) -> Result<Snapshot, DumpError>;
    /// Commits a transaction if the ruleset is still of this generation.
    fn commit(&self, transaction: Transaction, generation: u32) -> Result<Committed, CommitError>;
    /// The generation of the kernel's ruleset.
    fn generation(&self) -> Result<u32, DumpError>;
}

impl Tables for Kernel {
    fn dump(&self) -> Result<Snapshot, DumpError> {
        Kernel::dump(self)
    }

    fn commit(&self, transaction: Transaction, generation: u32) -> Result<Committed, CommitError> {
        Kernel::commit(self, transaction, Some(generation))
    }

    fn generation(&self) -> Result<u32, DumpError> {
        Kernel::generation(self)
    }
}

/// Makes the kernel equal to the desired ruleset, in one transaction; none if it is already.
///
/// Kernels before 6.2 refuse (`EBUSY`) to delete a chain in the transaction that removes the last
/// element that goes to it. There the chains go in a second transaction.
pub fn reconcile(kernel: &impl Tables, desired: &Ruleset) -> Result<Reconciled, ReconcileError> {
    let mut changes = Vec::new();
    let mut keep_chains = false;
    let mut attempt = 1;
    loop {
        let Snapshot { ruleset, generation } = kernel.dump()?;
        let mut transaction = diff(&ruleset, desired);
        if keep_chains {
            transaction = transaction.without_chain_deletions();
        }
        if transaction.is_empty() {
            return Ok(Reconciled { changes, generation });
        }
        match kernel.commit(transaction.clone(), generation) {
            Ok(Committed { bytes }) => {
                changes.push(Change { transaction, bytes });
                if !std::mem::take(&mut keep_chains) {
                    // A commit counts the generation up, and this was the next one.
                    return Ok(Reconciled { changes, generation: generation.wrapping_add(1) });
                }
            }
            Err(CommitError::Stale) if attempt < ATTEMPTS => attempt += 1,
            Err(error) if !keep_chains && is_busy_chain(&error, &transaction) => keep_chains = true,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the kernel refused to delete a chain because something still refers to it.
fn is_busy_chain(error: &CommitError, transaction: &Transaction) -> bool {
    let CommitError::Refused { operation: Some(index), source, .. } = error else { return false };
    source.kind() == std::io::ErrorKind::ResourceBusy
        && transaction.operations.get(*index).is_some_and(|o| o.deletes_chain())
        && !transaction.clone().without_chain_deletions().is_empty()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
