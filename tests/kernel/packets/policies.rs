//! Traffic policies and source ranges, with packets.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use weir_testbed::{Family, Outcome, Protocol, REFUSAL, SILENCE, Testbed, ask, tally};

use crate::packets::{CLUSTER_CIDR, at, cases, gateway, testbed};

/// An address of the Service with this number, as packets.yaml counts them.
fn cluster_ip(family: Family, number: u16) -> SocketAddr {
    at(family, &format!("10.96.0.{number}"), &format!("fd00:10:96::{number}"), 80)
}
fn load_balancer(family: Family, number: u16) -> SocketAddr {
    at(family, &format!("203.0.113.{number}"), &format!("2001:db8:113::{number}"), 80)
}
fn external_ip(family: Family, number: u16) -> SocketAddr {
    load_balancer(family, number + 10)
}
fn node_port(family: Family, number: u16) -> SocketAddr {
    at(family, "192.0.2.1", "2001:db8::1", 30070 + number)
}

const NEAR: u16 = 13;
const FAR: u16 = 14;
const GUARDED: u16 = 15;

type AddressOf = fn(Family, u16) -> SocketAddr;
const EXTERNAL: [AddressOf; 3] = [load_balancer, external_ip, node_port];

/// Who answers, and whom they see.
fn answers(
    bed: &Testbed,
    from: &str,
    protocol: Protocol,
    to: SocketAddr,
) -> (BTreeSet<String>, Vec<IpAddr>) {
    let tally = tally(bed.ns(from), protocol, to, 24);
    assert_eq!(tally.unanswered(), 0, "{from} {protocol} {to}");
    let servers = ["b1", "b2", "b3"].into_iter().filter(|server| tally.count(server) > 0);
    (servers.map(str::to_owned).collect(), tally.sources.into_iter().collect())
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Without a local endpoint, what comes from outside is dropped, for the client to find another
/// node; pods and the node reach all endpoints, as inside the cluster.
#[test]
fn under_external_policy_local_the_outside_reaches_local_endpoints_and_is_seen_as_it_is() {
    let bed = testbed(&CLUSTER_CIDR);
    for (protocol, family) in cases() {
        let visitor = bed.host("visitor").address(family);
        let pod = bed.host("client").address(family);
        for address in EXTERNAL {
            let near = address(family, NEAR);
            let seen = answers(&bed, "visitor", protocol, near);
            assert_eq!(seen, (names(&["b1"]), vec![visitor]), "visitor {protocol} {near}");
            let seen = answers(&bed, "client", protocol, near);
            assert_eq!(seen, (names(&["b1", "b2"]), vec![pod]), "client {protocol} {near}");
            let seen = answers(&bed, "node", protocol, near);
            let node = vec![gateway(family)];
            assert_eq!(seen, (names(&["b1", "b2"]), node.clone()), "node {protocol} {near}");

            let far = address(family, FAR);
            let outcome = ask(bed.ns("visitor"), protocol, far, SILENCE);
            assert_eq!(outcome, Outcome::Silent, "visitor {protocol} {far}");
            let seen = answers(&bed, "client", protocol, far);
            assert_eq!(seen, (names(&["b2"]), vec![pod]), "client {protocol} {far}");
            let seen = answers(&bed, "node", protocol, far);
            assert_eq!(seen, (names(&["b2"]), node), "node {protocol} {far}");
        }
    }
}

#[test]
fn under_internal_policy_local_cluster_ips_reach_local_endpoints_or_none() {
    let bed = testbed(&CLUSTER_CIDR);
    for (protocol, family) in cases() {
        for from in ["client", "node", "visitor"] {
            let (servers, _) = answers(&bed, from, protocol, cluster_ip(family, NEAR));
            assert_eq!(servers, names(&["b1"]), "{from} {protocol} {family:?}");
            let outcome = ask(bed.ns(from), protocol, cluster_ip(family, FAR), SILENCE);
            assert_eq!(outcome, Outcome::Silent, "{from} {protocol} {family:?}");
        }
    }
}

/// An endpoint that is behind a Service with policy Local reaches itself through it.
#[test]
fn a_local_endpoint_reaches_itself_under_policy_local() {
    let bed = testbed(&CLUSTER_CIDR);
    for (protocol, family) in cases() {
        let (servers, sources) = answers(&bed, "b1", protocol, cluster_ip(family, NEAR));
        assert_eq!((servers, sources), (names(&["b1"]), vec![gateway(family)]), "{protocol}");
    }
}

/// Where nothing tells Pods from others, they are traffic from outside.
#[test]
fn without_detection_of_pods_they_are_outside() {
    let bed = testbed(&[]);
    for (protocol, family) in cases() {
        let pod = bed.host("client").address(family);
        let seen = answers(&bed, "client", protocol, load_balancer(family, NEAR));
        assert_eq!(seen, (names(&["b1"]), vec![pod]), "{protocol} {family:?}");
        let outcome = ask(bed.ns("client"), protocol, load_balancer(family, FAR), SILENCE);
        assert_eq!(outcome, Outcome::Silent, "{protocol} {family:?}");
    }
}

/// The testbed's pods are behind interfaces whose names begin with `pod`.
#[test]
fn pods_can_be_told_by_their_interfaces() {
    let options = ["--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix"];
    let prefix = |prefix| testbed(&[&options[..], &[prefix]].concat());
    let bed = prefix("pod");
    for (protocol, family) in cases() {
        let pod = bed.host("client").address(family);
        let seen = answers(&bed, "client", protocol, load_balancer(family, NEAR));
        assert_eq!(seen, (names(&["b1", "b2"]), vec![pod]), "{protocol} {family:?}");
        let seen = answers(&bed, "visitor", protocol, cluster_ip(family, 10));
        assert_eq!(seen.1, [gateway(family)], "{protocol} {family:?}");
    }
    let bed = prefix("other");
    let seen = answers(&bed, "client", Protocol::Tcp, load_balancer(Family::V4, NEAR));
    assert_eq!(seen.0, names(&["b1"]));
}

/// 198.51.100.7 is within the ranges, 198.51.100.9 is not; ranges are about load-balancer
/// addresses only.
#[test]
fn source_ranges_decide_who_may_use_a_load_balancer() {
    let bed = testbed(&CLUSTER_CIDR).outside("stranger", "198.51.100.9", "2001:db8:51::9");
    for (protocol, family) in cases().filter(|(protocol, _)| *protocol != Protocol::Sctp) {
        let guarded = load_balancer(family, GUARDED);
        for from in ["visitor", "node"] {
            assert_eq!(
                answers(&bed, from, protocol, guarded).0,
                names(&["b1"]),
                "{from} {guarded}"
            );
        }
        for from in ["stranger", "client"] {
            let outcome = ask(bed.ns(from), protocol, guarded, SILENCE);
            assert_eq!(outcome, Outcome::Silent, "{from} {protocol} {guarded}");
        }
        for open in [cluster_ip, external_ip, node_port] {
            let to = open(family, GUARDED);
            assert_eq!(answers(&bed, "stranger", protocol, to).0, names(&["b1"]), "{to}");
        }
    }
    // Whom the ranges exclude is not even refused.
    for family in Family::ALL {
        let empty = SocketAddr::new(load_balancer(family, GUARDED).ip(), 81);
        assert_eq!(ask(bed.ns("visitor"), Protocol::Tcp, empty, REFUSAL), Outcome::Refused);
        assert_eq!(ask(bed.ns("stranger"), Protocol::Tcp, empty, SILENCE), Outcome::Silent);
    }
}
