//! Properties of recovered Services, whatever the kernel still holds of them.

use std::collections::HashSet;

use super::*;
use weir_rules::cluster::{Endpoint, EndpointPort, EndpointSlice};
use weir_rules::testing::random::edit;

fn desired(cluster: &Cluster, config: &Config) -> Mirror {
    let mut desired = Mirror::default();
    desired.set(cluster, config, &ChangeSet::all(cluster));
    desired
}

/// Some of the Services of two clusters.
fn some(clusters: [&Cluster; 2], mask: u16) -> HashSet<NamespacedName> {
    let names = clusters.into_iter().flat_map(|cluster| cluster.services.keys());
    let names: BTreeSet<_> = names.cloned().collect();
    let chosen = names.into_iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1);
    chosen.map(|(_, name)| name).collect()
}

/// The ruleset without connections from endpoints to themselves of which no destination leads there,
/// such as those for policy Local of a Service without any address outside.
fn without_idle_hairpins(ruleset: &Ruleset) -> Ruleset {
    let mut ruleset = ruleset.clone();
    for table in ruleset.tables.values_mut() {
        let lists = [names::ENDPOINTS, names::NODEPORT_ENDPOINTS].map(|name| &table.sets[name]);
        let elements = lists.into_iter().flat_map(|set| set.elements.values());
        let endpoints: BTreeSet<_> = elements
            .filter_map(|element| match &element.data {
                Data::Values(endpoint) => Some(endpoint.as_bytes().to_vec()),
                _ => None,
            })
            .collect();
        let hairpins = table.sets.get_mut(names::HAIRPIN_CONNECTIONS).expect("it is declared");
        hairpins.elements.retain(|key, _| {
            // Address, address, protocol and port, the last two of four bytes each.
            let (addresses, rest) = key.as_bytes().split_at(key.as_bytes().len() - 8);
            let endpoint = [&addresses[addresses.len() / 2..], &rest[4..]].concat();
            endpoints.contains(&endpoint)
        });
    }
    ruleset
}

proptest! {
    #![proptest_config(seeded(256))]

    #[test]
    fn services_keep_all_that_was_programmed(
        cluster in cluster(), config in config(), mask in any::<u16>()
    ) {
        let mut cluster = cluster;
        // As the sources let them pass: each has a destination, and each port has one.
        cluster.services.retain(|_, service| {
            let ports: BTreeSet<_> =
                service.ports.iter().map(|port| (port.protocol.number(), port.port)).collect();
            !ports.is_empty() && ports.len() == service.ports.len()
        });
        let mut desired = desired(&cluster, &config);
        let ruleset = desired.ruleset();
        desired.keep(&some([&cluster, &cluster], mask), &ruleset);
        let kept = desired.ruleset();
        let counted = Family::ALL.map(|family| Tally::of(&kept.tables[&family]));
        prop_assert_eq!(desired.objects(), counted);
        prop_assert_eq!(without_idle_hairpins(&kept), without_idle_hairpins(&ruleset));
    }

    /// Whatever was there from before, and whoever has changed it since.
    #[test]
    fn services_keep_what_makes_sense_beside_the_others(
        clusters in (cluster(), cluster()),
        configs in (config(), config()),
        edits in vec(any::<(u8, Index, Index)>(), 0..6),
        mask in any::<u16>(),
        (is_as_before, is_made_otherwise) in any::<(bool, bool)>(),
    ) {
        let before = clusters.0;
        let after = if is_as_before { before.clone() } else { clusters.1 };
        let mut observed = compile(&before, &configs.0);
        edits.into_iter().for_each(|(kind, family, object)| edit(&mut observed, kind, family, object));
        if is_made_otherwise {
            let sets = observed.tables.values_mut().flat_map(|table| &mut table.sets);
            let own = sets.filter(|(name, _)| name.as_str().contains('/'));
            own.for_each(|(_, set)| set.spec.comment = Some("of another version".into()));
        }
        let kept = some([&before, &after], mask);
        let mut desired = desired(&after, &configs.1);
        kept.iter().for_each(|name| desired.forget(name));
        let others = desired.ruleset();
        desired.keep(&kept, &observed);
        let ruleset = desired.ruleset();

        for (family, table) in tables(&ruleset) {
            for chain in targets(table) {
                prop_assert!(table.chains.contains_key(chain), "chain {}", chain);
            }
            for set in table.chains.values().flat_map(Chain::statements).filter_map(Statement::set) {
                prop_assert!(table.sets.contains_key(set), "set {}", set);
            }
            for (name, set) in &table.sets {
                let of = |ruleset: &Ruleset, key| {
                    let set = ruleset.tables.get(&family)?.sets.get(name)?;
                    set.elements.get(key).cloned()
                };
                for (key, element) in &set.elements {
                    let expected = of(&others, key).or_else(|| of(&observed, key));
                    prop_assert_eq!(
                        Some(&element.data),
                        expected.as_ref().map(|it| &it.data),
                        "{} {:?}",
                        name,
                        key
                    );
                }
            }
        }
        // Nobody may use an address who might not.
        for (family, table) in tables(&ruleset) {
            let of = |ruleset: &Ruleset, set: &str, key| {
                let table = ruleset.tables.get(&family);
                table.is_some_and(|table| table.sets[set].elements.contains_key(key))
            };
            for key in table.sets[names::SERVICES].elements.keys() {
                let is_guarded = of(&ruleset, names::FIREWALL_IPS, key);
                let is_kept = !of(&others, names::SERVICES, key);
                prop_assert!(!is_kept || is_guarded || !of(&observed, names::FIREWALL_IPS, key));
            }
        }
        let lost: Vec<_> =
            diff(&ruleset, &others).lines().filter(|(sign, _)| *sign == Sign::Added).collect();
        prop_assert_eq!(lost, vec![], "of others");

        let change_set = ChangeSet::services(kept);
        let plan = desired.plan(&after, &configs.1, &change_set);
        let mut programmed = ruleset;
        let transaction = diff(&plan.before, &plan.after);
        let makes_anew = |action: &Action| matches!(action, Action::DeleteTable { .. });
        prop_assert!(!transaction.operations.iter().any(|operation| makes_anew(&operation.action)));
        transaction.apply(&mut programmed);
        desired.accept(plan);
        prop_assert_eq!(in_order(&desired.ruleset()), in_order(&compile(&after, &configs.1)));
        prop_assert_eq!(&programmed, &desired.ruleset());
    }
}

