//! Partial dumps of weir's tables from the real kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use weir::kernel::{Kernel, Keys, Parts, SetParts, Snapshot, TableParts};
use weir_rules::cluster::{Cluster, Family, Protocol};
use weir_rules::compile::{compile, names};
use weir_rules::nft::{
    Chain, Data, Element, Elements, Name, RawKey, RawValue, Ruleset, Set, Table, Verdict,
};
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::{Action, Operation, Transaction};
use weir_testbed::Netns;

const V4: Family = Family::Ipv4;

/// A namespace in which this has been programmed.
struct Node {
    ns: Netns,
    kernel: Kernel,
    ruleset: Ruleset,
}

impl Node {
    /// Without Services, but with these elements in sets of the IPv4 table.
    fn new(name: &str, sets: impl IntoIterator<Item = (&'static str, Elements)>) -> Self {
        let mut ruleset = compile(&Cluster::default(), &weir_rules::config::Config::new("node"));
        for (set, elements) in sets {
            table(&mut ruleset).sets.get_mut(set).expect("the program has it").elements = elements;
        }
        let ns = Netns::new(name);
        let kernel = ns.run(|| Kernel::open().expect("nf_tables can be used"));
        kernel.commit(diff(&Ruleset::default(), &ruleset), None).expect("it is taken");
        Self { ns, kernel, ruleset }
    }

    /// Elements of a set as it was programmed.
    fn set(&self, name: &str, keys: Keys) -> TableParts {
        let spec = self.ruleset.tables[&V4].sets[name].spec.clone();
        let sets = BTreeMap::from([(name.into(), SetParts { spec, keys })]);
        TableParts { structure: false, sets }
    }

    /// What is read of the IPv4 table.
    fn read(&self, parts: TableParts) -> Ruleset {
        let parts = Parts { tables: BTreeMap::from([(V4, parts)]) };
        let Snapshot { ruleset, generation } = self.kernel.read(parts).expect("it can be read");
        assert_eq!(generation, self.kernel.generation().ok());
        ruleset
    }

    /// The table with just one set, which has these elements.
    fn with(&self, name: &str, elements: Elements) -> Ruleset {
        let spec = self.ruleset.tables[&V4].sets[name].spec.clone();
        only(name, Set { spec, elements })
    }
}

fn table(ruleset: &mut Ruleset) -> &mut Table {
    ruleset.tables.get_mut(&V4).expect("there is a table")
}

/// The table with just one set.
fn only(name: &str, set: Set) -> Ruleset {
    let table = Table { sets: BTreeMap::from([(name.into(), set)]), ..Table::default() };
    Ruleset { tables: BTreeMap::from([(V4, table)]) }
}

fn address(i: u32) -> RawKey {
    RawKey::new().address(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + i)))
}

fn value(i: u32) -> RawValue {
    RawValue::new().address(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + i)))
}

fn addresses(count: u32) -> Elements {
    (0..count).map(|i| (address(i), Element::new(Data::Nothing))).collect()
}

/// An endpoint of a Service, for each slot.
fn endpoints(slots: impl Iterator<Item = u32>) -> Elements {
    let port = 80.try_into().expect("a port");
    let key = |slot| address(1).protocol(Protocol::Tcp).port(port).slot(slot);
    let to = |slot| Element::new(Data::Values(value(slot).port(port)));
    slots.map(|slot| (key(slot), to(slot))).collect()
}

#[test]
fn nothing_is_read_of_what_was_not_asked_for() {
    let node = Node::new("nothing", [(names::CLUSTER_IPS, addresses(3))]);
    assert_eq!(node.kernel.read(Parts::default()).expect("it can be read").ruleset.tables.len(), 0);
    let nothing = Ruleset { tables: BTreeMap::from([(V4, Table::default())]) };
    assert_eq!(node.read(TableParts::default()), nothing);
}

#[test]
fn the_structure_is_everything_but_elements() {
    let node = Node::new("structure", [(names::CLUSTER_IPS, addresses(3))]);
    let mut expected = node.ruleset.clone();
    expected.tables.retain(|&family, _| family == V4);
    table(&mut expected).sets.values_mut().for_each(|set| set.elements.clear());
    let parts = TableParts { structure: true, ..TableParts::default() };
    assert_eq!(node.read(parts.clone()), expected);

    // Together with the elements of a set.
    let keys = Keys::These([address(2), address(7)].into());
    let parts = TableParts { structure: true, ..node.set(names::CLUSTER_IPS, keys) };
    let sets = &mut table(&mut expected).sets;
    sets.get_mut(names::CLUSTER_IPS).expect("it is there").elements =
        [(address(2), Element::new(Data::Nothing))].into();
    assert_eq!(node.read(parts), expected);

    node.ns.nft("add chain ip weir more; add counter ip weir more");
    let read = node.read(TableParts { structure: true, ..TableParts::default() });
    let read = &read.tables[&V4];
    assert_eq!(read.chains.get("more"), Some(&Chain::default()));
    assert_eq!(read.foreign.as_deref(), Some("has objects"));
}

#[test]
fn all_elements_of_a_set_are_read_without_those_of_others() {
    let all = endpoints(0..300);
    let node =
        Node::new("all", [(names::ENDPOINTS, all.clone()), (names::CLUSTER_IPS, addresses(3))]);
    let read = node.read(node.set(names::ENDPOINTS, Keys::All));
    assert_eq!(read, node.with(names::ENDPOINTS, all));
}

