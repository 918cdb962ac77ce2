use std::num::{NonZeroU16, NonZeroU32};

use super::*;
use crate::cluster::{
    Cluster, Endpoint, EndpointPlace, EndpointPort, EndpointSlice, NamespacedName, Protocol,
    Service, ServicePort, TrafficPolicy,
};
use crate::compile::compile;
use crate::config::Config;
use crate::nft::Ruleset;
use crate::transaction::diff::diff;

const PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();

/// A Service for policy Local, whose clients stay, with an endpoint on each of these nodes.
fn cluster(nodes: &[&str], source_ranges: &[&str]) -> Cluster {
    let name = NamespacedName::new("default", "web");
    let service = Service {
        cluster_ips: vec![[10, 96, 0, 10].into()],
        load_balancer_ips: vec![[192, 0, 2, 10].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: PORT,
            node_port: NonZeroU16::new(30080),
        }],
        internal_traffic_policy: TrafficPolicy::Cluster,
        external_traffic_policy: TrafficPolicy::Local,
        source_ranges: source_ranges.iter().map(|net| net.parse().unwrap()).collect(),
        session_affinity: NonZeroU32::new(60),
        health_check_node_port: NonZeroU16::new(30080),
        ..Service::default()
    };
    let endpoint = |(index, node): (usize, &&str)| Endpoint {
        place: EndpointPlace::on(node),
        ..Endpoint::new([10, 244, 0, 2 + index as u8].into())
    };
    let slice = EndpointSlice {
        service: name.clone(),
        family: Family::Ipv4,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: PORT }],
        endpoints: nodes.iter().enumerate().map(endpoint).collect(),
    };
    Cluster {
        services: [(name.clone(), service)].into(),
        slices: [(name, slice)].into(),
        ..Cluster::default()
    }
}

fn compiled(nodes: &[&str], source_ranges: &[&str]) -> Ruleset {
    compile(&cluster(nodes, source_ranges), &Config::new("node-a"))
}

/// The lines that name this object, of each of the smallest pieces.
fn lines(observed: &Ruleset, desired: &Ruleset, name: &str) -> Vec<Vec<String>> {
    let parts = split(diff(observed, desired), 1);
    let lines = parts.iter().map(|piece| {
        let lines = piece.lines().map(|(sign, line)| format!("{sign}{line}"));
        lines.filter(|line| line.contains(name)).collect()
    });
    lines.collect()
}

#[test]
fn ranges_that_are_in_the_way_of_others_go_with_them() {
    let before = compiled(&["node-a"], &["198.51.100.0/24"]);
    let after = compiled(&["node-a", "node-a"], &["198.51.0.0/16"]);
    let lines = lines(&before, &after, " source-ranges-default/web {");
    assert!(lines.len() > 1);
    assert_eq!(
        lines[0],
        [
            "-element ip weir source-ranges-default/web { 198.51.100.0/24 }",
            "+element ip weir source-ranges-default/web { 198.51.0.0/16 }"
        ]
    );
}

/// The list for policy Local goes, and with it the sets that clients are learned in, but no verdict
/// on the load balancer's address changes.
#[test]
fn an_endpoint_that_is_local_no_longer_goes_with_the_rule_that_led_to_it() {
    let before = compiled(&["node-a", "node-b"], &[]);
    let after = compiled(&["node-b", "node-b"], &[]);
    let rule = lines(&before, &after, "-rule ip weir external-local-affinity-default/web/tcp/80 ");
    let slot =
        lines(&before, &after, "-element ip weir endpoints { 192.0.2.10 . tcp . 80 . 2147483648 ");
    assert!(rule.len() > 1);
    let pieces_of = |lines: &[Vec<String>]| -> Vec<usize> {
        (0..lines.len()).filter(|&piece| !lines[piece].is_empty()).collect()
    };
    assert_eq!(pieces_of(&rule).len(), 1);
    assert_eq!(pieces_of(&rule), pieces_of(&slot));
}

/// As somebody may have changed it.
#[test]
fn an_element_that_is_replaced_goes_before_it_comes() {
    let desired = compiled(&["node-a"], &[]);
    let mut ruleset = compiled(&["node-a", "node-a"], &[]);
    let table = ruleset.tables.get_mut(&Family::Ipv4).unwrap();
    let hairpins = table.sets.get_mut(names::HAIRPIN_CONNECTIONS).unwrap();
    hairpins.elements.values_mut().for_each(|element| element.comment = Some("changed".into()));
    let parts = split(diff(&ruleset, &desired), 1);
    assert!(parts.len() > 1);
    parts.iter().for_each(|piece| piece.apply(&mut ruleset));
    assert_eq!(ruleset, desired);
}

#[test]
fn an_object_of_its_own_belongs_to_its_service_whatever_that_is_called() {
    let service = |name: &str| match Unit::of_service(Family::Ipv4, &name.into()) {
        Some(Unit::Service(_, service)) => Some(service),
        _ => None,
    };
    for (object, owner) in [
        ("external-local-nodeport-affinity-default/web/tcp/80", Some("default/web")),
        ("local-affinity-local-x/web/udp/53", Some("local-x/web")),
        ("endpoints-endpoints-x/web/tcp/80", Some("endpoints-x/web")),
        ("learn-affinity-x/web/tcp/80", Some("affinity-x/web")),
        ("source-ranges-a/b", Some("a/b")),
        ("firewall-a/b", Some("a/b")),
        ("nodeport-firewall-nodeport-a/b", Some("nodeport-a/b")),
        ("local-nodeport-lb-3", None),
        (names::AFFINITY_SERVICES, None),
    ] {
        assert_eq!(service(object).as_deref(), owner, "{object}");
    }
}
