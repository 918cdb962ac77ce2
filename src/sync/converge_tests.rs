use std::cell::{Cell, RefCell};
use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Arc;

use weir_rules::cluster::{Family, Protocol};
use weir_rules::compile::names;
use weir_rules::nft::{
    Chain, Data, Element, Lifetime, Name, RawKey, RawValue, Rule, Selector, Set, SetData, SetSpec,
    Statement, Table, slot_selector,
};

use weir_rules::transaction::{Action, Operation};

use super::*;
use crate::kernel::{CommitError, Committed, DumpError, ForeignChanges, Parts};
use crate::sync::commit::MAX_ELEMENTS;
use crate::sync::reconcile;

/// A kernel with scripted answers that otherwise does what it is asked to.
#[derive(Default)]
struct FakeKernel {
    ruleset: RefCell<Ruleset>,
    commits: Cell<u32>,
    stale: Cell<u32>,
    /// The number of a commit before which somebody else changes something.
    late: Cell<u32>,
    /// The generation that each commit asks for.
    generations: RefCell<Vec<Option<u32>>>,
    /// What packets do between the next dump and its commit.
    meanwhile: Cell<Option<fn(&mut Table)>>,
    /// Like a kernel before 6.2: a chain cannot go with the last reference to it.
    old: bool,
    /// And known to be one.
    known_old: bool,
}

impl NfTables for FakeKernel {
    fn dump(&mut self) -> Result<Snapshot, DumpError> {
        Ok(Snapshot { ruleset: self.ruleset.borrow().clone(), generation: Some(1) })
    }

    fn frees_chains_at_once(&self) -> bool {
        !self.known_old
    }

    fn read(&mut self, _: &Parts) -> Result<Snapshot, DumpError> {
        unreachable!("all is compared")
    }

    fn drain(&mut self) -> ForeignChanges {
        ForeignChanges::default()
    }

    fn commit(
        &mut self,
        transaction: &Arc<Transaction>,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        self.commits.set(self.commits.get() + 1);
        self.generations.borrow_mut().push(generation);
        if self.commits.get() == self.late.get() {
            return Err(CommitError::Stale);
        }
        if generation.is_some() && self.stale.get() > 0 {
            self.stale.set(self.stale.get() - 1);
            return Err(CommitError::Stale);
        }
        let mut ruleset = self.ruleset.borrow_mut();
        if let Some(meanwhile) = self.meanwhile.take() {
            ruleset.tables.values_mut().for_each(meanwhile);
        }
        if let Some(index) = transaction.operations.iter().position(|o| deletes_absent(o, &ruleset))
        {
            return Err(refused(transaction, index, 2));
        }
        let deletion = transaction.operations.iter().position(|o| o.deletes_chain());
        if let Some(index) = deletion.filter(|_| self.old && transaction.operations.len() > 1) {
            return Err(refused(transaction, index, 16));
        }
        transaction.apply(&mut ruleset);
        Ok(Committed { bytes: 1 })
    }

    fn generation(&mut self) -> Result<u32, DumpError> {
        Ok(1)
    }
}

/// Whether it deletes an element that is not there.
fn deletes_absent(operation: &Operation, ruleset: &Ruleset) -> bool {
    let Action::DeleteElements { set, elements, .. } = &operation.action else { return false };
    let there = &ruleset.tables[&operation.family].sets[set].elements;
    elements.keys().any(|key| !there.contains_key(key))
}

fn refused(transaction: &Transaction, index: usize, errno: i32) -> CommitError {
    CommitError::Refused {
        operation: Some(index),
        part: Some(0),
        command: transaction.operations[index].command(0),
        hint: None,
        source: io::Error::from_raw_os_error(errno),
    }
}

fn ruleset(chains: &[&str]) -> Ruleset {
    let chains = chains.iter().map(|&name| (Name::from(name), Chain::default())).collect();
    let table = Table { chains, ..Table::default() };
    Ruleset { tables: [(Family::Ipv4, table)].into() }
}

#[test]
fn an_equal_kernel_is_sent_nothing() {
    let mut kernel = FakeKernel { ruleset: ruleset(&["a"]).into(), ..FakeKernel::default() };
    assert!(reconcile(&mut kernel, ruleset(&["a"])).unwrap().is_empty());
    assert_eq!(kernel.commits.get(), 0);
}

