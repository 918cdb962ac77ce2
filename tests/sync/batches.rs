//! Large changes, and changes that arrive while one is programmed.

use std::net::IpAddr;

use weir::sync::{SyncProgress, SyncReport};
use weir_rules::cluster::{ChangeSet, NamespacedName, Protocol};
use weir_rules::compile::names;
use weir_rules::nft::RawKey;

use crate::agent::{Agent, name};
use crate::faulty::Told;

/// More endpoints than go into one transaction.
const MANY: u16 = 60_000;

fn batch(agent: &mut Agent) -> (SyncProgress, SyncReport) {
    let mut report = SyncReport::default();
    let result = agent.reconciler.sync_batch(&agent.cluster, &agent.config, &mut report);
    (result.expect("nothing fails"), report)
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_a_large_service_is_programmed_is_in_the_next_batch() {
    let mut agent = Agent::new(8);
    agent.sync();
    agent.put_many(2, MANY);
    let (progress, _) = batch(&mut agent);
    assert_eq!(progress, SyncProgress::Batch);
    assert!(agent.reconciler.is_queued(&name(2)));
    agent.put(5, &[7, 8, 9]);
    let (progress, _) = batch(&mut agent);
    assert_eq!(progress, SyncProgress::Batch);
    assert!(!agent.reconciler.is_queued(&name(5)) && agent.reconciler.is_queued(&name(2)));
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
        let (progress, report) = batch(&mut agent);
        for change in &report.commits {
            let elements = change.counts.added.elements + change.counts.removed.elements;
            // One destination is not divided: here it has all endpoints.
            assert!(elements <= usize::from(MANY) + 25_000, "{elements}");
        }
        if progress == SyncProgress::Done {
            break;
        }
    }
}

/// Each has more endpoints than go into one transaction, and gets what the other had.
#[tokio::test(start_paused = true)]
async fn two_large_services_that_exchange_addresses_never_have_the_same() {
    const ENDPOINTS: u16 = 9_000;
    let mut agent = Agent::new(4);
    agent.put_many(1, ENDPOINTS);
    agent.put_many(2, ENDPOINTS);
    agent.sync();
    let external =
        |agent: &Agent, number| agent.cluster.services[&name(number)].external_ips.clone();
    let (one, two) = (external(&agent, 1), external(&agent, 2));
    let mut change = ChangeSet::services([1, 2].map(name));
    for (number, addresses) in [(1, two), (2, one)] {
        give(&mut agent, &name(number), addresses, &mut change);
    }
    agent.reconciler.enqueue(change);
    let mut batches = 1;
    loop {
        let (progress, report) = batch(&mut agent);
        assert_eq!((report.dumps, report.quarantined.len()), (0, 0), "batch {batches}");
        if progress == SyncProgress::Done {
            break;
        }
        batches += 1;
        assert!(batches < 40, "it does not end");
    }
    assert!(batches > 1);
    agent.assert_equal("both have what they asked for");
}

/// A Service has these external IPs.
fn give(agent: &mut Agent, name: &NamespacedName, ips: Vec<IpAddr>, change: &mut ChangeSet) {
    let mut service = agent.cluster.services[name].clone();
    service.external_ips = ips;
    change.handover(agent.cluster.services.insert(name.clone(), service));
}

/// Each batch has something else to do first.
#[tokio::test(start_paused = true)]
async fn a_large_service_goes_on_however_much_changes_beside_it() {
    let mut agent = Agent::new(8);
    agent.sync();
    agent.put_many(2, 20_000);
    let (mut batches, mut recompiled) = (0, 0);
    while agent.reconciler.is_queued(&name(2)) {
        agent.put(5, &[7, 8, batches + 10]);
        let (_, report) = batch(&mut agent);
        assert!(!agent.reconciler.is_queued(&name(5)), "batch {batches}");
        recompiled += report.recompiled;
        batches += 1;
        assert!(batches < 20, "it does not end");
    }
    assert!(batches > 2);
    assert_eq!(recompiled, usize::from(batches) + 1, "the large one once");
    agent.assert_equal("all is programmed");
}

/// What was programmed of it before stays.
#[tokio::test(start_paused = true)]
async fn a_large_service_may_be_refused_when_a_part_of_it_is_programmed() {
    let mut agent = Agent::new(4);
    agent.sync();
    // The last of its destinations.
    let port = 80.try_into().expect("it is none");
    let external = RawKey::new().address([192, 0, 0, 2].into()).protocol(Protocol::Tcp).port(port);
    agent.refuse_element(names::SERVICES, vec![external], Told::Part);
    let external = RawKey::new().address([192, 0, 0, 2].into()).protocol(Protocol::Tcp).port(port);
    agent.refuse_element(names::ENDPOINTS, vec![external.slot(19_999)], Told::Part);
    agent.put_many(2, 20_000);
    let report = agent.sync();
    assert_eq!(report.quarantined.len(), 1, "{:?}", report.quarantined);
    assert!(agent.reconciler.is_begun(&name(2)));
    assert_eq!(agent.reconciler.quarantine().collect::<Vec<_>>(), [(&name(2), true)]);
    agent.put(3, &[9]);
    agent.sync();
    assert!(!agent.reconciler.is_queued(&name(3)));
    agent.take_all();
    agent.settle().await;
    assert!(!agent.reconciler.is_begun(&name(2)));
    agent.assert_equal("the kernel takes the rest");
}
