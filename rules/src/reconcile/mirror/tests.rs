use std::net::IpAddr;
use std::num::NonZeroU16;

use super::*;
use crate::cluster::{
    Endpoint, EndpointPort, EndpointSlice, Node, Protocol, Service, ServicePort, TrafficPolicy,
};
use crate::compile::compile;
use crate::config::DetectLocal;
use crate::transaction::Counts;
use crate::transaction::diff::diff;
use crate::transaction::slots::assign_slots;

fn name(number: u8) -> NamespacedName {
    NamespacedName::new("default", format!("web-{number}"))
}

/// A Service with endpoints of these last bytes.
fn put(cluster: &mut Cluster, number: u8, endpoints: &[u8]) {
    let service = Service {
        cluster_ips: vec![[10, 96, 0, number].into()],
        external_ips: vec![[192, 0, 2, number].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: NonZeroU16::new(80).unwrap(),
            node_port: None,
        }],
        external_traffic_policy: TrafficPolicy::Local,
        ..Service::default()
    };
    let address = |last: &u8| IpAddr::from([10, 244, number, *last]);
    let slice = EndpointSlice {
        service: name(number),
        family: Family::Ipv4,
        ports: vec![EndpointPort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: NonZeroU16::new(8080).unwrap(),
        }],
        endpoints: endpoints.iter().map(address).map(Endpoint::new).collect(),
    };
    cluster.services.insert(name(number), service);
    cluster.slices.insert(name(number), slice);
}

fn cluster(services: u8) -> Cluster {
    let mut cluster = Cluster::default();
    (1..=services).for_each(|number| put(&mut cluster, number, &[1, 2, 3]));
    cluster
}

fn of(cluster: &Cluster, config: &Config) -> Mirror {
    let mut desired = Mirror::default();
    desired.set(cluster, config, &ChangeSet::all(cluster));
    desired
}

fn change_set(numbers: &[u8]) -> ChangeSet {
    ChangeSet::services(numbers.iter().copied().map(name))
}

/// What a plan changes.
fn counts(plan: &Plan) -> Counts {
    diff(&plan.before, &plan.after).counts()
}

#[test]
fn one_replaced_endpoint_is_one_service_and_two_elements_for_each_address() {
    let config = Config::new("node-a");
    let mut cluster = cluster(20);
    let desired = of(&cluster, &config);
    put(&mut cluster, 7, &[1, 9, 3]);
    let plan = desired.plan(&cluster, &config, &change_set(&[7]));
    assert_eq!(plan.recompiled, 1);
    // At the ClusterIP and at the external address.
    assert_eq!(counts(&plan).added.elements, 2);
    assert_eq!(counts(&plan).removed.elements, 2);
    assert_eq!(plan.after.element_count(), 2, "nothing that stays is in it");
}

#[test]
fn a_change_of_nothing_that_counts_plans_nothing() {
    let config = Config::new("node-a");
    let cluster = cluster(3);
    let plan = of(&cluster, &config).plan(&cluster, &config, &change_set(&[1, 2, 9]));
    assert_eq!((&plan.before, &plan.after), (&Ruleset::default(), &Ruleset::default()));
    assert_eq!(plan.recompiled, 3);
}

#[test]
fn a_chain_goes_with_its_last_user() {
    let config = Config::new("node-a");
    let mut cluster = cluster(2);
    let mut desired = of(&cluster, &config);
    let chains = |plan: &Plan| (counts(plan).removed.chains, counts(plan).added.chains);
    put(&mut cluster, 1, &[1]);
    let plan = desired.plan(&cluster, &config, &change_set(&[1]));
    assert_eq!(chains(&plan), (0, 2), "the other still has three");
    desired.accept(plan);
    put(&mut cluster, 2, &[1]);
    assert_eq!(chains(&desired.plan(&cluster, &config, &change_set(&[2]))), (2, 0));
}

/// Pods are distinguished from other sources in chains that Services share.
#[test]
fn the_networks_of_pods_change_chains_and_no_service() {
    let mut config = Config { detect_local: DetectLocal::NodeCidr, ..Config::new("node-a") };
    let mut cluster = cluster(5);
    let mut desired = of(&cluster, &config);
    let mut environment = ChangeSet { environment: true, ..ChangeSet::default() };
    let mut check = |cluster: &Cluster, config: &Config, change_set: &ChangeSet| {
        let plan = desired.plan(cluster, config, change_set);
        let mut programmed = desired.ruleset();
        diff(&plan.before, &plan.after).apply(&mut programmed);
        assert_eq!(programmed, compile(cluster, config));
        let recompiled = plan.recompiled;
        desired.accept(plan);
        assert_eq!(desired.ruleset(), programmed);
        recompiled
    };
    let node = |zone: &str| Node {
        addresses: vec![],
        zone: Some(zone.to_owned()),
        pod_cidrs: vec!["10.244.0.0/24".parse().unwrap()],
    };
    cluster.node = Some(Node { zone: None, ..node("") });
    assert_eq!(check(&cluster, &config, &environment), 0);
    config.detect_local = DetectLocal::InterfaceNamePrefix("veth".to_owned());
    assert_eq!(check(&cluster, &config, &environment), 0);
    // The zone decides on endpoints, of a Service that goes at the same moment, too.
    cluster.node = Some(node("here"));
    cluster.services.remove(&name(2));
    environment.services.insert(name(2));
    check(&cluster, &config, &environment);
}