#[test]
fn all_changes_go_in_one_transaction() {
    let mut kernel = FakeKernel { ruleset: ruleset(&["a"]).into(), ..FakeKernel::default() };
    let desired = ruleset(&["b", "c"]);
    assert_eq!(reconcile(&mut kernel, desired.clone()).unwrap().len(), 1);
    assert_eq!(*kernel.ruleset.borrow(), desired);
    assert_eq!(kernel.commits.get(), 1);
}

#[test]
fn a_change_by_others_in_between_is_read_again() {
    let mut kernel = FakeKernel { stale: 3.into(), ..FakeKernel::default() };
    let desired = ruleset(&["a"]);
    assert_eq!(reconcile(&mut kernel, desired.clone()).unwrap().len(), 1);
    assert_eq!(*kernel.ruleset.borrow(), desired);
    assert_eq!(kernel.commits.get(), 4);
}

/// Others change their own tables, which count in the same generation.
#[test]
fn others_who_never_rest_do_not_keep_weir_from_its_tables() {
    let mut kernel = FakeKernel { stale: u32::MAX.into(), ..FakeKernel::default() };
    let desired = ruleset(&["a"]);
    reconcile(&mut kernel, desired.clone()).unwrap();
    assert_eq!(*kernel.ruleset.borrow(), desired);
    assert_eq!(kernel.commits.get(), STRICT_ATTEMPTS + 1);
}

#[test]
fn a_busy_chain_goes_in_a_second_transaction() {
    let mut kernel =
        FakeKernel { ruleset: ruleset(&["a"]).into(), old: true, ..FakeKernel::default() };
    let desired = ruleset(&["b"]);
    let commits = reconcile(&mut kernel, desired.clone()).unwrap();
    assert_eq!(*kernel.ruleset.borrow(), desired);
    let lines: Vec<Vec<String>> = commits
        .iter()
        .map(|change| change.transaction.as_ref().expect("it is small"))
        .map(|it| it.lines().map(|(sign, line)| format!("{sign}{line}")).collect())
        .collect();
    assert_eq!(lines, [["+chain ip weir b"], ["-chain ip weir a"]]);
}

/// A transaction that is bound to fail is not sent.
#[test]
fn a_kernel_that_is_known_to_be_old_is_sent_two_transactions_at_once() {
    let mut kernel = FakeKernel {
        ruleset: ruleset(&["a"]).into(),
        old: true,
        known_old: true,
        ..FakeKernel::default()
    };
    let desired = ruleset(&["b"]);
    assert_eq!(reconcile(&mut kernel, desired.clone()).unwrap().len(), 2);
    assert_eq!(*kernel.ruleset.borrow(), desired);
    assert_eq!(kernel.commits.get(), 2);
}

/// A map with somewhat more elements than go in two transactions.
fn large_map() -> Ruleset {
    let key = vec![Selector::Daddr, Selector::L4proto, Selector::Dport, slot_selector()];
    let spec = SetSpec::new(key, SetData::Values(vec![Selector::Daddr, Selector::Dport]));
    let element = |index: usize| {
        let address = Ipv4Addr::from(0x0a00_0000 + index as u32).into();
        let port = NonZeroU16::MIN;
        let key = RawKey::new().address(address).protocol(Protocol::Tcp).port(port).slot(0);
        (key, Element::new(Data::Values(RawValue::new().address(address).port(port))))
    };
    let elements = (0..2 * MAX_ELEMENTS + 10).map(element).collect();
    let table = Table {
        sets: [(names::ENDPOINTS.into(), Set { elements, ..Set::new(spec) })].into(),
        ..Table::default()
    };
    Ruleset { tables: [(Family::Ipv4, table)].into() }
}

#[test]
fn a_large_transaction_goes_in_pieces_each_at_the_generation_of_the_one_before() {
    let mut kernel = FakeKernel::default();
    let desired = large_map();
    let commits = reconcile(&mut kernel, desired.clone()).unwrap();
    assert_eq!(*kernel.ruleset.borrow(), desired);
    assert_eq!(*kernel.generations.borrow(), [Some(1), Some(2), Some(3)]);
    let added = |change: &Commit| change.counts.added.elements;
    let added: Vec<_> = commits.iter().map(added).collect();
    assert_eq!(added.iter().sum::<usize>(), 2 * MAX_ELEMENTS + 10);
    assert!(added.iter().all(|&count| count <= MAX_ELEMENTS), "{added:?}");
}

