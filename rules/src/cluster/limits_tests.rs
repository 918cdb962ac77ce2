use std::num::NonZeroU16;

use super::*;
use crate::cluster::claims::{ClaimKind, claims};
use crate::cluster::{
    Endpoint, EndpointPort, EndpointSlice, NamespacedName, Protocol, ServicePort,
};
use crate::config::Config;
use crate::facts::excess::excess;

/// A Service with so many ports and addresses of each kind.
fn service(ports: u16, external: u8, load_balancer: u8, has_node_ports: bool) -> Service {
    let port = |index: u16| ServicePort {
        name: index.to_string().into(),
        protocol: Protocol::Tcp,
        port: NonZeroU16::new(1 + index).unwrap(),
        node_port: NonZeroU16::new(30_000 + index).filter(|_| has_node_ports),
    };
    Service {
        cluster_ips: vec![[10, 96, 0, 1].into()],
        external_ips: (0..external).map(|number| [203, 0, 113, number].into()).collect(),
        load_balancer_ips: (0..load_balancer).map(|number| [192, 0, 2, number].into()).collect(),
        ports: (0..ports).map(port).collect(),
        ..Service::default()
    }
}

/// How many claims of each kind are left, in the order of [`ClaimKind::ALL`], but for health checks.
fn left(service: &Service) -> [usize; 4] {
    let claims = claims(service);
    let limited = ClaimKind::ALL.first_chunk().expect("health checks are no keys");
    limited.map(|kind: ClaimKind| claims.iter().filter(|(_, of)| *of == kind).count())
}

#[test]
fn the_least_claims_are_left_out_first() {
    let cases = [
        (1000, [10, 10, 40, 100]),
        (160, [10, 10, 40, 100]),
        (159, [10, 10, 40, 90]),
        (60, [10, 10, 40, 0]),
        (59, [10, 10, 30, 0]),
        (20, [10, 10, 0, 0]),
        (19, [10, 9, 0, 0]),
        (10, [10, 0, 0, 0]),
        (7, [7, 0, 0, 0]),
    ];
    for (max, expected) in cases {
        let mut service = service(10, 10, 4, true);
        service.limit_keys(max);
        assert_eq!(left(&service), expected, "{max}");
        let total: usize = expected.iter().sum();
        assert_eq!(service.excess_keys as usize, 160 - total, "{max}");
        // What fits is not limited once more.
        let limited = service.clone();
        service.limit_keys(max);
        assert_eq!(service, limited);
    }
}

#[test]
fn no_claim_is_made_of_what_is_left_out() {
    let name = NamespacedName::new("default", "big");
    let mut services = crate::cluster::Services::default();
    services.limit(100);
    services.insert(name.clone(), service(1000, 80, 0, false));
    assert_eq!(services[&name].keys(), 100);
    services.limit(usize::MAX);
    services.insert(name.clone(), service(1000, 80, 0, false));
    assert_eq!(services[&name].keys(), 81_000);
    services.limit(100);
    assert_eq!(services[&name].keys(), 100);
}

#[test]
fn what_is_left_out_is_told() {
    let slice = EndpointSlice {
        service: NamespacedName::new("default", "big"),
        family: Family::Ipv4,
        ports: vec![EndpointPort {
            name: "0".into(),
            protocol: Protocol::Tcp,
            port: NonZeroU16::MIN,
        }],
        endpoints: (0..100).map(|number| Endpoint::new([10, 244, 0, number].into())).collect(),
    };
    let config = |max_service_elements| Config { max_service_elements, ..Config::new("node-a") };
    let mut service = service(10, 1, 0, false);
    assert_eq!(excess(&service, &[&slice], &config(2000)), None);
    let found = excess(&service, &[&slice], &config(1999)).expect("too many endpoints");
    assert_eq!((found.keys, found.endpoints), (0, [true, false]));
    service.limit_keys(10);
    let found = excess(&service, &[&slice], &config(2000)).expect("too many keys");
    assert_eq!((found.keys, found.endpoints), (10, [false, false]));
    assert!(found.to_string().starts_with("10 more addresses"), "{found}");
}

/// A slice with so many endpoints for each of these ports of [`service`].
fn slice(ports: std::ops::Range<u16>, endpoints: u16) -> EndpointSlice {
    let port = |index: u16| EndpointPort {
        name: index.to_string().into(),
        protocol: Protocol::Tcp,
        port: NonZeroU16::new(8000 + index).unwrap(),
    };
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Endpoint::new([10, 0, high, low].into())
    };
    EndpointSlice {
        service: NamespacedName::new("default", "big"),
        family: Family::Ipv4,
        ports: ports.map(port).collect(),
        endpoints: (0..endpoints).map(address).collect(),
    }
}

/// Whether endpoints of a Service with 10 ports at one address are told to be left out, where it may have
/// 1000 elements: 100 endpoints for each port.
fn is_told(slices: &[EndpointSlice]) -> bool {
    let config = Config { max_service_elements: 1000, ..Config::new("node-a") };
    let slices: Vec<_> = slices.iter().collect();
    excess(&service(10, 0, 0, false), &slices, &config).is_some()
}

#[test]
fn what_counts_is_the_port_with_the_most_endpoints_and_not_their_sum() {
    let a_slice_for_each_port =
        |endpoints| (0..10).map(move |port| slice(port..port + 1, endpoints));
    assert!(!is_told(&a_slice_for_each_port(100).collect::<Vec<_>>()));
    assert!(is_told(&a_slice_for_each_port(101).collect::<Vec<_>>()));
    let mut one_large: Vec<_> = a_slice_for_each_port(1).collect();
    one_large[7] = slice(7..8, 101);
    assert!(is_told(&one_large));
    assert!(!is_told(&[slice(0..10, 100)]), "all ports in one slice");
    assert!(is_told(&[slice(0..10, 101)]));
}

#[test]
fn endpoints_that_take_no_element_do_not_count() {
    let twice = [slice(0..1, 100), slice(0..1, 100)];
    assert!(!is_told(&twice), "the same ones in two slices");
    let mut with_unready = slice(0..1, 200);
    with_unready.endpoints[100..].iter_mut().for_each(|endpoint| endpoint.ready = false);
    assert!(!is_told(&[with_unready.clone()]), "not ready");
    with_unready.endpoints[100..].iter_mut().for_each(|endpoint| endpoint.terminating = true);
    assert!(!is_told(&[with_unready.clone()]), "draining beside ready ones");
    with_unready.endpoints.iter_mut().for_each(|endpoint| endpoint.ready = false);
    with_unready.endpoints.iter_mut().for_each(|endpoint| endpoint.terminating = true);
    assert!(is_told(&[with_unready]), "draining, where none is ready");
    assert!(!is_told(&[slice(10..11, 200)]), "of a port that the Service does not have");
    let other_family = EndpointSlice { family: Family::Ipv6, ..slice(0..1, 200) };
    assert!(!is_told(&[other_family]), "of a family in which the Service has no ClusterIP");
}

#[test]
fn a_service_with_many_keys_has_fewer_endpoints_and_always_one() {
    assert_eq!(service(1, 0, 0, false).max_endpoints(Family::Ipv4, 1000), 1000);
    assert_eq!(service(10, 1, 0, true).max_endpoints(Family::Ipv4, 3000), 100);
    assert_eq!(service(10, 0, 0, true).max_endpoints(Family::Ipv6, 1000), 100);
    assert_eq!(service(10, 10, 0, true).max_endpoints(Family::Ipv4, 10), 1);
}
