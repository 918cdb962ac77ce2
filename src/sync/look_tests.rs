//! Whether something was committed that nobody told of.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_rules::transaction::Transaction;

use super::*;
use crate::kernel::{CommitError, Committed, DumpError, Parts, Snapshot};

/// A kernel of which only the generation is asked.
struct Telling {
    generation: u32,
    /// What is told each time.
    told: VecDeque<Option<u32>>,
}

impl Tables for Telling {
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
    fn heard(&mut self) -> Heard {
        Heard { generation: self.told.pop_front().flatten(), ..Heard::default() }
    }
}

/// An engine whose kernel was equal at generation 7.
fn engine(generation: u32, told: &[Option<u32>]) -> Engine<Telling> {
    let mut engine = Engine::new(Telling { generation, told: told.iter().copied().collect() });
    engine.trust = Trust::Equal(7);
    engine
}

/// The kernel counts a commit before it tells of it.
#[test]
fn a_commit_that_is_being_told_is_not_missed() {
    let mut engine = engine(8, &[None, Some(8), None]);
    for _ in 0..3 {
        assert!(!engine.look().unwrap().is_lossy);
    }
    engine.kernel.generation = 9;
    assert!(!engine.look().unwrap().is_lossy, "it may be about to be told");
    assert!(!engine.has_drifted());
}

#[test]
fn a_commit_that_nobody_tells_of_is_noticed_at_the_second_look() {
    let mut engine = engine(8, &[]);
    assert!(!engine.look().unwrap().is_lossy);
    assert!(engine.look().unwrap().is_lossy);
    assert!(engine.has_drifted());
}

/// nf_tables was unloaded and loaded again: it begins to count anew.
#[test]
fn a_generation_that_goes_back_is_noticed_at_the_first_look() {
    let mut engine = engine(1, &[Some(1)]);
    assert!(engine.look().unwrap().is_lossy);
    assert!(engine.has_drifted());
}

/// What is told late of a commit of weir's own, of which it knows by the answer.
#[test]
fn what_is_known_never_goes_back() {
    let mut engine = engine(7, &[Some(5), Some(6), Some(7)]);
    for _ in 0..4 {
        assert!(!engine.look().unwrap().is_lossy);
        assert_eq!(engine.known(), Some(7));
    }
    // Behind the greatest number comes 1.
    engine.trust = Trust::Equal(u32::MAX);
    engine.kernel.told = [Some(u32::MAX - 1), Some(1)].into();
    engine.kernel.generation = 1;
    assert!(!engine.look().unwrap().is_lossy);
    assert_eq!(engine.known(), Some(u32::MAX));
    assert!(!engine.look().unwrap().is_lossy);
    assert_eq!(engine.known(), Some(1));
}

/// A commit is told between the question and the answer.
#[test]
fn a_commit_behind_the_question_is_not_missed() {
    let mut engine = engine(7, &[Some(8), None]);
    assert!(!engine.look().unwrap().is_lossy);
    engine.kernel.generation = 8;
    assert!(!engine.look().unwrap().is_lossy);
    assert_eq!(engine.known(), Some(8));
}