#[test]
fn what_is_left_of_the_pieces_is_read_again_after_a_change_by_others() {
    let mut kernel = FakeKernel { late: 2.into(), ..FakeKernel::default() };
    let desired = large_map();
    let commits = reconcile(&mut kernel, desired.clone()).unwrap();
    assert_eq!(*kernel.ruleset.borrow(), desired);
    assert_eq!(*kernel.generations.borrow(), [Some(1), Some(2), Some(1), Some(2)]);
    assert_eq!(commits.len(), 3, "nothing twice");
}

const MAP: &str = "affinity-clients-0";
const LIST: u32 = 5;

/// The key of a client of the list.
fn key(client: u8) -> RawKey {
    [LIST; 3].into_iter().fold(RawKey::new().slot(client.into()), RawKey::slot)
}

fn member(last: u8) -> RawKey {
    [LIST; 3].into_iter().fold(RawKey::new(), RawKey::slot).address([10, 0, 0, last].into())
}

fn learn(table: &mut Table, client: u8, endpoint: u8) {
    let lifetime = Lifetime { timeout: 60_000, expires: 60_000 };
    let element =
        Element::new(Data::Learned(RawValue::new().address([10, 0, 0, endpoint].into()), lifetime));
    table.sets.get_mut(MAP).expect("it is there").elements.insert(key(client), element);
}

/// A map that may learn these endpoints.
fn affinity(endpoints: &[u8]) -> Ruleset {
    let address = vec![Selector::Daddr];
    let three = [slot_selector(); 3];
    let list = SetSpec::new([&three[..], &address].concat(), SetData::Nothing);
    let map = SetSpec::new([slot_selector(); 4].into(), SetData::Values(address.clone()));
    let members = endpoints.iter().map(|&last| (member(last), Element::new(Data::Nothing)));
    let id = [LIST; 3].map(Selector::constant);
    let source = Selector::SourceHash { original: true, modulus: 256, seed: 1 };
    let rule = Rule::new([
        Statement::DestinationPortIs(NonZeroU16::new(80).expect("a port")),
        Statement::InSet {
            key: [&id[..], &address].concat(),
            set: names::AFFINITY_ENDPOINTS.into(),
            negated: false,
        },
        Statement::Update {
            map: MAP.into(),
            key: [&[source], &id[..]].concat(),
            timeout: 60,
            data: address,
        },
    ]);
    let mut table = Table::default();
    table.sets.insert(MAP.into(), Set::new(map.dynamic(16)));
    table.sets.insert(
        names::AFFINITY_ENDPOINTS.into(),
        Set { elements: members.collect(), ..Set::new(list) },
    );
    table.chains.insert("learn".into(), Chain { rules: vec![rule], ..Chain::default() });
    Ruleset { tables: [(Family::Ipv4, table)].into() }
}

fn clients(kernel: &FakeKernel) -> Vec<RawKey> {
    kernel.ruleset.borrow().tables[&Family::Ipv4].sets[MAP].elements.keys().copied().collect()
}

#[test]
fn a_client_that_comes_just_before_its_endpoint_goes_is_forgotten_too() {
    let mut observed = affinity(&[1, 2]);
    let table = observed.tables.get_mut(&Family::Ipv4).expect("it is there");
    learn(table, 7, 1);
    learn(table, 8, 2);
    let mut kernel = FakeKernel { ruleset: observed.into(), ..FakeKernel::default() };
    kernel.meanwhile.set(Some(|table| learn(table, 9, 1)));
    let commits = reconcile(&mut kernel, affinity(&[2])).unwrap();
    assert_eq!(clients(&kernel), [key(8)]);
    assert_eq!(commits.len(), 2, "endpoint and clients, then the late one");
}

#[test]
fn a_client_that_expires_before_it_is_taken_away_is_no_failure() {
    let mut observed = affinity(&[1, 2]);
    let table = observed.tables.get_mut(&Family::Ipv4).expect("it is there");
    learn(table, 7, 1);
    let mut kernel = FakeKernel { ruleset: observed.into(), ..FakeKernel::default() };
    kernel.meanwhile.set(Some(|table| {
        table.sets.get_mut(MAP).expect("it is there").elements.clear();
    }));
    let commits = reconcile(&mut kernel, affinity(&[2])).unwrap();
    assert_eq!(clients(&kernel), []);
    assert_eq!(commits.len(), 1);
    assert_eq!(kernel.commits.get(), 2);
}
