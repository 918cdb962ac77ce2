//! The operations on nf_tables that a sync needs.

use std::sync::Arc;

use weir_rules::transaction::Transaction;

use crate::kernel::{CommitError, Committed, DumpError, ForeignChanges, Kernel, Parts, Snapshot};

/// What syncing needs of a kernel.
pub trait NfTables {
    /// Reads weir's tables.
    fn dump(&mut self) -> Result<Snapshot, DumpError>;
    /// Reads parts of weir's tables.
    fn read(&mut self, parts: &Parts) -> Result<Snapshot, DumpError>;
    /// Commits a transaction; with a generation, if the ruleset is still of that one.
    fn commit(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError>;
    /// Whether a chain can be deleted together with the last element that goes to it. Kernels
    /// before 6.2 refuse that (`EBUSY`).
    fn frees_chains_at_once(&self) -> bool;
    /// The generation of the kernel's ruleset.
    fn generation(&mut self) -> Result<u32, DumpError>;
    /// What others have committed since this was last asked, as far as anybody listens.
    fn drain(&mut self) -> ForeignChanges;
}

impl NfTables for Kernel {
    fn dump(&mut self) -> Result<Snapshot, DumpError> {
        Kernel::dump(self)
    }

    fn read(&mut self, parts: &Parts) -> Result<Snapshot, DumpError> {
        Kernel::read(self, parts.clone())
    }

    fn commit(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        Kernel::commit(self, Arc::clone(transaction), generation)
    }

    fn frees_chains_at_once(&self) -> bool {
        Kernel::frees_chains_at_once(self)
    }

    fn generation(&mut self) -> Result<u32, DumpError> {
        Kernel::generation(self)
    }

    fn drain(&mut self) -> ForeignChanges {
        ForeignChanges::default()
    }
}
