//! Quarantine for Services that the kernel rejects, so that the others go on.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use weir_rules::cluster::NamespacedName;

use crate::backoff::Backoff;

/// Longest pause before such a Service is tried again.
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// A Service that the kernel has refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The Service.
    pub service: NamespacedName,
    /// What was refused, and why.
    pub reason: String,
}

/// Quarantined Services. What the kernel holds of them stays.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    services: BTreeMap<NamespacedName, QuarantineEntry>,
}

#[derive(Debug, Default)]
struct QuarantineEntry {
    reason: String,
    backoff: Backoff,
    /// Whether it is being tried again.
    is_tried: bool,
    /// Whether it is not known what the kernel has of it.
    is_unknown: bool,
}

impl Quarantine {
    /// Quarantines a Service for a while; `is_unknown` if it is not known what the kernel has of it.
    /// Returns whether the reason is new.
    pub(super) fn put(&mut self, service: &NamespacedName, reason: &str, is_unknown: bool) -> bool {
        let entry = self.services.entry(service.clone()).or_default();
        let is_news = entry.reason != reason;
        reason.clone_into(&mut entry.reason);
        entry.backoff.next(MAX_BACKOFF);
        entry.is_tried = false;
        entry.is_unknown = is_unknown;
        is_news
    }

    /// Those that are not being tried again.
    pub(super) fn waiting(&self) -> HashSet<NamespacedName> {
        self.names(|entry| !entry.is_tried)
    }

    /// The same, and those that are, if it is known what the kernel has of them. That would be
    /// forgotten if all were compared with what they are to have now, and the kernel refused it.
    pub(super) fn frozen_in_resync(&self) -> HashSet<NamespacedName> {
        self.names(|entry| !(entry.is_tried && entry.is_unknown))
    }

    /// Those that are not being tried again, and of which it is not known what the kernel has.
    pub(super) fn unknown(&self) -> HashSet<NamespacedName> {
        self.names(|entry| !entry.is_tried && entry.is_unknown)
    }

    /// The kernel has been compared with what it has of all Services.
    pub(super) fn mark_all_known(&mut self) {
        self.services.values_mut().for_each(|entry| entry.is_unknown = false);
    }

    fn names(&self, is_one: impl Fn(&QuarantineEntry) -> bool) -> HashSet<NamespacedName> {
        let found = self.services.iter().filter(|(_, entry)| is_one(entry));
        found.map(|(service, _)| service.clone()).collect()
    }

    /// Tries a Service again, since it has changed. Returns whether that requires a full resync.
    pub(super) fn try_again(&mut self, service: &NamespacedName) -> bool {
        let Some(entry) = self.services.get_mut(service) else { return false };
        entry.is_tried = true;
        entry.is_unknown
    }

    /// The Services whose time has come.
    pub(super) fn due(&self) -> Vec<NamespacedName> {
        let is_due = |entry: &QuarantineEntry| !entry.is_tried && entry.backoff.is_over();
        let due = self.services.iter().filter(|(_, entry)| is_due(entry));
        due.map(|(service, _)| service.clone()).collect()
    }

    /// When the next one's time comes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let out = self.services.values().filter(|entry| !entry.is_tried);
        out.filter_map(|entry| entry.backoff.until()).min()
    }

    /// Releases the Services whose retry succeeded; returns their names.
    pub(super) fn accepted(&mut self) -> Vec<NamespacedName> {
        let tried = self.services.extract_if(.., |_, entry| entry.is_tried);
        tried.map(|(service, _)| service).collect()
    }

    /// All of them, in order.
    pub(super) fn services(&self) -> impl Iterator<Item = &NamespacedName> {
        self.services.keys()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.services.len()
    }
}
