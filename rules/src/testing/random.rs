//! Random clusters and rulesets for property tests, behind the feature `testing`.
//!
//! Addresses, ports and names come from small pools, so that Services share endpoints, claim the
//! same addresses and change into each other.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use ipnet::IpNet;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

use crate::cluster::{
    Cluster, Endpoint, EndpointPlace, EndpointPort, EndpointSlice, Family, NamespacedName, Node,
    Protocol, Service, ServicePort, TrafficPolicy,
};
use crate::compile::compile;
use crate::config::{Config, DetectLocal, NodePortAddresses};
use crate::nft::{Chain, Data, Element, Name, RawKey, Rule, Ruleset, Statement, Verdict};

/// Settings of a property test with this many cases: the seed is printed, which the test runner
/// shows where the test fails, and is taken from `PROPTEST_RNG_SEED` where that is set.
pub fn seeded(cases: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_RNG_SEED").ok();
    let seed = match set {
        Some(seed) => seed.parse().expect("PROPTEST_RNG_SEED is a number"),
        None => RandomState::new().hash_one(cases),
    };
    println!("PROPTEST_RNG_SEED={seed} repeats this run");
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The name of the node that [`config`] has.
pub const NODE: &str = "node-a";

/// Any cluster.
pub fn cluster() -> impl Strategy<Value = Cluster> {
    let services = btree_map(service_name(), service(), 0..6);
    let slices = btree_map(slice_name(), slice(), 0..10);
    (services, slices, option::of(node()), vec(network(), 0..3)).prop_map(
        |(services, slices, node, service_cidrs)| {
            let (services, slices) = (services.into_iter().collect(), slices.into_iter().collect());
            Cluster { services, slices, node, service_cidrs }
        },
    )
}

/// One thing of a cluster becomes as it is in another: a Service, a slice, the Node or the networks.
pub fn change(cluster: &mut Cluster, other: &Cluster, kind: u8, index: Index) {
    match kind % 6 {
        0 | 1 => {
            let names = cluster.services.keys().chain(other.services.keys());
            let Some(name) = one(names, index) else { return };
            match other.services.get(&name) {
                Some(service) => drop(cluster.services.insert(name, service.clone())),
                None => drop(cluster.services.remove(&name)),
            }
        }
        2 | 3 => {
            let Some(name) = one(cluster.slices.keys().chain(other.slices.keys()), index) else {
                return;
            };
            match other.slices.get(&name) {
                Some(slice) => drop(cluster.slices.insert(name, slice.clone())),
                None => drop(cluster.slices.remove(&name)),
            }
        }
        4 => cluster.node.clone_from(&other.node),
        _ => cluster.service_cidrs.clone_from(&other.service_cidrs),
    }
}

/// One of these names, if there is any.
pub fn one<'a>(
    names: impl Iterator<Item = &'a NamespacedName>,
    index: Index,
) -> Option<NamespacedName> {
    let names: BTreeSet<_> = names.collect();
    (!names.is_empty()).then(|| (*index.get(&names.into_iter().collect::<Vec<_>>())).clone())
}

/// Any settings.
pub fn config() -> impl Strategy<Value = Config> {
    let node_port_addresses = prop_oneof![
        Just(NodePortAddresses::Primary),
        vec(network(), 1..4).prop_map(NodePortAddresses::Cidrs),
    ];
    let detect_local = prop_oneof![
        vec(network(), 0..3).prop_map(DetectLocal::ClusterCidr),
        Just(DetectLocal::NodeCidr),
        Just(DetectLocal::BridgeInterface("cbr0".into())),
        Just(DetectLocal::InterfaceNamePrefix("veth".into())),
    ];
    (detect_local, vec(network(), 0..3), node_port_addresses, any::<bool>(), 0..32u8).prop_map(
        |(detect_local, service_cidrs, node_port_addresses, masquerade_all, masquerade_bit)| {
            Config {
                detect_local,
                service_cidrs,
                node_port_addresses,
                masquerade_all,
                masquerade_bit,
                ..Config::new(NODE)
            }
        },
    )
}

