use super::*;
use crate::cluster::{EndpointSlice, Family, Node, Service, Slices};

fn name(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

fn names(all: &[&str]) -> BTreeSet<NamespacedName> {
    all.iter().map(|it| name(it)).collect()
}

fn slice(service: &str, family: Family) -> EndpointSlice {
    EndpointSlice { service: name(service), family, ports: vec![], endpoints: vec![] }
}

/// Services `web` and `dns`, with a slice each.
fn cluster() -> Cluster {
    Cluster {
        services: [(name("web"), Service::default()), (name("dns"), Service::default())].into(),
        slices: Slices::from([
            (name("web-1"), slice("web", Family::Ipv4)),
            (name("dns-1"), slice("dns", Family::Ipv4)),
        ]),
        ..Cluster::default()
    }
}

/// What a change of the cluster changes, and what undoing it does.
fn change_set(change: impl Fn(&mut Cluster)) -> ChangeSet {
    let mut changed = cluster();
    change(&mut changed);
    let change_set = ChangeSet::between(&cluster(), &changed);
    assert_eq!(ChangeSet::between(&changed, &cluster()), change_set);
    change_set
}

#[test]
fn a_service_is_touched_by_its_own_changes_and_by_those_of_its_slices() {
    let only = |services: &[&str]| ChangeSet::services(names(services));
    assert_eq!(change_set(|_| {}), ChangeSet::default());
    assert_eq!(change_set(|it| drop(it.services.remove(&name("web")))), only(&["web"]));
    assert_eq!(
        change_set(|it| {
            it.services.update(&name("web"), |of| of.external_ips.push([192, 0, 2, 1].into()));
        }),
        only(&["web"])
    );
    assert_eq!(change_set(|it| drop(it.slices.remove(&name("dns-1")))), only(&["dns"]));
    assert_eq!(
        change_set(|it| drop(it.slices.insert(name("dns-1"), slice("dns", Family::Ipv6)))),
        only(&["dns"])
    );
    assert_eq!(
        change_set(|it| drop(it.slices.insert(name("dns-1"), slice("later", Family::Ipv4)))),
        only(&["dns", "later"])
    );
}

#[test]
fn the_node_and_the_networks_of_services_are_surroundings() {
    let environment = ChangeSet { environment: true, ..ChangeSet::default() };
    assert!(!environment.is_empty() && ChangeSet::default().is_empty());
    let node = Node { addresses: vec![], zone: None, pod_cidrs: vec![] };
    assert_eq!(change_set(|it| it.node = Some(node.clone())), environment);
    assert_eq!(
        change_set(|it| it.service_cidrs.push("10.96.0.0/16".parse().unwrap())),
        environment
    );
}

#[test]
fn all_is_every_service_also_one_of_which_there_are_only_slices() {
    let mut cluster = cluster();
    cluster.slices.insert(name("later-1"), slice("later", Family::Ipv4));
    cluster.services.insert(name("bare"), Service::default());
    let all = ChangeSet {
        environment: true,
        ..ChangeSet::services(names(&["web", "dns", "later", "bare"]))
    };
    assert_eq!(ChangeSet::all(&cluster), all);
}

#[test]
fn what_is_merged_is_all_that_either_touches() {
    let mut change_set = ChangeSet { environment: true, ..ChangeSet::services(names(&["web"])) };
    change_set.merge(ChangeSet::services(names(&["dns", "web"])));
    assert_eq!(
        change_set,
        ChangeSet { environment: true, ..ChangeSet::services(names(&["web", "dns"])) }
    );
}
