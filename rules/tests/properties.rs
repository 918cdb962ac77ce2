//! Properties that hold for every cluster.

#[path = "properties/recovered.rs"]
mod recovered;
#[path = "properties/slots.rs"]
mod slots;
#[path = "properties/split.rs"]
mod split;
#[path = "properties/straddling.rs"]
mod straddling;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use weir_rules::cluster::claims::Claim;
use weir_rules::cluster::{
    ChangeSet, Cluster, Family, NamespacedName, Protocol, Service, ServicePort, TrafficPolicy,
};
use weir_rules::compile::{compile, names};
use weir_rules::config::{Config, DetectLocal};
use weir_rules::endpoints::{Locality, PortEndpoint, PortEndpoints, PortSlices, choose};
use weir_rules::facts::stale_flows::{Flow, ServedDestinations};
use weir_rules::nft::{
    Chain, Data, Element, Lifetime, MAX_COMMENT_BYTES, Name, RawKey, RawValue, Ruleset, Selector,
    Set, Statement, Table, Verdict, compile_rule, decompile_rule,
};
use weir_rules::reconcile::mirror::{Batch, Compiled, Mirror, Selection};
use weir_rules::simulate::{Delivery, FinalVerdict, Outcome, Packet, Probability, simulate};
use weir_rules::testing::random::{change, cluster, compiled, config, observed, seeded};
use weir_rules::transaction::carry_over::carry_over;
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::slots::assign_slots;
use weir_rules::transaction::{Action, Sign, Tally};

fn targets(table: &Table) -> impl Iterator<Item = &Name> {
    let statements = table.chains.values().flat_map(Chain::statements);
    let elements = table.sets.values().flat_map(|set| set.elements.values());
    let of_elements = elements.filter_map(|element| element.data.chain());
    statements.filter_map(Statement::chain).chain(of_elements)
}

/// A list of endpoints by its destination and in which half of the slots it is.
fn list_of(key: &RawKey) -> (Vec<u8>, bool) {
    let is_local = key.last_slot().is_some_and(|slot| slot >= 1 << 31);
    (key.as_bytes()[..key.as_bytes().len().saturating_sub(4)].to_vec(), is_local)
}

/// The endpoints of each list.
fn lists(set: &Set) -> BTreeMap<(Vec<u8>, bool), BTreeSet<Vec<u8>>> {
    let mut lists: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (key, element) in &set.elements {
        if let Data::Values(values) = &element.data {
            lists.entry(list_of(key)).or_default().insert(values.as_bytes().to_vec());
        }
    }
    lists
}

/// The slots that a chain and those behind it draw from.
fn draws(table: &Table, chain: &Name) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for statement in table.chains[chain].rules.iter().flat_map(|rule| &rule.statements) {
        match statement {
            Statement::Dnat { key, .. } => found.extend(key.iter().flat_map(|s| match *s {
                Selector::Random { modulus, offset } => offset..offset + modulus,
                _ => 0..0,
            })),
            Statement::Verdict(Verdict::Goto(next)) => found.extend(draws(table, next)),
            _ => {}
        }
    }
    found
}

fn tables(ruleset: &Ruleset) -> impl Iterator<Item = (Family, &Table)> {
    ruleset.tables.iter().map(|(&family, table)| (family, table))
}

/// An address and port at the beginning of a key, or a port with this address.
fn endpoint(family: Family, bytes: &[u8]) -> SocketAddr {
    let (address, port) = match family {
        Family::Ipv4 => (IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).unwrap()), &bytes[4..]),
        Family::Ipv6 => (IpAddr::from(<[u8; 16]>::try_from(&bytes[..16]).unwrap()), &bytes[16..]),
    };
    SocketAddr::new(address, u16::from_be_bytes([port[0], port[1]]))
}

