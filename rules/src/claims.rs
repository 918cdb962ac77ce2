//! What a Service claims for itself alone.
//!
//! Every virtual address is one key of one map, whichever field it comes from: no two Services can
//! have it.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::cluster::{Protocol, Service};

/// A key of the maps of Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// A port at a virtual address.
    Address {
        /// The address.
        address: IpAddr,
        /// The protocol.
        protocol: Protocol,
        /// The port.
        port: NonZeroU16,
    },
    /// A port at the node's own addresses, of both families.
    NodePort {
        /// The protocol.
        protocol: Protocol,
        /// The port.
        port: NonZeroU16,
    },
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Address { address, protocol, port } => {
                write!(f, "{address} {protocol} port {port}")
            }
            Claim::NodePort { protocol, port } => write!(f, "{protocol} node port {port}"),
        }
    }
}

/// The field that makes a claim. Its `Display` is the field's path in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimField {
    /// `spec.clusterIPs`.
    ClusterIps,
    /// `spec.externalIPs`.
    ExternalIps,
    /// `status.loadBalancer.ingress`.
    LoadBalancerIngress,
    /// `spec.ports[index].nodePort`.
    NodePort {
        /// Which port.
        index: usize,
    },
}

impl fmt::Display for ClaimField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimField::ClusterIps => f.write_str("spec.clusterIPs"),
            ClaimField::ExternalIps => f.write_str("spec.externalIPs"),
            ClaimField::LoadBalancerIngress => f.write_str("status.loadBalancer.ingress"),
            ClaimField::NodePort { index } => write!(f, "spec.ports[{index}].nodePort"),
        }
    }
}

/// All that a Service claims. A claim that two of its fields make is there twice.
pub fn claims(service: &Service) -> Vec<(Claim, ClaimField)> {
    let lists = [
        (&service.cluster_ips, ClaimField::ClusterIps),
        (&service.external_ips, ClaimField::ExternalIps),
        (&service.load_balancer_ips, ClaimField::LoadBalancerIngress),
    ];
    let mut claims = Vec::new();
    for (index, port) in service.ports.iter().enumerate() {
        let protocol = port.protocol;
        for (addresses, field) in lists {
            for &address in addresses {
                claims.push((Claim::Address { address, protocol, port: port.port }, field));
            }
        }
        if let Some(port) = port.node_port {
            claims.push((Claim::NodePort { protocol, port }, ClaimField::NodePort { index }));
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{ServicePort, TrafficPolicy};

    fn port(protocol: Protocol, port: u16, node_port: u16) -> ServicePort {
        ServicePort {
            name: format!("{protocol}-{port}").into(),
            protocol,
            port: NonZeroU16::new(port).unwrap(),
            node_port: NonZeroU16::new(node_port),
        }
    }

    #[test]
    fn a_service_claims_every_port_at_every_address_and_its_node_ports() {
        let service = Service {
            cluster_ips: vec!["10.96.0.10".parse().unwrap(), "fd00::10".parse().unwrap()],
            external_ips: vec!["192.0.2.1".parse().unwrap()],
            load_balancer_ips: vec!["192.0.2.1".parse().unwrap()],
            ports: vec![port(Protocol::Tcp, 80, 0), port(Protocol::Udp, 53, 30053)],
            internal_traffic_policy: TrafficPolicy::Cluster,
            external_traffic_policy: TrafficPolicy::Cluster,
            source_ranges: vec![],
            session_affinity: None,
            health_check_node_port: None,
        };
        let listed: Vec<String> =
            claims(&service).iter().map(|(claim, field)| format!("{field}: {claim}")).collect();
        assert_eq!(
            listed,
            [
                "spec.clusterIPs: 10.96.0.10 tcp port 80",
                "spec.clusterIPs: fd00::10 tcp port 80",
                "spec.externalIPs: 192.0.2.1 tcp port 80",
                "status.loadBalancer.ingress: 192.0.2.1 tcp port 80",
                "spec.clusterIPs: 10.96.0.10 udp port 53",
                "spec.clusterIPs: fd00::10 udp port 53",
                "spec.externalIPs: 192.0.2.1 udp port 53",
                "status.loadBalancer.ingress: 192.0.2.1 udp port 53",
                "spec.ports[1].nodePort: udp node port 30053",
            ]
        );
    }
}
