//! Services that the kernel refuses, set aside so that the others go on.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use weir_rules::cluster::NamespacedName;
use weir_rules::hold::Held;

use super::Backoff;

/// Longest pause before such a Service is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A Service that the kernel has refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The Service.
    pub service: NamespacedName,
    /// What was refused, and why.
    pub reason: String,
}

/// Services that are set aside. What the kernel holds of them stays.
#[derive(Debug, Default)]
pub(super) struct Aside {
    services: BTreeMap<NamespacedName, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    reason: String,
    backoff: Backoff,
    /// Whether it is being tried again.
    is_tried: bool,
    /// What belongs to it in the kernel, where that is not known in detail.
    unknown: Option<Held>,
}

impl Aside {
    /// Sets a Service aside for a while. With `unknown`, what the kernel has of it is not known.
    /// Says whether it is news.
    pub(super) fn put(
        &mut self,
        service: &NamespacedName,
        reason: &str,
        unknown: Option<Held>,
    ) -> bool {
        let entry = self.services.entry(service.clone()).or_default();
        let is_news = entry.reason != reason;
        reason.clone_into(&mut entry.reason);
        entry.backoff.next(LONGEST_PAUSE);
        entry.is_tried = false;
        let before = entry.unknown.take();
        entry.unknown = unknown.map(|mut unknown| {
            before.iter().for_each(|before| unknown.merge(before));
            unknown
        });
        is_news
    }

    /// Those that are not being tried again.
    pub(super) fn out(&self) -> HashSet<NamespacedName> {
        self.names(|entry| !entry.is_tried)
    }

    /// The same, and those that are, if it is known what the kernel has of them. That would be
    /// forgotten if all were compared with what they are to have now, and the kernel refused it.
    /// But while others are out of which it is not known, some changes can only be compared.
    pub(super) fn left_in_comparison(&self) -> HashSet<NamespacedName> {
        let is_all_known = self.held().is_empty();
        self.names(|entry| !entry.is_tried || (is_all_known && entry.unknown.is_none()))
    }

    fn names(&self, is_one: impl Fn(&Entry) -> bool) -> HashSet<NamespacedName> {
        let found = self.services.iter().filter(|(_, entry)| is_one(entry));
        found.map(|(service, _)| service.clone()).collect()
    }

    /// What of the kernel's tables is to be left alone.
    pub(super) fn held(&self) -> Held {
        let mut held = Held::default();
        let out = self.services.values().filter(|entry| !entry.is_tried);
        out.filter_map(|entry| entry.unknown.as_ref()).for_each(|it| held.merge(it));
        held
    }

    /// Tries a Service again, since it has changed. Says whether all has to be compared for that.
    pub(super) fn try_again(&mut self, service: &NamespacedName) -> bool {
        let Some(entry) = self.services.get_mut(service) else { return false };
        entry.is_tried = true;
        entry.unknown.is_some()
    }

    /// The Services whose time has come.
    pub(super) fn due(&self) -> Vec<NamespacedName> {
        let is_due = |entry: &Entry| !entry.is_tried && entry.backoff.is_over();
        let due = self.services.iter().filter(|(_, entry)| is_due(entry));
        due.map(|(service, _)| service.clone()).collect()
    }

    /// When the next one's time comes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let out = self.services.values().filter(|entry| !entry.is_tried);
        out.filter_map(|entry| entry.backoff.until()).min()
    }

    /// Those that were tried are in the kernel now; gives their names.
    pub(super) fn accepted(&mut self) -> Vec<NamespacedName> {
        let tried = self.services.extract_if(.., |_, entry| entry.is_tried);
        tried.map(|(service, _)| service).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.services.len()
    }
}
