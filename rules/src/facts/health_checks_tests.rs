use super::*;
use crate::cluster::{Endpoint, EndpointPlace, EndpointPort, Node, Protocol, ServicePort};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn number(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn name() -> NamespacedName {
    NamespacedName::new("default", "web")
}

fn service(cluster_ips: &[&str], health_check_node_port: Option<u16>) -> Service {
    let port = |name: &str, port: u16| ServicePort {
        name: name.into(),
        protocol: Protocol::Tcp,
        port: number(port),
        node_port: None,
    };
    Service {
        cluster_ips: cluster_ips.iter().map(|text| ip(text)).collect(),
        ports: vec![port("http", 80), port("https", 443)],
        health_check_node_port: health_check_node_port.map(number),
        ..Service::default()
    }
}

fn slice(family: Family, ports: &[&str], endpoints: Vec<Endpoint>) -> EndpointSlice {
    let port = |name: &&str| EndpointPort {
        name: (*name).into(),
        protocol: Protocol::Tcp,
        port: number(8080),
    };
    EndpointSlice { service: name(), family, ports: ports.iter().map(port).collect(), endpoints }
}

fn local(address: &str) -> Endpoint {
    Endpoint { place: EndpointPlace::on("node-a"), ..Endpoint::new(ip(address)) }
}

/// The numbers of local endpoints of the checks, by family.
fn counted(service: Service, slices: Vec<EndpointSlice>) -> Vec<(Family, usize)> {
    let slices: Vec<&EndpointSlice> = slices.iter().collect();
    let checks = checks(&name(), &service, Lost::default(), &slices, "node-a");
    checks.into_iter().map(|check| (check.family, check.local_endpoints)).collect()
}

#[test]
fn ready_endpoints_of_the_own_node_count_once_for_each_address() {
    let elsewhere =
        Endpoint { place: EndpointPlace::on("node-b"), ..Endpoint::new(ip("10.244.1.1")) };
    let terminating = Endpoint { ready: false, terminating: true, ..local("10.244.0.4") };
    let endpoints = vec![local("10.244.0.2"), local("10.244.0.3"), elsewhere, terminating];
    let slices = vec![
        slice(Family::Ipv4, &["http", "https"], endpoints),
        slice(Family::Ipv4, &["http"], vec![local("10.244.0.3")]),
        slice(Family::Ipv4, &[], vec![local("10.244.0.5")]),
        slice(Family::Ipv6, &["http"], vec![local("fd00:10:244::2")]),
    ];
    let service = service(&["10.96.0.10", "fd00:96::10"], Some(30100));
    assert_eq!(counted(service, slices), [(Family::Ipv4, 2), (Family::Ipv6, 1)]);
}

#[test]
fn a_service_is_checked_in_the_families_of_its_cluster_ips_and_only_if_it_has_a_port() {
    assert_eq!(counted(service(&["fd00:96::10"], Some(30100)), vec![]), [(Family::Ipv6, 0)]);
    assert_eq!(counted(service(&["10.96.0.10"], None), vec![]), []);
}

#[test]
fn checks_are_answered_where_node_ports_are_served() {
    let own = ips(&["127.0.0.1", "192.0.2.1", "198.51.100.1", "fe80::1", "2001:db8::1"]);
    let at =
        |family, config: &Config, cluster: &Cluster| check_addresses(family, cluster, config, &own);
    let addresses = vec![ip("198.51.100.1"), ip("192.0.2.1")];
    let node = Node { addresses, zone: None, pod_cidrs: vec![] };
    let known = Cluster { node: Some(node), ..Cluster::default() };
    let primary = Config::new("node-a");
    assert_eq!(at(Family::Ipv4, &primary, &known), ips(&["198.51.100.1"]));
    assert_eq!(at(Family::Ipv6, &primary, &known), ips(&[]));
    assert_eq!(at(Family::Ipv4, &primary, &Cluster::default()), ips(&[]));

    let within = |networks: &[&str]| Config {
        node_port_addresses: NodePortAddresses::Cidrs(
            networks.iter().map(|text| text.parse().unwrap()).collect(),
        ),
        ..Config::new("node-a")
    };
    assert_eq!(at(Family::Ipv4, &within(&["192.0.2.0/24"]), &known), ips(&["192.0.2.1"]));
    // A family without a network is served at all addresses.
    assert_eq!(at(Family::Ipv6, &within(&["192.0.2.0/24"]), &known), ips(&["::"]));
    assert_eq!(at(Family::Ipv4, &within(&["0.0.0.0/0"]), &known), ips(&["0.0.0.0"]));
    let both = within(&["fe80::/10", "2001:db8::/32"]);
    assert_eq!(at(Family::Ipv6, &both, &known), ips(&["2001:db8::1"]));
}

#[test]
fn a_port_that_another_service_has_is_not_answered() {
    let mut cluster = Cluster::default();
    let mut older = service(&["10.96.0.11"], Some(32000));
    older.created = Some(1);
    cluster.services.insert(name(), service(&["10.96.0.10"], Some(32000)));
    cluster.services.insert(NamespacedName::new("default", "older"), older);
    let found = crate::facts::DerivedState::of(&cluster, &Config::new("node-a"));
    let services: Vec<_> = found.checks().map(|check| check.service.to_string()).collect();
    assert_eq!(services, ["default/older"]);
}