/// What weir programs for any cluster.
pub fn compiled() -> impl Strategy<Value = Ruleset> {
    (cluster(), config()).prop_map(|(cluster, config)| compile(&cluster, &config))
}

/// What the kernel may hold: what weir programmed for any cluster, changed by others.
pub fn observed() -> impl Strategy<Value = Ruleset> {
    (compiled(), vec(any::<(u8, Index, Index)>(), 0..6)).prop_map(|(mut ruleset, edits)| {
        for (kind, family, object) in edits {
            edit(&mut ruleset, kind, family, object);
        }
        ruleset
    })
}

/// Changes one thing as somebody else might.
pub fn edit(ruleset: &mut Ruleset, kind: u8, family: Index, object: Index) {
    if ruleset.tables.is_empty() {
        return;
    }
    let family = *family.get(&ruleset.tables.keys().copied().collect::<Vec<_>>());
    let table = ruleset.tables.get_mut(&family).expect("the name was listed from this container");
    let sets: Vec<Name> = table.sets.keys().cloned().collect();
    let chains: Vec<Name> = table.chains.keys().cloned().collect();
    if sets.is_empty() || chains.is_empty() {
        return;
    }
    let set =
        table.sets.get_mut(object.get(&sets)).expect("the name was listed from this container");
    let chain_name = object.get(&chains);
    let chain = table.chains.get_mut(chain_name).expect("the name was listed from this container");
    match kind % 12 {
        0 => set.elements.clear(),
        1 => drop(set.elements.pop_first()),
        2 => {
            if let Some(mut entry) = set.elements.last_entry() {
                entry.get_mut().comment = Some("changed".into());
            }
        }
        3 => drop(chain.rules.pop()),
        4 => chain.rules.push(Rule::new([Statement::Verdict(Verdict::Return)]).comment("new")),
        5 => chain.rules.reverse(),
        6 => {
            let rules = vec![Rule::new([Statement::Verdict(Verdict::Drop)])];
            table.chains.insert("a-new-chain".into(), Chain { rules, ..Chain::default() });
        }
        7 => {
            let set = set.clone();
            table.sets.insert("a-new-set".into(), set);
        }
        8 => set.spec.comment = Some("another set".into()),
        // Not from itself: the kernel refuses a loop (EMLINK), so nobody can have made one.
        9 if chain_name.as_str() != "a-new-chain" => {
            chain.rules.push(Rule::new([Statement::Verdict(Verdict::Jump("a-new-chain".into()))]));
            table.chains.entry("a-new-chain".into()).or_default();
        }
        9 => {}
        10 => {
            if let Some(mut entry) = set.elements.last_entry()
                && let Data::Verdict(verdict) = &mut entry.get_mut().data
            {
                *verdict = Verdict::Goto("a-new-chain".into());
                table.chains.entry("a-new-chain".into()).or_default();
            }
        }
        _ => drop(ruleset.tables.remove(&family)),
    }
}

/// An element that is not yet in any set: for tests that add one.
pub fn new_cluster_ip(last_octet: u8) -> (RawKey, Element) {
    let address = IpAddr::V4(Ipv4Addr::new(198, 18, 0, last_octet));
    (RawKey::new().address(address), Element::new(Data::Nothing))
}

fn service_name() -> impl Strategy<Value = NamespacedName> {
    let names = select(vec!["dns", "web", "db", "a-name-that-is-quite-long-but-not-too-long"]);
    (select(vec!["default", "kube-system"]), names)
        .prop_map(|(namespace, name)| NamespacedName::new(namespace, name))
}

fn slice_name() -> impl Strategy<Value = NamespacedName> {
    (0..20u8).prop_map(|n| NamespacedName::new("default", format!("slice-{n}")))
}

