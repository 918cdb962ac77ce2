use std::num::NonZeroU16;

use weir_rules::cluster::{Protocol, Service, ServicePort};

use super::*;

fn name(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

/// A Service with so many TCP ports from 80 on, at a ClusterIP of its own and at external IPs.
fn service(number: u8, ports: u16, external: &[[u8; 4]]) -> Service {
    let port = |index: u16| ServicePort {
        name: index.to_string().into(),
        protocol: Protocol::Tcp,
        port: NonZeroU16::new(80 + index).unwrap(),
        node_port: None,
    };
    Service {
        cluster_ips: vec![[10, 96, 0, number].into()],
        external_ips: external.iter().map(|&address| address.into()).collect(),
        ports: (0..ports).map(port).collect(),
        ..Service::default()
    }
}

fn change_set(names: &[&str]) -> ChangeSet {
    ChangeSet::services(names.iter().map(|of| name(of)))
}

#[test]
fn a_loss_is_told_once_and_so_is_its_end() {
    let at = [203, 0, 113, 1];
    let mut cluster = Cluster::default();
    cluster.services.insert(name("a"), service(1, 1, &[at]));
    cluster.services.insert(name("b"), service(2, 1, &[at]));
    let mut lost = LostClaims::default();
    let all = change_set(&["a", "b"]);
    let text = "spec.externalIPs: 203.0.113.1 tcp port 80 is Service default/a's; \
                all else of the Service is served";
    let notice = ClaimNotice::Lost { service: name("b"), text: text.to_owned() };
    assert_eq!(lost.update(&cluster, &all), [notice]);
    assert_eq!(cluster.services.lost_counts(), [0, 0, 0, 1, 0]);
    assert_eq!(lost.update(&cluster, &all), []);
    // Only what is new is reported.
    cluster.services.insert(name("a"), service(1, 2, &[at]));
    cluster.services.insert(name("b"), service(2, 2, &[at]));
    let notices = lost.update(&cluster, &all);
    let [ClaimNotice::Lost { text, .. }] = &notices[..] else { panic!("{notices:?}") };
    assert!(text.contains("port 81") && !text.contains("port 80"), "{text}");
    cluster.services.remove(&name("a"));
    assert_eq!(lost.update(&cluster, &all), [ClaimNotice::Regained { service: name("b") }]);
    assert_eq!(cluster.services.lost_counts(), [0; 5]);
}

#[test]
fn who_is_gone_has_regained_nothing() {
    let mut cluster = Cluster::default();
    cluster.services.insert(name("a"), service(1, 1, &[]));
    cluster.services.insert(name("b"), service(2, 1, &[[10, 96, 0, 1]]));
    let mut lost = LostClaims::default();
    assert_eq!(lost.update(&cluster, &change_set(&["b"])).len(), 1);
    cluster.services.remove(&name("b"));
    assert_eq!(lost.update(&cluster, &change_set(&["b"])), []);
    assert_eq!(cluster.services.lost_counts(), [0; 5]);
}

#[test]
fn of_many_losses_few_are_named() {
    let mut cluster = Cluster::default();
    cluster.services.insert(name("a"), service(1, 1000, &[]));
    cluster.services.insert(name("b"), service(2, 1000, &[[10, 96, 0, 1]]));
    let notices = LostClaims::default().update(&cluster, &change_set(&["b"]));
    let [ClaimNotice::Lost { text, .. }] = &notices[..] else { panic!("{notices:?}") };
    assert!(text.contains("; and 997 more; ") && text.len() < 300, "{text}");
}
