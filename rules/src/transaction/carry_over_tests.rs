use super::*;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::cluster::Family;
use crate::nft::{Chain, RawKey, RawValue, Rule, Selector, Set, SetData, SetSpec, slot_selector};
use crate::transaction::diff::diff;

const MAP: &str = "affinity-clients-0";
const MEMBERS: &str = names::AFFINITY_ENDPOINTS;

fn value(key: &RawKey) -> RawValue {
    RawValue::from_bytes(key.as_bytes()).unwrap()
}

/// What names a list.
fn list(name: u32) -> RawKey {
    RawKey::new().slot(name).slot(0).slot(0)
}

fn client(last: u8, of: u32) -> RawKey {
    RawKey::from_bytes(&[RawKey::new().slot(last.into()).as_bytes(), list(of).as_bytes()].concat())
        .unwrap()
}

fn address(last: u8) -> RawKey {
    RawKey::new().address(IpAddr::from([10, 1, 0, last]))
}

fn member(last: u8, of: u32) -> RawKey {
    list(of).address(IpAddr::from([10, 1, 0, last]))
}

/// A table with a map, and lists of endpoints by name that may be learned for so many seconds.
fn table(lists: &[(u32, u32, &[u8])], learned: &[(RawKey, u8, Lifetime)]) -> Table {
    let (three, address_of) = ([slot_selector(); 3], vec![Selector::Daddr]);
    let data = SetData::Values(address_of.clone());
    let map = SetSpec::new([&[slot_selector()], &three[..]].concat(), data).dynamic(16);
    let learned = learned.iter().map(|&(from, to, lifetime)| {
        (from, Element::new(Data::Learned(value(&address(to)), lifetime)))
    });
    let members = SetSpec::new([&three[..], &address_of].concat(), SetData::Nothing);
    let elements = lists.iter().flat_map(|&(name, _, endpoints)| {
        endpoints.iter().map(move |&last| (member(last, name), Element::new(Data::Nothing)))
    });
    let rule = |&(name, timeout, _): &(u32, u32, &[u8])| {
        let id = [name, 0, 0].map(Selector::constant);
        let source = Selector::SourceHash { original: true, modulus: 256, seed: 1 };
        let key = [&id[..], &address_of].concat();
        Rule::new([
            Statement::DestinationPortIs(NonZeroU16::new(80).unwrap()),
            Statement::InSet { key, set: MEMBERS.into(), negated: false },
            Statement::Update {
                map: MAP.into(),
                key: [&[source], &id[..]].concat(),
                timeout,
                data: address_of.clone(),
            },
        ])
    };
    let mut table = Table::default();
    table.sets.insert(MAP.into(), Set { elements: learned.collect(), ..Set::new(map) });
    table.sets.insert(MEMBERS.into(), Set { elements: elements.collect(), ..Set::new(members) });
    let rules = lists.iter().map(rule).collect();
    table.chains.insert("learn".into(), Chain { rules, ..Chain::default() });
    table
}

/// A list that may learn these endpoints, for so many seconds, and what it has learned.
fn ruleset(timeout: u32, members: &[u8], learned: &[(u8, u8, Lifetime)]) -> Ruleset {
    let learned: Vec<_> =
        learned.iter().map(|&(from, to, lifetime)| (client(from, 1), to, lifetime)).collect();
    let table = table(&[(1, timeout, members)], &learned);
    Ruleset { tables: [(Family::Ipv4, table)].into() }
}

fn seconds(timeout: u64, expires: u64) -> Lifetime {
    Lifetime { timeout: 1000 * timeout, expires: 1000 * expires }
}

/// How the map's elements change, in nft syntax.
fn changes(observed: &Ruleset, desired: &Ruleset) -> Vec<String> {
    let transaction = diff(observed, &carry_over(observed, Cow::Borrowed(desired)));
    let of_map = |line: &String| line.contains(&format!(" {MAP} {{"));
    transaction.lines().map(|(sign, line)| format!("{sign} {line}")).filter(of_map).collect()
}

#[test]
fn what_was_learned_stays() {
    let observed = ruleset(60, &[1, 2], &[(7, 1, seconds(60, 3)), (8, 2, seconds(60, 60))]);
    assert!(
        diff(&observed, &carry_over(&observed, Cow::Owned(ruleset(60, &[1, 2], &[])))).is_empty()
    );
    assert_eq!(changes(&observed, &ruleset(60, &[1, 2, 3], &[])), [""; 0]);
}

