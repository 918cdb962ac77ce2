//! Grows one dimension of a cluster: what tests/tools/count-growth counts.
//!
//! `growth DIMENSION SIZE` decides about a cluster of that size as the agent does, from the claims to the
//! pieces of a transaction, and about its end, and prints how much there was: elements, and where it is
//! about flows, flows.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};

use weir_rules::cluster::{
    ChangeSet, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName, Protocol,
    Service, ServicePort,
};
use weir_rules::config::Config;
use weir_rules::facts::DerivedState;
use weir_rules::facts::stale_flows::Flow;
use weir_rules::reconcile::mirror::Mirror;
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::split::split;

/// What a cluster has of everything.
#[derive(Clone, Copy)]
struct Shape {
    services: u32,
    ports: u16,
    externals: u32,
    slices: u32,
    /// In each slice. Service i has i times as many if `distinct`.
    endpoints: u32,
    distinct: bool,
    ranges: u32,
    affinity: bool,
    flows: u32,
}

const SMALL: Shape = Shape {
    services: 1,
    ports: 1,
    externals: 1,
    slices: 1,
    endpoints: 1,
    distinct: false,
    ranges: 0,
    affinity: false,
    flows: 0,
};

fn shape(dimension: &str, size: u32) -> Shape {
    match dimension {
        "ports" => Shape { ports: size as u16, externals: 20, ..SMALL },
        "addresses" => Shape { ports: 20, externals: size, ..SMALL },
        "endpoints" => Shape { endpoints: size, ..SMALL },
        "slices" => Shape { slices: size, endpoints: 10, ..SMALL },
        "ranges" => Shape { ranges: size, ..SMALL },
        "flows" => Shape { flows: size, endpoints: size, ..SMALL },
        "affinity" => Shape { services: size, endpoints: 2, affinity: true, ..SMALL },
        "counts" => Shape { services: size, distinct: true, ..SMALL },
        "conflicts" => Shape { services: size, ports: 1, externals: 20, ..SMALL },
        other => panic!("{other} is no dimension"),
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dimension = arguments.next().expect("a dimension");
    let size = arguments.next().and_then(|text| text.parse().ok()).expect("a size");
    let shape = shape(&dimension, size);
    // Everybody wants the same external addresses.
    let services = services(shape, dimension == "conflicts");
    let flows: Vec<Flow> = (0..shape.flows).map(|number| flow(number, shape.endpoints)).collect();
    let slices = slices(shape);
    println!("{}", decide(services, slices, &flows));
}

/// All that is decided about a cluster that comes and goes.
#[inline(never)]
fn decide(
    services: Vec<(NamespacedName, Service)>,
    slices: Vec<(NamespacedName, EndpointSlice)>,
    flows: &[Flow],
) -> usize {
    let config = Config { max_service_elements: usize::MAX, ..Config::new("node") };
    let (mut desired, mut facts) = (Mirror::default(), DerivedState::default());
    let (services, slices) = (services.into_iter().collect(), slices.into_iter().collect());
    let mut cluster = Cluster { services, slices, ..Cluster::default() };
    let all = ChangeSet::all(&cluster);
    let mut total = 0;
    for _ in 0..2 {
        facts.update(&cluster, &config, &all);
        let plan = desired.plan(&cluster, &config, &all);
        let transaction = diff(&plan.before, &plan.after);
        let counts = transaction.counts();
        total += counts.added.elements + counts.removed.elements;
        total += split(transaction, 1000).len();
        desired.accept(plan);
        let is_stale =
            |flow: &&Flow| facts.serving().is_stale(flow, &BTreeSet::new(), &BTreeSet::new());
        total += flows.len() + flows.iter().filter(is_stale).count();
        for name in &all.services {
            cluster.services.remove(name);
        }
    }
    total
}

fn name(number: u32) -> NamespacedName {
    NamespacedName::new("default", format!("service-{number}"))
}

fn address(network: [u8; 2], number: u32) -> IpAddr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(network[0], network[1], high, low).into()
}

fn port_name(index: u16) -> std::sync::Arc<str> {
    format!("port-{index}").into()
}

fn services(shape: Shape, do_claim_the_same: bool) -> Vec<(NamespacedName, Service)> {
    let port = |index: u16| ServicePort {
        name: port_name(index),
        protocol: Protocol::Udp,
        port: NonZeroU16::new(1 + index).expect("not 0"),
        node_port: None,
    };
    let service = |number: u32| {
        let first = if do_claim_the_same { 0 } else { number * shape.externals };
        let externals = first..first + shape.externals;
        let range = |index: u32| ipnet::IpNet::new(address([100, 64], 2 * index), 32).expect("one");
        Service {
            cluster_ips: vec![address([10, 96], number)],
            external_ips: externals.map(|index| address([203, 0], index)).collect(),
            load_balancer_ips: vec![address([192, 0], number)],
            ports: (0..shape.ports).map(port).collect(),
            source_ranges: (0..shape.ranges).map(range).collect(),
            session_affinity: NonZeroU32::new(10_800).filter(|_| shape.affinity),
            ..Service::default()
        }
    };
    (0..shape.services).map(|number| (name(number), service(number))).collect()
}

fn slices(shape: Shape) -> Vec<(NamespacedName, EndpointSlice)> {
    let port = |index: u16| EndpointPort {
        name: port_name(index),
        protocol: Protocol::Udp,
        port: NonZeroU16::MIN,
    };
    let mut slices = Vec::new();
    for service in 0..shape.services {
        let count = if shape.distinct { service + 1 } else { shape.endpoints };
        for number in 0..shape.slices {
            let endpoints = number * count..(number + 1) * count;
            let slice = EndpointSlice {
                service: name(service),
                family: Family::Ipv4,
                ports: (0..shape.ports).map(port).collect(),
                endpoints: endpoints.map(|it| Endpoint::new(address([10, 244], it))).collect(),
            };
            let name = NamespacedName::new("default", format!("slice-{service}-{number}"));
            slices.push((name, slice));
        }
    }
    slices
}

/// A flow to the first Service that an endpoint answers.
fn flow(number: u32, endpoints: u32) -> Flow {
    Flow {
        protocol: Protocol::Udp,
        source: SocketAddr::new(address([198, 18], number), 4000),
        destination: SocketAddr::new(address([10, 96], 0), 1),
        reply_source: SocketAddr::new(address([10, 244], number % endpoints), 1),
        is_translated: true,
        is_in_default_zone: true,
    }
}
