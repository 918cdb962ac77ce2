//! Where lists of endpoints are in the maps at any length, and how they get there.

use weir_rules::cluster::{Endpoint, EndpointPlace, EndpointPort, EndpointSlice};
use weir_rules::transaction::split::split;

use super::split::{NODE_ADDRESSES, packets, well_served};
use super::*;

/// A Service of policy Local at its external address, with so many endpoints on this node and one
/// elsewhere.
fn of_policy_local(count: u32) -> Cluster {
    let name = NamespacedName::new("default", "web");
    let port = 80.try_into().expect("not 0");
    let service = Service {
        cluster_ips: vec![[10, 96, 0, 10].into()],
        external_ips: vec![[203, 0, 113, 20].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port,
            node_port: 30080.try_into().ok(),
        }],
        external_traffic_policy: TrafficPolicy::Local,
        ..Service::default()
    };
    let endpoint = |number: u32, node| Endpoint {
        place: EndpointPlace::on(node),
        ..Endpoint::new(Ipv4Addr::from(0x0a40_0000 + number).into())
    };
    let here = (0..count).map(|number| endpoint(number, "node-a"));
    let slice = EndpointSlice {
        service: name.clone(),
        family: Family::Ipv4,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port }],
        endpoints: here.chain([endpoint(count, "node-b")]).collect(),
    };
    let mut cluster = Cluster::default();
    cluster.services.insert(name.clone(), service);
    cluster.slices.insert(name, slice);
    cluster
}

/// Both lists are in one map.
#[test]
fn a_list_of_any_length_is_apart_from_the_other_of_its_destination() {
    let config = Config::new("node-a");
    for count in [1, 65_535, 65_537] {
        let cluster = of_policy_local(count);
        let ruleset = compile(&cluster, &config);
        let table = &ruleset.tables[&Family::Ipv4];
        for (map, destinations) in [(names::ENDPOINTS, 2), (names::NODEPORT_ENDPOINTS, 1)] {
            // Each destination has the list of all; the external ones that of the local besides.
            let expected = destinations * (count as usize + 1) + count as usize;
            assert_eq!(table.sets[map].elements.len(), expected, "{count} in {map}");
        }
        for (set, elements) in
            [names::ENDPOINTS, names::NODEPORT_ENDPOINTS].map(|map| (map, lists(&table.sets[map])))
        {
            let lengths: BTreeSet<usize> = elements.values().map(BTreeSet::len).collect();
            assert_eq!(lengths, [count as usize, count as usize + 1].into(), "{count} in {set}");
        }
        let local = draws(table, &format!("local-lb-{count}").as_str().into());
        let all = draws(table, &format!("lb-{}", count + 1).as_str().into());
        assert!(local.is_disjoint(&all), "{count}");
        assert_eq!(local.len(), count as usize);
        let mut known = Mirror::default();
        known.set(&cluster, &config, &ChangeSet::all(&cluster));
        assert!(known.ruleset() == ruleset, "{count}: as it is known between changes");
    }
}

/// The ruleset as versions made it in which lists for policy Local began at this slot.
fn with_local_lists_at(first: u32, mut ruleset: Ruleset) -> Ruleset {
    for table in ruleset.tables.values_mut() {
        for map in [names::ENDPOINTS, names::NODEPORT_ENDPOINTS] {
            let set = table.sets.get_mut(map).expect("it is there");
            let elements = std::mem::take(&mut set.elements).into_iter();
            let moved = elements.map(|(key, element)| match key.last_slot() {
                Some(slot) if slot >= 1 << 31 => {
                    let destination = &key.as_bytes()[..key.as_bytes().len() - 4];
                    let destination = RawKey::from_bytes(destination).expect("it is shorter");
                    (destination.slot(slot - (1 << 31) + first), element)
                }
                _ => (key, element),
            });
            set.elements = moved.collect();
        }
        let rules = table.chains.values_mut().flat_map(|chain| &mut chain.rules);
        for statement in rules.flat_map(|rule| &mut rule.statements) {
            if let Statement::Dnat { key, .. } = statement {
                for selector in key {
                    if let Selector::Random { offset, .. } = selector
                        && *offset >= 1 << 31
                    {
                        *offset = *offset - (1 << 31) + first;
                    }
                }
            }
        }
    }
    ruleset
}

proptest! {
    #![proptest_config(seeded(128))]

    /// When weir is replaced by another version.
    #[test]
    fn lists_that_begin_elsewhere_move_and_every_destination_is_served_meanwhile(
        cluster in cluster(),
        policies in vec(any::<bool>(), 8),
        config in config(),
        first in prop_oneof![Just(65_536), Just(1 << 24), Just((1 << 31) + (1 << 24))],
        size in 1..60usize,
    ) {
        let mut cluster = well_served(cluster);
        let names: Vec<_> = cluster.services.keys().cloned().collect();
        for (name, _) in names.iter().zip(policies).filter(|(_, is_local)| *is_local) {
            cluster.services.update(name, |service| {
                service.external_traffic_policy = TrafficPolicy::Local;
            });
        }
        let own = BTreeSet::from(NODE_ADDRESSES.map(|address| address.parse().expect("one")));
        let desired = compile(&cluster, &config);
        let mut ruleset = with_local_lists_at(first, desired.clone());
        let packets = packets(&cluster, &config, &own);
        for piece in split(diff(&ruleset, &desired), size) {
            piece.apply(&mut ruleset);
            for packet in &packets {
                let [now, wanted] = [&ruleset, &desired].map(|ruleset| {
                    let mut outcomes = simulate(ruleset, packet, &own).outcomes;
                    outcomes.sort_by_cached_key(|end| format!("{:?}", end.outcome));
                    outcomes.into_iter().map(|end| (end.outcome, end.probability)).collect::<Vec<_>>()
                });
                prop_assert_eq!(now, wanted, "{:?}", packet);
            }
        }
        prop_assert_eq!(ruleset, desired);
    }
}
