use std::cell::{Cell, RefCell};
use std::io;

use weir_rules::cluster::Family;
use weir_rules::nft::{Chain, Name, Table};

use super::*;

/// A kernel that answers as told and otherwise does what it is asked to.
#[derive(Default)]
struct Fake {
    ruleset: RefCell<Ruleset>,
    commits: Cell<u32>,
    stale: Cell<u32>,
    /// Like a kernel before 6.2: a chain cannot go with the last reference to it.
    old: bool,
    /// And known to be one.
    known_old: bool,
}

impl Tables for Fake {
    fn dump(&self) -> Result<Snapshot, DumpError> {
        Ok(Snapshot { ruleset: self.ruleset.borrow().clone(), generation: Some(1) })
    }

    fn frees_chains_at_once(&self) -> bool {
        !self.known_old
    }

    fn commit(
        &self,
        transaction: Transaction,
        generation: Option<u32>,
    ) -> Result<Committed, CommitError> {
        self.commits.set(self.commits.get() + 1);
        if generation.is_some() && self.stale.get() > 0 {
            self.stale.set(self.stale.get() - 1);
            return Err(CommitError::Stale);
        }
        let deletion = transaction.operations.iter().position(|o| o.deletes_chain());
        if let Some(index) = deletion.filter(|_| self.old && transaction.operations.len() > 1) {
            return Err(CommitError::Refused {
                operation: Some(index),
                command: transaction.operations[index].command(0),
                hint: None,
                source: io::Error::from_raw_os_error(16),
            });
        }
        transaction.apply(&mut self.ruleset.borrow_mut());
        Ok(Committed { bytes: 1 })
    }

    fn generation(&self) -> Result<u32, DumpError> {
        Ok(1)
    }
}

fn ruleset(chains: &[&str]) -> Ruleset {
    let chains = chains.iter().map(|&name| (Name::from(name), Chain::default())).collect();
    let table = Table { chains, ..Table::default() };
    Ruleset { tables: [(Family::Ipv4, table)].into() }
}

#[test]
fn an_equal_kernel_is_sent_nothing() {
    let kernel = Fake { ruleset: ruleset(&["a"]).into(), ..Fake::default() };
    assert!(reconcile(&kernel, &ruleset(&["a"])).unwrap().changes.is_empty());
    assert_eq!(kernel.commits.get(), 0);
}

#[test]
fn all_changes_go_in_one_transaction() {
    let kernel = Fake { ruleset: ruleset(&["a"]).into(), ..Fake::default() };
    let desired = ruleset(&["b", "c"]);
    assert_eq!(reconcile(&kernel, &desired).unwrap().changes.len(), 1);
    assert_eq!(*kernel.ruleset.borrow(), desired);
    assert_eq!(kernel.commits.get(), 1);
}

#[test]
fn a_change_by_others_in_between_is_read_again() {
    let kernel = Fake { stale: 3.into(), ..Fake::default() };
    let desired = ruleset(&["a"]);
    assert_eq!(reconcile(&kernel, &desired).unwrap().changes.len(), 1);
    assert_eq!(*kernel.ruleset.borrow(), desired);
    assert_eq!(kernel.commits.get(), 4);
}

/// Others change their own tables, which count in the same generation.
#[test]
fn others_who_never_rest_do_not_keep_weir_from_its_tables() {
    let kernel = Fake { stale: u32::MAX.into(), ..Fake::default() };
    let desired = ruleset(&["a"]);
    let reconciled = reconcile(&kernel, &desired).unwrap();
    assert_eq!(*kernel.ruleset.borrow(), desired);
    assert_eq!(reconciled.generation, None, "not known to be equal at any");
    assert_eq!(kernel.commits.get(), STRICT_ATTEMPTS + 1);
}

#[test]
fn a_busy_chain_goes_in_a_second_transaction() {
    let kernel = Fake { ruleset: ruleset(&["a"]).into(), old: true, ..Fake::default() };
    let desired = ruleset(&["b"]);
    let changes = reconcile(&kernel, &desired).unwrap().changes;
    assert_eq!(*kernel.ruleset.borrow(), desired);
    let lines: Vec<Vec<String>> = changes
        .iter()
        .map(|change| change.transaction.lines().map(|(sign, l)| format!("{sign}{l}")).collect())
        .collect();
    assert_eq!(lines, [["+chain ip weir b"], ["-chain ip weir a"]]);
}

/// A transaction that is bound to fail is not sent.
#[test]
fn a_kernel_that_is_known_to_be_old_is_sent_two_transactions_at_once() {
    let kernel =
        Fake { ruleset: ruleset(&["a"]).into(), old: true, known_old: true, ..Fake::default() };
    let desired = ruleset(&["b"]);
    assert_eq!(reconcile(&kernel, &desired).unwrap().changes.len(), 2);
    assert_eq!(*kernel.ruleset.borrow(), desired);
    assert_eq!(kernel.commits.get(), 2);
}
