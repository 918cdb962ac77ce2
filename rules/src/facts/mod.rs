//! State derived from Services beside the ruleset, updated incrementally.
//!
//! Each Service's contribution to a total is stored with it, so that it can be subtracted again.

pub mod counts;
pub mod excess;
pub mod health_checks;
pub mod stale_flows;

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::claims::Lost;
use crate::cluster::compact::compact;
use crate::cluster::{
    ChangeSet, Cluster, EndpointSlice, Family, NamespacedName, Service, ServicePort, TrafficPolicy,
};
use crate::config::{Config, NodePortAddresses};
use crate::endpoints::{Locality, PortSlices, choose, has_usable};
use crate::facts::counts::Numbers;
use crate::facts::health_checks::{HealthCheck, checks};
use crate::facts::stale_flows::{FlowImpact, ServedDestinations};

/// What follows from the Services of a cluster on one node. By default, of an empty cluster.
///
/// Where several Services claim one destination, each counts for itself in the numbers; [`ServedDestinations`]
/// goes by who has it ([`claims`](crate::cluster::claims)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DerivedState {
    /// The node that decides which endpoints are local: the only thing beside a Service and its
    /// slices that a Service's contribution depends on. Zones are about hints, and so about the
    /// ruleset.
    node_name: String,
    node_port_addresses: Option<NodePortAddresses>,
    services: BTreeMap<NamespacedName, Contribution>,
    numbers: [Numbers; 2],
    with_node_ports: usize,
    with_endpoints: usize,
    /// The health checks of each Service that has any.
    checks: BTreeMap<NamespacedName, Vec<HealthCheck>>,
    serving: ServedDestinations,
}

/// What a change means for what follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DerivedStateChange {
    /// What it means for UDP flows, once it is programmed.
    pub effect: FlowImpact,
    /// Whether there may be other health checks, or other addresses where they are answered.
    pub checks: bool,
}

/// A Service's contribution to the totals. There is one for each Service, so it has to be small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Contribution {
    numbers: [Numbers; 2],
    has_node_port: bool,
    has_endpoints: bool,
}

impl DerivedStateChange {
    /// Adds what happens besides.
    pub fn merge(&mut self, other: DerivedStateChange) {
        self.effect.merge(other.effect);
        self.checks |= other.checks;
    }
}

impl DerivedState {
    /// What follows from all of a cluster.
    pub fn of(cluster: &Cluster, config: &Config) -> Self {
        let mut facts = Self::default();
        facts.update(cluster, config, &ChangeSet::all(cluster));
        facts
    }

    /// Applies what has changed in a cluster since the last update. Other settings and another node
    /// are detected. The cost is that of the changed Services, or of all if the node's name has
    /// changed.
    pub fn update(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        change_set: &ChangeSet,
    ) -> DerivedStateChange {
        let mut change = DerivedStateChange::default();
        if self.node_name != config.node_name {
            self.node_name.clone_from(&config.node_name);
            let names = cluster.services.keys().chain(self.services.keys());
            let names: BTreeSet<NamespacedName> = names.cloned().collect();
            names.iter().for_each(|name| self.update_service(name, cluster, &mut change));
        } else {
            let names = change_set.services.iter();
            names.for_each(|name| self.update_service(name, cluster, &mut change));
        }
        if change_set.services.len() > self.services.len() / 2 {
            compact(&mut self.services);
        }
        self.surround(cluster, config, &mut change);
        change
    }

    /// Records that a Service's new state is programmed in part, and that the rest is as it was.
    pub fn begin(&mut self, name: &NamespacedName, cluster: &Cluster) {
        let (service, lost) = (cluster.services.get(name), cluster.services.lost(name));
        let slices = cluster.slices.of(name);
        self.serving.arrive(name, service, lost, &slices, &self.node_name);
    }

    /// Records that nothing of a Service is programmed, whatever the cluster has.
    pub fn forget(&mut self, name: &NamespacedName) -> DerivedStateChange {
        let mut change = DerivedStateChange::default();
        self.put(name, None, Lost::default(), &[], &mut change);
        change
    }

    /// Whether another Service has come to claim a UDP destination of this one.
    pub fn is_contested(&self, name: &NamespacedName) -> bool {
        self.serving.is_contested(name)
    }

    /// How much there is, in the order of [`Family::ALL`].
    pub fn numbers(&self) -> &[Numbers; 2] {
        &self.numbers
    }

    /// The health checks of load balancers, by Service and family.
    pub fn checks(&self) -> impl Iterator<Item = &HealthCheck> {
        self.checks.values().flatten()
    }

