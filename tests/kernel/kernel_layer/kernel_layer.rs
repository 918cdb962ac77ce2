//! The kernel layer: transactions in, dumps out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use weir::kernel::{CommitError, Kernel};
use weir::sync::reconcile;
use weir_rules::cluster::{Cluster, Family, Protocol};
use weir_rules::compile::{compile, names};
use weir_rules::nft::{
    Chain, Data, Element, Elements, Name, RawKey, Rule, Ruleset, Statement, Verdict,
};
use weir_rules::testing::random::{self, observed};
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::{Action, Operation, Transaction};
use weir_testbed::Netns;

/// The netlink thread of a kernel handle is in the namespace in which it was opened.
fn open(ns: &Netns) -> Kernel {
    ns.run(|| Kernel::open().expect("nf_tables can be used"))
}

fn program() -> Ruleset {
    compile(&Cluster::default(), &weir_rules::config::Config::new("node"))
}

fn change(family: Family, action: Action) -> Transaction {
    Transaction { operations: vec![Operation { family, action }] }
}

/// Elements that are added to a set of the program.
fn add(set: &str, elements: Elements) -> Transaction {
    let spec = program().tables[&Family::Ipv4].sets[set].spec.clone();
    change(Family::Ipv4, Action::AddElements { set: set.into(), spec, elements })
}

fn addresses(count: u32) -> Elements {
    let key = |i| RawKey::new().address(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + i)));
    (0..count).map(|i| (key(i), Element::new(Data::Nothing))).collect()
}

