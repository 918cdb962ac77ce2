//! What a cluster asks for, in numbers.

use crate::cluster::{Cluster, EndpointSlice, Family, Service, TrafficPolicy};
use crate::config::Config;
use crate::endpoints::{Place, choose};

/// How much of what there is in one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Services with a ClusterIP of the family.
    pub services: usize,
    /// Endpoints in the EndpointSlices of these Services.
    pub endpoints: usize,
    /// Ports of Services with `internalTrafficPolicy: Local` that have endpoints, but none here.
    pub no_local_internal: usize,
    /// The same for `externalTrafficPolicy: Local`, where anybody outside can get there.
    pub no_local_external: usize,
}

impl Numbers {
    /// The numbers of a family.
    pub fn of(family: Family, cluster: &Cluster, config: &Config) -> Self {
        let zone = cluster.node.as_ref().and_then(|node| node.zone.as_deref());
        let place = Place { node: &config.node_name, zone };
        let mut numbers = Self::default();
        let has_family = |service: &Service| {
            service.cluster_ips.iter().any(|address| Family::of(*address) == family)
        };
        for (name, service) in cluster.services.iter().filter(|(_, service)| has_family(service)) {
            let mut slices = cluster.slices.of(name);
            slices.retain(|slice| slice.family == family);
            numbers.services += 1;
            numbers.endpoints += slices.iter().map(|slice| slice.endpoints.len()).sum::<usize>();
            numbers.add_ports(service, family, &slices, place);
        }
        numbers
    }

    /// Counts the ports whose policy leaves them without an endpoint.
    fn add_ports(
        &mut self,
        service: &Service,
        family: Family,
        slices: &[&EndpointSlice],
        place: Place<'_>,
    ) {
        let is_local = |policy| policy == TrafficPolicy::Local;
        let internal = is_local(service.internal_traffic_policy);
        if !internal && !is_local(service.external_traffic_policy) {
            return;
        }
        for port in &service.ports {
            let external =
                is_local(service.external_traffic_policy) && service.is_externally_accessible(port);
            let chosen = choose(service, port, family, slices, place);
            let has_only_others = chosen.any && chosen.local.is_empty();
            self.no_local_internal += usize::from(has_only_others && internal);
            self.no_local_external += usize::from(has_only_others && external);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::cluster::{Endpoint, EndpointPort, NamespacedName, Protocol, ServicePort};

    fn numbers(service: Service, endpoint_node: Option<&str>) -> Numbers {
        let name = NamespacedName::new("default", "web");
        let node = endpoint_node.map(str::to_owned);
        let endpoint = Endpoint { node, ..Endpoint::new([10, 244, 0, 2].into()) };
        let slice = EndpointSlice {
            service: name.clone(),
            family: Family::Ipv4,
            ports: vec![EndpointPort {
                name: String::new(),
                protocol: Protocol::Tcp,
                port: NonZeroU16::MAX,
            }],
            endpoints: endpoint_node.map(|_| endpoint).into_iter().collect(),
        };
        let cluster = Cluster {
            services: [(name.clone(), service)].into(),
            slices: [(name, slice)].into(),
            ..Cluster::default()
        };
        Numbers::of(Family::Ipv4, &cluster, &Config::new("node-a"))
    }

    fn service(
        internal: TrafficPolicy,
        external: TrafficPolicy,
        node_port: Option<u16>,
    ) -> Service {
        Service {
            cluster_ips: vec![[10, 96, 0, 10].into()],
            ports: vec![ServicePort {
                name: String::new(),
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
