//! From cluster state to a ruleset: a constant program, and Services as elements of its maps.

mod affinity;
mod balancer;
mod detect;
mod firewall;
mod program;
mod service;

pub(crate) use detect::pod_networks;
pub(crate) use program::node_port_networks;

use crate::cluster::{Cluster, Family};
use crate::config::Config;
use crate::endpoints::Place;
use crate::nft::{Ruleset, Table};

/// Names of sets and maps, which are also those that operators see.
pub mod names {
    /// Set of ClusterIPs in use.
    pub const CLUSTER_IPS: &str = "cluster-ips";
    /// Interval set of Pod networks.
    pub const CLUSTER_CIDRS: &str = "cluster-cidrs";
    /// Interval set of networks from which ClusterIPs are allocated.
    pub const SERVICE_CIDRS: &str = "service-cidrs";
    /// Interval set of networks at whose local addresses node ports are served.
    pub const NODEPORT_ADDRESSES: &str = "nodeport-addresses";
    /// Set of connections from a local endpoint to itself.
    pub const HAIRPIN_CONNECTIONS: &str = "hairpin-connections";
    /// Verdict map of every virtual address with endpoints.
    pub const SERVICES: &str = "services";
    /// Map from virtual address and slot to endpoint.
    pub const ENDPOINTS: &str = "endpoints";
    /// Verdict map of every node port with endpoints.
    pub const NODEPORTS: &str = "nodeports";
    /// Map from node port and slot to endpoint.
    pub const NODEPORT_ENDPOINTS: &str = "nodeport-endpoints";
    /// Verdict map of every virtual address without endpoints.
    pub const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
    /// Verdict map of load-balancer addresses that not everybody may use.
    pub const FIREWALL_IPS: &str = "firewall-ips";
    /// Verdict map of every virtual address whose clients stay with their endpoint. Like the next
    /// only there where some do.
    pub const AFFINITY_SERVICES: &str = "affinity-services";
    /// Verdict map of every node port whose clients stay with their endpoint.
    pub const AFFINITY_NODEPORTS: &str = "affinity-nodeports";
    /// Verdict map of every node port without endpoints.
    pub const NO_ENDPOINT_NODEPORTS: &str = "no-endpoint-nodeports";
}

/// The ruleset that serves this cluster on this node: a table of each family.
///
/// Where two Services claim one address, protocol and port, the first by namespace and name has
/// it and the other is not served there.
pub fn compile(cluster: &Cluster, config: &Config) -> Ruleset {
    let tables = Family::ALL.map(|family| (family, compile_table(family, cluster, config)));
    Ruleset { tables: tables.into() }
}

fn compile_table(family: Family, cluster: &Cluster, config: &Config) -> Table {
    let node = cluster.node.as_ref();
    let around = service::Surroundings {
        family,
        place: Place { node: &config.node_name, zone: node.and_then(|node| node.zone.as_deref()) },
        node_address: config.primary_address(node, family),
    };
    let mut elements = service::ServiceElements::default();
    for (name, service) in &cluster.services {
        elements.add(name, service, &cluster.slices.of(name), around);
    }
    let mut table = program::table(family, cluster, config);
    let is_from_pod = detect::is_from_pod(&table, config, false);
    elements.move_into(&mut table, is_from_pod.as_ref());
    table
}