/// More than are asked for in one datagram, of which every other one is there: with data, with
/// slots, which the kernel has in another order, and with a key that no element can have.
#[test]
fn just_those_elements_are_read_that_are_there_of_those_asked_for() {
    let node = Node::new("these", [(names::ENDPOINTS, endpoints((0..600).map(|slot| 2 * slot)))]);
    let mut keys: BTreeSet<_> = endpoints(100..300).into_keys().collect();
    keys.insert(address(1));
    let read = node.read(node.set(names::ENDPOINTS, Keys::These(keys)));
    assert_eq!(read, node.with(names::ENDPOINTS, endpoints((50..150).map(|slot| 2 * slot))));

    let none = endpoints(2000..2100).into_keys().collect();
    let read = node.read(node.set(names::ENDPOINTS, Keys::These(none)));
    assert_eq!(read, node.with(names::ENDPOINTS, Elements::new()));
}

/// Its elements are the two ends of ranges.
#[test]
fn a_set_of_intervals_is_read_whole() {
    let range = |first, last| (address(first), Element::new(Data::RangeEnd(value(last))));
    let all = Elements::from([range(0, 3), range(8, 15)]);
    let node = Node::new("intervals", [(names::SERVICE_CIDRS, all.clone())]);
    for keys in [Keys::All, Keys::These([address(8)].into())] {
        let read = node.read(node.set(names::SERVICE_CIDRS, keys));
        assert_eq!(read, node.with(names::SERVICE_CIDRS, all.clone()));
    }
}

#[test]
fn what_is_not_there_is_not_told() {
    let node = Node::new("absent", []);
    let mut parts = node.set(names::CLUSTER_IPS, Keys::All);
    let set = parts.sets[names::CLUSTER_IPS].clone();
    for keys in [Keys::All, Keys::These([address(1)].into())] {
        let set = SetParts { keys, ..set.clone() };
        parts.sets.insert("no-such-set".into(), set);
        let read = node.read(parts.clone());
        assert_eq!(read, node.with(names::CLUSTER_IPS, Elements::new()));
    }
    node.ns.nft("delete table ip weir");
    assert_eq!(node.read(parts), Ruleset::default());
}

/// Somebody has made it anew, so that the keys that are asked for may be no keys of it.
#[test]
fn a_set_that_is_not_what_it_was_thought_to_be_is_told_as_it_is() {
    let node = Node::new("anew", []);
    node.ns.nft(
        "delete table ip weir
         table ip weir { set cluster-ips { typeof tcp dport; elements = { 80, 81 }; }; }",
    );
    let read = node.read(node.set(names::CLUSTER_IPS, Keys::These([address(1)].into())));
    let set = &read.tables[&V4].sets[names::CLUSTER_IPS];
    assert_ne!(set.spec, node.ruleset.tables[&V4].sets[names::CLUSTER_IPS].spec);
    assert_eq!(read, with_elements_of_dump(&node, names::CLUSTER_IPS));
}

#[test]
fn verdicts_and_comments_come_with_an_element() {
    let key = |i| address(i).protocol(Protocol::Udp).port(53.try_into().expect("a port"));
    let element = |i| Element {
        data: Data::Verdict(Verdict::Goto("services".into())),
        comment: Some(format!("default/dns-{i}:dns").into()),
    };
    let all: Elements = (0..10).map(|i| (key(i), element(i))).collect();
    let node = Node::new("verdicts", [(names::NO_ENDPOINT_SERVICES, all)]);
    let read = node.read(node.set(names::NO_ENDPOINT_SERVICES, Keys::These([key(4)].into())));
    assert_eq!(read, node.with(names::NO_ENDPOINT_SERVICES, [(key(4), element(4))].into()));
}

fn with_elements_of_dump(node: &Node, name: &str) -> Ruleset {
    let dumped = node.kernel.dump().expect("it can be read").ruleset;
    only(name, dumped.tables[&V4].sets[name].clone())
}

/// The kernel finds an element by its key; all of them would take it a hundred thousand times as
/// long.
#[test]
fn one_element_costs_the_same_in_a_table_of_any_size() {
    let node = Node::new("cost", [(names::CLUSTER_IPS, addresses(20_000))]);
    let name = Name::from(names::CLUSTER_IPS);
    for start in (20_000..110_000).step_by(15_000) {
        let keys = (start..start + 15_000).map(address);
        let elements = keys.map(|key| (key, Element::new(Data::Nothing))).collect();
        let spec = node.ruleset.tables[&V4].sets[&name].spec.clone();
        let action = Action::AddElements { set: name.clone(), spec, elements };
        let operation = Operation { family: V4, action };
        let transaction = Transaction { operations: vec![operation] };
        node.kernel.commit(transaction, None).expect("it is taken");
    }
    let fastest = |keys: &Keys, times: u32| {
        let read = |_| {
            let begin = Instant::now();
            let read = node.read(node.set(names::CLUSTER_IPS, keys.clone()));
            (begin.elapsed(), read.tables[&V4].sets[&name].elements.len())
        };
        (0..times).map(read).min().expect("some")
    };
    let (one, found) = fastest(&Keys::These([address(77_777)].into()), 20);
    assert_eq!(found, 1);
    let (all, found) = fastest(&Keys::All, 2);
    assert_eq!(found, 110_000);
    println!("one of 110,000 elements is read in {one:?}, all in {all:?}");
    assert!(one * 20 < all, "one takes {one:?}, all take {all:?}");
}
