//! Properties of split transactions, for any clusters and sizes.

use weir_rules::cluster::{EndpointPlace, EndpointPort, EndpointSlice, Slices};
use weir_rules::transaction::Transaction;
use weir_rules::transaction::split::split;

use super::*;

pub(super) const NODE_ADDRESSES: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

/// The elements that a piece changes: their set, key, and whether they come.
fn elements(piece: &Transaction) -> Vec<(Family, &Name, &RawKey)> {
    let of_operation = |(family, action)| match action {
        &Action::AddElements { ref set, ref elements, .. }
        | &Action::DeleteElements { ref set, ref elements, .. } => {
            elements.keys().map(|key| (family, set, key)).collect::<Vec<_>>()
        }
        _ => Vec::new(),
    };
    piece.operations.iter().map(|o| (o.family, &o.action)).flat_map(of_operation).collect()
}

fn creates(action: &Action) -> bool {
    match action {
        Action::AddTable { .. } => true,
        Action::AddSet { name, .. } | Action::AddChain { name, .. } => !is_own(name),
        _ => false,
    }
}

/// Whether a set or chain is one Service's own.
fn is_own(name: &Name) -> bool {
    name.as_str().contains('/')
}

fn deletes(action: &Action) -> bool {
    matches!(action, Action::DeleteSet { .. } | Action::DeleteChain { .. })
}

/// The ruleset with what changes for all destinations at once as it will be: the program of a
/// table that is not there yet, and networks.
fn with_program(before: &Ruleset, after: &Ruleset, program: &Ruleset) -> Ruleset {
    let mut ruleset = before.clone();
    for (family, table) in &after.tables {
        let Some(there) = ruleset.tables.get_mut(family) else {
            ruleset.tables.insert(*family, program.tables[family].clone());
            continue;
        };
        for (name, set) in &table.sets {
            if let Some(there) = there.sets.get_mut(name).filter(|there| there.spec.interval) {
                there.elements.clone_from(&set.elements);
            }
        }
    }
    ruleset
}

/// Clients of all that a cluster has are where the ruleset has sent them.
fn with_clients(mut ruleset: Ruleset, cluster: &Cluster, config: &Config) -> Ruleset {
    for frontend in frontends(cluster, config) {
        let packet = packet(&frontend, "uplink");
        let walk = simulate(&ruleset, &packet, &BTreeSet::new());
        let learned = walk.outcomes.first().map(learned_by).unwrap_or_default();
        remember(&mut ruleset, Family::of(frontend.address), learned);
    }
    ruleset
}

/// The cluster with every slice serving all ports of a Service, so that most have endpoints, and
/// with endpoints out of the way of virtual addresses, which would be asked for them again. The node
/// has an address that no Service has.
pub(super) fn well_served(mut cluster: Cluster) -> Cluster {
    let names: Vec<_> = cluster.services.keys().cloned().collect();
    let serving = |(index, (name, slice)): (usize, (&NamespacedName, &EndpointSlice))| {
        let mut slice = slice.clone();
        if !cluster.services.contains_key(&slice.service) && !names.is_empty() {
            slice.service = names[index % names.len()].clone();
        }
        let ports = cluster.services.get(&slice.service).map_or(&[][..], |service| &service.ports);
        let port = |port: &ServicePort| EndpointPort {
            name: port.name.clone(),
            protocol: port.protocol,
            port: port.port,
        };
        slice.ports = ports.iter().map(port).collect();
        slice.endpoints.iter_mut().for_each(|endpoint| endpoint.address = away(endpoint.address));
        (name.clone(), slice)
    };
    cluster.slices = cluster.slices.iter().enumerate().map(serving).collect();
    if let Some(node) = &mut cluster.node {
        node.addresses.splice(..0, NODE_ADDRESSES.map(|address| address.parse().expect("one")));
    }
    cluster
}

/// First packets to all that a cluster has: from outside, from a Pod, and from each endpoint.
pub(super) fn packets(cluster: &Cluster, config: &Config, own: &BTreeSet<IpAddr>) -> Vec<Packet> {
    let mut packets = Vec::new();
    for frontend in frontends(cluster, config) {
        let external = packet(&frontend, "uplink");
        let pod = Packet { input_interface: Some("veth7".into()), ..external.clone() };
        let PortEndpoints { cluster, local, .. } = &frontend.endpoints;
        let itself = cluster.iter().chain(local);
        packets.extend(itself.map(|endpoint| Packet { source: endpoint.address, ..pod.clone() }));
        let node_ports = frontend.port.node_port.into_iter().flat_map(|port| {
            let of_family = |ip: &&IpAddr| Family::of(**ip) == Family::of(frontend.address);
            let addresses = own.iter().filter(of_family);
            addresses.map(move |&destination| (destination, port))
        });
        for (destination, port) in node_ports {
            packets.push(Packet { destination, port, ..external.clone() });
            packets.push(Packet { destination, port, ..pod.clone() });
        }
        let unused = 9.try_into().expect("not 0");
        packets.push(Packet { port: unused, ..external.clone() });
        packets.extend([external, pod]);
    }
    packets
}

