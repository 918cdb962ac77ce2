use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::num::{NonZeroU16, NonZeroU32};

use super::*;
use crate::cluster::{Cluster, Endpoint, EndpointPort, EndpointSlice, Family, Slices};
use crate::compile::compile;
use crate::config::Config;
use crate::nft::Ruleset;
use crate::transaction::Action;
use crate::transaction::diff::diff;

const PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();

fn name(number: u32) -> NamespacedName {
    NamespacedName::new("default", format!("web-{number}"))
}

/// So many Services whose clients stay, each with two endpoints.
fn ruleset(services: u32) -> Ruleset {
    let service = |number: u32| Service {
        cluster_ips: vec![Ipv4Addr::from_bits(0x0a60_0000 + number).into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: PORT,
            node_port: None,
        }],
        session_affinity: NonZeroU32::new(10_800),
        ..Service::default()
    };
    let slice = |number: u32| EndpointSlice {
        service: name(number),
        family: Family::Ipv4,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: PORT }],
        endpoints: [0, 1]
            .map(|i| Endpoint::new(Ipv4Addr::from_bits(0x0a80_0000 + 2 * number + i).into()))
            .into(),
    };
    let numbers = 1..=services;
    let slices: Slices = numbers.clone().map(|number| (name(number), slice(number))).collect();
    let services = numbers.map(|number| (name(number), service(number))).collect();
    let cluster = Cluster { services, slices, ..Cluster::default() };
    compile(&cluster, &Config::new("node-a"))
}

fn table(ruleset: &Ruleset) -> &Table {
    &ruleset.tables[&Family::Ipv4]
}

#[test]
fn sets_and_maps_are_as_many_for_any_number_of_services() {
    let (one, many) = (ruleset(1), ruleset(500));
    let names = |ruleset| table(ruleset).sets.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&one), names(&many));
}

/// What the kernel does for the sets of a cold start, in steps: it looks for a set by walking the
/// list of all (`nft_set_lookup` of nf_tables_api.c), once for each message with elements and for
/// each expression that names one. Where that is a map, it walks all rules of other chains that are
/// bound to it as well (`nf_tables_bind_set`).
fn steps(ruleset: &Ruleset) -> usize {
    /// How many elements a message has room for, about.
    const ELEMENTS: usize = 500;
    let sets = table(ruleset).sets.len();
    let mut bound: BTreeMap<&Name, usize> = BTreeMap::new();
    let mut steps = 0;
    for operation in &diff(&Ruleset::default(), ruleset).operations {
        steps += match &operation.action {
            Action::AddSet { .. } => sets,
            Action::AddElements { elements, .. } => elements.len().div_ceil(ELEMENTS) * sets,
            _ => 0,
        };
    }
    for statement in table(ruleset).chains.values().flat_map(Chain::statements) {
        let Some(set) = statement.set() else { continue };
        steps += sets;
        if table(ruleset).sets[set].spec.data != SetData::Nothing {
            let others = bound.entry(set).or_default();
            steps += *others;
            *others += 1;
        }
    }
    steps
}

/// With two sets for each Service they were 130 million.
#[test]
fn what_the_kernel_does_for_sets_is_little_for_thousands_of_services() {
    let [few, many] = [500, 4000].map(|services| steps(&ruleset(services)));
    assert!(few < 500 * 200, "{few} steps");
    assert!(many < 4000 * 700, "{many} steps");
}

#[test]
fn a_list_has_a_name_of_its_own() {
    let id = Name::from("default/web/tcp/80");
    let other = NonZeroU16::new(8080).unwrap();
    let ids = [
        ListId::new(&id, EndpointList::Cluster, PORT),
        ListId::new(&id, EndpointList::Local, PORT),
        ListId::new(&id, EndpointList::Cluster, other),
        ListId::new(&"default/web/udp/80".into(), EndpointList::Cluster, PORT),
    ];
    for (i, one) in ids.iter().enumerate() {
        assert!(ids[i + 1..].iter().all(|other| other != one));
    }
    // So that a restart, and another version, know the clients of this one.
    assert_eq!(ids[2].0, [1_047_656_186, 2_960_260_555, 942_159_367]);
}
