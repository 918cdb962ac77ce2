//! Any single request fails, in any way.

use tokio::time::Instant;
use weir_rules::cluster::{ChangeSet, Family};
use weir_rules::compile::names;
use weir_rules::config::DetectLocal;
use weir_rules::nft::{RawKey, Ruleset};

use crate::agent::{Agent, address};
use crate::faulty::{FAULTS, Fault, Request};

/// Something that happens, and its name.
type Happening = (&'static str, fn(&mut Agent));

/// What happens on a node, one after the other; the kernel is equal after each.
const LIFE: [Happening; 9] = [
    ("start", |_| {}),
    ("change", |agent| agent.put(2, &[1, 4, 3])),
    ("affinity", |agent| agent.put(1, &[2, 3])),
    ("burst", |agent| {
        agent.put(3, &[1]);
        agent.put(4, &[]);
        agent.remove(2);
        agent.put(7, &[1, 2, 3, 4]);
    }),
    ("settings", |agent| {
        agent.config.detect_local = DetectLocal::InterfaceNamePrefix("veth".to_owned());
        agent.touch_surroundings();
    }),
    ("restart", |agent| {
        agent.restart();
        agent.put(6, &[1]);
    }),
    ("an element goes", |agent| agent.kernel.edit(delete_element)),
    ("a chain is flushed", |agent| agent.kernel.edit(flush_chain)),
    ("all is flushed", |agent| agent.kernel.edit(|ruleset| ruleset.tables.clear())),
];

fn delete_element(ruleset: &mut Ruleset) {
    let table = ruleset.tables.get_mut(&Family::Ipv4).expect("it is there");
    let ips = table.sets.get_mut(names::CLUSTER_IPS).expect("it is there");
    ips.elements.remove(&RawKey::new().address(address(1))).expect("it is there");
}

fn flush_chain(ruleset: &mut Ruleset) {
    let table = ruleset.tables.get_mut(&Family::Ipv4).expect("it is there");
    table.chains.get_mut("services").expect("it is there").rules.clear();
}

/// Lives; gives how many syncs it took.
async fn live(agent: &mut Agent, context: &str) -> u32 {
    let mut syncs = 0;
    for (what, happen) in LIFE {
        happen(agent);
        syncs += agent.settle().await;
        agent.assert_equal(&format!("{context}, {what}"));
    }
    syncs
}

#[tokio::test(start_paused = true)]
async fn a_node_that_nothing_fails_on_syncs_once_for_each_thing_that_happens() {
    let mut agent = Agent::new(6);
    assert_eq!(live(&mut agent, "no fault").await, LIFE.len() as u32);
    // One for the start and one for the restart, one for what is flushed.
    assert_eq!(agent.asked(Request::Dump), 3);
    // One for each thing that happens, but two where a Service comes to a chain that is new.
    assert_eq!(agent.asked(Request::Commit), 10);
}

/// A fault costs one more sync at most, or two if it is taken for a refusal, which is tried again.
#[tokio::test(start_paused = true)]
async fn any_one_request_may_fail_in_any_way() {
    let mut agent = Agent::new(6);
    let syncs = live(&mut agent, "no fault").await;
    let asked = agent.plan.borrow().asked.clone();
    for (what, request, fault) in FAULTS {
        for n in 1..=asked[&request] {
            let context = format!("{request:?} {n} of {}: {what}", asked[&request]);
            let mut agent = Agent::new(6);
            agent.plan.borrow_mut().fault = Some((request, n, fault));
            let more = live(&mut agent, &context).await - syncs;
            assert!(more <= 2, "{context}: {more} more syncs");
            let more = agent.asked(Request::Dump) - asked[&Request::Dump];
            let most = if request == Request::Generation { 0 } else { 2 };
            assert!(more <= most, "{context}: {more} more dumps");
        }
    }
}

/// What was lost shows at the next look, since the generation is another.
#[tokio::test(start_paused = true)]
async fn what_others_do_is_noticed_without_a_monitor() {
    let mut agent = Agent::new(3);
    agent.settle().await;
    for n in 0..4 {
        let next = agent.asked(Request::ForeignChanges) + 1;
        agent.plan.borrow_mut().fault = Some((Request::ForeignChanges, next, Fault::Deaf));
        agent.kernel.edit(delete_element);
        agent.settle().await;
        agent.assert_equal(&format!("{n}"));
    }
}

/// A restart in which nothing changed.
#[test]
fn a_restart_writes_nothing() {
    let mut agent = Agent::new(6);
    agent.sync();
    agent.restart();
    let report = agent.sync();
    assert_eq!((report.commits.len(), report.dumps), (0, 1));
    agent.reconciler.enqueue(ChangeSet::all(&agent.cluster));
    let report = agent.sync();
    assert_eq!((report.commits.len(), report.dumps, report.recompiled), (0, 0, 6));
}

/// It is repaired at first at once, and what is to be told is when.
#[tokio::test(start_paused = true)]
async fn a_tool_that_keeps_deleting_is_answered_ever_more_slowly_without_dumps() {
    let mut agent = Agent::new(3);
    agent.settle().await;
    let dumps = agent.asked(Request::Dump);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        agent.kernel.edit(delete_element);
        agent.reconciler.take_notifications();
        let due = agent.reconciler.due().expect("there is something to repair");
        tokio::time::advance(due.saturating_duration_since(Instant::now())).await;
        let report = agent.sync();
        assert_eq!((report.repairs(), report.reads), (1, 1));
        assert_eq!(report.commits[0].counts.added.elements, 1);
        pauses.push(report.pause.map(|pause| pause.as_secs()));
        agent.assert_equal("repaired");
    }
    assert_eq!(pauses, [None, None, None, None, Some(1), Some(2), Some(4), Some(8)]);
    assert_eq!(agent.asked(Request::Dump), dumps);
}

/// What was read while the cluster was not known counts, unless somebody has come in between.
#[test]
fn a_start_reads_once_and_again_only_if_somebody_commits_meanwhile() {
    for is_disturbed in [false, true] {
        let mut agent = Agent::new(6);
        agent.sync();
        agent.restart();
        let dumps = agent.asked(Request::Dump);
        agent.reconciler.prefetch();
        if is_disturbed {
            agent.kernel.edit(delete_element);
        }
        agent.sync();
        agent.assert_equal(&format!("{is_disturbed}"));
        assert_eq!(agent.asked(Request::Dump) - dumps, 1 + u32::from(is_disturbed));
    }
}

/// Nobody notices that it did not work.
#[test]
fn what_cannot_be_read_in_advance_is_read_later() {
    for (what, request, fault) in FAULTS {
        if request != Request::Dump {
            continue;
        }
        let mut agent = Agent::new(6);
        agent.plan.borrow_mut().fault = Some((request, 1, fault));
        agent.reconciler.prefetch();
        agent.sync();
        agent.assert_equal(what);
        assert_eq!(agent.asked(Request::Dump), 2, "{what}");
    }
}
