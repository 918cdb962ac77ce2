//! `v1.Node`.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1;
use weir_rules::cluster::Node;

use super::field::{self, LeftOut};
use super::{Converted, Object};

/// The zone that a Node is in.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// What the cluster autoscaler puts on a node that it is about to remove.
const TO_BE_DELETED_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// Whether a Node is to stay. New load-balanced traffic should not come to one that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeFuture {
    /// Nothing is known to the contrary.
    Stays,
    /// It is on its way out.
    Goes,
}

/// Converts the proxy's own Node. Hostnames among its addresses are left out.
pub fn node(node: &v1::Node) -> Converted {
    let mut left_out = LeftOut::default();
    let status = node.status.as_ref();
    let listed = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for kind in ["InternalIP", "ExternalIP"] {
        for (index, entry) in listed.iter().enumerate().filter(|(_, entry)| entry.type_ == kind) {
            let path = || format!("status.addresses[{index}].address");
            addresses.extend(left_out.good(field::address(&entry.address, path)));
        }
    }
    let labels = node.metadata.labels.as_ref();
    let zone = labels.and_then(|labels| labels.get(ZONE_LABEL)).cloned();
    let converted = Node { addresses, zone, pod_cidrs: pod_cidrs(node, &mut left_out) };
    Converted { left_out, ..Object::Node(converted, future(node)).into() }
}

/// A Node that is being deleted, or that the cluster autoscaler is about to delete, goes
/// (kube-proxy: `NodeEligible` of pkg/proxy/healthcheck/proxy_health.go).
fn future(node: &v1::Node) -> NodeFuture {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let goes = node.metadata.deletion_timestamp.is_some()
        || taints.iter().any(|taint| taint.key == TO_BE_DELETED_TAINT);
    if goes { NodeFuture::Goes } else { NodeFuture::Stays }
}

/// `spec.podCIDRs`, or the single `spec.podCIDR` that came before them.
fn pod_cidrs(node: &v1::Node, left_out: &mut LeftOut) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let listed = spec.pod_cidrs.as_deref().unwrap_or_default();
    if let (Some(single), []) = (&spec.pod_cidr, listed) {
        let single = field::network(single, || "spec.podCIDR".into());
        return left_out.good(single).into_iter().collect();
    }
    let parse = |(index, text): (usize, &String)| {
        left_out.good(field::network(text, || format!("spec.podCIDRs[{index}]")))
    };
    listed.iter().enumerate().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(addresses: serde_json::Value) -> Converted {
        let status = serde_json::json!({"status": {"addresses": addresses}});
        node(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn internal_addresses_come_before_external_ones_and_hostnames_are_left_out() {
        let converted = converted(serde_json::json!([
            {"type": "Hostname", "address": "node-1"},
            {"type": "ExternalIP", "address": "198.51.100.1"},
            {"type": "InternalIP", "address": "192.0.2.1"},
            {"type": "InternalIP", "address": "2001:db8::1"},
        ]));
        let addresses = ["192.0.2.1", "2001:db8::1", "198.51.100.1"];
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(
            converted.object,
            Object::Node(Node { addresses, zone: None, pod_cidrs: vec![] }, NodeFuture::Stays)
        );
    }

    #[test]
    fn a_node_goes_when_it_is_being_deleted_or_the_autoscaler_says_so() {
        let future = |object: serde_json::Value| {
            let converted = node(&serde_json::from_value(object).unwrap());
            let Object::Node(_, future) = converted.object else { panic!() };
            future
        };
        let tainted = |key: &str| {
            let taint = serde_json::json!({"key": key, "effect": "NoSchedule"});
            future(serde_json::json!({"spec": {"taints": [taint]}}))
        };
        assert_eq!(tainted("node.kubernetes.io/unschedulable"), NodeFuture::Stays);
        assert_eq!(tainted("ToBeDeletedByClusterAutoscaler"), NodeFuture::Goes);
        let deleted = serde_json::json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(future(serde_json::json!({"metadata": deleted})), NodeFuture::Goes);
    }

    #[test]
    fn a_bad_address_or_network_is_named_and_left_out() {
        let object = serde_json::json!({
            "spec": {"podCIDRs": ["10.244.0.0/33", "10.244.001.0/24", "fd00::/64"]},
            "status": {"addresses": [
                {"type": "Hostname", "address": "node-1"},
                {"type": "InternalIP", "address": "192.0.2.256"},
                {"type": "InternalIP", "address": "192.0.2.007"},
                {"type": "ExternalIP", "address": ""},
            ]},
        });
        let converted = node(&serde_json::from_value(object).unwrap());
        let addresses = vec!["192.0.2.7".parse().unwrap()];
        let pod_cidrs = ["10.244.1.0/24", "fd00::/64"].map(|net| net.parse().unwrap()).into();
        let expected = Node { addresses, zone: None, pod_cidrs };
        assert_eq!(converted.object, Object::Node(expected, NodeFuture::Stays));
        assert_eq!(
            converted.left_out.to_string(),
            "status.addresses[1].address: \"192.0.2.256\" is not an IP address; \
             status.addresses[3].address: \"\" is not an IP address; \
             spec.podCIDRs[0]: \"10.244.0.0/33\" is not a network in CIDR form"
        );
    }
}
