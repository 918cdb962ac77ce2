//! Distinguishes the traffic of local Pods from other traffic (kube-proxy: pkg/proxy/util/localdetector.go).

use ipnet::IpNet;

use super::names;
use crate::cluster::Cluster;
use crate::config::{Config, DetectLocal};
use crate::nft::{Name, Selector, Statement, Table};

/// The networks of Pods, if these identify local traffic.
pub(crate) fn pod_networks<'a>(cluster: &'a Cluster, config: &'a Config) -> &'a [IpNet] {
    match &config.detect_local {
        DetectLocal::ClusterCidr(networks) => networks,
        DetectLocal::NodeCidr => cluster.node.as_ref().map_or(&[], |node| &node.pod_cidrs),
        DetectLocal::BridgeInterface(_) | DetectLocal::InterfaceNamePrefix(_) => &[],
    }
}

/// Matches traffic of local Pods, or all other; `None` if nothing identifies it. The table has its
/// networks already.
pub(super) fn is_from_pod(table: &Table, config: &Config, negated: bool) -> Option<Statement> {
    match &config.detect_local {
        DetectLocal::ClusterCidr(_) | DetectLocal::NodeCidr => {
            let is_known = !table.sets[names::CLUSTER_CIDRS].elements.is_empty();
            is_known.then(|| Statement::InSet {
                key: vec![Selector::Saddr],
                set: Name::from(names::CLUSTER_CIDRS),
                negated,
            })
        }
        DetectLocal::BridgeInterface(name) => {
            Some(Statement::InputInterface { name: name.clone(), is_prefix: false, negated })
        }
        DetectLocal::InterfaceNamePrefix(name) => {
            Some(Statement::InputInterface { name: name.clone(), is_prefix: true, negated })
        }
    }
}
