//! The report of a sync.

use std::time::Duration;

use weir_rules::cluster::NamespacedName;

use super::{Commit, Quarantined};
use crate::kernel::ForeignChanges;

/// What a sync has done.
#[derive(Debug, Default)]
pub struct SyncReport {
    /// What was committed.
    pub commits: Vec<Commit>,
    /// The Services whose changes were committed, in whole or in part, in their order. Empty where all
    /// was compared.
    pub services: Vec<NamespacedName>,
    /// Whether others had removed all, and all was made anew.
    pub is_rebuilt: bool,
    /// How many Services were compiled.
    pub recompiled: usize,
    /// How often all of the kernel's tables were read.
    pub dumps: u64,
    /// How often parts of them were.
    pub reads: u64,
    /// Services that the kernel has refused, for a new reason.
    pub quarantined: Vec<Quarantined>,
    /// Services that it had refused and now takes.
    pub taken: Vec<NamespacedName>,
    /// What others have committed in the meantime.
    pub foreign: ForeignChanges,
    /// The next repair comes after this pause, because there were many in a row.
    pub pause: Option<Duration>,
}

impl SyncReport {
    /// Keeps little of what was committed from this place on.
    pub(super) fn shorten(&mut self, from: usize) {
        self.commits[from..].iter_mut().for_each(Commit::shorten);
    }

    /// A sync ends that has committed from this place on.
    pub(super) fn finish(&mut self, from: usize) {
        self.shorten(from);
        if self.is_rebuilt {
            self.commits.iter_mut().for_each(|commit| commit.is_repair = true);
        }
    }

    /// How much of what was committed undoes what others did.
    pub fn repairs(&self) -> usize {
        self.commits.iter().filter(|commit| commit.is_repair).count()
    }
}
