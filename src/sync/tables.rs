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
    /// What was heard before nobody listened for a while, and is not asked for yet.
    heard: Heard,
    /// Whether something may have been missed in that while.
    has_missed: bool,
    /// Whether the monitor could not be made to listen again.
    is_deaf: bool,
}

impl Live {
    /// Listens to what the monitor hears beside the kernel's answers.
    pub fn new(kernel: Kernel, monitor: Monitor) -> Self {
        Self { kernel, monitor, heard: Heard::default(), has_missed: false, is_deaf: false }
    }

    fn drain(&mut self) {
        // The kernel's thread may have another socket than before.
        self.monitor.set_own(self.kernel.port());
        self.heard.merge(self.monitor.drain());
    }

    fn listen_again(&mut self) {
        let result = self.monitor.resume();
        if let Err(error) = &result
            && !self.is_deaf
        {
            warn!("cannot listen to nf_tables again; trying again: {error}");
        }
        self.is_deaf = result.is_err();
    }

    /// Commits a transaction of which too much would be heard.
    fn commit_unheard(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        self.drain();
        let mut is_paused = true;
        if let Err(error) = self.monitor.pause() {
            warn!("cannot stop listening to nf_tables for a while: {error}");
            is_paused = false;
        }
        let result = Tables::commit(&mut self.kernel, transaction, generation);
        if is_paused {
            self.listen_again();
        }
        // Nobody was missed if there was this commit and no other, or none.
        let expected = match &result {
            Ok(_) => generation.map(next_generation),
            Err(_) => self.heard.generation.or(generation),
        };
        let now = self.kernel.generation().ok();
        self.has_missed |= is_paused && (expected.is_none() || expected != now);
        result
    }
}

impl Tables for Live {
    fn dump(&mut self) -> Result<Snapshot, DumpError> {
        self.kernel.dump()
    }

    fn read(&mut self, parts: &Parts) -> Result<Snapshot, DumpError> {
        Tables::read(&mut self.kernel, parts)
    }

    fn commit(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        let counts = transaction.counts();
        if counts.added.elements + counts.removed.elements > MOST_HEARD {
            return self.commit_unheard(transaction, generation);
        }
        Tables::commit(&mut self.kernel, transaction, generation)
    }

    fn frees_chains_at_once(&self) -> bool {
        self.kernel.frees_chains_at_once()
    }

    fn generation(&mut self) -> Result<u32, DumpError> {
        self.kernel.generation()
    }

    fn heard(&mut self) -> Heard {
        if self.is_deaf {
            self.listen_again();
            self.has_missed = true;
        }
        self.drain();
        let mut heard = std::mem::take(&mut self.heard);
        heard.is_lossy |= std::mem::take(&mut self.has_missed);
        heard
    }
}

/// The generation behind one: the kernel leaves out 0 (`nf_tables_commit` of nf_tables_api.c).
pub(super) fn next_generation(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}
