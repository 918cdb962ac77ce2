//! Compiles a cluster into a ruleset: a constant program, with Services as elements of its maps.

mod affinity;
mod balancer;
mod detect;
mod firewall;
mod fragment;
pub(crate) mod lists;
mod program;
mod service;

pub(crate) use affinity::learning;
pub(crate) use balancer::{Balancer, LOCAL_SLOTS, chain_for};
pub(crate) use detect::pod_networks;
pub(crate) use fragment::{Entry, Fragment, Map, TableBuilder};
pub(crate) use program::node_port_networks;

use std::net::IpAddr;

use self::service::NodeContext;
use crate::cluster::{Cluster, Family, NamespacedName};
use crate::config::Config;
use crate::endpoints::Locality;
use crate::nft::{Name, Ruleset, SetSpec, Statement, Table};

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
    /// Verdict map of every node port, also of those without endpoints.
    pub const NODEPORTS: &str = "nodeports";
    /// Map from node port and slot to endpoint.
    pub const NODEPORT_ENDPOINTS: &str = "nodeport-endpoints";
    /// Verdict map of every virtual address without endpoints.
    pub const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
    /// Verdict map of load-balancer addresses that not everybody may use.
    pub const FIREWALL_IPS: &str = "firewall-ips";
    /// Verdict map of every node port: loadBalancerSourceRanges do not apply to it.
    pub const NODEPORTS_IN_USE: &str = "nodeports-in-use";
    /// Verdict map of every virtual address whose clients stay with their endpoint. Like the next
    /// only there where some do.
    pub const AFFINITY_SERVICES: &str = "affinity-services";
    /// Verdict map of every node port whose clients stay with their endpoint.
    pub const AFFINITY_NODEPORTS: &str = "affinity-nodeports";
    /// Set of the endpoints that clients may stay with, by list.
    pub const AFFINITY_ENDPOINTS: &str = "affinity-endpoints";
    /// What the names of the maps from client and list to endpoint begin with; a number is behind it.
    pub const AFFINITY_CLIENTS: &str = "affinity-clients-";
    /// Verdict map of every node port without endpoints.
    pub const NO_ENDPOINT_NODEPORTS: &str = "no-endpoint-nodeports";
}

/// What defines a set of this name, if that is one that a Service has of its own.
pub(crate) fn own_spec(name: &Name) -> Option<SetSpec> {
    name.as_str().starts_with("source-ranges-").then(firewall::sources_spec)
}

/// The ruleset that serves this cluster on this node: a table of each family.
///
/// Where several Services claim one address, protocol and port, the one with the best right has it
/// ([`claims`](crate::cluster::claims)) and the others are not served there.
pub fn compile(cluster: &Cluster, config: &Config) -> Ruleset {
    let tables = Family::ALL.map(|family| (family, compile_table(family, cluster, config)));
    Ruleset { tables: tables.into() }
}

fn compile_table(family: Family, cluster: &Cluster, config: &Config) -> Table {
    let frame = Skeleton::new(family, cluster, config);
    let mut assembly = TableBuilder::new(frame.base.clone());
    for name in cluster.services.keys() {
        assembly.add(&frame.fragment(name, cluster));
    }
    assembly.finish(frame.is_from_pod.as_ref())
}

/// All that a table has but for the Services, and all that a Service's fragment depends on beside the
/// Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skeleton {
    family: Family,
    /// The table without any Service.
    pub(crate) base: Table,
    /// Matches traffic of local Pods, where that can be determined.
    pub(crate) is_from_pod: Option<Statement>,
    node_name: String,
    zone: Option<String>,
    node_address: Option<IpAddr>,
    max_elements: usize,
}

impl Skeleton {
    /// The frame of a family's table.
    pub(crate) fn new(family: Family, cluster: &Cluster, config: &Config) -> Self {
        let base = program::table(family, cluster, config);
        let is_from_pod = detect::is_from_pod(&base, config, false);
        let node = cluster.node.as_ref();
        Self {
            family,
            base,
            is_from_pod,
            node_name: config.node_name.clone(),
            zone: node.and_then(|node| node.zone.clone()),
            node_address: config.primary_address(node, family),
            max_elements: config.max_service_elements,
        }
    }

    /// Whether every Service has the same fragment in the other.
    pub(crate) fn makes_the_same_of_services(&self, other: &Skeleton) -> bool {
        let parts =
            |of: &Self| (of.node_name.clone(), of.zone.clone(), of.node_address, of.max_elements);
        parts(self) == parts(other)
    }

    /// What defines a map.
    pub(crate) fn spec(&self, map: Map) -> SetSpec {
        let set = self.base.sets.get(map.name());
        set.map_or_else(|| learning().sets[map.name()].spec.clone(), |set| set.spec.clone())
    }

    /// What a Service of the cluster adds; nothing if it is not there.
    pub(crate) fn fragment(&self, name: &NamespacedName, cluster: &Cluster) -> Fragment {
        let Some(service) = cluster.services.get(name) else { return Fragment::default() };
        let node = NodeContext {
            family: self.family,
            place: Locality { node: &self.node_name, zone: self.zone.as_deref() },
            node_address: self.node_address,
            max_elements: self.max_elements,
        };
        let lost = cluster.services.lost(name);
        service::fragment(name, service, lost, &cluster.slices.of(name), node)
    }
}
