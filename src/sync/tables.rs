//! What syncing needs of a kernel.

use std::sync::Arc;

use tracing::warn;
use weir_rules::transaction::Transaction;

use crate::kernel::{CommitError, Committed, DumpError, Heard, Kernel, Monitor, Parts, Snapshot};

/// Transactions with more elements than this are not listened to: the kernel tells each element of
/// them, which costs it as much again as the transaction.
const MOST_HEARD: usize = 1000;

/// What syncing needs of a kernel.
pub trait Tables {
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
    fn heard(&mut self) -> Heard;
}

impl Tables for Kernel {
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

    fn heard(&mut self) -> Heard {
        Heard::default()
    }
}

/// A kernel that is listened to.
#[derive(Debug)]
pub struct Live {
    kernel: Kernel,
    monitor: Monitor,
    /// Whether something may have been missed while nobody listened.
    has_missed: bool,
    /// Whether the kernel's thread may have another socket by now.
    has_failed: bool,
}

impl Live {
    /// Listens to what the monitor hears beside the kernel's answers.
    pub fn new(kernel: Kernel, monitor: Monitor) -> Self {
        Self { kernel, monitor, has_missed: false, has_failed: false }
    }

    fn noting<T, E>(&mut self, result: Result<T, E>) -> Result<T, E> {
        self.has_failed |= result.is_err();
        result
    }

    /// Commits a transaction of which too much would be heard.
    fn commit_unheard(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        let mut is_paused = true;
        if let Err(error) = self.monitor.pause() {
            warn!("cannot stop listening to nf_tables for a while: {error}");
            is_paused = false;
        }
        let result = Tables::commit(&mut self.kernel, transaction, generation);
        if is_paused && let Err(error) = self.monitor.resume() {
            warn!("cannot listen to nf_tables again: {error}");
        }
        // Nobody was missed if there was this commit and no other.
        let expected = generation.filter(|_| result.is_ok()).map(next_generation);
        let now = self.kernel.generation().ok();
        self.has_missed |= is_paused && (expected.is_none() || expected != now);
        result
    }
}

impl Tables for Live {
    fn dump(&mut self) -> Result<Snapshot, DumpError> {
        let result = self.kernel.dump();
        self.noting(result)
    }

    fn read(&mut self, parts: &Parts) -> Result<Snapshot, DumpError> {
        let result = Tables::read(&mut self.kernel, parts);
        self.noting(result)
    }

    fn commit(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        let counts = transaction.counts();
        let result = if counts.added.elements + counts.removed.elements > MOST_HEARD {
            self.commit_unheard(transaction, generation)
        } else {
            Tables::commit(&mut self.kernel, transaction, generation)
        };
        self.noting(result)
    }

    fn frees_chains_at_once(&self) -> bool {
        self.kernel.frees_chains_at_once()
    }

    fn generation(&mut self) -> Result<u32, DumpError> {
        let result = self.kernel.generation();
        self.noting(result)
    }

    fn heard(&mut self) -> Heard {
        if std::mem::take(&mut self.has_failed) {
            self.monitor.set_own(self.kernel.port());
        }
        let mut heard = self.monitor.drain();
        heard.is_lossy |= std::mem::take(&mut self.has_missed);
        heard
    }
}

/// The generation behind one: the kernel leaves out 0 (`nf_tables_commit` of nf_tables_api.c).
pub(super) fn next_generation(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}
