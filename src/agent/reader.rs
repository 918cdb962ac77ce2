//! Where the agent's state of the cluster comes from.

use k8s_openapi::jiff::Timestamp;
use tracing::{debug, info, warn};
use weir_rules::cluster::{Cluster, Family, Touched};

use super::events::Events;
use super::manifests::Manifests;
use crate::source::api::{self, News, Update};
use crate::source::manifest::note;

/// Reads the cluster.
pub(super) enum Reader {
    /// A directory.
    Manifests(Box<Manifests>),
    /// An API server.
    Api(Box<api::State>),
}

impl Reader {
    /// What it reads, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Reader::Manifests(_) => "manifests",
            Reader::Api(_) => "API server",
        }
    }

    /// What an API server has told.
    pub(super) fn state(&self) -> Option<&api::State> {
        match self {
            Reader::Manifests(_) => None,
            Reader::Api(state) => Some(state),
        }
    }

    /// When the changes happened that have come since this was last asked, as far as it is known.
    pub(super) fn take_triggers(&mut self) -> impl Iterator<Item = (Family, Timestamp)> + use<> {
        let triggers = match self {
            Reader::Manifests(_) => None,
            Reader::Api(state) => Some(state.changes_mut().take_triggers()),
        };
        triggers.into_iter().flatten()
    }

    /// Takes note of what an API server has told.
    pub(super) fn apply(&mut self, updates: Vec<Update>, events: &Events) {
        if let Reader::Api(state) = self {
            apply(state, updates, events);
        }
    }

    /// Reads manifests again. An API server tells by itself.
    pub(super) fn reload(&mut self) {
        if let Reader::Manifests(manifests) = self {
            manifests.reload();
        }
    }

    /// The cluster, once all of it is known.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        match self {
            Reader::Manifests(manifests) => manifests.cluster(),
            Reader::Api(state) => state.cluster(),
        }
    }

    /// What of the cluster may be another than when this was last asked.
    pub(super) fn take_touched(&mut self) -> Touched {
        match self {
            Reader::Manifests(manifests) => manifests.take_touched(),
            Reader::Api(state) => state.take_touched(),
        }
    }
}

fn apply(state: &mut api::State, updates: Vec<Update>, events: &Events) {
    // Many objects at once may have the same to be remarked.
    let mut remarks = std::collections::BTreeMap::<_, Vec<String>>::new();
    for news in updates.into_iter().flat_map(|update| state.apply(update)) {
        match news {
            News::Problem(problem) => {
                let text = problem.to_string();
                if events.bad_object(problem) {
                    warn!("{text}");
                } else {
                    debug!("{text}");
                }
            }
            News::Resolved(text) if events.has_room_for_a_line() => info!("no longer: {text}"),
            News::Resolved(text) => debug!("no longer: {text}"),
            News::Remark(key, remark) => {
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
