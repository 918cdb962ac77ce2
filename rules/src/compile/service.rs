//! What one Service adds to the maps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::balancer::Balancer;
use super::names;
use super::program::REJECT;
use crate::cluster::{EndpointSlice, Family, NamespacedName, Service, ServicePort};
use crate::endpoints::{PortEndpoint, ready_endpoints};
use crate::nft::{Data, Element, Elements, Name, RawKey, Table, Verdict, truncate_comment};

/// Elements of all maps, for any number of Services in one family.
#[derive(Default)]
pub(super) struct ServiceElements {
    cluster_ips: Elements,
    hairpin_connections: Elements,
    addresses: Destinations,
    node_ports: Destinations,
    balancers: BTreeMap<Balancer, Name>,
}

/// A verdict map, its endpoints, and the verdict map of those that have none.
#[derive(Default)]
struct Destinations {
    verdicts: Elements,
    endpoints: Elements,
    without_endpoints: Elements,
}

impl ServiceElements {
    /// Adds a Service. It is served in a family in which it has a ClusterIP.
    pub(super) fn add(
        &mut self,
        name: &NamespacedName,
        service: &Service,
        slices: &[&EndpointSlice],
        family: Family,
        node_name: &str,
    ) {
        let of_family = |addresses: &[IpAddr]| -> Vec<IpAddr> {
            addresses.iter().copied().filter(|&a| Family::of(a) == family).collect()
        };
        let cluster_ips = of_family(&service.cluster_ips);
        if cluster_ips.is_empty() {
            return;
        }
        let external = [of_family(&service.external_ips), of_family(&service.load_balancer_ips)];
        for &address in &cluster_ips {
            self.cluster_ips.insert(RawKey::new().address(address), Element::new(Data::Nothing));
        }
        for port in &service.ports {
            let endpoints = ready_endpoints(port, family, slices, node_name);
            let comment = port_comment(name, port);
            let mut serve = |address: &IpAddr, balancer: fn(u32) -> Balancer| {
                let key = RawKey::new().address(*address).protocol(port.protocol).port(port.port);
                self.addresses.add(key, &endpoints, &comment, balancer, &mut self.balancers);
            };
            cluster_ips.iter().for_each(|address| serve(address, Balancer::Cluster));
            external.iter().flatten().for_each(|address| serve(address, Balancer::External));
            if let Some(node_port) = port.node_port {
                let key = RawKey::new().protocol(port.protocol).port(node_port);
                let balancer = Balancer::NodePort;
                self.node_ports.add(key, &endpoints, &comment, balancer, &mut self.balancers);
            }
            self.add_hairpin(port, &endpoints);
        }
    }

    /// Only a local endpoint's own packets pass this node on both ways.
    fn add_hairpin(&mut self, port: &ServicePort, endpoints: &[PortEndpoint]) {
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.local) {
            let key = RawKey::new()
                .address(endpoint.address)
                .address(endpoint.address)
                .protocol(port.protocol)
                .port(endpoint.port);
            self.hairpin_connections.insert(key, Element::new(Data::Nothing));
        }
    }

    /// Puts the elements into the table's maps, and the chains that they go to beside them.
    pub(super) fn move_into(self, table: &mut Table) {
        let sets = [
            (names::CLUSTER_IPS, self.cluster_ips),
            (names::HAIRPIN_CONNECTIONS, self.hairpin_connections),
            (names::SERVICES, self.addresses.verdicts),
            (names::ENDPOINTS, self.addresses.endpoints),
            (names::NO_ENDPOINT_SERVICES, self.addresses.without_endpoints),
            (names::NODEPORTS, self.node_ports.verdicts),
            (names::NODEPORT_ENDPOINTS, self.node_ports.endpoints),
            (names::NO_ENDPOINT_NODEPORTS, self.node_ports.without_endpoints),
        ];
        for (name, elements) in sets {
            table.sets.get_mut(name).expect("the program declares every set").elements = elements;
        }
        for (balancer, name) in self.balancers {
            table.chains.insert(name, balancer.chain());
        }
    }
}

impl Destinations {
    /// Adds a destination, unless it is taken.
    fn add(
        &mut self,
        key: RawKey,
        endpoints: &[PortEndpoint],
        comment: &str,
        balancer: fn(u32) -> Balancer,
        balancers: &mut BTreeMap<Balancer, Name>,
    ) {
        if self.verdicts.contains_key(&key) || self.without_endpoints.contains_key(&key) {
            return;
        }
        let verdict_element = |chain| Element {
            data: Data::Verdict(Verdict::Goto(chain)),
            comment: Some(comment.into()),
        };
        if endpoints.is_empty() {
            self.without_endpoints.insert(key, verdict_element(Name::from(REJECT)));
            return;
        }
        let chain = chain_for(balancer(endpoints.len() as u32), balancers);
        self.verdicts.insert(key, verdict_element(chain));
        for (slot, endpoint) in (0..).zip(endpoints) {
            let target = RawKey::new().address(endpoint.address).port(endpoint.port);
            self.endpoints.insert(key.slot(slot), Element::new(Data::Values(target)));
        }
    }
}

/// The name of a balancer's chain, which from now on exists, as do those behind it.
fn chain_for(balancer: Balancer, balancers: &mut BTreeMap<Balancer, Name>) -> Name {
    if let Some(name) = balancers.get(&balancer) {
        return name.clone();
    }
    if let Some(successor) = balancer.successor() {
        chain_for(successor, balancers);
    }
    let name = balancer.name();
    balancers.insert(balancer, name.clone());
    name
}

/// `namespace/name:port`, as kube-proxy writes a Service port.
fn port_comment(name: &NamespacedName, port: &ServicePort) -> String {
    if port.name.is_empty() {
        truncate_comment(&name.to_string())
    } else {
        truncate_comment(&format!("{name}:{}", port.name))
    }
}
