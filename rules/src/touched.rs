//! What of a cluster may be another than before, so that what follows from the rest need not be
//! asked for again.

use std::collections::BTreeSet;

use crate::cluster::{Cluster, NamespacedName};

/// What of a cluster may be another than before.
///
/// It may name more than has changed, never less: also Services that do not exist, whose
/// EndpointSlices have changed, or that have come and gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Services that have come, changed or gone, or one of whose EndpointSlices has.
    pub services: BTreeSet<NamespacedName>,
    /// Whether the Node or the networks of Services (ServiceCIDRs) have changed.
    pub surroundings: bool,
}

impl Touched {
    /// Everything in a cluster: for who knows nothing of it yet.
    pub fn all(cluster: &Cluster) -> Self {
        let services = cluster.services.keys().chain(cluster.slices.services());
        Self { services: services.cloned().collect(), surroundings: true }
    }

    /// What one cluster has otherwise than another, at the cost of comparing all of both.
    pub fn between(old: &Cluster, new: &Cluster) -> Self {
        let mut touched = Self {
            services: BTreeSet::new(),
            surroundings: old.node != new.node || old.service_cidrs != new.service_cidrs,
        };
        for (one, other) in [(old, new), (new, old)] {
            let services = one.services.iter();
            let of_services = services.filter(|(name, of)| other.services.get(name) != Some(of));
            of_services.for_each(|(name, _)| touched.service(name));
            // Who has a claim may have changed by what another Service does.
            let losers = one
                .services
                .losers()
                .filter(|(name, lost)| !lost.iter().eq(other.services.lost(name).iter()));
            losers.for_each(|(name, _)| touched.service(name));
            // A slice that has moved touches the Services on both sides.
            let slices = one.slices.iter();
            let of_slices = slices.filter(|(name, of)| other.slices.get(name) != Some(of));
            of_slices.for_each(|(_, slice)| touched.service(&slice.service));
        }
        touched
    }

    /// Whether all is as it was.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && !self.surroundings
    }

    /// Adds what has been touched since.
    pub fn merge(&mut self, later: Touched) {
        self.services.extend(later.services);
        self.surroundings |= later.surroundings;
    }

    /// Adds a Service.
    pub fn service(&mut self, name: &NamespacedName) {
        if !self.services.contains(name) {
            self.services.insert(name.clone());
        }
    }
}

#[cfg(test)]
#[path = "touched_tests.rs"]
mod tests;