/// dump(program(x)) = x, also on the way from one to the next.
#[test]
fn a_dump_is_what_was_programmed() {
    let ns = Netns::new("dump");
    let kernel = open(&ns);
    let mut runner = TestRunner::new(random::seeded(150));
    let outcome = runner.run(&observed(), |desired| {
        let before = kernel.generation().unwrap();
        let changes = reconcile(&mut kernel.clone(), desired.clone())
            .map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        // One transaction, unless a destination comes to lead to a new chain: that comes before.
        prop_assert!(changes.len() <= 2);
        if let [first, _] = &changes[..] {
            prop_assert!(first.counts.added.chains > 0, "{:?}", first.counts);
            prop_assert_eq!(&first.counts.removed, &Default::default());
        }
        let after = kernel.dump().unwrap();
        prop_assert_eq!(&after.ruleset, &desired);
        // What the engine relies on: a commit counts the generation up by one.
        prop_assert_eq!(after.generation, Some(before + changes.len() as u32));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn an_empty_kernel_dumps_as_no_tables() {
    let ns = Netns::new("empty");
    assert_eq!(open(&ns).dump().unwrap().ruleset, Ruleset::default());
}

#[test]
fn tables_of_others_are_not_seen() {
    let ns = Netns::new("others");
    ns.nft("add table ip other; add chain ip other weir; add table inet weir");
    assert_eq!(open(&ns).dump().unwrap().ruleset, Ruleset::default());
}

#[test]
fn a_transaction_of_an_older_generation_is_stale() {
    let ns = Netns::new("stale");
    let kernel = open(&ns);
    let snapshot = kernel.dump().unwrap();
    ns.nft("table ip other { }");
    let transaction = diff(&snapshot.ruleset, &program());
    let error = kernel.commit(transaction.clone(), snapshot.generation).unwrap_err();
    assert!(matches!(error, CommitError::Stale), "{error}");
    assert_eq!(kernel.dump().unwrap().ruleset, Ruleset::default());
    kernel.commit(transaction, Some(kernel.generation().unwrap())).unwrap();
}

/// Each of these is refused; the error names just the operation that is at fault, and none of
/// the others is committed.
#[test]
fn a_refused_transaction_is_reported_with_the_operation_and_leaves_no_trace() {
    let unknown_chain = Element::new(Data::Verdict(Verdict::Goto("lb-9".into())));
    let key = RawKey::new()
        .address([10, 96, 0, 1].into())
        .protocol(Protocol::Tcp)
        .port(NonZeroU16::new(80).unwrap());
    let mut many = addresses(5000);
    let taken = *many.keys().nth(4321).unwrap();
    many.remove(&taken);
    let rule = |statement| Action::ReplaceRules {
        chain: "services".into(),
        old: program().tables[&Family::Ipv4].chains["services"].rules.clone(),
        new: vec![Rule::new([Statement::Reject]), Rule::new([statement])],
    };
    let cases = [
        (
            "a verdict to a chain that is not there",
            add(names::SERVICES, [(key, unknown_chain)].into()),
            "add element ip weir services { 10.96.0.1 . tcp . 80 counter : goto lb-9 }",
            libc::ENOENT,
        ),
        (
            "a rule that jumps to a chain that is not there",
            change(Family::Ipv4, rule(Statement::Verdict(Verdict::Jump("nowhere".into())))),
            "add rule ip weir services jump nowhere",
            libc::ENOENT,
        ),
        (
            "a rule that looks into a set that is not there",
            change(
                Family::Ipv4,
                rule(Statement::InSet {
                    key: vec![weir_rules::nft::Selector::Daddr],
                    set: "nothing".into(),
                    negated: false,
                }),
            ),
            "add rule ip weir services ip daddr @nothing",
            libc::ENOENT,
        ),
        (
            "the deletion of a chain in use",
            change(
                Family::Ipv6,
                Action::DeleteChain { name: "services".into(), base: None, comment: None },
            ),
            "delete chain ip6 weir services",
            libc::EBUSY,
        ),
        (
            "one element of thousands that is not there to be deleted",
            {
                let Action::AddElements { set, spec, mut elements } =
                    add(names::CLUSTER_IPS, many.clone()).operations.remove(0).action
                else {
                    unreachable!()
                };
                elements.insert(taken, Element::new(Data::Nothing));
                let mut transaction = add(names::CLUSTER_IPS, many);
                let action = Action::DeleteElements { set, spec, elements };
                transaction.operations.push(Operation { family: Family::Ipv4, action });
                transaction
            },
            "delete element ip weir cluster-ips { 11.0.16.225 }",
            libc::ENOENT,
        ),
    ];
    let ns = Netns::new("refused");
    let kernel = open(&ns);
    kernel.commit(diff(&Ruleset::default(), &program()), None).unwrap();
    for (case, transaction, expected, errno) in cases {
        // Beside the bad operation, one before it and one behind it that are good.
        let mut operations = Vec::new();
        let note = |octet| add(names::CLUSTER_IPS, [random::new_cluster_ip(octet)].into());
        operations.extend(note(1).operations);
        operations.extend(transaction.operations);
        operations.extend(note(2).operations);
        let error = kernel.commit(Transaction { operations }, None).unwrap_err();
        let CommitError::Refused { command, source, .. } = &error else {
            panic!("{case}: {error}")
        };
        assert_eq!((command.as_str(), source.raw_os_error()), (expected, Some(errno)), "{case}");
        assert_eq!(kernel.dump().unwrap().ruleset, program(), "{case}");
    }
}

/// A refusal in thousands of elements would overflow the socket's buffer if each was answered.
#[test]
fn thousands_of_refused_messages_are_one_answer() {
    let ns = Netns::new("thousands");
    let kernel = open(&ns);
    kernel.commit(diff(&Ruleset::default(), &program()), None).unwrap();
    let spec = program().tables[&Family::Ipv4].sets[names::CLUSTER_IPS].spec.clone();
    let operations = addresses(5_000)
        .into_iter()
        .map(|element| {
            let elements = Elements::from([element]);
            let set = Name::from(names::CLUSTER_IPS);
            let action = Action::DeleteElements { set, spec: spec.clone(), elements };
            Operation { family: Family::Ipv4, action }
        })
        .collect();
    let error = kernel.commit(Transaction { operations }, None).unwrap_err();
    let CommitError::Refused { command, .. } = &error else { panic!("{error}") };
    assert_eq!(command, "delete element ip weir cluster-ips { 11.0.0.0 }");
    assert_eq!(kernel.dump().unwrap().ruleset, program());
}

/// An expression that the kernel lacks is named. This kernel has all that weir uses, so that one
/// is asked for that weir does not use; it is refused either because it is missing or because
/// its attributes are.
#[test]
fn a_refused_rule_is_named() {
    let ns = Netns::new("expression");
    let kernel = open(&ns);
    let chain = Chain {
        rules: vec![Rule::new([Statement::Reject, Statement::Foreign("queue".into())])],
        ..Chain::default()
    };
    let mut desired = program();
    let table = desired.tables.get_mut(&Family::Ipv4).unwrap();
    table.chains = BTreeMap::from([("last".into(), chain)]);
    let error = kernel.commit(diff(&Ruleset::default(), &desired), None).unwrap_err();
    let CommitError::Refused { command, hint, source, .. } = &error else { panic!("{error}") };
    assert_eq!(command, "add rule ip weir last reject # queue");
    if source.raw_os_error() == Some(libc::ENOENT) {
        let hint = hint.as_deref().expect("a missing expression has a hint");
        assert!(hint.contains("lacks the nftables expression `queue`"), "{hint}");
    }
}

/// One datagram holds it all; a second one would be a transaction of its own.
#[test]
fn a_transaction_of_megabytes_is_one() {
    let ns = Netns::new("megabytes");
    let kernel = open(&ns);
    let mut desired = program();
    let table = desired.tables.get_mut(&Family::Ipv4).unwrap();
    table.sets.get_mut(names::CLUSTER_IPS).unwrap().elements = addresses(200_000);
    let before = kernel.generation().unwrap();
    let result = kernel.commit(diff(&Ruleset::default(), &desired), None);
    match result {
        Ok(committed) => {
            assert!(committed.bytes > 2 << 20, "{} bytes", committed.bytes);
            assert_eq!(kernel.generation().unwrap(), before + 1);
            assert!(kernel.dump().unwrap().ruleset == desired);
        }
        // Within a user namespace the send buffer is bounded: then it is refused whole, and said.
        Err(CommitError::TooLong { bytes, limit }) => {
            assert!(bytes > limit && !is_initial_user_namespace(), "{bytes} bytes of {limit}");
            assert_eq!(kernel.dump().unwrap().ruleset, Ruleset::default());
        }
        Err(error) => panic!("{error}"),
    }
}

/// The kernel grows its hash tables on a worker. A dump reads on where it stopped by counting
/// elements, and while the table is moved some are counted twice and others not at all; the
/// generation does not change.
#[test]
fn a_dump_is_complete_while_the_kernel_moves_its_hash_table() {
    let kernel = open(&Netns::new("moving"));
    for round in 0..40 {
        let mut desired = program();
        let table = desired.tables.get_mut(&Family::Ipv4).unwrap();
        // As many as fit the smallest send buffer that a user namespace may have.
        table.sets.get_mut(names::CLUSTER_IPS).unwrap().elements = addresses(20_000 + round);
        kernel.commit(diff(&kernel.dump().unwrap().ruleset, &Ruleset::default()), None).unwrap();
        kernel.commit(diff(&Ruleset::default(), &desired), None).unwrap();
        assert!(kernel.dump().unwrap().ruleset == desired, "round {round}");
    }
}

pub(crate) fn is_initial_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").expect("it can be read");
    map.split_whitespace().eq(["0", "0", "4294967295"])
}
