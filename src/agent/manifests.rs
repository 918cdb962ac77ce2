//! Cluster state read from a directory of manifests.

use tracing::{info, warn};
use weir_rules::cluster::{ChangeSet, Cluster};

use crate::error::chain;
use crate::source::manifest::Directory;

/// The cluster that a directory asks for, as it was read last.
pub(super) struct Manifests {
    directory: Directory,
    /// None until it has been read.
    cluster: Option<Cluster>,
    change_set: ChangeSet,
}

impl Manifests {
    /// A directory that has not been read yet, and how many keys a Service has at most.
    pub(super) fn new(mut directory: Directory, max_service_keys: usize) -> Self {
        directory.limit(max_service_keys);
        Self { directory, cluster: None, change_set: ChangeSet::default() }
    }

    /// The cluster, once it has been read.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// What of it may be another than when this was last asked.
    pub(super) fn take_changes(&mut self) -> ChangeSet {
        std::mem::take(&mut self.change_set)
    }

    /// Reads the directory again. The files do not show what has changed: all of the cluster is
    /// compared with the one before.
    pub(super) fn reload(&mut self) {
        let reload = self.directory.reload();
        for problem in &reload.new_problems {
            let is_first = self.cluster.is_none();
            let outcome = if is_first { "left out" } else { "its last good state is kept" };
            warn!("{}; {outcome}", chain(problem));
        }
        for problem in &reload.resolved {
            info!("no longer: {}", chain(problem));
        }
        for line in &reload.left_out {
            warn!("{line}");
        }
        for note in &reload.notes {
            info!("{note}");
        }
        self.change_set.merge(match &self.cluster {
            None => ChangeSet::all(&reload.cluster),
            Some(before) => ChangeSet::between(before, &reload.cluster),
        });
        self.cluster = Some(reload.cluster);
    }
}

#[cfg(test)]
#[path = "manifests_tests.rs"]
mod tests;
