//! Records what has changed in a cluster, so that only what depends on it is computed again.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::claims::{Claim, Handover, claims};
use crate::cluster::{Cluster, NamespacedName};

/// What of a cluster may be another than before.
///
/// It may name more than has changed, never less: also Services that do not exist, whose
/// EndpointSlices have changed, or that have come and gone.
#[derive(Debug, Clone, Default)]
pub struct ChangeSet {
    /// Services that have come, changed or gone, or one of whose EndpointSlices has.
    pub services: BTreeSet<NamespacedName>,
    /// Whether the Node or the networks of Services (ServiceCIDRs) have changed.
    pub environment: bool,
    /// Claims that Services have given up, with who had each of them first. Whoever has one now must not
    /// be programmed before that Service.
    pub released: BTreeMap<Claim, NamespacedName>,
}

/// What was released orders the work, and adds nothing to it.
impl PartialEq for ChangeSet {
    fn eq(&self, other: &Self) -> bool {
        (&self.services, self.environment) == (&other.services, other.environment)
    }
}

impl Eq for ChangeSet {}

impl ChangeSet {
    /// Some Services.
    pub fn services(names: impl IntoIterator<Item = NamespacedName>) -> Self {
        Self { services: names.into_iter().collect(), ..Self::default() }
    }

    /// Everything in a cluster: for who knows nothing of it yet.
    pub fn all(cluster: &Cluster) -> Self {
        let services = cluster.services.keys().chain(cluster.slices.services());
        Self { environment: true, ..Self::services(services.cloned()) }
    }

    /// What one cluster has otherwise than another, at the cost of comparing all of both.
    pub fn between(old: &Cluster, new: &Cluster) -> Self {
        let mut change_set = Self {
            environment: old.node != new.node || old.service_cidrs != new.service_cidrs,
            ..Self::default()
        };
        for (one, other) in [(old, new), (new, old)] {
            let services = one.services.iter();
            let of_services = services.filter(|(name, of)| other.services.get(name) != Some(of));
            of_services.for_each(|(name, _)| change_set.service(name));
            // Who has a claim may have changed by what another Service does.
            let losers = one
                .services
                .losers()
                .filter(|(name, lost)| !lost.iter().eq(other.services.lost(name).iter()));
            losers.for_each(|(name, _)| change_set.service(name));
        }
        for name in &change_set.services {
            let Some(service) = old.services.get(name) else { continue };
            for (claim, _) in claims(service) {
                let had = old.services.owner(&claim) == Some(name);
                if had && new.services.owner(&claim) != Some(name) {
                    change_set.released.insert(claim, name.clone());
                }
            }
        }
        for (one, other) in [(old, new), (new, old)] {
            // A slice that has moved changes both its old and its new Service.
            let slices = one.slices.iter();
            let of_slices = slices.filter(|(name, of)| other.slices.get(name) != Some(of));
            of_slices.for_each(|(_, slice)| change_set.service(&slice.service));
        }
        change_set
    }

    /// Whether all is as it was.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && !self.environment
    }

    /// Adds later changes.
    pub fn merge(&mut self, later: ChangeSet) {
        self.services.extend(later.services);
        self.environment |= later.environment;
        for (claim, owner) in later.released {
            self.released.entry(claim).or_insert(owner);
        }
    }

    /// Adds what a change of one Service means for the claims of others.
    pub fn handover(&mut self, handover: Handover) {
        self.services.extend(handover.others);
        for (claim, owner) in handover.released {
            self.released.entry(claim).or_insert(owner);
        }
    }

    /// Adds a Service.
    pub fn service(&mut self, name: &NamespacedName) {
        if !self.services.contains(name) {
            self.services.insert(name.clone());
        }
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