/// Every UDP flow from the node itself as the ruleset makes them now.
fn udp_flows(ruleset: &Ruleset) -> Vec<Flow> {
    let mut flows = Vec::new();
    for (&family, table) in &ruleset.tables {
        let elements = |name| &table.sets[name].elements;
        let serving = elements(names::NODEPORT_ADDRESSES).keys();
        let own: Vec<SocketAddr> =
            serving.map(|key| endpoint(family, &[key.as_bytes(), &[0; 2]].concat())).collect();
        let mut add = |destination: SocketAddr, data: &Data| {
            let Data::Values(target) = data else { panic!("{data:?}") };
            let reply_source = endpoint(family, target.as_bytes());
            let (source, is_translated) = (destination, true);
            let protocol = Protocol::Udp;
            flows.push(Flow {
                protocol,
                source,
                destination,
                reply_source,
                is_translated,
                is_in_default_zone: true,
            });
        };
        let udp = Protocol::Udp.number();
        for (key, element) in elements(names::ENDPOINTS) {
            let (address, rest) = key.as_bytes().split_at(key.as_bytes().len() - 12);
            if rest[0] == udp {
                add(endpoint(family, &[address, &rest[4..6]].concat()), &element.data);
            }
        }
        for (key, element) in elements(names::NODEPORT_ENDPOINTS) {
            let key = key.as_bytes();
            for address in own.iter().filter(|a| key[0] == udp && !a.ip().is_loopback()) {
                let port = u16::from_be_bytes([key[4], key[5]]);
                add(SocketAddr::new(address.ip(), port), &element.data);
            }
        }
    }
    flows
}

/// A source that no random cluster has: neither an endpoint nor a virtual address.
fn sender(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::new(198, 51, 100, 7).into(),
        Family::Ipv6 => Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 7).into(),
    }
}

/// The same address in another network.
fn away(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [_, _, c, d] = address.octets();
            Ipv4Addr::new(10, 244, c, d).into()
        }
        IpAddr::V6(address) => {
            let [a, .., y, z] = address.segments();
            Ipv6Addr::new(a, 0x244, 0, 0, 0, 0, y, z).into()
        }
    }
}

/// A virtual address of a Service, and what its port has behind it.
struct Frontend<'a> {
    name: &'a NamespacedName,
    service: &'a Service,
    port: &'a ServicePort,
    address: IpAddr,
    external: bool,
    endpoints: PortEndpoints,
}

/// Every virtual address and port, each with the Service that has it.
fn frontends<'a>(cluster: &'a Cluster, config: &Config) -> Vec<Frontend<'a>> {
    let zone = cluster.node.as_ref().and_then(|node| node.zone.as_deref());
    let place = Locality { node: &config.node_name, zone };
    let mut found = BTreeMap::new();
    for (name, service) in &cluster.services {
        let slices = cluster.slices.of(name);
        let slices = Family::ALL.map(|family| PortSlices::new(family, &slices));
        let has = |family| service.cluster_ips.iter().any(|ip| Family::of(*ip) == family);
        for port in &service.ports {
            let kinds = [
                (&service.cluster_ips, false),
                (&service.external_ips, true),
                (&service.load_balancer_ips, true),
            ];
            for (addresses, external) in kinds {
                for &address in addresses.iter().filter(|address| has(Family::of(**address))) {
                    let (protocol, number) = (port.protocol, port.port);
                    let claim = Claim::Address { address, protocol, port: number };
                    if cluster.services.owner(&claim) != Some(name) {
                        continue;
                    }
                    let slices = &slices[usize::from(address.is_ipv6())];
                    found.entry((address, port.protocol, port.port)).or_insert_with(|| {
                        let endpoints = choose(service, port, slices, place);
                        Frontend { name, service, port, address, external, endpoints }
                    });
                }
            }
        }
    }
    found.into_values().collect()
}

/// The first packet of a connection to it.
fn packet(frontend: &Frontend<'_>, input_interface: &str) -> Packet {
    Packet {
        source: sender(Family::of(frontend.address)),
        destination: frontend.address,
        protocol: frontend.port.protocol,
        port: frontend.port.port,
        input_interface: Some(input_interface.into()),
        mark: 0,
    }
}

