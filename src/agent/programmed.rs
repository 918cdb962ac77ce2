//! State derived from the Services that are programmed.
//!
//! Load balancers' health checks, metrics and the removal of stale flows use it. So it follows the kernel and
//! not the cluster: for a quarantined Service it stays as it was.

use std::collections::HashSet;
use std::mem;

use weir_rules::cluster::{ChangeSet, Cluster, NamespacedName};
use weir_rules::config::Config;
use weir_rules::facts::{DerivedState, DerivedStateChange};

/// What follows from what is programmed. Nothing is, by default.
#[derive(Default)]
pub(super) struct Programmed {
    facts: DerivedState,
    /// What has changed in the cluster and is not programmed.
    pending: ChangeSet,
    /// Of what is pending, what is programmed in part, as the cluster has it.
    begun: HashSet<NamespacedName>,
}

impl Programmed {
    /// What follows from the Services as they are programmed.
    pub(super) fn facts(&self) -> &DerivedState {
        &self.facts
    }

    /// Records what has changed in the cluster and is to be programmed.
    pub(super) fn expect(&mut self, change_set: ChangeSet) {
        for service in &change_set.services {
            self.begun.remove(service);
        }
        self.pending.merge(change_set);
    }

    /// What was expected is programmed, but for the Services that wait in the queue and those in
    /// `quarantine`. Each of the latter comes with whether the kernel holds anything for it. Of some of
    /// both, `is_begun` says, the kernel has a part of what they are to have.
    pub(super) fn update<'a>(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        quarantine: impl Iterator<Item = (&'a NamespacedName, bool)>,
        is_queued: impl Fn(&NamespacedName) -> bool,
        is_begun: impl Fn(&NamespacedName) -> bool,
    ) -> DerivedStateChange {
        let mut change_set = mem::take(&mut self.pending);
        self.pending.services = change_set.services.extract_if(.., |it| is_queued(it)).collect();
        let mut change = DerivedStateChange::default();
        let quarantine: Vec<_> = quarantine.collect();
        for &(service, is_in_kernel) in &quarantine {
            change_set.services.remove(service);
            // Also one that has not changed, and that the kernel has lost and does not take again.
            self.pending.service(service);
            if !is_in_kernel {
                change.merge(self.facts.forget(service));
            }
        }
        if !change_set.is_empty() {
            change.merge(self.facts.update(cluster, config, &change_set));
            // What another has come to have it has lost: whose flows these are must be plain.
            for (service, _) in quarantine {
                if self.facts.is_contested(service) {
                    change.merge(self.facts.forget(service));
                }
            }
        }
        self.begun.retain(|service| self.pending.services.contains(service));
        for service in self.pending.services.iter().filter(|service| is_begun(service)) {
            if self.begun.insert(service.clone()) {
                self.facts.begin(service, cluster);
            }
        }
        change.checks |= change_set.environment;
        change
    }
}

#[cfg(test)]
#[path = "programmed_tests.rs"]
mod tests;
