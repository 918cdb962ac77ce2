//! `v1.Node`.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1;
use weir_rules::cluster::Node;

use super::field::{self, InvalidField};
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
pub fn node(node: &v1::Node) -> Result<Converted, InvalidField> {
    let status = node.status.as_ref();
    let listed = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for kind in ["InternalIP", "ExternalIP"] {
        for (index, entry) in listed.iter().enumerate().filter(|(_, entry)| entry.type_ == kind) {
            let path = || format!("status.addresses[{index}].address");
            addresses.push(field::address(&entry.address, path)?);
        }
    }
    let labels = node.metadata.labels.as_ref();
    let zone = labels.and_then(|labels| labels.get(ZONE_LABEL)).cloned();
    let converted = Node { addresses, zone, pod_cidrs: pod_cidrs(node)? };
    Ok(Object::Node(converted, future(node)).into())
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
fn pod_cidrs(node: &v1::Node) -> Result<Vec<IpNet>, InvalidField> {
    let Some(spec) = &node.spec else { return Ok(Vec::new()) };
    let listed = spec.pod_cidrs.as_deref().unwrap_or_default();
    if let (Some(single), []) = (&spec.pod_cidr, listed) {
        return Ok(vec![field::network(single, || "spec.podCIDR".into())?]);
    }
    let parse = |(index, text): (usize, &String)| {
        field::network(text, || format!("spec.podCIDRs[{index}]"))
    };
    listed.iter().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(addresses: serde_json::Value) -> Result<Converted, InvalidField> {
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
            converted.unwrap().object,
            Object::Node(Node { addresses, zone: None, pod_cidrs: vec![] }, NodeFuture::Stays)
        );
    }

    #[test]
    fn a_node_goes_when_it_is_being_deleted_or_the_autoscaler_says_so() {
        let future = |object: serde_json::Value| {
            let converted = node(&serde_json::from_value(object).unwrap()).unwrap();
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
    fn a_bad_address_is_named() {
        let error = converted(serde_json::json!([
            {"type": "Hostname", "address": "node-1"},
            {"type": "InternalIP", "address": "192.0.2.256"},
        ]));
        assert_eq!(
            error.unwrap_err().to_string(),
            "status.addresses[1].address: \"192.0.2.256\" is not an IP address"
        );
    }
}
