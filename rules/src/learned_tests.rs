use super::*;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::cluster::Family;
use crate::diff::diff;
use crate::nft::{Chain, CtField, RawKey, RawValue, Rule, Selector, Set, SetData, SetSpec};

const MAP: &str = "affinity-default/web/tcp/80";
const MEMBERS: &str = "endpoints-default/web/tcp/80";

fn value(key: &RawKey) -> RawValue {
    RawValue::from_bytes(key.as_bytes()).unwrap()
}

fn client(last: u8) -> RawKey {
    RawKey::new().address(IpAddr::from([10, 0, 0, last]))
}

fn endpoint(last: u8) -> RawKey {
    RawKey::new().address(IpAddr::from([10, 1, 0, last])).port(NonZeroU16::new(80).unwrap())
}

/// A map that may learn these endpoints, for so many seconds, and has learned these.
fn ruleset(timeout: u32, members: &[u8], learned: &[(u8, u8, Lifetime)]) -> Ruleset {
    let data = vec![Selector::Daddr, Selector::Dport];
    let map = SetSpec::new(vec![Selector::Saddr], SetData::Values(data.clone())).dynamic(16);
    let learned = learned.iter().map(|&(from, to, lifetime)| {
        (client(from), Element::new(Data::Learned(value(&endpoint(to)), lifetime)))
    });
    let list = SetSpec::new(data.clone(), SetData::Nothing);
    let elements = members.iter().map(|&last| (endpoint(last), Element::new(Data::Nothing)));
    let rule = Rule::new([
        Statement::InSet { key: data.clone(), set: MEMBERS.into(), negated: false },
        Statement::Update {
            map: MAP.into(),
            key: vec![Selector::CtOriginal(CtField::Saddr)],
            timeout,
            data,
        },
    ]);
    let mut table = Table::default();
    table.sets.insert(MAP.into(), Set { elements: learned.collect(), ..Set::new(map) });
    table.sets.insert(MEMBERS.into(), Set { elements: elements.collect(), ..Set::new(list) });
    table.chains.insert("learn".into(), Chain { rules: vec![rule], ..Chain::default() });
    Ruleset { tables: [(Family::Ipv4, table)].into() }
}

fn seconds(timeout: u64, expires: u64) -> Lifetime {
    Lifetime { timeout: 1000 * timeout, expires: 1000 * expires }
}

/// How the map's elements change, in nft syntax.
fn changes(observed: &Ruleset, desired: &Ruleset) -> Vec<String> {
    let transaction = diff(observed, &adopt(observed, Cow::Borrowed(desired)));
    let of_map = |line: &String| line.contains(&format!(" {MAP} {{"));
    transaction.lines().map(|(sign, line)| format!("{sign} {line}")).filter(of_map).collect()
}

#[test]
fn what_was_learned_stays() {
    let observed = ruleset(60, &[1, 2], &[(7, 1, seconds(60, 3)), (8, 2, seconds(60, 60))]);
    assert!(diff(&observed, &adopt(&observed, Cow::Owned(ruleset(60, &[1, 2], &[])))).is_empty());
    assert_eq!(changes(&observed, &ruleset(60, &[1, 2, 3], &[])), [""; 0]);
}

#[test]
fn what_points_to_a_removed_endpoint_goes_with_it() {
    let observed = ruleset(60, &[1, 2], &[(7, 1, seconds(60, 3)), (8, 2, seconds(60, 60))]);
    let desired = ruleset(60, &[2], &[]);
    let map = format!("element ip weir {MAP}");
    assert_eq!(
        changes(&observed, &desired),
        [format!("- {map} {{ 10.0.0.7 timeout 1m expires 3s : 10.1.0.1 . 80 }}")]
    );
    let transaction = diff(&observed, &adopt(&observed, Cow::Borrowed(&desired)));
    assert!(may_outlive(&transaction, &desired), "a packet may have been in between");
    let mut after = observed.clone();
    transaction.apply(&mut after);
    assert!(diff(&after, &adopt(&after, Cow::Borrowed(&desired))).is_empty());
    let grown = ruleset(60, &[1, 2, 3], &[]);
    let transaction = diff(&observed, &adopt(&observed, Cow::Borrowed(&grown)));
    assert!(!may_outlive(&transaction, &grown), "nothing has to go");
}

#[test]
fn another_timeout_counts_from_when_it_was_learned() {
    let observed = ruleset(60, &[1], &[(7, 1, seconds(60, 50)), (8, 1, seconds(60, 10))]);
    let map = format!("element ip weir {MAP}");
    let old = |client, left| {
        format!("- {map} {{ 10.0.0.{client} timeout 1m expires {left} : 10.1.0.1 . 80 }}")
    };
    assert_eq!(
        changes(&observed, &ruleset(30, &[1], &[])),
        [
            old(7, "50s"),
            old(8, "10s"),
            format!("+ {map} {{ 10.0.0.7 timeout 30s expires 20s : 10.1.0.1 . 80 }}"),
        ]
    );
    assert_eq!(
        changes(&observed, &ruleset(3600, &[1], &[]))[2..],
        [
            format!("+ {map} {{ 10.0.0.7 timeout 1h expires 59m50s : 10.1.0.1 . 80 }}"),
            format!("+ {map} {{ 10.0.0.8 timeout 1h expires 59m10s : 10.1.0.1 . 80 }}"),
        ]
    );
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
    diff(&observed, &adopt(&observed, Cow::Borrowed(&desired))).apply(&mut after);
    let table = |ruleset: &Ruleset| ruleset.tables[&Family::Ipv4].sets[MAP].elements.clone();
    assert_eq!(table(&after), table(&observed));
}
