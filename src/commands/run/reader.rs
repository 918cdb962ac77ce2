//! Where the agent's state of the cluster comes from.

use k8s_openapi::jiff::Timestamp;
use tracing::{info, warn};
use weir_rules::cluster::{Cluster, Family};

use super::events::Events;
use crate::commands::chain;
use crate::source::api::{self, News, Update};
use crate::source::manifest::{Directory, note};

/// Reads the cluster.
pub(super) enum Reader {
    /// A directory, and whether it has been read before.
    Manifests { directory: Directory, is_read: bool },
    /// An API server.
    Api(Box<api::State>),
}

impl Reader {
    /// What it reads, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Reader::Manifests { .. } => "manifests",
            Reader::Api(_) => "API server",
        }
    }

    /// What an API server has told.
    pub(super) fn state(&self) -> Option<&api::State> {
        match self {
            Reader::Manifests { .. } => None,
            Reader::Api(state) => Some(state),
        }
    }

    /// When the changes happened that have come since this was last asked, as far as it is known.
    pub(super) fn take_triggers(&mut self) -> impl Iterator<Item = (Family, Timestamp)> + use<> {
        let triggers = match self {
            Reader::Manifests { .. } => None,
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

    /// Gives the cluster to `use_it` if it may be another one, or always. Manifests are read for that.
    pub(super) fn read(&mut self, always: bool, use_it: impl FnOnce(&Cluster)) {
        match self {
            Reader::Manifests { directory, is_read } => {
                let is_first = !std::mem::replace(is_read, true);
                use_it(&read_directory(directory, is_first));
            }
            Reader::Api(state) => {
                if (state.take_change() || always)
                    && let Some(cluster) = state.cluster()
                {
                    use_it(cluster);
                }
            }
        }
    }
}

fn read_directory(directory: &mut Directory, is_first: bool) -> Cluster {
    let reload = directory.reload();
    for problem in &reload.new_problems {
        let outcome = if is_first { "left out" } else { "its last good state is kept" };
        warn!("{}; {outcome}", chain(problem));
    }
    for problem in &reload.resolved {
        info!("no longer: {}", chain(problem));
    }
    for note in &reload.notes {
        info!("{note}");
    }
    reload.cluster
}

fn apply(state: &mut api::State, updates: Vec<Update>, events: &Events) {
    // Many objects at once may have the same to be remarked.
    let mut remarks = std::collections::BTreeMap::<_, Vec<String>>::new();
    for news in updates.into_iter().flat_map(|update| state.apply(update)) {
        match news {
            News::Problem(problem) => {
                warn!("{problem}");
                events.bad_object(problem);
            }
            News::Resolved(text) => info!("no longer: {text}"),
            News::Remark(key, remark) => {
                let name = format!("{}/{}", key.namespace, key.name);
                remarks.entry(remark).or_default().push(name);
            }
        }
    }
    for (remark, names) in remarks {
        info!("{}", note(remark, &names));
    }
}