#[test]
fn what_points_to_a_removed_endpoint_goes_with_it() {
    let observed = ruleset(60, &[1, 2], &[(7, 1, seconds(60, 3)), (8, 2, seconds(60, 60))]);
    let desired = ruleset(60, &[2], &[]);
    let map = format!("element ip weir {MAP}");
    assert_eq!(
        changes(&observed, &desired),
        [format!("- {map} {{ 7 . 1 . 0 . 0 timeout 1m expires 3s : 10.1.0.1 }}")]
    );
    let transaction = diff(&observed, &carry_over(&observed, Cow::Borrowed(&desired)));
    assert!(may_leave_stale(&transaction), "a packet may have been in between");
    let mut after = observed.clone();
    transaction.apply(&mut after);
    assert!(diff(&after, &carry_over(&after, Cow::Borrowed(&desired))).is_empty());
    let grown = ruleset(60, &[1, 2, 3], &[]);
    let transaction = diff(&observed, &carry_over(&observed, Cow::Borrowed(&grown)));
    assert!(!may_leave_stale(&transaction), "nothing has to go");
}

#[test]
fn another_timeout_counts_from_when_it_was_learned() {
    let observed = ruleset(60, &[1], &[(7, 1, seconds(60, 50)), (8, 1, seconds(60, 10))]);
    let map = format!("element ip weir {MAP}");
    let old = |client, left| {
        format!("- {map} {{ {client} . 1 . 0 . 0 timeout 1m expires {left} : 10.1.0.1 }}")
    };
    assert_eq!(
        changes(&observed, &ruleset(30, &[1], &[])),
        [
            old(7, "50s"),
            old(8, "10s"),
            format!("+ {map} {{ 7 . 1 . 0 . 0 timeout 30s expires 20s : 10.1.0.1 }}"),
        ]
    );
    assert_eq!(
        changes(&observed, &ruleset(3600, &[1], &[]))[2..],
        [
            format!("+ {map} {{ 7 . 1 . 0 . 0 timeout 1h expires 59m50s : 10.1.0.1 }}"),
            format!("+ {map} {{ 8 . 1 . 0 . 0 timeout 1h expires 59m10s : 10.1.0.1 }}"),
        ]
    );
}

#[test]
fn lists_that_share_a_map_are_apart() {
    let learned = [(client(7, 1), 1, seconds(60, 3)), (client(7, 2), 1, seconds(60, 9))];
    let of = |lists: &[(u32, u32, &[u8])], learned: &[_]| Ruleset {
        tables: [(Family::Ipv4, table(lists, learned))].into(),
    };
    let observed = of(&[(1, 60, &[1]), (2, 60, &[1])], &learned);
    let map = format!("element ip weir {MAP}");
    // The endpoint stays in the other list.
    assert_eq!(
        changes(&observed, &of(&[(1, 60, &[2]), (2, 60, &[1])], &[])),
        [format!("- {map} {{ 7 . 1 . 0 . 0 timeout 1m expires 3s : 10.1.0.1 }}")]
    );
    // With a list go its clients.
    assert_eq!(
        changes(&observed, &of(&[(1, 60, &[1])], &[])),
        [format!("- {map} {{ 7 . 2 . 0 . 0 timeout 1m expires 9s : 10.1.0.1 }}")]
    );
    // Where only some lists are compared, what is of others is none of theirs.
    let (one, none) = (table(&[(1, 60, &[1])], &[]), table(&[], &[]));
    let all = observed.tables[&Family::Ipv4].sets[MAP].elements.clone();
    let kept = of_lists(&MAP.into(), all, [&one, &none]);
    assert_eq!(kept.into_keys().collect::<Vec<_>>(), [client(7, 1)]);
}

#[test]
fn what_no_packet_put_there_goes() {
    let observed = ruleset(60, &[1], &[(7, 1, Lifetime { timeout: 0, expires: 0 })]);
    assert_eq!(changes(&observed, &ruleset(60, &[1], &[])).len(), 1);
}

#[test]
fn a_table_that_is_made_anew_gets_back_what_was_learned() {
    let observed = ruleset(60, &[1], &[(7, 1, seconds(60, 50))]);
    let mut desired = ruleset(60, &[1], &[]);
    desired.tables.get_mut(&Family::Ipv4).unwrap().comment = Some("another".into());
    let mut after = observed.clone();
    diff(&observed, &carry_over(&observed, Cow::Borrowed(&desired))).apply(&mut after);
    let table = |ruleset: &Ruleset| ruleset.tables[&Family::Ipv4].sets[MAP].elements.clone();
    assert_eq!(table(&after), table(&observed));
}
