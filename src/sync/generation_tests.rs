//! Detection of commits that no notification was received for.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_rules::transaction::Transaction;

use super::*;
use crate::kernel::{CommitError, Committed, DumpError, Parts, Snapshot};

/// A kernel of which only the generation is asked.
struct Telling {
    generation: u32,
    /// The scripted announcements.
    told: VecDeque<Option<u32>>,
}

impl NfTables for Telling {
    fn dump(&mut self) -> Result<Snapshot, DumpError> {
        unreachable!("nothing is read")
    }
    fn read(&mut self, _: &Parts) -> Result<Snapshot, DumpError> {
        unreachable!("nothing is read")
    }
    fn commit(&mut self, _: &Arc<Transaction>, _: Option<u32>) -> Result<Committed, CommitError> {
        unreachable!("nothing is committed")
    }
    fn frees_chains_at_once(&self) -> bool {
        true
    }
    fn generation(&mut self) -> Result<u32, DumpError> {
        Ok(self.generation)
    }
    fn drain(&mut self) -> ForeignChanges {
        ForeignChanges { generation: self.told.pop_front().flatten(), ..ForeignChanges::default() }
    }
}

/// A reconciler whose kernel was equal at generation 7.
fn reconciler(generation: u32, told: &[Option<u32>]) -> Reconciler<Telling> {
    let mut reconciler =
        Reconciler::new(Telling { generation, told: told.iter().copied().collect() });
    reconciler.knowledge = Knowledge::Synced(7);
    reconciler
}

/// The kernel counts a commit before it announces it.
#[test]
fn a_commit_that_is_being_told_is_not_missed() {
    let mut reconciler = reconciler(8, &[None, Some(8), None]);
    for _ in 0..3 {
        assert!(!reconciler.check_generation().unwrap().is_lossy);
    }
    reconciler.kernel.generation = 9;
    assert!(!reconciler.check_generation().unwrap().is_lossy, "it may be about to be told");
    assert!(!reconciler.has_drifted());
}

#[test]
fn a_commit_that_nobody_tells_of_is_noticed_at_the_second_look() {
    let mut reconciler = reconciler(8, &[]);
    assert!(!reconciler.check_generation().unwrap().is_lossy);
    assert!(reconciler.check_generation().unwrap().is_lossy);
    assert!(reconciler.has_drifted());
}

/// nf_tables was unloaded and loaded again: it begins to count anew.
#[test]
fn a_generation_that_goes_back_is_noticed_at_the_first_look() {
    let mut reconciler = reconciler(1, &[Some(1)]);
    assert!(reconciler.check_generation().unwrap().is_lossy);
    assert!(reconciler.has_drifted());
}

/// A late announcement of a commit of weir's own, known by its answer.
#[test]
fn what_is_known_never_goes_back() {
    let mut reconciler = reconciler(7, &[Some(5), Some(6), Some(7)]);
    for _ in 0..4 {
        assert!(!reconciler.check_generation().unwrap().is_lossy);
        assert_eq!(reconciler.known(), Some(7));
    }
    // Behind the greatest number comes 1.
    reconciler.knowledge = Knowledge::Synced(u32::MAX);
    reconciler.kernel.told = [Some(u32::MAX - 1), Some(1)].into();
    reconciler.kernel.generation = 1;
    assert!(!reconciler.check_generation().unwrap().is_lossy);
    assert_eq!(reconciler.known(), Some(u32::MAX));
    assert!(!reconciler.check_generation().unwrap().is_lossy);
    assert_eq!(reconciler.known(), Some(1));
}

/// A commit is announced between the question and the answer.
#[test]
fn a_commit_behind_the_question_is_not_missed() {
    let mut reconciler = reconciler(7, &[Some(8), None]);
    assert!(!reconciler.check_generation().unwrap().is_lossy);
    reconciler.kernel.generation = 8;
    assert!(!reconciler.check_generation().unwrap().is_lossy);
    assert_eq!(reconciler.known(), Some(8));
}
