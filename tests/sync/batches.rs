//! A large change, and what comes while it is programmed.

use weir::sync::{SyncProgress, Synced};

use crate::agent::{Agent, name};

/// More endpoints than go into one transaction.
const MANY: u16 = 60_000;

fn batch(agent: &mut Agent) -> (SyncProgress, Synced) {
    let mut synced = Synced::default();
    let result = agent.engine.sync_batch(&agent.cluster, &agent.config, &mut synced);
    (result.expect("nothing fails"), synced)
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_a_large_service_is_programmed_is_in_the_next_batch() {
    let mut agent = Agent::new(8);
    agent.sync();
    agent.put_many(2, MANY);
    let (progress, _) = batch(&mut agent);
    assert_eq!(progress, SyncProgress::Batch);
    assert!(agent.engine.is_queued(&name(2)));
    agent.put(5, &[7, 8, 9]);
    let (progress, _) = batch(&mut agent);
    assert_eq!(progress, SyncProgress::Batch);
    assert!(!agent.engine.is_queued(&name(5)) && agent.engine.is_queued(&name(2)));
    let mut batches = 2;
    while batch(&mut agent).0 == SyncProgress::Batch {
        batches += 1;
        assert!(batches < 40, "it does not end");
    }
    assert!(agent.difference().is_empty());
    assert_eq!(agent.sync().dumps, 0, "nothing was in doubt");
}

#[tokio::test(start_paused = true)]
async fn each_batch_of_a_large_change_is_of_bounded_length() {
    let mut agent = Agent::new(2);
    agent.sync();
    agent.put_many(2, MANY);
    loop {
        let (progress, synced) = batch(&mut agent);
        for change in &synced.changes {
            let elements = change.counts.added.elements + change.counts.removed.elements;
            // One destination is not divided: here it has all endpoints.
            assert!(elements <= usize::from(MANY) + 25_000, "{elements}");
        }
        if progress == SyncProgress::Done {
            break;
        }
    }
}
