//! Health checks of load balancers: which Services have one, on which port, and what it answers.
//!
//! A load balancer that keeps the client's address (`externalTrafficPolicy: Local`) must send
//! only to nodes with endpoints, and asks each node at the Service's `healthCheckNodePort`
//! (kube-proxy: pkg/proxy/healthcheck/service_health.go).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use crate::cluster::claims::{Claim, Lost};
use crate::cluster::{Cluster, EndpointSlice, Family, NamespacedName, Protocol, Service};
use crate::compile::node_port_networks;
use crate::config::{Config, NodePortAddresses};

/// The health check of a Service in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The Service.
    pub service: NamespacedName,
    /// The family that it has a ClusterIP of.
    pub family: Family,
    /// `spec.healthCheckNodePort`.
    pub port: NonZeroU16,
    /// How many ready endpoints it has on the proxy's own node: those of different addresses.
    pub local_endpoints: usize,
}

/// The health checks of a Service with these slices, one for each of its families, on a node of
/// this name; none if another Service has the port.
pub fn checks(
    name: &NamespacedName,
    service: &Service,
    lost: Lost<'_>,
    slices: &[&EndpointSlice],
    node: &str,
) -> Vec<HealthCheck> {
    let Some(port) = service.health_check_node_port else { return Vec::new() };
    if lost.contains(&Claim::NodePort { protocol: Protocol::Tcp, port }) {
        return Vec::new();
    }
    let check = |family| HealthCheck {
        service: name.clone(),
        family,
        port,
        local_endpoints: local_endpoints(family, slices, node),
    };
    Family::ALL.into_iter().filter(|family| service.serves(*family)).map(check).collect()
}

/// How many ready endpoints of different addresses the proxy's own node has.
fn local_endpoints(family: Family, slices: &[&EndpointSlice], node: &str) -> usize {
    // kube-proxy knows endpoints by their port.
    let slices = slices.iter().filter(|slice| slice.family == family && !slice.ports.is_empty());
    let found = slices
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| endpoint.ready && endpoint.node() == Some(node));
    found.map(|endpoint| endpoint.address).collect::<BTreeSet<IpAddr>>().len()
}

/// The addresses at which the health checks of a family are answered on a node that has `own`
/// addresses: those that serve node ports. `0.0.0.0` or `::` stands for all of the family.
pub fn check_addresses(
    family: Family,
    cluster: &Cluster,
    config: &Config,
    own: &BTreeSet<IpAddr>,
) -> BTreeSet<IpAddr> {
    let networks = node_port_networks(family, cluster, config);
    if networks.iter().any(|network| network.prefix_len() == 0) {
        return [match family {
            Family::Ipv4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Family::Ipv6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        }]
        .into();
    }
    match config.node_port_addresses {
        // If the node does not have it, that it cannot be bound says so.
        NodePortAddresses::Primary => networks.iter().map(|network| network.addr()).collect(),
        NodePortAddresses::Cidrs(_) => own
            .iter()
            .copied()
            .filter(|address| networks.iter().any(|network| network.contains(address)))
            // Nothing can be bound to these without the interface.
            .filter(|address| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()))
            .collect(),
    }
}

#[cfg(test)]
#[path = "health_checks_tests.rs"]
mod tests;
