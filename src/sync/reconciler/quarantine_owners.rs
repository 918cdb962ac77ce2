//! Quarantines the Services behind a rejected operation.

use std::error::Error;

use weir_rules::cluster::{Family, NamespacedName};
use weir_rules::reconcile::mirror::RejectedObject;

use super::Reconciler;
use crate::kernel::CommitError;
use crate::sync::commit::ApplyError;
use crate::sync::{NfTables, Quarantined, SyncReport};

/// An object that more Services than this need is not refused because of them.
const MAX_USERS: usize = 16;

impl<K: NfTables> Reconciler<K> {
    /// Quarantines the Services that need what the kernel has rejected. If these are none, or many,
    /// the fault is not theirs. After a comparison it is not known what the kernel has of them.
    pub(super) fn quarantine_owners(
        &mut self,
        users: Vec<NamespacedName>,
        object: Option<Box<(Family, RejectedObject)>>,
        error: CommitError,
        is_unknown: bool,
        report: &mut SyncReport,
    ) -> Result<(), ApplyError> {
        if users.is_empty() || users.len() > MAX_USERS {
            return Err(ApplyError::Failed(error.into()));
        }
        let reason = error.source().map_or(error.to_string(), |cause| format!("{error}: {cause}"));
        let kept = self.quarantine.unknown();
        for service in users {
            if is_unknown {
                self.mirror.forget(&service);
            }
            // Its frozen objects are rejected, too: then it keeps none.
            let is_unknown = is_unknown && !kept.contains(&service);
            if self.quarantine.put(&service, &reason, is_unknown) {
                report.quarantined.push(Quarantined { service, reason: reason.clone() });
            }
        }
        Err(ApplyError::Rejected { object, error })
    }
}
