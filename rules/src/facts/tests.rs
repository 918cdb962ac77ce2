use std::num::NonZeroU16;

use super::*;
use crate::cluster::{Endpoint, EndpointPort, Node, Protocol, Slices};

fn name(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

fn config() -> Config {
    Config::new("node-a")
}

fn service(cluster_ip: u8) -> Service {
    Service {
        cluster_ips: vec![[10, 96, 0, cluster_ip].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Udp,
            port: NonZeroU16::new(53).unwrap(),
            node_port: None,
        }],
        ..Service::default()
    }
}

fn slice(service: &str, address: u8) -> EndpointSlice {
    let port = EndpointPort { name: "".into(), protocol: Protocol::Udp, port: NonZeroU16::MIN };
    EndpointSlice {
        service: name(service),
        family: Family::Ipv4,
        ports: vec![port],
        endpoints: vec![Endpoint::new([10, 244, 0, address].into())],
    }
}

/// Services `a` and `b` with an endpoint each.
fn cluster() -> Cluster {
    Cluster {
        services: [(name("a"), service(1)), (name("b"), service(2))].into(),
        slices: Slices::from([(name("a-1"), slice("a", 1)), (name("b-1"), slice("b", 2))]),
        ..Cluster::default()
    }
}

/// It costs no more than what has changed.
#[test]
fn services_that_are_not_touched_are_not_looked_at() {
    let mut facts = DerivedState::of(&cluster(), &config());
    let mut changed = cluster();
    changed
        .services
        .update(&name("a"), |service| service.ports[0].node_port = Some(NonZeroU16::MIN));
    changed.services.remove(&name("b"));
    let change_set = ChangeSet::services([name("a")]);
    facts.update(&changed, &config(), &change_set);
    assert!(facts.has_node_ports());
    assert_eq!(facts.numbers()[0].services, 2, "the other is still counted");
}

#[test]
fn who_has_what_two_claim_leaves_it_to_the_other() {
    let mut twice = cluster();
    twice.services.insert(name("b"), service(1));
    let mut facts = DerivedState::of(&twice, &config());
    let only = |service: &str, cluster: &Cluster| {
        let mut only = cluster.clone();
        only.services.retain(|of, _| *of == name(service));
        DerivedState::of(&only, &config())
    };
    let mut without = twice.clone();
    without.services.remove(&name("a"));
    let change_set = ChangeSet::between(&twice, &without);
    assert_eq!(change_set.services, [name("a"), name("b")].into());
    let change = facts.update(&without, &config(), &change_set);
    assert!(change.effect.is_any);
    assert_eq!(facts.serving(), only("b", &without).serving());
    // The one behind it may change without a word.
    let mut again = DerivedState::of(&twice, &config());
    twice.slices.insert(name("b-1"), slice("b", 3));
    let change_set = ChangeSet::services([name("b")]);
    assert_eq!(again.update(&twice, &config(), &change_set), DerivedStateChange::default());
}

#[test]
fn health_checks_may_differ_if_they_do_or_are_answered_elsewhere() {
    let with_check = |port| {
        let mut cluster = cluster();
        cluster.services.update(&name("a"), |it| it.health_check_node_port = NonZeroU16::new(port));
        cluster
    };
    let differ = |from: &Cluster, to: &Cluster, config: &Config| {
        let mut facts = DerivedState::of(from, &self::config());
        facts.update(to, config, &ChangeSet::between(from, to)).checks
    };
    let known = with_check(30100);
    assert!(!differ(&known, &known, &config()));
    assert!(differ(&known, &with_check(30101), &config()));
    assert!(differ(&known, &cluster(), &config()));
    let mut other_endpoint = known.clone();
    other_endpoint.slices.insert(name("a-1"), slice("a", 3));
    assert!(!differ(&known, &other_endpoint, &config()), "as many as before");
    let addresses = vec![[192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap()];
    let node = Some(Node { addresses, zone: None, pod_cidrs: vec![] });
    let with_node = Cluster { node, ..known.clone() };
    assert!(differ(&known, &with_node, &config()));
    // The same networks, but only where the node has the addresses.
    let networks = ["192.0.2.1/32", "2001:db8::1/128"].map(|text| text.parse().unwrap()).into();
    let node_port_addresses = NodePortAddresses::Cidrs(networks);
    assert!(differ(&with_node, &with_node, &Config { node_port_addresses, ..config() }));
}

/// The slice that says more for an endpoint decides, and it says that nobody should go there.
#[test]
fn an_endpoint_that_only_one_of_its_slices_lets_drain_is_none() {
    let mut both = cluster();
    both.services.remove(&name("b"));
    let unready = |terminating| {
        let mut slice = slice("a", 1);
        let serving = Endpoint { ready: false, terminating, ..slice.endpoints[0].clone() };
        slice.endpoints = vec![serving];
        slice
    };
    both.slices.insert(name("a-1"), unready(true));
    assert!(DerivedState::of(&both, &config()).has_endpoints());
    both.slices.insert(name("a-2"), unready(false));
    assert!(!DerivedState::of(&both, &config()).has_endpoints());
}