/// Comments are cut.
#[test]
fn services_of_long_names_keep_all_that_was_programmed() {
    for length in [50, 110, 118, 130, 240] {
        for port in ["", "a-port-of-a-name"] {
            let mut cluster = Cluster::default();
            for number in 1..=2 {
                let name =
                    NamespacedName::new("default", format!("{number}-{}", "x".repeat(length)));
                let port = ServicePort {
                    name: port.into(),
                    protocol: Protocol::Tcp,
                    port: 80.try_into().unwrap(),
                    node_port: None,
                };
                let cluster_ips = vec![[10, 96, 0, number].into()];
                let service = Service { cluster_ips, ports: vec![port], ..Service::default() };
                cluster.services.insert(name, service);
            }
            let mut desired = desired(&cluster, &Config::new("node-a"));
            let ruleset = desired.ruleset();
            desired.keep(&some([&cluster, &cluster], 3), &ruleset);
            assert_eq!(desired.ruleset(), ruleset, "{length} {port}");
        }
    }
}

/// Somebody has made the set of those who may use it anew, with a comment: it cannot be kept.
#[test]
fn an_address_is_not_kept_without_those_who_may_use_it() {
    let name = NamespacedName::new("default", "web");
    let service = Service {
        cluster_ips: vec![[10, 96, 0, 1].into()],
        load_balancer_ips: vec![[192, 0, 2, 1].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80.try_into().unwrap(),
            node_port: None,
        }],
        source_ranges: vec!["198.51.100.0/24".parse().unwrap()],
        ..Service::default()
    };
    let slice = EndpointSlice {
        service: name.clone(),
        family: Family::Ipv4,
        ports: vec![EndpointPort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 8080.try_into().unwrap(),
        }],
        endpoints: vec![Endpoint::new([10, 244, 0, 2].into())],
    };
    let mut cluster = Cluster::default();
    cluster.services.insert(name.clone(), service);
    cluster.slices.insert(name.clone(), slice);
    let mut desired = desired(&cluster, &Config::new("node-a"));
    let mut observed = desired.ruleset();
    let table = observed.tables.get_mut(&Family::Ipv4).unwrap();
    let sources = table.sets.get_mut("source-ranges-default/web").expect("it is restricted");
    sources.spec.comment = Some("of others".into());
    desired.keep(&[name].into(), &observed);
    let kept = desired.ruleset();
    let services = &kept.tables[&Family::Ipv4].sets[names::SERVICES].elements;
    let key = |address: [u8; 4]| {
        let address = RawKey::new().address(address.into());
        address.protocol(Protocol::Tcp).port(80.try_into().unwrap())
    };
    assert!(services.contains_key(&key([10, 96, 0, 1])));
    assert!(!services.contains_key(&key([192, 0, 2, 1])));
}