fn family() -> impl Strategy<Value = Family> {
    select(Family::ALL.to_vec())
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn port() -> impl Strategy<Value = NonZeroU16> {
    select(vec![1, 53, 80, 255, 256, 8080, 30080, 65535])
        .prop_map(|port| NonZeroU16::new(port).expect("no port in the list is 0"))
}

fn port_name() -> impl Strategy<Value = Arc<str>> {
    select(vec!["", "http", "dns"]).prop_map(Arc::from)
}

fn address_of(family: Family, number: u8) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::new(10, 96, number % 3, number)),
        Family::Ipv6 => {
            let number = u16::from(number);
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, number % 3, number))
        }
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    (family(), 0..8u8).prop_map(|(family, number)| address_of(family, number))
}

/// Networks of all lengths, some within others, some next to each other, some at the end.
fn network() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0..=32u8)
        .prop_map(|(bits, length)| (IpAddr::from(bits.to_be_bytes()), length));
    let v6 = (any::<u128>(), 0..=128u8)
        .prop_map(|(bits, length)| (IpAddr::from(bits.to_be_bytes()), length));
    let near = (address(), 0..=32u8);
    let last = (0..=32u8).prop_map(|length| (IpAddr::from([255; 4]), length));
    prop_oneof![v4, v6, near, last]
        .prop_map(|(address, length)| IpNet::new_assert(address, length).trunc())
}

fn zone() -> impl Strategy<Value = String> {
    select(vec!["zone-a", "zone-b"]).prop_map(str::to_owned)
}

fn node() -> impl Strategy<Value = Node> {
    (vec(address(), 0..4), option::of(zone()), vec(network(), 0..2))
        .prop_map(|(addresses, zone, pod_cidrs)| Node { addresses, zone, pod_cidrs })
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn service() -> impl Strategy<Value = Service> {
    let port = (port_name(), protocol(), port(), option::of(port())).prop_map(
        |(name, protocol, port, node_port)| ServicePort { name, protocol, port, node_port },
    );
    let addresses = || vec(address(), 0..3);
    (
        (addresses(), addresses(), addresses()),
        vec(port, 0..4),
        (policy(), policy()),
        vec(network(), 0..3),
        (
            option::of(select(vec![1, 10800])),
            option::of(self::port()),
            option::of(0..3u32),
            any::<bool>(),
        ),
    )
        .prop_map(
            |(addresses, ports, policies, source_ranges, (affinity, check, created, is_bad))| {
                Service {
                    cluster_ips: addresses.0,
                    external_ips: addresses.1,
                    load_balancer_ips: addresses.2,
                    ports,
                    internal_traffic_policy: policies.0,
                    external_traffic_policy: policies.1,
                    source_ranges,
                    has_bad_source_range: is_bad,
                    session_affinity: affinity.and_then(NonZeroU32::new),
                    health_check_node_port: check,
                    created,
                    excess_keys: 0,
                }
            },
        )
}

fn endpoint(family: Family) -> impl Strategy<Value = Endpoint> {
    let node = || select(vec![NODE, "node-b"]).prop_map(str::to_owned);
    (
        any::<u8>(),
        any::<[bool; 3]>(),
        option::of(node()),
        // Mostly hinted, so that all of a Service's endpoints are now and then.
        (vec(node(), 0..4), vec(zone(), 0..4)),
    )
        .prop_map(move |(number, [ready, serving, terminating], node, hints)| Endpoint {
            address: address_of(family, number),
            ready,
            serving,
            terminating,
            place: EndpointPlace::new(node.as_deref(), hints.0.into(), hints.1.into()),
        })
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    family().prop_flat_map(|family| {
        let port = (port_name(), protocol(), port())
            .prop_map(|(name, protocol, port)| EndpointPort { name, protocol, port });
        (service_name(), vec(port, 0..3), vec(endpoint(family), 0..12)).prop_map(
            move |(service, ports, endpoints)| EndpointSlice { service, family, ports, endpoints },
        )
    })
}
