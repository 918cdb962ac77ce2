use weir_rules::nft::{Selector, SetData};

use super::*;

fn process(name: &str) -> Process {
    Process { pid: 123, name: name.to_owned() }
}

fn elements(set: &str, range: std::ops::Range<u32>) -> Suspects {
    let keys = range.map(|i| RawKey::new().slot(i)).collect();
    let mut table = TableSuspects::default();
    table.suspect_elements(set, keys);
    Suspects { tables: BTreeMap::from([(Family::Ipv4, table)]) }
}

fn commit(by: &str, changed: Suspects) -> ForeignCommit {
    ForeignCommit { by: Some(process(by)), changed }
}

#[test]
fn a_process_is_shown_on_one_line_whatever_it_calls_itself() {
    assert_eq!(process("nft").to_string(), "nft (pid 123)");
    assert_eq!(process("a\nb\u{1b}[2J").to_string(), "a\\nb\\u{1b}[2J (pid 123)");
}

#[test]
fn what_is_merged_is_all_that_either_was() {
    let mut all = elements("a", 0..3);
    all.merge(elements("a", 2..5));
    all.merge(elements("b", 0..1));
    let table = all.tables[&Family::Ipv4].clone();
    let counts: Vec<_> =
        table.elements.iter().map(|(set, keys)| (set.as_str(), keys.len())).collect();
    assert_eq!(counts, [("a", 5), ("b", 1)]);
    assert!(!table.structure && !table.everything);

    let structure = TableSuspects { structure: true, ..TableSuspects::default() };
    all.merge(Suspects { tables: BTreeMap::from([(Family::Ipv6, structure.clone())]) });
    assert_eq!(all.tables, BTreeMap::from([(Family::Ipv4, table), (Family::Ipv6, structure)]));

    let everything = TableSuspects { everything: true, ..TableSuspects::default() };
    let everything = Suspects { tables: BTreeMap::from([(Family::Ipv4, everything)]) };
    let mut merged = elements("a", 0..3);
    merged.merge(everything.clone());
    assert_eq!(merged, everything);
    merged.merge(elements("a", 0..3));
    assert_eq!(merged, everything);
}

#[test]
fn only_what_tells_something_is_not_empty() {
    assert!(Suspects::default().is_empty());
    let nothing = TableSuspects::default();
    assert!(Suspects { tables: BTreeMap::from([(Family::Ipv4, nothing)]) }.is_empty());
    assert!(!elements("a", 0..1).is_empty());
    for (everything, structure) in [(true, false), (false, true)] {
        let table = TableSuspects { everything, structure, ..TableSuspects::default() };
        assert!(!Suspects { tables: BTreeMap::from([(Family::Ipv6, table)]) }.is_empty());
    }
}

#[test]
fn as_many_keys_are_kept_as_are_worth_it_of_all_sets_together() {
    let most = MAX_KEYS as u32;
    let mut suspects = elements("a", 0..most - 1);
    suspects.merge(elements("b", 0..1));
    assert!(!suspects.tables[&Family::Ipv4].everything);
    suspects.merge(elements("b", 0..1));
    assert!(!suspects.tables[&Family::Ipv4].everything, "known already");
    suspects.merge(elements("b", 1..2));
    let TableSuspects { everything, elements, .. } = &suspects.tables[&Family::Ipv4];
    assert!(everything & elements.is_empty());
}

#[test]
fn from_the_sixteenth_on_commits_are_told_as_one() {
    let mut foreign = ForeignChanges::default();
    for i in 0..MAX_COMMITS as u32 + 1 {
        foreign.push(commit("nft", elements("a", i..i + 1)));
    }
    assert_eq!(foreign.commits.len(), MAX_COMMITS);
    let expected = elements("a", MAX_COMMITS as u32 - 1..MAX_COMMITS as u32 + 1);
    assert_eq!(foreign.commits.last(), Some(&commit("nft", expected.clone())));
    // They were of several.
    foreign.push(commit("iptables", Suspects::default()));
    assert_eq!(foreign.commits.last(), Some(&ForeignCommit { by: None, changed: expected }));
}

#[test]
fn keys_are_told_in_the_order_of_the_model() {
    let spec = SetSpec::new(
        vec![Selector::Dport, Selector::Random { modulus: 65536, offset: 0 }],
        SetData::Nothing,
    );
    let port = 80.try_into().expect("a port");
    let key = RawKey::new().port(port).slot(258);
    let mut table = TableSuspects::default();
    let wire = [0, 80, 0, 0].into_iter().chain(258_u32.to_ne_bytes()).collect::<Vec<_>>();
    table.suspect_elements("a", RawKey::from_bytes(&wire).into_iter().collect());
    assert_eq!(table.keys("a", &spec, Family::Ipv4), BTreeSet::from([key]));
    assert_eq!(table.keys("b", &spec, Family::Ipv4), BTreeSet::new());
}
