//! Counts of a cluster's objects, for metrics.

use std::ops::{AddAssign, SubAssign};

use crate::cluster::{EndpointSlice, Family, Service, TrafficPolicy};
use crate::endpoints::{Locality, PortSlices, choose};

/// How much of what there is in one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Services with a ClusterIP of the family.
    pub services: u32,
    /// Endpoints in the EndpointSlices of these Services.
    pub endpoints: u32,
    /// Ports of Services with `internalTrafficPolicy: Local` that have endpoints, but none here.
    pub no_local_internal: u32,
    /// The same for `externalTrafficPolicy: Local`, where anybody outside can get there.
    pub no_local_external: u32,
}

impl Numbers {
    /// What a Service with these slices counts in a family, on a node of this name.
    pub fn of(family: Family, service: &Service, slices: &[&EndpointSlice], node: &str) -> Self {
        let mut numbers = Self::default();
        if service.serves(family) {
            let of_family = slices.iter().filter(|slice| slice.family == family);
            numbers.services = 1;
            numbers.endpoints = of_family.map(|slice| slice.endpoints.len() as u32).sum();
            numbers.add_ports(service, &PortSlices::new(family, slices), node);
        }
        numbers
    }

    /// Counts the ports whose policy leaves them without an endpoint.
    fn add_ports(&mut self, service: &Service, slices: &PortSlices<'_>, node: &str) {
        let is_local = |policy| policy == TrafficPolicy::Local;
        let internal = is_local(service.internal_traffic_policy);
        if !internal && !is_local(service.external_traffic_policy) {
            return;
        }
        for port in &service.ports {
            let external =
                is_local(service.external_traffic_policy) && service.is_externally_accessible(port);
            // Hints narrow down the list of policy Cluster, which is not asked for.
            let chosen = choose(service, port, slices, Locality { node, zone: None });
            let has_only_others = chosen.any && chosen.local.is_empty();
            self.no_local_internal += u32::from(has_only_others && internal);
            self.no_local_external += u32::from(has_only_others && external);
        }
    }
}

impl AddAssign for Numbers {
    fn add_assign(&mut self, other: Self) {
        self.services += other.services;
        self.endpoints += other.endpoints;
        self.no_local_internal += other.no_local_internal;
        self.no_local_external += other.no_local_external;
    }
}

impl SubAssign for Numbers {
    fn sub_assign(&mut self, other: Self) {
        self.services -= other.services;
        self.endpoints -= other.endpoints;
        self.no_local_internal -= other.no_local_internal;
        self.no_local_external -= other.no_local_external;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::cluster::{
        Endpoint, EndpointPlace, EndpointPort, NamespacedName, Protocol, ServicePort,
    };

    fn numbers(service: Service, endpoint_node: Option<&str>) -> Numbers {
        let name = NamespacedName::new("default", "web");
        let place = endpoint_node.and_then(EndpointPlace::on);
        let endpoint = Endpoint { place, ..Endpoint::new([10, 244, 0, 2].into()) };
        let slice = EndpointSlice {
            service: name,
            family: Family::Ipv4,
            ports: vec![EndpointPort {
                name: "".into(),
                protocol: Protocol::Tcp,
                port: NonZeroU16::MAX,
            }],
            endpoints: endpoint_node.map(|_| endpoint).into_iter().collect(),
        };
        Numbers::of(Family::Ipv4, &service, &[&slice], "node-a")
    }

    fn service(
        internal: TrafficPolicy,
        external: TrafficPolicy,
        node_port: Option<u16>,
    ) -> Service {
        Service {
            cluster_ips: vec![[10, 96, 0, 10].into()],
            ports: vec![ServicePort {
                name: "".into(),
                protocol: Protocol::Tcp,
                port: NonZeroU16::MIN,
                node_port: node_port.and_then(NonZeroU16::new),
            }],
            internal_traffic_policy: internal,
            external_traffic_policy: external,
            ..Service::default()
        }
    }

    /// As kube-proxy's nftables proxier counts.
    #[test]
    fn a_port_counts_where_its_policy_is_local_and_all_endpoints_are_elsewhere() {
        use TrafficPolicy::{Cluster, Local};
        let counted = |internal, external, node_port, endpoint_node| {
            let numbers = numbers(service(internal, external, node_port), endpoint_node);
            (numbers.no_local_internal, numbers.no_local_external)
        };
        assert_eq!(counted(Local, Local, Some(30080), Some("node-b")), (1, 1));
        assert_eq!(counted(Local, Cluster, Some(30080), Some("node-b")), (1, 0));
        assert_eq!(counted(Cluster, Local, Some(30080), Some("node-b")), (0, 1));
        // Nobody outside can get there.
        assert_eq!(counted(Cluster, Local, None, Some("node-b")), (0, 0));
        assert_eq!(counted(Local, Local, Some(30080), Some("node-a")), (0, 0));
        assert_eq!(counted(Local, Local, Some(30080), None), (0, 0));
    }

    #[test]
    fn services_and_endpoints_count_in_their_family() {
        let service = || service(TrafficPolicy::Cluster, TrafficPolicy::Cluster, None);
        let found = numbers(service(), Some("node-b"));
        assert_eq!((found.services, found.endpoints), (1, 1));
        let v6 = Service { cluster_ips: vec!["fd00:96::10".parse().unwrap()], ..service() };
        let found = numbers(v6, Some("node-b"));
        assert_eq!((found.services, found.endpoints), (0, 0));
    }
}
