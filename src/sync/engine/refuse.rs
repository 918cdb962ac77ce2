//! Whose fault it is that the kernel refuses something.

use std::error::Error;

use weir_rules::cluster::{Family, NamespacedName};
use weir_rules::reconcile::mirror::Object;

use super::Engine;
use crate::kernel::CommitError;
use crate::sync::commit::Setback;
use crate::sync::{SetAside, Synced, Tables};

/// An object that more Services than this need is not refused because of them.
const MOST_USERS: usize = 16;

impl<K: Tables> Engine<K> {
    /// Sets Services aside that need what the kernel has refused. If these are none, or many, the
    /// fault is not theirs. After a comparison it is not known what the kernel has of them.
    pub(super) fn refuse(
        &mut self,
        users: Vec<NamespacedName>,
        object: Option<Box<(Family, Object)>>,
        error: CommitError,
        is_unknown: bool,
        synced: &mut Synced,
    ) -> Result<(), Setback> {
        if users.is_empty() || users.len() > MOST_USERS {
            return Err(Setback::Failed(error.into()));
        }
        let reason = error.source().map_or(error.to_string(), |cause| format!("{error}: {cause}"));
        let kept = self.aside.unknown();
        for service in users {
            if is_unknown {
                self.desired.forget(&service);
            }
            // What it has kept is refused, too: then it keeps nothing.
            let is_unknown = is_unknown && !kept.contains(&service);
            if self.aside.put(&service, &reason, is_unknown) {
                synced.set_aside.push(SetAside { service, reason: reason.clone() });
            }
        }
        Err(Setback::Refused { object, error })
    }
}
