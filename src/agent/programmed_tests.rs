use std::net::IpAddr;
use std::num::NonZeroU16;

use weir_rules::cluster::{
    Endpoint, EndpointPlace, EndpointPort, EndpointSlice, Family, Protocol, Service, ServicePort,
};
use weir_rules::config::NodePortAddresses;
use weir_rules::facts::stale_flows::Flow;

use super::*;

const PORT: NonZeroU16 = NonZeroU16::new(53).unwrap();

fn web() -> NamespacedName {
    NamespacedName::new("default", "web")
}

fn change_set() -> ChangeSet {
    ChangeSet::services([web()])
}

/// A Service at 10.96.0.1, UDP port 53, with one endpoint on the node, and a health check.
fn cluster(endpoint: u8) -> Cluster {
    let service = Service {
        cluster_ips: vec![[10, 96, 0, 1].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Udp,
            port: PORT,
            node_port: None,
        }],
        health_check_node_port: NonZeroU16::new(30100),
        ..Service::default()
    };
    let slice = EndpointSlice {
        service: web(),
        family: Family::Ipv4,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Udp, port: PORT }],
        endpoints: vec![Endpoint {
            place: EndpointPlace::on("node-a"),
            ..Endpoint::new([10, 244, 0, endpoint].into())
        }],
    };
    let mut cluster = Cluster::default();
    cluster.services.insert(web(), service);
    cluster.slices.insert(web(), slice);
    cluster
}

/// Whether a client's flow to this endpoint has to go.
fn is_stale(programmed: &Programmed, endpoint: u8) -> bool {
    let at = |address: [u8; 4]| (IpAddr::from(address), PORT.get()).into();
    let flow = Flow {
        protocol: Protocol::Udp,
        source: at([10, 244, 0, 9]),
        destination: at([10, 96, 0, 1]),
        reply_source: at([10, 244, 0, endpoint]),
        is_translated: true,
        is_in_default_zone: true,
    };
    programmed.facts().serving().is_stale(&flow, &[].into(), &[].into())
}

/// The effect of the change to this cluster, if the Service is quarantined with something in the
/// kernel or nothing, or else is programmed.
fn change(
    programmed: &mut Programmed,
    cluster: &Cluster,
    quarantine: Option<bool>,
) -> DerivedStateChange {
    programmed.expect(change_set());
    settle(programmed, cluster, quarantine)
}

fn settle(
    programmed: &mut Programmed,
    cluster: &Cluster,
    quarantine: Option<bool>,
) -> DerivedStateChange {
    let name = web();
    let quarantine = quarantine.map(|is_in_kernel| (&name, is_in_kernel));
    programmed.update(cluster, &Config::new("node-a"), quarantine.into_iter(), |_| false, |_| false)
}

fn services(programmed: &Programmed) -> u32 {
    programmed.facts().numbers()[0].services
}

/// The kernel sends clients on to where it sent them, so that to cut them off would help nobody.
#[test]
fn flows_of_a_service_that_is_set_aside_go_on_to_where_the_kernel_sends_them() {
    let mut programmed = Programmed::default();
    change(&mut programmed, &cluster(2), None);
    assert!(!is_stale(&programmed, 2) && is_stale(&programmed, 3));
    let held = change(&mut programmed, &cluster(3), Some(true));
    assert_eq!(held, DerivedStateChange::default());
    assert!(!is_stale(&programmed, 2) && is_stale(&programmed, 3));
    // It is taken later, without another change.
    assert!(settle(&mut programmed, &cluster(3), None).effect.is_any);
    assert!(is_stale(&programmed, 2) && !is_stale(&programmed, 3));
}

#[test]
fn a_service_of_which_the_kernel_has_nothing_is_not_told() {
    let mut programmed = Programmed::default();
    change(&mut programmed, &cluster(2), Some(false));
    assert_eq!((services(&programmed), programmed.facts().checks().count()), (0, 0));
    change(&mut programmed, &cluster(2), None);
    assert_eq!((services(&programmed), programmed.facts().checks().count()), (1, 1));
    // Somebody empties the tables, and the kernel does not take it again.
    assert!(settle(&mut programmed, &cluster(2), Some(false)).checks);
    assert_eq!((services(&programmed), programmed.facts().checks().count()), (0, 0));
    assert!(settle(&mut programmed, &cluster(2), None).checks);
    assert_eq!((services(&programmed), programmed.facts().checks().count()), (1, 1));
}

