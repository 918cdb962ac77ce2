//! `v1.Node`.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1;
use weir_rules::cluster::Node;

use super::field::{self, InvalidField};
use super::{Converted, Object};

/// The zone that a Node is in.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

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
    Ok(Object::Node(Node { addresses, zone, pod_cidrs: pod_cidrs(node)? }).into())
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
            Object::Node(Node { addresses, zone: None, pod_cidrs: vec![] })
        );
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
