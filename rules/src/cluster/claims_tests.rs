use super::*;
use crate::cluster::{Cluster, ServicePort};

const PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();

fn name(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

fn port(protocol: Protocol, port: u16, node_port: u16) -> ServicePort {
    ServicePort {
        name: format!("{protocol}-{port}").into(),
        protocol,
        port: NonZeroU16::new(port).unwrap(),
        node_port: NonZeroU16::new(node_port),
    }
}

/// A Service with TCP port 80 at its own ClusterIP and at what else it asks for.
fn service(number: u8, external: &[[u8; 4]], load_balancer: &[[u8; 4]]) -> Service {
    let addresses = |list: &[[u8; 4]]| list.iter().map(|&address| address.into()).collect();
    Service {
        cluster_ips: vec![[10, 96, 0, number].into()],
        external_ips: addresses(external),
        load_balancer_ips: addresses(load_balancer),
        ports: vec![port(Protocol::Tcp, 80, 0)],
        ..Service::default()
    }
}

fn cluster(services: &[(&str, Service)]) -> Cluster {
    let services = services.iter().map(|(of, service)| (name(of), service.clone()));
    Cluster { services: services.collect(), ..Cluster::default() }
}

fn lost(cluster: &Cluster) -> Vec<String> {
    let losers = cluster.services.losers();
    let lines = losers.flat_map(|(name, lost)| {
        lost.iter().map(move |(claim, kind)| format!("{name} {}: {claim}", kind.label()))
    });
    lines.collect()
}

#[test]
fn a_service_claims_every_port_at_every_address_and_its_node_ports() {
    let service = Service {
        cluster_ips: vec!["10.96.0.10".parse().unwrap(), "fd00::10".parse().unwrap()],
        external_ips: vec!["192.0.2.1".parse().unwrap()],
        load_balancer_ips: vec!["192.0.2.1".parse().unwrap()],
        ports: vec![port(Protocol::Tcp, 80, 0), port(Protocol::Udp, 53, 30053)],
        ..Service::default()
    };
    let listed: Vec<String> =
        claims(&service).iter().map(|(claim, kind)| format!("{}: {claim}", kind.field())).collect();
    assert_eq!(
        listed,
        [
            "spec.clusterIPs: 10.96.0.10 tcp port 80",
            "spec.clusterIPs: 10.96.0.10 udp port 53",
            "status.loadBalancer.ingress: 192.0.2.1 tcp port 80",
            "status.loadBalancer.ingress: 192.0.2.1 udp port 53",
            "spec.clusterIPs: fd00::10 tcp port 80",
            "spec.clusterIPs: fd00::10 udp port 53",
            "spec.ports[].nodePort: udp node port 30053",
        ]
    );
}

/// The API server gives a number to one Service; what others write decides nothing by chance.
#[test]
fn a_health_check_node_port_is_one_services() {
    let checked = |created: u32, node_port: u16| {
        let mut service = service(created as u8, &[], &[]);
        service.created = Some(created);
        service.health_check_node_port = NonZeroU16::new(32000);
        service.ports[0].node_port = NonZeroU16::new(node_port);
        service
    };
    let mut node_port = service(9, &[], &[]);
    let mut cluster = cluster(&[("a", checked(2, 0)), ("b", checked(1, 0))]);
    assert_eq!(lost(&cluster), ["default/a health-check-node-port: tcp node port 32000"]);
    // Packets to a node port never reach a server on the node, whoever is older.
    node_port.ports[0].node_port = NonZeroU16::new(32000);
    cluster.services.insert(name("c"), node_port.clone());
    assert_eq!(
        lost(&cluster),
        ["a", "b"].map(|of| format!("default/{of} health-check-node-port: tcp node port 32000"))
    );
    // Of UDP they do.
    node_port.ports = vec![port(Protocol::Udp, 80, 32000)];
    cluster.services.insert(name("c"), node_port);
    assert_eq!(lost(&cluster), ["default/a health-check-node-port: tcp node port 32000"]);
}

#[test]
fn nothing_is_claimed_in_a_family_without_a_cluster_ip() {
    let mut service = service(1, &[], &[]);
    service.external_ips.push("2001:db8::1".parse().unwrap());
    assert_eq!(claims(&service).len(), 1);
    service.cluster_ips.clear();
    service.ports[0].node_port = NonZeroU16::new(30080);
    assert_eq!(claims(&service), []);
}

/// By kind, then the older, then by name. All else that the loser claims stays its own.
#[test]
fn the_better_right_has_a_claim_and_the_other_loses_that_alone() {
    let at = [203, 0, 113, 1];
    let old = |service| Service { created: Some(1), ..service };
    let young = |service| Service { created: Some(2), ..service };
    let cases: [(&str, Service, Service, &str); 7] = [
        (
            "a ClusterIP before an external IP, whoever is older",
            old(service(1, &[[10, 96, 0, 2]], &[])),
            young(service(2, &[], &[])),
            "default/a external-ip: 10.96.0.2 tcp port 80",
        ),
        (
            "a ClusterIP before a load balancer's address",
            old(service(1, &[], &[[10, 96, 0, 2]])),
            young(service(2, &[], &[])),
            "default/a load-balancer: 10.96.0.2 tcp port 80",
        ),
        (
            "a load balancer's address before an external IP",
            old(service(1, &[at], &[])),
            young(service(2, &[], &[at])),
            "default/a external-ip: 203.0.113.1 tcp port 80",
        ),
        (
            "of two external IPs that of the older Service",
            young(service(1, &[at], &[])),
            old(service(2, &[at], &[])),
            "default/a external-ip: 203.0.113.1 tcp port 80",
        ),
        (
            "of Services of one age the first by name",
            old(service(1, &[at], &[])),
            old(service(2, &[at], &[])),
            "default/b external-ip: 203.0.113.1 tcp port 80",
        ),
        (
            "a Service that tells its age before one that does not",
            service(1, &[at], &[]),
            young(service(2, &[at], &[])),
            "default/a external-ip: 203.0.113.1 tcp port 80",
        ),
        (
            "what a Service claims in two ways it has by its better right",
            old(service(1, &[at], &[])),
            young(service(2, &[at], &[at])),
            "default/a external-ip: 203.0.113.1 tcp port 80",
        ),
    ];
    for (promise, a, b, expected) in cases {
        let orders = [[("a", a.clone()), ("b", b.clone())], [("b", b), ("a", a)]];
        for order in orders {
            assert_eq!(lost(&cluster(&order)), [expected], "{promise}");
        }
    }
}

/// They are distinguished by protocol and port, not by address.
#[test]
fn services_share_an_address_by_port_and_protocol() {
    let at = [203, 0, 113, 1];
    let on = |number, protocol, of| Service {
        ports: vec![port(protocol, of, 0)],
        ..service(number, &[at], &[])
    };
    let services = [
        ("a", on(1, Protocol::Tcp, 53)),
        ("b", on(2, Protocol::Udp, 53)),
        ("c", on(3, Protocol::Tcp, 54)),
    ];
    assert_eq!(lost(&cluster(&services)), Vec::<String>::new());
}

#[test]
fn what_an_owner_gives_up_goes_to_the_next_best() {
    let at = [203, 0, 113, 1];
    let mut services = cluster(&[
        ("a", service(1, &[at], &[])),
        ("b", service(2, &[at], &[])),
        ("c", service(3, &[at], &[])),
    ])
    .services;
    let claim = Claim::Address { address: at.into(), protocol: Protocol::Tcp, port: PORT };
    assert_eq!(services.owner(&claim), Some(&name("a")));
    let handover = services.insert(name("a"), service(1, &[], &[]));
    assert_eq!(handover.others, [name("b")].into());
    assert_eq!(handover.released, [(claim, name("a"))].into());
    assert_eq!(services.owner(&claim), Some(&name("b")));
    // One that waits may leave, and nobody else is concerned.
    let (_, handover) = services.remove(&name("c")).unwrap();
    assert!(handover.others.is_empty());
    let own =
        Claim::Address { address: [10, 96, 0, 3].into(), protocol: Protocol::Tcp, port: PORT };
    assert_eq!(handover.released, [(own, name("c"))].into());
    let (_, handover) = services.remove(&name("b")).unwrap();
    assert!(handover.others.is_empty() && services.owner(&claim).is_none());
}

/// Each to the other's address, in two updates: nothing in the API conflicts in the end.
#[test]
fn two_services_may_change_places() {
    let (one, two) = ([203, 0, 113, 1], [203, 0, 113, 2]);
    let mut services =
        cluster(&[("a", service(1, &[one], &[])), ("b", service(2, &[two], &[]))]).services;
    services.insert(name("a"), service(1, &[two], &[]));
    services.insert(name("b"), service(2, &[one], &[]));
    assert_eq!(services.losers().count(), 0);
}