/// What a frontend gives a packet, if it comes from a local Pod or not, and nothing restricts it.
fn expected(frontend: &Frontend<'_>, from_pod: bool) -> Result<Vec<PortEndpoint>, FinalVerdict> {
    let PortEndpoints { cluster, local, any } = &frontend.endpoints;
    let policy = match frontend.external {
        true => frontend.service.external_traffic_policy,
        false => frontend.service.internal_traffic_policy,
    };
    let list = match policy {
        TrafficPolicy::Cluster => cluster,
        TrafficPolicy::Local if frontend.external && from_pod => cluster,
        TrafficPolicy::Local => local,
    };
    match (any, list.is_empty()) {
        (false, _) => Err(FinalVerdict::Rejected),
        (true, true) => Err(FinalVerdict::Dropped),
        (true, false) => Ok(list.clone()),
    }
}

/// Puts what a packet learned into the maps.
fn remember(ruleset: &mut Ruleset, family: Family, learned: Vec<(Name, RawKey, RawKey, u32)>) {
    let table = ruleset.tables.get_mut(&family).expect("packets walk through a table");
    for (map, key, data, timeout) in learned {
        let timeout = 1000 * u64::from(timeout);
        let data = RawValue::from_bytes(data.as_bytes()).expect("an endpoint");
        let element = Element::new(Data::Learned(data, Lifetime { timeout, expires: timeout }));
        table.sets.get_mut(&map).expect("it learned").elements.insert(key, element);
    }
}

fn learned_by(end: &Outcome<'_>) -> Vec<(Name, RawKey, RawKey, u32)> {
    end.learned.iter().map(|it| (it.map.clone(), it.key, it.data, it.timeout)).collect()
}

fn without_learned(ruleset: &Ruleset) -> Ruleset {
    let mut ruleset = ruleset.clone();
    for set in ruleset.tables.values_mut().flat_map(|table| table.sets.values_mut()) {
        set.elements.retain(|_, element| !matches!(element.data, Data::Learned(..)));
    }
    ruleset
}

/// All parts of a ruleset.
fn whole(ruleset: &Ruleset) -> BTreeMap<Family, Selection> {
    let keys = |set: &Set| set.elements.keys().copied().collect();
    let part = |table: &Table| Selection {
        structure: true,
        elements: table.sets.iter().map(|(name, set)| (name.clone(), keys(set))).collect(),
    };
    ruleset.tables.iter().map(|(family, table)| (*family, part(table))).collect()
}

/// The ruleset with the endpoints of each list in order, and nothing learned.
fn in_order(ruleset: &Ruleset) -> Ruleset {
    let mut ruleset = without_learned(ruleset);
    for set in ruleset.tables.values_mut().flat_map(|table| table.sets.values_mut()) {
        let mut lists: BTreeMap<_, Vec<Vec<u8>>> = BTreeMap::new();
        let value = |element: &Element| match &element.data {
            Data::Values(values) => Some(*values),
            _ => None,
        };
        for (key, element) in &set.elements {
            if let Some(values) = value(element) {
                lists.entry(list_of(key)).or_default().push(values.as_bytes().to_vec());
            }
        }
        // Taken from the end.
        lists.values_mut().for_each(|list| list.sort_by(|a, b| b.cmp(a)));
        for (key, element) in &mut set.elements {
            if value(element).is_some() {
                let next = lists.get_mut(&list_of(key)).and_then(Vec::pop).expect("as many");
                element.data = Data::Values(RawValue::from_bytes(&next).expect("as long"));
            }
        }
    }
    ruleset
}

/// Every element that points to an endpoint that its map may not learn.
fn astray(ruleset: &Ruleset) -> Vec<(Name, RawKey)> {
    let mut found = Vec::new();
    for (_, table) in tables(ruleset) {
        for rule in table.chains.values().flat_map(|chain| &chain.rules) {
            let [
                Statement::DestinationPortIs(_),
                Statement::InSet { set, .. },
                Statement::Update { map, .. },
            ] = &rule.statements[..]
            else {
                continue;
            };
            let elements = table.sets[map].elements.iter();
            let is_astray = |key: &RawKey, element: &Element| match &element.data {
                Data::Learned(endpoint, _) => {
                    let list = &key.as_bytes()[4..];
                    let member = RawKey::from_bytes(&[list, endpoint.as_bytes()].concat());
                    !table.sets[set].elements.contains_key(&member.expect("it is short"))
                }
                _ => true,
            };
            let astray = elements.filter(|(key, element)| is_astray(key, element));
            found.extend(astray.map(|(key, _)| (map.clone(), *key)));
        }
    }
    found
}

