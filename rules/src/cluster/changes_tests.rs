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

/// What a change of the cluster touches, and what undoing it does.
fn touched(change: impl Fn(&mut Cluster)) -> Touched {
    let mut changed = cluster();
    change(&mut changed);
    let touched = Touched::between(&cluster(), &changed);
    assert_eq!(Touched::between(&changed, &cluster()), touched);
    touched
}

#[test]
fn a_service_is_touched_by_its_own_changes_and_by_those_of_its_slices() {
    let only = |services: &[&str]| Touched::services(names(services));
    assert_eq!(touched(|_| {}), Touched::default());
    assert_eq!(touched(|it| drop(it.services.remove(&name("web")))), only(&["web"]));
    assert_eq!(
        touched(|it| {
            it.services.update(&name("web"), |of| of.external_ips.push([192, 0, 2, 1].into()));
        }),
        only(&["web"])
    );
    assert_eq!(touched(|it| drop(it.slices.remove(&name("dns-1")))), only(&["dns"]));
    assert_eq!(
        touched(|it| drop(it.slices.insert(name("dns-1"), slice("dns", Family::Ipv6)))),
        only(&["dns"])
    );
    assert_eq!(
        touched(|it| drop(it.slices.insert(name("dns-1"), slice("later", Family::Ipv4)))),
        only(&["dns", "later"])
    );
}

#[test]
fn the_node_and_the_networks_of_services_are_surroundings() {
    let surroundings = Touched { surroundings: true, ..Touched::default() };
    assert!(!surroundings.is_empty() && Touched::default().is_empty());
    let node = Node { addresses: vec![], zone: None, pod_cidrs: vec![] };
    assert_eq!(touched(|it| it.node = Some(node.clone())), surroundings);
    assert_eq!(touched(|it| it.service_cidrs.push("10.96.0.0/16".parse().unwrap())), surroundings);
}

#[test]
fn all_is_every_service_also_one_of_which_there_are_only_slices() {
    let mut cluster = cluster();
    cluster.slices.insert(name("later-1"), slice("later", Family::Ipv4));
    cluster.services.insert(name("bare"), Service::default());
    let all = Touched {
        surroundings: true,
        ..Touched::services(names(&["web", "dns", "later", "bare"]))
    };
    assert_eq!(Touched::all(&cluster), all);
}

#[test]
fn what_is_merged_is_all_that_either_touches() {
    let mut touched = Touched { surroundings: true, ..Touched::services(names(&["web"])) };
    touched.merge(Touched::services(names(&["dns", "web"])));
    assert_eq!(
        touched,
        Touched { surroundings: true, ..Touched::services(names(&["web", "dns"])) }
    );
}