    /// Who may go on answering UDP flows.
    pub fn serving(&self) -> &ServedDestinations {
        &self.serving
    }

    /// Whether any Service has a node port.
    pub fn has_node_ports(&self) -> bool {
        self.with_node_ports > 0
    }

    /// Whether anybody is sent to an endpoint from a virtual address: whether there is an element in
    /// [`SERVICES`](crate::compile::names::SERVICES).
    pub fn has_endpoints(&self) -> bool {
        self.with_endpoints > 0
    }

    fn update_service(
        &mut self,
        name: &NamespacedName,
        cluster: &Cluster,
        change: &mut DerivedStateChange,
    ) {
        let (service, lost) = (cluster.services.get(name), cluster.services.lost(name));
        self.put(name, service, lost, &cluster.slices.of(name), change);
    }

    /// Puts in what follows from a Service with these slices, instead of what followed from it before.
    fn put(
        &mut self,
        name: &NamespacedName,
        service: Option<&Service>,
        lost: Lost<'_>,
        slices: &[&EndpointSlice],
        change: &mut DerivedStateChange,
    ) {
        self.update_share(name, service.map(|it| Contribution::of(it, slices, &self.node_name)));
        let checks = service.map(|it| checks(name, it, lost, slices, &self.node_name));
        change.checks |= self.update_checks(name, checks.unwrap_or_default());
        change.effect.merge(self.serving.update(name, service, lost, slices, &self.node_name));
    }

    /// Takes out of the totals what a Service has added, and adds what it adds now.
    fn update_share(&mut self, name: &NamespacedName, share: Option<Contribution>) {
        let before = match share {
            Some(share) => self.services.insert(name.clone(), share),
            None => self.services.remove(name),
        };
        let (before, share) = (before.unwrap_or_default(), share.unwrap_or_default());
        for (index, total) in self.numbers.iter_mut().enumerate() {
            *total -= before.numbers[index];
            *total += share.numbers[index];
        }
        self.with_node_ports -= usize::from(before.has_node_port);
        self.with_node_ports += usize::from(share.has_node_port);
        self.with_endpoints -= usize::from(before.has_endpoints);
        self.with_endpoints += usize::from(share.has_endpoints);
    }

    /// Returns whether the health checks of a Service have changed.
    fn update_checks(&mut self, name: &NamespacedName, checks: Vec<HealthCheck>) -> bool {
        let before = self.checks.get(name).map_or(&[][..], Vec::as_slice);
        let is_new = before != checks;
        if checks.is_empty() {
            self.checks.remove(name);
        } else if is_new {
            self.checks.insert(name.clone(), checks);
        }
        is_new
    }

    /// The settings and the node are few words, which are compared each time.
    fn surround(&mut self, cluster: &Cluster, config: &Config, change: &mut DerivedStateChange) {
        let addresses = Some(&config.node_port_addresses);
        if self.node_port_addresses.as_ref() != addresses {
            self.node_port_addresses = addresses.cloned();
            change.checks = true;
        }
        let effect = self.serving.surround(cluster, config);
        // Among them are the node's own networks, where checks are answered.
        change.checks |= effect.is_any;
        change.effect.merge(effect);
    }
}

impl Contribution {
    fn of(service: &Service, slices: &[&EndpointSlice], node: &str) -> Self {
        let has_endpoints = |family| {
            let slices = PortSlices::new(family, slices);
            service.serves(family)
                && service.ports.iter().any(|port| sends(service, port, family, &slices, node))
        };
        Self {
            numbers: Family::ALL.map(|family| Numbers::of(family, service, slices, node)),
            has_node_port: service.has_node_port(),
            has_endpoints: Family::ALL.into_iter().any(has_endpoints),
        }
    }
}

/// Whether a port sends anybody to an endpoint from one of the Service's addresses of a family. Under
/// policy Local nothing is chosen at a ClusterIP without an endpoint here; at other addresses Pods
/// are sent elsewhere.
fn sends(
    service: &Service,
    port: &ServicePort,
    family: Family,
    slices: &PortSlices<'_>,
    node: &str,
) -> bool {
    let mut externals = service.external_ips.iter().chain(&service.load_balancer_ips);
    let is_everywhere = service.internal_traffic_policy == TrafficPolicy::Cluster
        || externals.any(|address| Family::of(*address) == family);
    if is_everywhere {
        has_usable(port, slices)
    } else {
        let place = Locality { node, zone: None };
        !choose(service, port, slices, place).local.is_empty()
    }
}

#[cfg(test)]
mod tests;
