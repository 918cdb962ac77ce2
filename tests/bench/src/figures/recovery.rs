//! Measures restarts and repairs.

use std::time::{Duration, Instant};

use super::{Figure, Share};
use crate::client;
use crate::commits::Commits;
use crate::node::{CLIENT, LIMIT, Node, address_of};
use crate::summary::{Sample, Unit};
use crate::workload::{PORT, Shape};

/// How long nothing may come behind a restart until nothing counts as written.
const SILENCE: Duration = Duration::from_millis(500);

/// Restarts with nothing changed: from the start to readiness, and what was written to the kernel.
pub(crate) fn measure_restarts(node: &mut Node, runs: usize) -> Vec<Figure> {
    let commits = Commits::listen(node.bed.node());
    let (mut times, mut elements) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        node.stop();
        commits.forget();
        let start = node.start();
        node.wait_until_ready();
        times.push(start.elapsed());
        let mut written = 0;
        while let Some(commit) = commits.within(SILENCE) {
            written += commit.elements;
        }
        elements.push(written as f64);
    }
    let elements = Sample::new(Unit::Count, elements);
    vec![
        Figure::new("restart, nothing changed: ready", node.shape, Sample::times(&times))
            .budget("1 s")
            .share(Share::Dump),
        Figure::new("restart, nothing changed: elements written", node.shape, elements).budget("0"),
    ]
}

/// Drift: one element that somebody deletes, and everything that somebody flushes. weir answers who
/// goes on and on ever more slowly, so that each time is the first for it.
pub(crate) fn measure_drift(node: &mut Node, runs: usize) -> Vec<Figure> {
    let mut repairs = |repair: fn(&Node) -> Duration| {
        let repair_anew = |_| {
            node.stop();
            node.start_and_wait();
            repair(node)
        };
        (0..runs).map(repair_anew).collect::<Vec<_>>()
    };
    let (element, flush) = (repairs(repair_element), repairs(repair_flush));
    vec![
        Figure::new("one element deleted: it is back", node.shape, Sample::times(&element))
            .share(Share::REPLACE),
        Figure::new("all tables flushed: all Services answer", node.shape, Sample::times(&flush))
            .share(Share::Load),
    ]
}

fn repair_element(node: &Node) -> Duration {
    let service = node.shape.services / 2;
    let address = Shape::cluster_ip(service);
    let command = format!("delete element ip weir services {{ {address} . tcp . {PORT} }}\n");
    let commits = Commits::listen(node.bed.node());
    node.bed.node().nft(&command);
    let deleted = commits.next(LIMIT);
    assert_eq!(deleted.elements, 1, "{deleted:?}");
    let back = commits.next(LIMIT);
    let answer = node.bed.ns(CLIENT).run(|| client::ask(address_of(service)));
    assert!(back.elements == 1 && answer.is_some(), "{back:?}");
    back.at - deleted.at
}

fn repair_flush(node: &Node) -> Duration {
    node.bed.node().nft("flush ruleset\n");
    let flushed = Instant::now();
    let all_answer = node.wait_for_answers() - flushed;
    node.assert_all_answer();
    all_answer
}