#[test]
fn slots_are_taken_over_from_what_is_programmed() {
    let config = Config::new("node-a");
    let cluster = cluster(1);
    let mut desired = of(&cluster, &config);
    let mut programmed = desired.ruleset();
    let table = programmed.tables.get_mut(&Family::Ipv4).unwrap();
    let endpoints = &mut table.sets.get_mut(Map::Endpoints.name()).unwrap().elements;
    let reversed: Vec<_> = endpoints.values().rev().cloned().collect();
    endpoints.values_mut().zip(reversed).for_each(|(element, other)| *element = other);
    desired.accept_slots(&programmed);
    assert_eq!(desired.ruleset(), programmed);
}

/// The endpoints of both are in one list then, and stay where they are.
#[test]
fn a_destination_that_passes_to_another_service_keeps_its_slots_and_that_is_known() {
    let config = Config::new("node-a");
    let mut cluster = cluster(1);
    let mut desired = of(&cluster, &config);
    put(&mut cluster, 1, &[9, 2, 3]);
    let plan = desired.plan(&cluster, &config, &change_set(&[1]));
    let mut programmed = desired.ruleset();
    diff(&plan.before, &plan.after).apply(&mut programmed);
    desired.accept(plan);

    let (service, _) = cluster.services.remove(&name(1)).unwrap();
    let slice = cluster.slices.remove(&name(1)).unwrap();
    cluster.services.insert(name(2), service);
    cluster.slices.insert(name(2), EndpointSlice { service: name(2), ..slice });
    let mut plan = desired.plan(&cluster, &config, &change_set(&[1, 2]));
    let aligned = assign_slots(&plan.before, &plan.after).into_owned();
    let transaction = diff(&plan.before, &aligned);
    transaction.apply(&mut programmed);
    plan.accept_slots(&aligned);
    desired.accept(plan);
    assert_eq!(desired.ruleset(), programmed);
    let counts = transaction.counts();
    assert_eq!((counts.added.elements, counts.removed.elements), (3, 3), "the verdicts' comments");
}

/// A Service that takes several batches, between which another changes.
#[test]
fn a_service_is_compiled_once_for_all_of_its_batches() {
    let config = Config::new("node-a");
    let mut cluster = cluster(3);
    let mut desired = of(&cluster, &config);
    let mut large = cluster.services[&name(1)].clone();
    large.external_ips = (0..200).map(|last| [203, 0, 113, last].into()).collect();
    cluster.services.insert(name(1), large);
    let mut compiled = Compiled::default();
    let (mut recompiled, mut batches) = (0, 0);
    loop {
        let services = if batches == 2 { vec![name(2), name(1)] } else { vec![name(1)] };
        if batches == 2 {
            put(&mut cluster, 2, &[1, 2]);
            compiled.invalidate(&change_set(&[2]));
        }
        let batch = Batch { services, max_elements: 100, ..Batch::all(&BTreeSet::new(), false) };
        let plan = desired.plan_batch(&cluster, &config, &batch, &mut compiled);
        recompiled += plan.recompiled;
        batches += 1;
        let is_last = plan.finished.contains(&name(1));
        desired.accept(plan);
        if is_last {
            break;
        }
    }
    assert!(batches > 5, "{batches}");
    assert_eq!(recompiled, 2, "in {batches} batches");
    assert_eq!(desired.ruleset(), {
        let all = compile(&cluster, &config);
        assign_slots(&desired.ruleset(), &all).into_owned()
    });
}

/// Between two batches of it.
#[test]
fn a_service_that_changes_between_its_batches_is_compiled_anew() {
    let config = Config::new("node-a");
    let mut cluster = cluster(1);
    let mut desired = of(&cluster, &config);
    let mut compiled = Compiled::default();
    for (count, change) in [(200, ChangeSet::default()), (100, change_set(&[1]))] {
        let mut large = cluster.services[&name(1)].clone();
        large.external_ips = (0..count).map(|last| [203, 0, 113, last].into()).collect();
        cluster.services.insert(name(1), large);
        compiled.invalidate(&change);
        let batch = Batch { max_elements: 100, ..Batch::all(&[name(1)].into(), false) };
        let plan = desired.plan_batch(&cluster, &config, &batch, &mut compiled);
        assert_eq!(plan.recompiled, 1);
        desired.accept(plan);
    }
}