/// A small thing of a cluster changes: who may use a load balancer, a traffic policy, for how long
/// clients stay, or where endpoints are.
fn touch(cluster: &mut Cluster, kind: u8, index: Index) {
    let services: Vec<_> = cluster.services.keys().cloned().collect();
    let slices: Vec<NamespacedName> = cluster.slices.keys().cloned().collect();
    if services.is_empty() || slices.is_empty() {
        return;
    }
    let at = |length| index.index(length);
    let (count, slice) = (services.len(), at(slices.len()));
    let name = services.into_iter().nth(at(count)).expect("within");
    let mut service = cluster.services.get(&name).expect("just listed").clone();
    match kind % 4 {
        0 => drop(service.source_ranges.pop()),
        1 => {
            service.external_traffic_policy = match service.external_traffic_policy {
                TrafficPolicy::Cluster => TrafficPolicy::Local,
                TrafficPolicy::Local => TrafficPolicy::Cluster,
            }
        }
        2 => service.session_affinity = 60.try_into().ok(),
        _ => {
            let name = &slices[slice];
            let mut slice = cluster.slices.get(name).expect("it is there").clone();
            slice.endpoints.iter_mut().for_each(|e| e.place = EndpointPlace::on("node-b"));
            cluster.slices.insert(name.clone(), slice);
        }
    }
    cluster.services.insert(name, service);
}

/// What becomes of a packet, sorted.
fn outcomes<'r>(ruleset: &'r Ruleset, packet: &Packet, own: &BTreeSet<IpAddr>) -> Vec<Outcome<'r>> {
    let mut outcomes = simulate(ruleset, packet, own).outcomes;
    outcomes.sort_by_cached_key(|end| format!("{:?}", end.outcome));
    outcomes
}

/// Whether a packet has these ends, but that more may be learned, and that an endpoint that gets its
/// own packet may see it masqueraded: whether that must be depends on all who share the endpoint.
fn are_as(outcomes: &[Outcome<'_>], wanted: &[Outcome<'_>], packet: &Packet) -> bool {
    let is_as = |(is, wanted): (&Outcome<'_>, &Outcome<'_>)| {
        let is_masqueraded_too = match (&is.outcome, &wanted.outcome) {
            (FinalVerdict::Delivered(is), FinalVerdict::Delivered(wanted)) => {
                is.address == packet.source && Delivery { masqueraded: true, ..*wanted } == *is
            }
            _ => false,
        };
        (is.outcome == wanted.outcome || is_masqueraded_too)
            && is.probability == wanted.probability
            && wanted.learned.iter().all(|learned| is.learned.contains(learned))
    };
    outcomes.len() == wanted.len() && outcomes.iter().zip(wanted).all(is_as)
}

