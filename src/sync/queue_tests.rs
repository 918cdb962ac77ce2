use std::num::NonZeroU16;

use weir_rules::cluster::{
    Endpoint, EndpointPort, EndpointSlice, Family, Protocol, Service, ServicePort,
};

use super::*;

fn name(number: u16) -> NamespacedName {
    NamespacedName::new("default", format!("service-{number:03}"))
}

fn port() -> NonZeroU16 {
    NonZeroU16::new(80).unwrap()
}

fn service(address: [u8; 4]) -> Service {
    let port =
        ServicePort { name: "".into(), protocol: Protocol::Tcp, port: port(), node_port: None };
    Service { cluster_ips: vec![address.into()], ports: vec![port], ..Service::default() }
}

/// Services with so many endpoints each.
fn cluster(endpoints: &[u16]) -> Cluster {
    let mut cluster = Cluster::default();
    for (number, &count) in (0..).zip(endpoints) {
        cluster.services.insert(name(number), service([10, 96, 0, number as u8]));
        let endpoint = |index: u16| {
            let [high, low] = index.to_be_bytes();
            Endpoint::new([10, 244, high, low].into())
        };
        let ports = vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: port() }];
        let slice = EndpointSlice {
            service: name(number),
            family: Family::Ipv4,
            ports,
            endpoints: (0..count).map(endpoint).collect(),
        };
        cluster.slices.insert(name(number), slice);
    }
    cluster
}

fn change_set(numbers: impl IntoIterator<Item = u16>) -> ChangeSet {
    ChangeSet::services(numbers.into_iter().map(name))
}

fn batch(queue: &Queue, cluster: &Cluster, max: usize) -> Vec<NamespacedName> {
    queue.next_batch(cluster, &Mirror::default(), max).services
}

#[test]
fn small_changes_do_not_wait_behind_large_ones() {
    let cluster = cluster(&[1000, 3, 1, 2]);
    let mut queue = Queue::default();
    queue.add(change_set(0..4));
    assert_eq!(batch(&queue, &cluster, 100), [2, 3, 1, 0].map(name));
    // The large one takes several batches; what comes meanwhile does not wait for these.
    queue.finish(&[2, 3, 1].map(name));
    assert_eq!(batch(&queue, &cluster, 100), [name(0)]);
    queue.add(change_set([3]));
    assert_eq!(batch(&queue, &cluster, 100), [3, 0].map(name));
    queue.finish(&[3, 0].map(name));
    assert!(queue.is_empty());
}

/// However much changes all the time.
#[test]
fn what_waits_longest_has_half_of_each_batch() {
    let cluster = cluster(&[8; 100]);
    let mut queue = Queue::default();
    queue.add(change_set(0..100));
    let first = batch(&queue, &cluster, 100);
    queue.finish(&first);
    let waiting: Vec<_> = (0..100).map(name).filter(|it| queue.contains(it)).collect();
    queue.add(change_set((0..100).filter(|number| first.contains(&name(*number)))));
    let second = batch(&queue, &cluster, 100);
    let old = second.iter().filter(|service| waiting.contains(service)).count();
    assert!(old >= 5 && old < second.len(), "{old} of {}", second.len());
}

#[test]
fn who_gives_up_a_claim_comes_before_who_gets_it() {
    let mut cluster = cluster(&[5, 1]);
    let mut queue = Queue::default();
    let handover = cluster.services.insert(name(0), service([10, 96, 0, 9]));
    queue.add(change_set([0]));
    let mut change = change_set([]);
    change.handover(handover);
    change.handover(cluster.services.insert(name(1), service([10, 96, 0, 0])));
    queue.add(change);
    queue.add(change_set([1]));
    assert_eq!(batch(&queue, &cluster, 100), [0, 1].map(name));
    queue.finish(&[name(0)]);
    assert_eq!(batch(&queue, &cluster, 100), [name(1)]);
}

#[test]
fn two_that_exchange_what_they_have_are_in_one_batch() {
    let mut cluster = cluster(&[90, 90]);
    let mut queue = Queue::default();
    let mut change = change_set([0, 1]);
    change.handover(cluster.services.insert(name(0), service([10, 96, 0, 1])));
    change.handover(cluster.services.insert(name(1), service([10, 96, 0, 0])));
    queue.add(change);
    assert_eq!(batch(&queue, &cluster, 10).len(), 2);
}

/// The first owner is quarantined, and what it had has passed through another's hands since.
#[test]
fn a_claim_that_passes_on_from_a_programmed_service_is_given_up_first() {
    let mut cluster = cluster(&[1, 5, 1]);
    let mut queue = Queue::default();
    let mut pass = |queue: &mut Queue, from: u16, to: u16| {
        let mut change = change_set([from, to]);
        let own = [10, 96, 1, from as u8];
        change.handover(cluster.services.insert(name(from), service(own)));
        change.handover(cluster.services.insert(name(to), service([10, 96, 0, 0])));
        queue.add(change);
        cluster.clone()
    };
    pass(&mut queue, 0, 1);
    queue.remove(&[name(0)].into());
    queue.finish(&[name(1)]);
    let cluster = pass(&mut queue, 1, 2);
    assert_eq!(batch(&queue, &cluster, 100), [1, 2].map(name));
}

#[test]
fn a_service_that_is_set_aside_is_not_in_a_batch() {
    let cluster = cluster(&[1, 1]);
    let mut queue = Queue::default();
    queue.add(change_set(0..2));
    queue.remove(&[name(0)].into());
    assert_eq!(batch(&queue, &cluster, 10), [name(1)]);
    assert!(!queue.contains(&name(0)));
    assert_eq!(queue.take(), change_set([1]));
    assert!(queue.is_empty() && queue.oldest().is_none());
}
