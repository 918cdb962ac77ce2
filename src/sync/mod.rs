//! Reconciles nf_tables with the desired ruleset.

mod commit;
mod converge;
mod drift;
mod explained;
mod flows;
mod monitored;
mod nf_tables;
mod partition;
mod quarantine;
mod queue;
mod reconciler;
mod report;
mod scopes;

use std::sync::Arc;

use weir_rules::facts::stale_flows::FlowImpact;
use weir_rules::nft::Ruleset;
use weir_rules::transaction::{Counts, Transaction};

pub use flows::{CleanError, Cleaning, Connections, Flows, LiveConnections, Progress};
pub use monitored::{Listen, MAX_HEARD, MonitoredKernel};
pub use nf_tables::NfTables;
pub use quarantine::Quarantined;
pub use reconciler::{Reconciler, SyncProgress};
pub use report::SyncReport;

use self::commit::ApplyError;
use self::converge::converge;
use self::scopes::FullScope;
use crate::kernel::{CommitError, DumpError};

/// Transactions with more elements than this are not retained once they are committed: those of a
/// cold start would double weir's memory.
const MAX_KEPT: usize = 1000;

/// Why the kernel could not be made equal.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The kernel's state could not be read.
    #[error("cannot learn what is programmed")]
    Dump(#[from] DumpError),
    /// The changes could not be committed.
    #[error("cannot program the changes")]
    Commit(#[from] CommitError),
    /// Others changed nf_tables during every attempt.
    #[error("others change weir's tables without rest")]
    Unsteady,
    /// Services were quarantined until that took too long.
    #[error(
        "the kernel refuses {0} Services and perhaps more: the others come with the next attempt"
    )]
    ManyRefused(usize),
}

impl SyncError {
    /// Whether trying again is of no use: nobody talks to the kernel any more.
    pub fn is_final(&self) -> bool {
        matches!(self, SyncError::Dump(DumpError::Gone) | SyncError::Commit(CommitError::Gone))
    }
}

/// A commit.
#[derive(Debug)]
pub struct Commit {
    /// What it changed, unless that was too much to retain.
    pub transaction: Option<Arc<Transaction>>,
    /// How much it changed.
    pub counts: Counts,
    /// What it means for UDP flows.
    pub effect: FlowImpact,
    /// The length of the batch in bytes.
    pub bytes: usize,
    /// Whether it undoes what others did.
    pub is_repair: bool,
    /// The generation of nf_tables that it made; `None` if others may have committed in between.
    pub generation: Option<u32>,
}

impl Commit {
    fn new(transaction: Arc<Transaction>, bytes: usize, generation: Option<u32>) -> Self {
        let (counts, effect) = (transaction.counts(), FlowImpact::of(&transaction));
        Self { transaction: Some(transaction), counts, effect, bytes, is_repair: false, generation }
    }

    /// Keeps what it changed only if that is little.
    fn shorten(&mut self) {
        let elements = self.counts.added.elements + self.counts.removed.elements;
        self.transaction.take_if(|_| elements > MAX_KEPT);
    }
}

/// Makes the kernel equal to the desired ruleset: compares all of it, and commits what differs in
/// transactions of bounded length; none if nothing does.
pub fn reconcile(kernel: &mut impl NfTables, desired: Ruleset) -> Result<Vec<Commit>, SyncError> {
    let mut changes = Vec::new();
    match converge(kernel, &mut FullScope::new(desired), &mut changes) {
        Ok(_) => Ok(changes),
        Err(apply_error) => Err(match apply_error {
            ApplyError::Failed(error) => error,
            ApplyError::Rejected { error, .. } | ApplyError::Suspect(error) => error.into(),
            ApplyError::Stale | ApplyError::Expired | ApplyError::Drifted => SyncError::Unsteady,
        }),
    }
}