proptest! {
    #![proptest_config(seeded(256))]

    #[test]
    fn pieces_one_after_the_other_do_what_the_whole_does(
        mut ruleset in observed(),
        desired in compiled(),
        size in 1..200usize,
    ) {
        for piece in split(diff(&ruleset, &desired), size) {
            piece.apply(&mut ruleset);
        }
        prop_assert_eq!(ruleset, desired);
    }

    #[test]
    fn what_is_small_and_what_deletes_a_table_stays_whole(
        observed in observed(),
        desired in compiled(),
        size in 1..200usize,
    ) {
        let whole = diff(&observed, &desired);
        let deletes = |action: &Action| matches!(action, Action::DeleteTable { .. });
        let deletes_table = whole.operations.iter().any(|o| deletes(&o.action));
        let parts = split(whole.clone(), size);
        if elements(&whole).len() <= size || deletes_table {
            prop_assert_eq!(parts, [whole]);
        } else {
            prop_assert!(parts.iter().all(|piece| !piece.is_empty()));
        }
    }

    #[test]
    fn sets_and_chains_that_services_share_come_first_and_all_go_last(
        observed in observed(),
        desired in compiled(),
        size in 1..200usize,
    ) {
        let parts = split(diff(&observed, &desired), size);
        let has = |piece: &Transaction, what: fn(&Action) -> bool| {
            piece.operations.iter().any(|operation| what(&operation.action))
        };
        let (first, others) = parts.split_first().expect("at least one");
        prop_assert!(!others.iter().any(|piece| has(piece, creates)));
        if let Some((_, before_last)) = others.split_last() {
            prop_assert!(!has(first, deletes) && !before_last.iter().any(|p| has(p, deletes)));
        }
    }

    /// So that a cold start cannot fail for what was there before.
    #[test]
    fn where_nothing_was_the_pieces_behind_the_first_only_add(
        desired in compiled(),
        size in 1..200usize,
    ) {
        let parts = split(diff(&Ruleset::default(), &desired), size);
        for operation in parts.iter().skip(1).flat_map(|piece| &piece.operations) {
            let only_adds = match &operation.action {
                Action::AddElements { .. } => true,
                Action::AddSet { name, .. } | Action::AddChain { name, .. } => is_own(name),
                Action::ReplaceRules { chain, old, .. } => old.is_empty() && is_own(chain),
                _ => false,
            };
            prop_assert!(only_adds, "{:?}", operation);
        }
    }

    /// Without Services that have sets of their own, an address or a node port is the most that
    /// stays together.
    #[test]
    fn a_piece_is_no_larger_and_no_smaller_than_it_must_be(
        a in cluster(),
        b in cluster(),
        config in config(),
        size in 1..200usize,
    ) {
        let [a, b] = [a, b].map(|mut cluster| {
            let services = cluster.services.into_iter().map(|(name, service)| {
                let service = Service {
                    session_affinity: None,
                    source_ranges: Vec::new(),
                    has_bad_source_range: false,
                    ..service
                };
                (name, service)
            });
            cluster.services = services.collect();
            compile(&cluster, &config)
        });
        let parts = split(diff(&a, &b), size);
        for piece in &parts[1..parts.len().max(2) - 1] {
            let destinations = elements(piece).into_iter().map(|(family, set, key)| {
                let is_node_port = set.as_str().contains("nodeport");
                let length = match family {
                    _ if is_node_port => 8,
                    Family::Ipv4 => 4,
                    Family::Ipv6 => 16,
                };
                (family, is_node_port, &key.as_bytes()[..length])
            });
            let destinations: BTreeSet<_> = destinations.collect();
            prop_assert!(elements(piece).len() <= size || destinations.len() == 1);
        }
        for pair in parts.windows(2) {
            prop_assert!(elements(&pair[0]).len() + elements(&pair[1]).len() > size);
        }
    }

    /// The same settings and Pod networks, that is. These are for all destinations at once.
    #[test]
    fn between_two_pieces_every_destination_is_served_as_before_or_as_after(
        mut a in cluster(),
        changes in vec((cluster(), any::<u8>(), any::<Index>()), 0..8),
        touches in vec((any::<u8>(), any::<Index>()), 0..4),
        config in config(),
        is_cold in any::<bool>(),
        size in 1..60usize,
    ) {
        let mut b = a.clone();
        for (other, kind, index) in &changes {
            change(&mut b, other, *kind, *index);
        }
        touches.into_iter().for_each(|(kind, index)| touch(&mut b, kind, index));
        if let Some(node) = &mut b.node {
            node.pod_cidrs = a.node.as_ref().map(|node| node.pod_cidrs.clone()).unwrap_or_default();
        } else if let Some(node) = &mut a.node {
            node.pod_cidrs.clear();
        }
        let [a, b] = [well_served(a), well_served(b)];
        let own = BTreeSet::from(NODE_ADDRESSES.map(|address| address.parse().expect("one")));
        let before = match is_cold {
            true => Ruleset::default(),
            false => with_clients(compile(&a, &config), &a, &config),
        };
        let desired = compile(&b, &config);
        let after = carry_over(&before, assign_slots(&before, &desired)).into_owned();
        let empty = Cluster { services: [].into(), slices: Slices::default(), ..b.clone() };
        let as_before = with_program(&before, &after, &compile(&empty, &config));
        let packets = [packets(&a, &config, &own), packets(&b, &config, &own)].concat();
        let mut ruleset = before.clone();
        for piece in split(diff(&before, &after), size) {
            piece.apply(&mut ruleset);
            for packet in &packets {
                let now = outcomes(&ruleset, packet, &own);
                let wanted = [&as_before, &after].map(|it| outcomes(it, packet, &own));
                let is_right = wanted.iter().any(|wanted| are_as(&now, wanted, packet));
                prop_assert!(is_right, "{:?}\nmeets {:?}\ninstead of {:?}", packet, now, wanted);
            }
        }
    }
}
