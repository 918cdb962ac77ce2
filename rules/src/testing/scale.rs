//! Large, uniform clusters for benchmarks, behind the feature `testing`.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;

use crate::cluster::{
    Cluster, Endpoint, EndpointPlace, EndpointPort, EndpointSlice, Family, NamespacedName,
    Protocol, Service, ServicePort,
};

const FIRST_CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 16);
const FIRST_ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);

/// So many Services `default/svc-N` with a ClusterIP and one port, and so many endpoints of each in a
/// slice `default/svc-N-a`. No two Services share an endpoint.
pub fn large(services: u32, endpoints: u32) -> Cluster {
    let mut cluster = Cluster::default();
    for number in 0..services {
        let name = format!("svc-{number}");
        let slice = slice(&name, number * endpoints, endpoints);
        cluster.slices.insert(NamespacedName::new("default", format!("{name}-a")), slice);
        cluster.services.insert(NamespacedName::new("default", name), service(number));
    }
    cluster
}

/// Puts another endpoint in the place of one of a Service that [`large`] has made.
///
/// # Panics
/// If there is no such Service.
pub fn replace_endpoint(cluster: &mut Cluster, service: u32, address: Ipv4Addr) {
    let name = NamespacedName::new("default", format!("svc-{service}-a"));
    let mut slice = cluster.slices.remove(&name).expect("the cluster was made with this Service");
    slice.endpoints[0].address = IpAddr::V4(address);
    cluster.slices.insert(name, slice);
}

fn service(number: u32) -> Service {
    let address = Ipv4Addr::from_bits(FIRST_CLUSTER_IP.to_bits() + number);
    let port = ServicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: port(80),
        node_port: None,
    };
    Service { cluster_ips: vec![IpAddr::V4(address)], ports: vec![port], ..Service::default() }
}

fn slice(service: &str, first: u32, count: u32) -> EndpointSlice {
    let first = FIRST_ENDPOINT.to_bits() + first;
    let addresses = (first..first + count).map(Ipv4Addr::from_bits);
    EndpointSlice {
        service: NamespacedName::new("default", service),
        family: Family::Ipv4,
        ports: vec![EndpointPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: port(8080),
        }],
        endpoints: addresses.map(endpoint).collect(),
    }
}

fn endpoint(address: Ipv4Addr) -> Endpoint {
    Endpoint {
        place: EndpointPlace::on(&format!("node-{}", address.to_bits() % 100)),
        ..Endpoint::new(IpAddr::V4(address))
    }
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("ports of the test cluster are not 0")
}
