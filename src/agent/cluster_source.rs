//! The agent's source of cluster state: an API server or manifests.

use k8s_openapi::jiff::Timestamp;
use tracing::{debug, info, warn};
use weir_rules::cluster::{ChangeSet, Cluster, Family};

use super::events::Events;
use super::manifests::Manifests;
use crate::source::api::{self, Notice, Update};
use crate::source::manifest::note;

/// Reads the cluster.
pub(super) enum ClusterSource {
    /// A directory.
    Manifests(Box<Manifests>),
    /// An API server.
    Api(Box<api::Store>),
}

impl ClusterSource {
    /// What it reads, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            ClusterSource::Manifests(_) => "manifests",
            ClusterSource::Api(_) => "API server",
        }
    }

    /// The state received from an API server.
    pub(super) fn state(&self) -> Option<&api::Store> {
        match self {
            ClusterSource::Manifests(_) => None,
            ClusterSource::Api(state) => Some(state),
        }
    }

    /// When the changes happened that have come since this was last asked, as far as it is known.
    pub(super) fn take_triggers(&mut self) -> impl Iterator<Item = (Family, Timestamp)> + use<> {
        let triggers = match self {
            ClusterSource::Manifests(_) => None,
            ClusterSource::Api(state) => Some(state.changes_mut().take_triggers()),
        };
        triggers.into_iter().flatten()
    }

    /// Applies updates from an API server.
    pub(super) fn apply(&mut self, updates: Vec<Update>, events: &Events) {
        if let ClusterSource::Api(state) = self {
            apply(state, updates, events);
        }
    }

    /// Reads manifests again. An API server notifies weir itself.
    pub(super) fn reload(&mut self) {
        if let ClusterSource::Manifests(manifests) = self {
            manifests.reload();
        }
    }

    /// The cluster, once all of it is known.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        match self {
            ClusterSource::Manifests(manifests) => manifests.cluster(),
            ClusterSource::Api(state) => state.cluster(),
        }
    }

    /// What of the cluster may be another than when this was last asked.
    pub(super) fn take_changes(&mut self) -> ChangeSet {
        match self {
            ClusterSource::Manifests(manifests) => manifests.take_changes(),
            ClusterSource::Api(state) => state.take_changes(),
        }
    }
}

fn apply(state: &mut api::Store, updates: Vec<Update>, events: &Events) {
    // Many objects at once may have the same to be remarked.
    let mut remarks = std::collections::BTreeMap::<_, Vec<String>>::new();
    for notice in updates.into_iter().flat_map(|update| state.apply(update)) {
        match notice {
            Notice::Problem(problem) => {
                let text = problem.to_string();
                if events.bad_object(problem) {
                    warn!("{text}");
                } else {
                    debug!("{text}");
                }
            }
            Notice::Resolved(text) if events.has_room_for_a_line() => info!("no longer: {text}"),
            Notice::Resolved(text) => debug!("no longer: {text}"),
            Notice::Advisory(key, remark) => {
                let name = key.name.to_string();
                remarks.entry(remark).or_default().push(name);
            }
        }
    }
    for (remark, names) in remarks {
        let text = note(remark, &names);
        if events.has_room_for_a_line() {
            info!("{text}");
        } else {
            debug!("{text}");
        }
    }
}
