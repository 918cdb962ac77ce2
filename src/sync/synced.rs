//! What a sync tells of itself.

use std::time::Duration;

use weir_rules::cluster::NamespacedName;

use super::{Change, SetAside};
use crate::kernel::Heard;

/// What a sync has done.
#[derive(Debug, Default)]
pub struct Synced {
    /// What was committed.
    pub changes: Vec<Change>,
    /// Whether others had removed all, and all was made anew.
    pub is_rebuilt: bool,
    /// How many Services were compiled.
    pub recompiled: usize,
    /// How often all of the kernel's tables were read.
    pub dumps: u64,
    /// How often parts of them were.
    pub reads: u64,
    /// Services that the kernel has refused, for a new reason.
    pub set_aside: Vec<SetAside>,
    /// Services that it had refused and now takes.
    pub taken: Vec<NamespacedName>,
    /// What others have committed in the meantime.
    pub heard: Heard,
    /// The next repair comes after this pause, because there were many in a row.
    pub pause: Option<Duration>,
}

impl Synced {
    /// Keeps little of what was committed from this place on.
    pub(super) fn shorten(&mut self, from: usize) {
        self.changes[from..].iter_mut().for_each(Change::shorten);
    }

    /// A sync ends that has committed from this place on.
    pub(super) fn finish(&mut self, from: usize) {
        self.shorten(from);
        if self.is_rebuilt {
            self.changes.iter_mut().for_each(|change| change.is_repair = true);
        }
    }

    /// How much of what was committed undoes what others did.
    pub fn repairs(&self) -> usize {
        self.changes.iter().filter(|change| change.is_repair).count()
    }
}
