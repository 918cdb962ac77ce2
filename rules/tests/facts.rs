//! Derived state that is updated incrementally equals the same state computed from scratch.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use weir_rules::cluster::claims::claims;
use weir_rules::cluster::{ChangeSet, Cluster, EndpointSlice, Family, NamespacedName, Service};
use weir_rules::compile::{compile, names};
use weir_rules::config::Config;
use weir_rules::facts::DerivedState;
use weir_rules::facts::counts::Numbers;
use weir_rules::facts::health_checks::{HealthCheck, checks};
use weir_rules::facts::stale_flows::ServedDestinations;
use weir_rules::testing::random::{NODE, change, cluster, config, seeded};

/// What follows from each of the Services, asked one by one.
fn each<T>(
    cluster: &Cluster,
    what: impl Fn(&NamespacedName, &Service, &[&EndpointSlice]) -> T,
) -> Vec<T> {
    let services = cluster.services.iter();
    services.map(|(name, service)| what(name, service, &cluster.slices.of(name))).collect()
}

fn numbers(cluster: &Cluster, node: &str) -> [Numbers; 2] {
    Family::ALL.map(|family| {
        let mut total = Numbers::default();
        for numbers in each(cluster, |_, it, slices| Numbers::of(family, it, slices, node)) {
            total += numbers;
        }
        total
    })
}

fn all_checks(cluster: &Cluster, node: &str) -> Vec<HealthCheck> {
    each(cluster, |name, it, slices| checks(name, it, cluster.services.lost(name), slices, node))
        .concat()
}

/// Whether a Service asks for each of its addresses and ports once.
fn asks_once(service: &Service) -> bool {
    let addresses = [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips];
    let addresses = addresses.into_iter().flatten().filter(|it| service.serves(Family::of(**it)));
    let node_ports = service.ports.iter().filter(|port| port.node_port.is_some()).count();
    let checks = usize::from(service.health_check_node_port.is_some());
    claims(service).len() == addresses.count() * service.ports.len() + node_ports + checks
}

/// One Service of a cluster, which two slices of few endpoints are of.
fn one_service(cluster: Cluster) -> Cluster {
    let Cluster { services, slices, .. } = cluster;
    let mut services =
        services.into_iter().filter(|(_, service)| !service.ports.is_empty() && asks_once(service));
    let Some((name, service)) = services.next_back() else { return Cluster::default() };
    let slices = slices.into_iter().take(2).map(|(slice_name, mut slice)| {
        slice.service = name.clone();
        slice.endpoints.truncate(2);
        for (port, of) in slice.ports.iter_mut().zip(&service.ports) {
            port.name.clone_from(&of.name);
            port.protocol = of.protocol;
        }
        (slice_name, slice)
    });
    Cluster { slices: slices.collect(), services: [(name, service)].into(), ..Cluster::default() }
}

fn has_verdicts(cluster: &Cluster, config: &Config) -> bool {
    let ruleset = compile(cluster, config);
    ruleset.tables.values().any(|table| !table.sets[names::SERVICES].elements.is_empty())
}

/// Other settings now and then, also of another node.
fn settings() -> impl Strategy<Value = Config> {
    (config(), prop_oneof![4 => Just(NODE), 1 => Just("node-b")])
        .prop_map(|(config, node)| Config { node_name: node.to_owned(), ..config })
}

proptest! {
    #![proptest_config(seeded(256))]

    #[test]
    fn facts_after_any_changes_are_those_from_scratch(
        first in cluster(),
        mut config in settings(),
        steps in vec((cluster(), any::<(u8, Index)>(), prop_oneof![
            4 => Just(None),
            1 => settings().prop_map(Some),
        ]), 1..8),
    ) {
        let mut cluster = first;
        let mut facts = DerivedState::of(&cluster, &config);
        for (other, (kind, index), settings) in steps {
            let before = cluster.clone();
            change(&mut cluster, &other, kind, index);
            config = settings.unwrap_or(config);
            facts.update(&cluster, &config, &ChangeSet::between(&before, &cluster));
            prop_assert_eq!(&facts, &DerivedState::of(&cluster, &config));

            prop_assert_eq!(facts.serving(), &ServedDestinations::new(&cluster, &config));
            prop_assert_eq!(facts.numbers(), &numbers(&cluster, &config.node_name));
            let found: Vec<&HealthCheck> = facts.checks().collect();
            let all = all_checks(&cluster, &config.node_name);
            prop_assert_eq!(found, all.iter().collect::<Vec<_>>());
            let has_node_port = cluster.services.values().any(Service::has_node_port);
            prop_assert_eq!(facts.has_node_ports(), has_node_port);
        }
    }

    #[test]
    fn no_change_goes_unsaid(
        before in cluster(),
        (other, kind, index) in (self::cluster(), any::<u8>(), any::<Index>()),
        settings in [settings(), settings()],
        has_settings in any::<bool>(),
    ) {
        let mut after = before.clone();
        change(&mut after, &other, kind, index);
        let mut facts = DerivedState::of(&before, &settings[0]);
        let known = facts.clone();
        let config = &settings[usize::from(has_settings)];
        let change = facts.update(&after, config, &ChangeSet::between(&before, &after));
        prop_assert!(change.effect.is_any || facts.serving() == known.serving());
        prop_assert!(change.checks || facts.checks().eq(known.checks()));
    }

    #[test]
    fn what_nobody_touched_changes_nothing(cluster in cluster(), config in settings()) {
        let mut facts = DerivedState::of(&cluster, &config);
        let everything = ChangeSet::all(&cluster);
        prop_assert_eq!(facts.update(&cluster, &config, &everything), Default::default());
    }
}

proptest! {
    // What decides on it is rare.
    #![proptest_config(seeded(2048))]

    #[test]
    fn there_are_endpoints_if_an_address_has_a_verdict(
        cluster in cluster().prop_map(one_service),
        config in settings(),
    ) {
        let facts = DerivedState::of(&cluster, &config);
        prop_assert_eq!(facts.has_endpoints(), has_verdicts(&cluster, &config));
    }
}