/// Not even what costs nothing to look at: what has been read and is held back is not programmed.
#[test]
fn what_is_not_expected_is_not_looked_at() {
    let mut programmed = Programmed::default();
    change(&mut programmed, &cluster(2), None);
    let everywhere = NodePortAddresses::Cidrs(vec!["0.0.0.0/0".parse().unwrap()]);
    let config = Config { node_port_addresses: everywhere, ..Config::new("node-a") };
    let change = programmed.update(&cluster(3), &config, [].into_iter(), |_| false, |_| false);
    assert_eq!(change, DerivedStateChange::default());
    assert!(!is_stale(&programmed, 2));
}

/// The same health checks may have to be answered at other addresses of the node.
#[test]
fn other_surroundings_may_ask_for_health_checks_elsewhere() {
    let mut programmed = Programmed::default();
    change(&mut programmed, &cluster(2), None);
    programmed.expect(ChangeSet { environment: true, ..ChangeSet::default() });
    assert!(settle(&mut programmed, &cluster(2), None).checks);
    assert!(!settle(&mut programmed, &cluster(2), None).checks);
}

/// The first by name would have it otherwise.
#[test]
fn what_another_has_come_to_have_is_judged_as_that_ones() {
    let mut programmed = Programmed::default();
    change(&mut programmed, &cluster(2), None);
    let other = NamespacedName::new("default", "zoo");
    let mut later = cluster(3);
    let (service, _) = later.services.remove(&web()).expect("it is there");
    let mut slice = later.slices.remove(&web()).expect("it is there");
    slice.service = other.clone();
    later.services.insert(other.clone(), service);
    later.slices.insert(other.clone(), slice);
    // It has changed to what is refused, and claims the address no more.
    later.services.insert(web(), Service::default());
    programmed.expect(ChangeSet::services([web(), other]));
    settle(&mut programmed, &later, Some(true));
    assert!(!is_stale(&programmed, 3));
    assert!(is_stale(&programmed, 2));
    assert_eq!(services(&programmed), 1);
}

/// Each destination leads to where it led or to where it will.
#[test]
fn flows_of_a_service_of_which_a_part_is_programmed_go_to_endpoints_before_and_after() {
    let mut programmed = Programmed::default();
    change(&mut programmed, &cluster(2), None);
    let config = Config::new("node-a");
    programmed.expect(change_set());
    let begin = |programmed: &mut Programmed, endpoint| {
        let (cluster, quarantine) = (cluster(endpoint), [].into_iter());
        programmed.update(&cluster, &config, quarantine, |_| true, |_| true);
    };
    begin(&mut programmed, 3);
    assert!(!is_stale(&programmed, 2) && !is_stale(&programmed, 3) && is_stale(&programmed, 4));
    // It changes again, and so does what is to come.
    programmed.expect(change_set());
    begin(&mut programmed, 4);
    assert!(!is_stale(&programmed, 2) && !is_stale(&programmed, 4));
    // Once all of it is programmed, what was before is stale.
    assert!(settle(&mut programmed, &cluster(4), None).effect.is_any);
    assert!(is_stale(&programmed, 2) && is_stale(&programmed, 3) && !is_stale(&programmed, 4));
    assert_eq!(*programmed.facts(), DerivedState::of(&cluster(4), &config));
}

/// Back to what it was before, when clients have come to the endpoint that does not come.
#[test]
fn flows_to_what_does_not_come_after_all_are_looked_for() {
    let mut programmed = Programmed::default();
    change(&mut programmed, &cluster(2), None);
    programmed.expect(change_set());
    let config = Config::new("node-a");
    programmed.update(&cluster(3), &config, [].into_iter(), |_| true, |_| true);
    assert!(!is_stale(&programmed, 3));
    assert!(change(&mut programmed, &cluster(2), None).effect.is_any);
    assert!(is_stale(&programmed, 3));
}

/// The kernel refuses the rest of it.
#[test]
fn flows_of_a_service_that_is_set_aside_when_it_is_begun_go_on() {
    let mut programmed = Programmed::default();
    change(&mut programmed, &cluster(2), None);
    programmed.expect(change_set());
    let (name, config) = (web(), Config::new("node-a"));
    let quarantine = [(&name, true)];
    programmed.update(&cluster(3), &config, quarantine.into_iter(), |_| false, |_| true);
    assert!(!is_stale(&programmed, 2) && !is_stale(&programmed, 3));
}
