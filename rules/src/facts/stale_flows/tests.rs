use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::serving::STEPS;
use super::*;
use crate::cluster::{
    ChangeSet, Cluster, Endpoint, EndpointPlace, EndpointPort, EndpointSlice, NamespacedName, Node,
    Service, ServicePort, TrafficPolicy,
};
use crate::compile::{compile, names};
use crate::config::{Config, DetectLocal, NodePortAddresses};
use crate::facts::DerivedState;
use crate::nft::Ruleset;
use crate::transaction::diff::diff;

const HERE: &str = "node-a";
const NODE: &str = "192.0.2.1";
const OTHER_OWN: &str = "192.0.2.9";
const POD: &str = "10.244.0.9";
const OUTSIDE: &str = "198.51.100.7";
const CLUSTER_IP: &str = "10.96.0.10";
const EXTERNAL_IP: &str = "203.0.113.20";
const LOAD_BALANCER: &str = "203.0.113.10";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn number(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).expect("not zero")
}

fn name(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

fn own() -> BTreeSet<IpAddr> {
    [NODE, OTHER_OWN, "127.0.0.1", "2001:db8::1"].map(ip).into()
}

fn service() -> Service {
    let port = |protocol| ServicePort {
        name: format!("{protocol}").into(),
        protocol,
        port: number(53),
        node_port: Some(number(30053)),
    };
    Service {
        cluster_ips: vec![ip(CLUSTER_IP), ip("fd00:96::10")],
        external_ips: vec![ip(EXTERNAL_IP)],
        load_balancer_ips: vec![ip(LOAD_BALANCER)],
        ports: vec![port(Protocol::Udp), port(Protocol::Tcp)],
        ..Service::default()
    }
}

fn slice(service: &str, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let port = |protocol| EndpointPort {
        name: format!("{protocol}").into(),
        protocol,
        port: number(8080),
    };
    EndpointSlice {
        service: name(service),
        family: Family::Ipv4,
        ports: vec![port(Protocol::Udp), port(Protocol::Tcp)],
        endpoints,
    }
}

/// `.2` is on this node and ready, `.3` elsewhere and ready, `.4` elsewhere and terminating but
/// serving, `.5` elsewhere and not serving any more.
fn endpoints() -> Vec<Endpoint> {
    let on = |node: &str, address: &str| Endpoint {
        place: EndpointPlace::on(node),
        ..Endpoint::new(ip(address))
    };
    let leaving = |address, serving| Endpoint {
        ready: false,
        serving,
        terminating: true,
        ..on("node-b", address)
    };
    vec![
        on(HERE, "10.244.0.2"),
        on("node-b", "10.244.0.3"),
        leaving("10.244.0.4", true),
        leaving("10.244.0.5", false),
    ]
}

fn cluster(service: Service, endpoints: Vec<Endpoint>) -> Cluster {
    Cluster {
        services: [(name("dns"), service)].into(),
        slices: [(name("dns-1"), slice("dns", endpoints))].into(),
        node: Some(Node { addresses: vec![ip(NODE)], zone: None, pod_cidrs: vec![] }),
        service_cidrs: vec![],
    }
}

fn config() -> Config {
    let pods = vec!["10.244.0.0/16".parse().expect("a network")];
    Config { detect_local: DetectLocal::ClusterCidr(pods), ..Config::new(HERE) }
}

/// A flow that is translated to an endpoint of the Service, or to nothing.
fn flow(source: &str, destination: &str, port: u16, endpoint: Option<&str>) -> Flow {
    let destination = SocketAddr::new(ip(destination), port);
    Flow {
        protocol: Protocol::Udp,
        source: SocketAddr::new(ip(source), 4000),
        destination,
        reply_source: endpoint.map_or(destination, |address| SocketAddr::new(ip(address), 8080)),
        is_translated: endpoint.is_some(),
        is_in_default_zone: true,
    }
}

/// Every destination of the Service.
const DESTINATIONS: [(&str, u16); 4] =
    [(CLUSTER_IP, 53), (EXTERNAL_IP, 53), (LOAD_BALANCER, 53), (NODE, 30053)];

fn is_stale(serving: &ServedDestinations, flow: &Flow) -> bool {
    serving.is_stale(flow, &own(), &BTreeSet::new())
}

#[test]
fn a_flow_stays_with_an_endpoint_that_serves_and_only_there() {
    let serving = ServedDestinations::new(&cluster(service(), endpoints()), &config());
    let cases = [
        (Some("10.244.0.2"), false),
        (Some("10.244.0.3"), false),
        (Some("10.244.0.4"), false),
        (Some("10.244.0.5"), true),
        (Some("10.244.0.6"), true),
        (None, true),
    ];
    for (address, port) in DESTINATIONS {
        for (endpoint, expected) in cases {
            let flow = flow(POD, address, port, endpoint);
            assert_eq!(is_stale(&serving, &flow), expected, "{flow:?}");
            let tcp = Flow { protocol: Protocol::Tcp, ..flow };
            assert!(!is_stale(&serving, &tcp));
        }
        let mut other_port = flow(POD, address, port, Some("10.244.0.2"));
        other_port.reply_source.set_port(8081);
        assert!(is_stale(&serving, &other_port), "the endpoint's port counts");
    }
}

#[test]
fn without_endpoints_what_is_translated_goes_and_what_is_not_stays() {
    let serving = ServedDestinations::new(&cluster(service(), vec![]), &config());
    for (address, port) in DESTINATIONS {
        assert!(is_stale(&serving, &flow(POD, address, port, Some("10.244.0.2"))));
        assert!(!is_stale(&serving, &flow(POD, address, port, None)));
    }
}

/// A virtual switch tracks packets to a virtual address before weir's maps do, and again behind them.
#[test]
fn in_another_zone_only_what_is_translated_goes() {
    let full = ServedDestinations::new(&cluster(service(), endpoints()), &config());
    let without_endpoints = ServedDestinations::new(&cluster(service(), vec![]), &config());
    let none = ServedDestinations::default();
    for (address, port) in DESTINATIONS {
        let removed = [Destination::Address(ip(address), number(port))].into();
        let zoned =
            |endpoint| Flow { is_in_default_zone: false, ..flow(POD, address, port, endpoint) };
        for (serving, endpoint, expected) in [
            (&full, Some("10.244.0.2"), false),
            (&full, Some("10.244.0.6"), true),
            (&full, None, false),
            (&without_endpoints, Some("10.244.0.2"), true),
            (&without_endpoints, None, false),
            (&none, Some("10.244.0.2"), true),
            (&none, None, false),
        ] {
            let flow = zoned(endpoint);
            assert_eq!(serving.is_stale(&flow, &own(), &removed), expected, "{flow:?}");
        }
    }
}

#[test]
fn what_weir_never_served_stays() {
    let serving = ServedDestinations::new(&cluster(service(), endpoints()), &config());
    let cases = [
        // Another host with the number of the node port; another own address, where `primary`
        // serves none; loopback.
        ("192.0.2.2", 30053),
        (OTHER_OWN, 30053),
        ("127.0.0.1", 30053),
        // Other ports, of which one may be a hostPort.
        (NODE, 53),
        (NODE, 5300),
        (CLUSTER_IP, 54),
        (CLUSTER_IP, 30053),
        // The other family, in which the Service has no endpoint, address or own address there.
        ("2001:db8::2", 30053),
        ("fd00:96::11", 53),
    ];
    for (address, port) in cases {
        for endpoint in [None, Some("10.244.0.6")] {
            let flow = flow(OUTSIDE, address, port, endpoint);
            assert!(!is_stale(&serving, &flow), "{flow:?}");
        }
    }
}

#[test]
fn node_ports_are_at_those_own_addresses_that_serve_them() {
    let serves = |networks: &[&str], address| {
        let networks = networks.iter().map(|net| net.parse().expect("a network")).collect();
        let node_port_addresses = NodePortAddresses::Cidrs(networks);
        let serving = ServedDestinations::new(
            &cluster(service(), endpoints()),
            &Config { node_port_addresses, ..config() },
        );
        is_stale(&serving, &flow(OUTSIDE, address, 30053, Some("10.244.0.6")))
    };
    assert!(serves(&["192.0.2.0/28"], NODE) && serves(&["192.0.2.0/28"], OTHER_OWN));
    assert!(!serves(&["192.0.2.0/28"], "192.0.2.2"), "within, but not an own address");
    assert!(!serves(&["192.0.2.8/29"], NODE) && serves(&["192.0.2.8/29"], OTHER_OWN));
    assert!(serves(&[], NODE), "a family without a network serves at all its addresses");
    assert!(!serves(&[], "127.0.0.1"));
}

#[test]
fn a_configured_primary_address_goes_before_the_nodes() {
    let serves = |node_ip: Option<&str>, address| {
        let node_ip = node_ip.map(|ip| ip.parse().expect("an address"));
        let config = Config { node_ip, ..config() };
        let serving = ServedDestinations::new(&cluster(service(), endpoints()), &config);
        is_stale(&serving, &flow(OUTSIDE, address, 30053, Some("10.244.0.6")))
    };
    assert!(serves(None, NODE) && !serves(None, OTHER_OWN));
    assert!(!serves(Some(OTHER_OWN), NODE) && serves(Some(OTHER_OWN), OTHER_OWN));
    assert!(serves(Some("2001:db8::1"), NODE), "one of another family does not count");
}

#[test]
fn under_policy_local_endpoints_elsewhere_may_answer_only_whom_they_still_would() {
    let local = TrafficPolicy::Local;
    let internal = Service { internal_traffic_policy: local, ..service() };
    let external = Service { external_traffic_policy: local, ..service() };
    let (near, far) = (Some("10.244.0.2"), Some("10.244.0.3"));
    let cluster_ip = (CLUSTER_IP, 53);
    let cases = [
        (&internal, cluster_ip, POD, near, false),
        (&internal, cluster_ip, POD, far, true),
        (&internal, (LOAD_BALANCER, 53), OUTSIDE, far, false),
        (&external, cluster_ip, OUTSIDE, far, false),
        (&external, (LOAD_BALANCER, 53), OUTSIDE, near, false),
        (&external, (LOAD_BALANCER, 53), OUTSIDE, far, true),
        (&external, (NODE, 30053), OUTSIDE, far, true),
        (&external, (NODE, 30053), POD, far, false),
        (&external, (NODE, 30053), OTHER_OWN, far, false),
    ];
    for (service, (address, port), source, endpoint, expected) in cases {
        let serving = ServedDestinations::new(&cluster(service.clone(), endpoints()), &config());
        let flow = flow(source, address, port, endpoint);
        assert_eq!(is_stale(&serving, &flow), expected, "{flow:?}");
    }
    // An entry has no interface, so that any source may be a Pod.
    let detect_local = DetectLocal::BridgeInterface("cbr0".to_owned());
    let by_interface = Config { detect_local, ..config() };
    let serving = ServedDestinations::new(&cluster(external, endpoints()), &by_interface);
    assert!(!is_stale(&serving, &flow(OUTSIDE, NODE, 30053, far)));
}

/// The node answers at an address that is also an endpoint: nothing is translated there, rightly.
#[test]
fn an_endpoint_at_the_virtual_address_itself_keeps_its_flows() {
    let mut at_itself = cluster(service(), vec![]);
    let mut own_port = slice("dns", vec![Endpoint::new(ip(EXTERNAL_IP))]);
    own_port.ports[0].port = number(53);
    at_itself.slices.insert(name("dns-1"), own_port);
    let serving = ServedDestinations::new(&at_itself, &config());
    assert!(!is_stale(&serving, &flow(OUTSIDE, EXTERNAL_IP, 53, None)));
    assert!(is_stale(&serving, &flow(OUTSIDE, LOAD_BALANCER, 53, None)));
}

#[test]
fn ready_without_serving_is_enough() {
    let published = Endpoint { serving: false, ..Endpoint::new(ip("10.244.0.2")) };
    let serving = ServedDestinations::new(&cluster(service(), vec![published]), &config());
    assert!(!is_stale(&serving, &flow(POD, CLUSTER_IP, 53, Some("10.244.0.2"))));
}

#[test]
fn an_address_that_two_services_claim_is_the_firsts() {
    let mut both = cluster(service(), endpoints());
    both.services.insert(name("second"), service());
    let endpoint = Endpoint::new(ip("10.244.0.7"));
    both.slices.insert(name("second-1"), slice("second", vec![endpoint]));
    let serving = ServedDestinations::new(&both, &config());
    assert!(!is_stale(&serving, &flow(POD, CLUSTER_IP, 53, Some("10.244.0.2"))));
    assert!(is_stale(&serving, &flow(POD, CLUSTER_IP, 53, Some("10.244.0.7"))));
}

/// What the commit means that goes from one cluster to another.
fn effect(from: &Ruleset, to: &Cluster) -> FlowImpact {
    FlowImpact::of(&diff(from, &compile(to, &config())))
}

/// What the change from one cluster to another means, whatever is committed.
fn effect_of_change(from: &Cluster, to: &Cluster) -> FlowImpact {
    let mut facts = DerivedState::of(from, &config());
    facts.update(to, &config(), &ChangeSet::between(from, to)).effect
}

#[test]
fn of_what_is_no_longer_served_translated_flows_go() {
    let full = cluster(service(), endpoints());
    let with = |change: fn(&mut Service)| {
        let mut service = service();
        change(&mut service);
        cluster(service, endpoints())
    };
    let none = Cluster { services: [].into(), ..full.clone() };
    // What is left after the change, of DESTINATIONS.
    let cases = [
        (none, [false; 4]),
        (with(|s| s.external_ips.clear()), [true, false, true, true]),
        (with(|s| s.load_balancer_ips.clear()), [true, true, false, true]),
        (with(|s| s.ports[0].port = number(54)), [false, false, false, true]),
        (with(|s| s.ports[0].node_port = None), [true, true, true, false]),
        (with(|s| s.ports[0].node_port = Some(number(30054))), [true, true, true, false]),
        (with(|s| drop(s.ports.remove(0))), [false; 4]),
    ];
    for (after, left) in cases {
        let effect = effect(&compile(&full, &config()), &after);
        assert!(effect.is_any);
        let serving = ServedDestinations::new(&after, &config());
        let gone = |d: &&Destination| serving.answerers(d).is_none();
        let really_gone: BTreeSet<_> = effect.removed.iter().filter(gone).copied().collect();
        let known = FlowImpact { is_any: true, removed: really_gone };
        assert_eq!(effect_of_change(&full, &after), known);
        assert_eq!(effect_of_change(&full, &full), FlowImpact::default());
        let stale = |flow: &Flow| serving.is_stale(flow, &own(), &effect.removed);
        for ((address, port), left) in DESTINATIONS.into_iter().zip(left) {
            let translated = flow(OUTSIDE, address, port, Some("10.244.0.2"));
            assert_eq!(stale(&translated), !left, "{translated:?}");
            if !left {
                assert!(!stale(&flow(OUTSIDE, address, port, None)), "goes where it is addressed");
            }
        }
        assert!(!stale(&flow(OUTSIDE, "192.0.2.2", 30053, Some("10.244.0.6"))), "in transit");
        assert!(!stale(&flow(OUTSIDE, NODE, 5300, Some("10.244.0.6"))), "a hostPort");
    }
}

#[test]
fn only_changes_of_udp_destinations_are_any() {
    let full = cluster(service(), endpoints());
    let compiled = compile(&full, &config());
    let mut tcp_gone = full.clone();
    tcp_gone.services.update(&name("dns"), |service| drop(service.ports.remove(1)));
    let mut other_cidr = full.clone();
    other_cidr.service_cidrs.push("10.97.0.0/16".parse().unwrap());
    for same in [&full, &tcp_gone, &other_cidr] {
        assert_eq!(effect(&compiled, same), FlowImpact::default());
        assert_eq!(effect_of_change(&full, same), FlowImpact::default());
    }
    let fewer = cluster(service(), endpoints()[..1].to_vec());
    assert!(effect(&compiled, &fewer).is_any);
    assert_eq!(effect_of_change(&full, &fewer), FlowImpact { is_any: true, removed: [].into() });
    let from_nothing = effect(&Ruleset::default(), &full);
    assert!(from_nothing.is_any && from_nothing.removed.is_empty());
    let mut udp_gone = full.clone();
    udp_gone.services.update(&name("dns"), |service| drop(service.ports.remove(0)));
    assert_eq!(effect(&Ruleset::default(), &udp_gone), FlowImpact::default());
}

/// A table or a map that is made anew takes along what it served.
#[test]
fn removed_tables_and_maps_count() {
    let full = compile(&cluster(service(), endpoints()), &config());
    let at = |address| Destination::Address(ip(address), number(53));
    let v4 = [
        at(CLUSTER_IP),
        at(EXTERNAL_IP),
        at(LOAD_BALANCER),
        Destination::NodePort(Family::Ipv4, number(30053)),
    ];
    let v6 = [at("fd00:96::10"), Destination::NodePort(Family::Ipv6, number(30053))];
    let all: BTreeSet<Destination> = v4.into_iter().chain(v6).collect();
    let to_nothing = FlowImpact::of(&diff(&full, &Ruleset::default()));
    assert_eq!(to_nothing, FlowImpact { is_any: true, removed: all });

    let mut without_map = full.clone();
    let table = without_map.tables.get_mut(&Family::Ipv6).unwrap();
    table.sets.remove(names::NO_ENDPOINT_SERVICES).expect("every table declares this map");
    let effect = FlowImpact::of(&diff(&full, &without_map));
    assert_eq!(effect.removed, [at("fd00:96::10")].into());
}

/// A busy DNS server has thousands of endpoints and a hundred thousand flows.
#[test]
fn looking_at_a_flow_takes_few_steps_however_many_endpoints_there_are() {
    let at = |number: u32| Ipv4Addr::from(0x0a40_0000 + number).to_string();
    for count in [1_u32, 100, 5_000, 20_000] {
        let endpoints = (0..count).map(|number| Endpoint::new(ip(&at(number)))).collect();
        let serving = ServedDestinations::new(&cluster(service(), endpoints), &config());
        STEPS.with(|steps| steps.set(0));
        let flows = 1_000;
        for number in 0..flows {
            // Half of them go to endpoints that there are.
            let endpoint = at(number * 2 * count / flows);
            let flow = flow(POD, CLUSTER_IP, 53, Some(&endpoint));
            assert_eq!(is_stale(&serving, &flow), number * 2 * count / flows >= count);
        }
        let steps = STEPS.with(std::cell::Cell::get);
        let most = u64::from(flows) * u64::from(count.ilog2() + 2);
        assert!(steps > 0 && steps <= most, "{steps} steps for {count} endpoints");
    }
}