proptest! {
    #![proptest_config(seeded(256))]

    /// Whatever changed in whatever order, and whoever was learned on the way.
    #[test]
    fn a_sequence_of_changes_ends_as_a_compile_from_scratch(
        mut cluster in cluster(),
        config in config(),
        others in vec((self::cluster(), any::<u8>(), any::<Index>()), 1..8),
    ) {
        let mut programmed = Ruleset::default();
        for (other, kind, index) in &others {
            let desired = compile(&cluster, &config);
            let fitted = carry_over(&programmed, assign_slots(&programmed, &desired));
            diff(&programmed, &fitted).apply(&mut programmed);
            prop_assert_eq!(astray(&programmed), []);
            for frontend in frontends(&cluster, &config) {
                let packet = packet(&frontend, "uplink");
                let walk = simulate(&programmed, &packet, &BTreeSet::new());
                let learned = walk.outcomes.first().map(learned_by).unwrap_or_default();
                remember(&mut programmed, Family::of(frontend.address), learned);
            }
            change(&mut cluster, other, *kind, *index);
        }
        let desired = compile(&cluster, &config);
        let fitted = carry_over(&programmed, assign_slots(&programmed, &desired));
        diff(&programmed, &fitted).apply(&mut programmed);
        prop_assert_eq!(in_order(&programmed), in_order(&desired));
        prop_assert_eq!(astray(&programmed), []);
    }

    /// Each change costs what it touches, and ends where a compile of all of it does; what is kept
    /// is what is programmed, to the last slot.
    #[test]
    fn changes_by_their_parts_end_as_a_compile_from_scratch(
        start in cluster(),
        configs in (config(), config()),
        others in vec((self::cluster(), any::<u8>(), any::<Index>()), 1..8),
    ) {
        let mut cluster = start;
        let (mut programmed, mut desired) = (Ruleset::default(), Mirror::default());
        let mut change_set = ChangeSet::all(&cluster);
        for (step, (other, kind, index)) in others.iter().enumerate() {
            let config = if step < 4 { &configs.0 } else { &configs.1 };
            change_set.environment |= step == 4;
            let mut plan = desired.plan(&cluster, config, &change_set);
            let mut before = plan.before.clone();
            for (family, table) in &mut before.tables {
                for (name, set) in table.sets.iter_mut().filter(|(_, set)| set.spec.dynamic.is_some()) {
                    set.elements.clone_from(&programmed.tables[family].sets[name].elements);
                }
            }
            let fitted = carry_over(&before, assign_slots(&before, &plan.after)).into_owned();
            diff(&before, &fitted).apply(&mut programmed);
            plan.accept_slots(&fitted);
            desired.accept(plan);
            prop_assert_eq!(astray(&programmed), []);
            let bare = without_learned(&programmed);
            prop_assert_eq!(&desired.ruleset(), &bare);
            prop_assert_eq!(&desired.parts(&whole(&bare)), &bare);
            prop_assert_eq!(in_order(&bare), in_order(&compile(&cluster, config)));
            prop_assert_eq!(desired.objects(), Family::ALL.map(|family| Tally::of(&bare.tables[&family])));
            for frontend in frontends(&cluster, config) {
                let packet = packet(&frontend, "uplink");
                let walk = simulate(&programmed, &packet, &BTreeSet::new());
                let learned = walk.outcomes.first().map(learned_by).unwrap_or_default();
                remember(&mut programmed, Family::of(frontend.address), learned);
            }
            let mut next = cluster.clone();
            change(&mut next, other, *kind, *index);
            change_set = ChangeSet::between(&cluster, &next);
            cluster = next;
        }
    }

    /// In batches of any size: what is kept is what is programmed behind each, and in the end it is all.
    #[test]
    fn batches_end_as_a_compile_from_scratch(
        first in cluster(),
        last in cluster(),
        configs in (config(), config()),
        max_elements in 1..40usize,
    ) {
        let (mut desired, mut programmed) = (Mirror::default(), Ruleset::default());
        let mut change_set = ChangeSet::all(&first);
        for (cluster, config) in [(&first, &configs.0), (&last, &configs.1)] {
            let mut queue = desired.concerned(cluster, config, &change_set);
            let (mut environment, mut compiled) = (true, Compiled::default());
            let mut batches = 0;
            while environment || !queue.is_empty() {
                // In any order: what others still have is left to them.
                let mut contested = BTreeMap::<_, BTreeSet<_>>::new();
                for (claim, owner) in change_set.released.iter().filter(|(_, owner)| queue.contains(*owner)) {
                    if let Some(gains) = cluster.services.owner(claim) {
                        contested.entry(gains.clone()).or_default().insert(owner.clone());
                    }
                }
                let batch = Batch {
                    services: queue.iter().cloned().collect(),
                    contested,
                    environment,
                    max_elements,
                };
                let plan = desired.plan_batch(cluster, config, &batch, &mut compiled);
                diff(&plan.before, &plan.after).apply(&mut programmed);
                queue.retain(|name| !plan.finished.contains(name));
                desired.accept(plan);
                environment = false;
                prop_assert_eq!(&desired.ruleset(), &programmed);
                batches += 1;
                prop_assert!(batches < 10_000, "it does not end");
            }
            prop_assert_eq!(in_order(&programmed), in_order(&compile(cluster, config)));
            change_set = ChangeSet { environment: true, ..ChangeSet::between(&first, &last) };
        }
    }

    /// With session affinity, whichever endpoint a client got it gets again.
    #[test]
    fn a_client_with_affinity_stays(cluster in cluster(), config in config()) {
        let ruleset = compile(&cluster, &config);
        for frontend in frontends(&cluster, &config) {
            let packet = packet(&frontend, "uplink");
            for end in &simulate(&ruleset, &packet, &BTreeSet::new()).outcomes {
                let FinalVerdict::Delivered(delivery) = end.outcome else { continue };
                if frontend.service.session_affinity.is_none() {
                    prop_assert_eq!(&end.learned, &vec![]);
                    continue;
                }
                let mut later = ruleset.clone();
                remember(&mut later, Family::of(frontend.address), learned_by(end));
                let again = simulate(&later, &packet, &BTreeSet::new());
                prop_assert_eq!(again.deliveries(), [(delivery, Probability::ONE)], "{:?}", packet);
            }
        }
    }

    /// All that is said of an address and port is said for the Service that has it.
    #[test]
    fn no_address_is_served_by_two_services(cluster in cluster(), config in config()) {
        let ruleset = compile(&cluster, &config);
        for frontend in frontends(&cluster, &config) {
            let family = Family::of(frontend.address);
            let port = frontend.port;
            let key =
                RawKey::new().address(frontend.address).protocol(port.protocol).port(port.port);
            let sets = &ruleset.tables[&family].sets;
            let owner = match &*port.name {
                "" => frontend.name.to_string(),
                name => format!("{}:{name}", frontend.name),
            };
            let verdicts = sets.values().filter_map(|set| set.elements.get(&key));
            for element in verdicts {
                prop_assert_eq!(element.comment.as_deref(), Some(owner.as_str()));
            }
            let slots = sets[names::ENDPOINTS].elements.range(key..);
            let mine = slots.take_while(|(slot, _)| slot.as_bytes().starts_with(key.as_bytes()));
            let lists = [&frontend.endpoints.cluster, &frontend.endpoints.local];
            for (_, element) in mine {
                let Data::Values(values) = &element.data else { panic!("endpoints are values") };
                let there = endpoint(family, values.as_bytes());
                let is_its = lists
                    .iter()
                    .any(|list| list.iter().any(|e| SocketAddr::new(e.address, e.port.get()) == there));
                prop_assert!(is_its, "{} of {}", there, owner);
            }
        }
    }

    /// A packet that is walked through the ruleset meets what the choice of endpoints says, each
    /// endpoint with the same probability.
    #[test]
    fn packets_meet_the_endpoints_that_are_chosen(
        mut cluster in cluster(),
        config in config(),
        from_pod in any::<bool>(),
    ) {
        // Who may use a load balancer is not asked here, and endpoints are out of the way of
        // virtual addresses: what is translated to one of these is refused or dropped there.
        let services = cluster.services.into_iter().map(|(name, mut service)| {
            service.source_ranges.clear();
            service.has_bad_source_range = false;
            (name, service)
        });
        cluster.services = services.collect();
        cluster.service_cidrs.clear();
        let moved = std::mem::take(&mut cluster.slices).into_iter().map(|(name, mut slice)| {
            slice.endpoints.iter_mut().for_each(|it| it.address = away(it.address));
            (name, slice)
        });
        cluster.slices = moved.collect();
        let detect_local = DetectLocal::InterfaceNamePrefix("veth".into());
        let config = Config { detect_local, service_cidrs: Vec::new(), ..config };
        let cluster_ips: BTreeSet<IpAddr> = cluster
            .services
            .values()
            .flat_map(|service| service.cluster_ips.iter().copied())
            .collect();
        let ruleset = compile(&cluster, &config);
        for frontend in frontends(&cluster, &config) {
            let packet = packet(&frontend, if from_pod { "veth7" } else { "uplink" });
            let walk = simulate(&ruleset, &packet, &BTreeSet::new());
            match expected(&frontend, from_pod) {
                Err(outcome) => prop_assert_eq!(walk.only(), Some(&outcome), "{:?}", packet),
                Ok(list) => {
                    let each = Probability::one_of(list.len() as u32);
                    let to_cluster_ip = cluster_ips.contains(&frontend.address);
                    let policy = frontend.service.external_traffic_policy;
                    let masqueraded = to_cluster_ip && (config.masquerade_all || !from_pod)
                        || frontend.external && policy == TrafficPolicy::Cluster;
                    let expected: Vec<_> = list
                        .iter()
                        .map(|e| (Delivery { address: e.address, port: e.port, masqueraded }, each))
                        .collect();
                    prop_assert_eq!(walk.deliveries(), expected, "{:?}", packet);
                }
            }
        }
    }

    /// Whatever the ruleset and the packet, the ends make a whole.
    #[test]
    fn the_probabilities_of_a_walk_make_one(cluster in cluster(), config in config()) {
        let ruleset = compile(&cluster, &config);
        for frontend in frontends(&cluster, &config) {
            let packet = Packet {
                source: sender(Family::of(frontend.address)),
                destination: frontend.address,
                protocol: frontend.port.protocol,
                port: frontend.port.port,
                input_interface: None,
                mark: 0,
            };
            let walk = simulate(&ruleset, &packet, &BTreeSet::from([packet.source]));
            let total = walk.outcomes.iter().map(|end| end.probability).reduce(|a, b| a + b);
            prop_assert_eq!(total, Some(Probability::ONE));
        }
    }

    #[test]
    fn the_difference_applied_gives_the_desired_ruleset(
        mut ruleset in observed(),
        desired in compiled(),
    ) {
        diff(&ruleset, &desired).apply(&mut ruleset);
        prop_assert_eq!(ruleset, desired);
    }

    /// Else every look at the flows would remove what new connections make again.
    #[test]
    fn what_the_ruleset_chooses_is_not_stale(cluster in cluster(), config in config()) {
        let flows = udp_flows(&compile(&cluster, &config));
        let own = flows.iter().map(|flow| flow.source.ip()).collect();
        let serving = ServedDestinations::new(&cluster, &config);
        for flow in flows {
            prop_assert!(!serving.is_stale(&flow, &own, &BTreeSet::new()), "{:?}", flow);
            let elsewhere = SocketAddr::from(([192, 0, 2, 250], 1));
            let astray = Flow { reply_source: elsewhere, ..flow };
            prop_assert!(serving.is_stale(&astray, &own, &BTreeSet::new()), "{:?}", astray);
        }
    }

    #[test]
    fn aligning_only_exchanges_endpoints_of_a_list(a in compiled(), b in compiled()) {
        let aligned = assign_slots(&a, &b);
        for (family, table) in tables(&aligned) {
            for (name, set) in &table.sets {
                let other = &b.tables[&family].sets[name];
                let keys = |set: &Set| set.elements.keys().copied().collect::<Vec<_>>();
                prop_assert_eq!(keys(set), keys(other));
                prop_assert_eq!(lists(set), lists(other));
            }
            prop_assert_eq!(&table.chains, &b.tables[&family].chains);
        }
    }

    /// An endpoint that comes takes the slot of one that goes: for a list, as many elements go as
    /// endpoints went, or come as came, and at most one more for each that must move into a hole.
    #[test]
    fn an_aligned_list_moves_no_more_endpoints_than_it_must(a in compiled(), b in compiled()) {
        let aligned = assign_slots(&a, &b);
        for (family, table) in tables(&aligned) {
            for name in [names::ENDPOINTS, names::NODEPORT_ENDPOINTS] {
                let (old, new) = (&a.tables[&family].sets[name], &table.sets[name]);
                let (old_lists, new_lists) = (lists(old), lists(new));
                for (list, endpoints) in &new_lists {
                    let before = old_lists.get(list).cloned().unwrap_or_default();
                    let stayed = endpoints.intersection(&before).count();
                    let changed = new
                        .elements
                        .iter()
                        .filter(|(key, _)| list_of(key) == *list)
                        .filter(|(key, element)| old.elements.get(*key) != Some(*element))
                        .count();
                    let came = endpoints.len() - stayed;
                    let beyond = before.len().saturating_sub(endpoints.len());
                    prop_assert!(changed <= came + beyond, "{} of {} + {}", changed, came, beyond);
                }
            }
        }
    }

    #[test]
    fn equal_rulesets_have_no_difference(ruleset in observed()) {
        prop_assert!(diff(&ruleset, &ruleset).is_empty());
    }

    #[test]
    fn different_rulesets_have_a_difference(a in observed(), b in compiled()) {
        prop_assert_eq!(diff(&a, &b).is_empty(), a == b);
    }

    #[test]
    fn a_difference_shows_as_many_lines_as_it_counts(a in observed(), b in compiled()) {
        let transaction = diff(&a, &b);
        let counts = transaction.counts();
        let total = |t: weir_rules::transaction::Tally| {
            t.tables + t.sets + t.chains + t.rules + t.elements
        };
        let lines = |sign| transaction.lines().filter(|(s, _)| *s == sign).count();
        prop_assert_eq!(lines(Sign::Added), total(counts.added));
        prop_assert_eq!(lines(Sign::Removed), total(counts.removed));
    }

    #[test]
    fn equal_clusters_give_equal_bytes(cluster in cluster(), config in config()) {
        let print = || compile(&cluster, &config).to_string();
        prop_assert_eq!(print(), print());
    }

    #[test]
    fn every_chain_and_set_that_is_named_exists(ruleset in compiled()) {
        for (_, table) in tables(&ruleset) {
            for chain in targets(table) {
                prop_assert!(table.chains.contains_key(chain), "chain {}", chain);
            }
            let rules = table.chains.values().flat_map(|chain| &chain.rules);
            for set in rules.flat_map(|rule| &rule.statements).filter_map(Statement::set) {
                prop_assert!(table.sets.contains_key(set), "set {}", set);
            }
        }
    }

    #[test]
    fn every_chain_is_used(ruleset in compiled()) {
        for (_, table) in tables(&ruleset) {
            let used: BTreeSet<&Name> = targets(table).collect();
            for (name, chain) in &table.chains {
                // These belong to the program, whatever the settings and the Services.
                let constant = ["mark-for-masquerade", "reject-chain", "firewall-drop"];
                let constant = constant.contains(&name.as_str());
                let is_used = chain.base.is_some() || used.contains(name) || constant;
                prop_assert!(is_used, "chain {}", name);
            }
        }
    }

    #[test]
    fn a_service_has_all_the_slots_that_its_chain_draws_from(ruleset in compiled()) {
        let pairs = [
            (names::SERVICES, names::ENDPOINTS),
            (names::NODEPORTS, names::NODEPORT_ENDPOINTS),
        ];
        for (_, table) in tables(&ruleset) {
            for (verdicts, endpoints) in pairs {
                let mut slots = 0;
                for (key, element) in &table.sets[verdicts].elements {
                    let chain = match &element.data {
                        Data::Verdict(Verdict::Goto(chain)) => chain,
                        // A node port that nobody answers at, where the search ends.
                        Data::Verdict(Verdict::Return) if verdicts == names::NODEPORTS => continue,
                        other => panic!("{verdicts} has {other:?}"),
                    };
                    let drawn = draws(table, chain);
                    prop_assert!(!drawn.is_empty());
                    slots += drawn.len();
                    for slot in drawn {
                        let key = key.slot(slot);
                        prop_assert!(table.sets[endpoints].elements.contains_key(&key));
                    }
                }
                prop_assert_eq!(slots, table.sets[endpoints].elements.len());
            }
        }
    }

    #[test]
    fn an_address_with_endpoints_does_not_refuse(ruleset in compiled()) {
        let pairs = [
            (names::SERVICES, names::NO_ENDPOINT_SERVICES),
            (names::NODEPORTS, names::NO_ENDPOINT_NODEPORTS),
        ];
        for (_, table) in tables(&ruleset) {
            for (with, without) in pairs {
                let with = &table.sets[with].elements;
                for (key, element) in &table.sets[without].elements {
                    // Policy Local drops what its short cuts for Pods and the node did not take.
                    let is_dropped = element.data == Data::Verdict(Verdict::Drop);
                    let leads_to = with.get(key).and_then(|element| element.data.chain());
                    prop_assert!(is_dropped || leads_to.is_none());
                }
            }
        }
    }

    /// Else an address that another Service has would take it.
    #[test]
    fn the_search_ends_at_every_node_port(ruleset in compiled()) {
        for (_, table) in tables(&ruleset) {
            for key in table.sets[names::NO_ENDPOINT_NODEPORTS].elements.keys() {
                prop_assert!(table.sets[names::NODEPORTS].elements.contains_key(key));
            }
        }
    }

    #[test]
    fn ranges_of_an_interval_set_do_not_touch(ruleset in compiled()) {
        for (_, table) in tables(&ruleset) {
            for set in table.sets.values().filter(|set| set.spec.interval) {
                let ranges: Vec<_> = set.elements.iter().collect();
                for pair in ranges.windows(2) {
                    let Data::RangeEnd(end) = &pair[0].1.data else { panic!("not a range") };
                    prop_assert!(end.to_key() < *pair[1].0);
                }
            }
        }
    }

    #[test]
    fn rules_survive_the_way_to_bytecode_and_back(ruleset in compiled()) {
        for (family, table) in tables(&ruleset) {
            for rule in table.chains.values().flat_map(|chain| &chain.rules) {
                let code = compile_rule(rule, family);
                let back = decompile_rule(&code, rule.comment.clone(), family);
                prop_assert_eq!(&back, rule);
            }
        }
    }

    #[test]
    fn comments_fit(ruleset in compiled()) {
        for (_, table) in tables(&ruleset) {
            for element in table.sets.values().flat_map(|set| set.elements.values()) {
                let length = element.comment.as_ref().map_or(0, |comment| comment.len());
                prop_assert!(length <= MAX_COMMENT_BYTES);
            }
        }
    }

    /// Adding a rule walks all operations before it, so that this order is a promise on cost.
    #[test]
    fn rules_come_before_elements_and_verdicts_last(a in observed(), b in compiled()) {
        let phase = |action: &Action| match action {
            Action::DeleteTable { .. } => 0,
            Action::AddTable { .. } | Action::AddSet { .. } | Action::AddChain { .. } => 1,
            Action::ReplaceRules { .. } => 2,
            Action::DeleteElements { .. } => 3,
            Action::AddElements { spec, .. } if spec.data != weir_rules::nft::SetData::Verdict => 4,
            Action::AddElements { .. } => 5,
            Action::DeleteChain { .. } | Action::DeleteSet { .. } => 6,
        };
        let phases: Vec<_> =
            diff(&a, &b).operations.iter().map(|operation| phase(&operation.action)).collect();
        prop_assert!(phases.is_sorted(), "{:?}", phases);
    }
}
