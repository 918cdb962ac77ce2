//! How soon, and in how many transactions, changes of the cluster are programmed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weir_testbed::{Signal, wait_for};

use crate::drift::serving;
use crate::running::{LIMIT, slice};
use crate::serve::{metric, wait_for_metric};

const B1: &str = "10.244.0.2";
const B2: &str = "10.244.0.3";

/// kube-proxy rests for a second behind each sync.
#[test]
fn changes_in_a_row_are_programmed_at_once_each() {
    let running = serving("");
    let mut times = Vec::new();
    for (address, backend) in [(B2, "b2"), (B1, "b1")].into_iter().cycle().take(9) {
        let start = Instant::now();
        running.server.apply(slice(address));
        running.wait_for_answer_of(backend);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    assert!(times[4] < Duration::from_millis(500), "{times:?}");
}

/// weir stands still for a while, as it does during a long transaction.
#[test]
fn changes_that_come_while_weir_is_busy_go_in_few_transactions_and_the_newest_wins() {
    const CHANGES: u32 = 300;
    let mut running = serving("");
    let number = |running: &_, series| metric(running, series).expect("it is there");
    let transactions = "weir_transactions_total";
    let changes = "kubeproxy_sync_proxy_rules_endpoint_changes_total";
    let before = [transactions, changes].map(|series| number(&running, series));
    running.weir.as_mut().expect("it runs").signal(Signal::SIGSTOP);
    for change in 1..=CHANGES {
        let last = if change == CHANGES { 3 } else { 10 + change % 200 };
        running.server.apply(slice(&format!("10.244.0.{last}")));
    }
    running.weir.as_mut().expect("it runs").signal(Signal::SIGCONT);
    running.wait_for_answer_of("b2");
    wait_for_metric(&running, changes, before[1] + f64::from(CHANGES));
    wait_for_metric(&running, "kubeproxy_sync_proxy_rules_endpoint_changes_pending", 0.0);
    let needed = number(&running, transactions) - before[0];
    assert!(needed <= f64::from(CHANGES) / 10.0, "{needed} for {CHANGES} changes");
    let map = running.bed.node().cmd("nft", ["list", "map", "ip", "weir", "endpoints"]);
    assert!(map.contains(B2) && !map.contains("10.244.0.1") && !map.contains(B1), "{map}");
}

/// `minSyncPeriod` counts from what the cluster asked for. If it counted from repairs, a tool that
/// makes them necessary would hold changes back for as long as it runs.
#[test]
fn repairs_do_not_hold_changes_back() {
    let running = serving("nftables: {minSyncPeriod: 5s}");
    let node = running.bed.node();
    running.server.apply(slice(B2));
    let pending = "kubeproxy_sync_proxy_rules_endpoint_changes_pending";
    wait_for_metric(&running, pending, 1.0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                node.nft("flush map ip weir endpoints");
            }
        });
        let is_in = weir_testbed::eventually(LIMIT, || {
            (metric(&running, pending) == Some(0.0)).then_some(())
        });
        let log = running.log();
        is_over.store(true, Ordering::Relaxed);
        assert!(is_in.is_some(), "{log}");
        // Repairs come 0, 1, 3 and 7 s after the first, and the change at 5 s brings one with it. Five
        // seconds behind a repair there is time only when the pauses are 8 s and more.
        assert!(log.contains("cause=\"repair\""), "nothing was repaired in the meantime:\n{log}");
        assert!(!log.contains("only 16 s later"), "the change had to wait for the repairs:\n{log}");
    });
    wait_for("the change", LIMIT, || running.ask().server() == Some("b2"));
}
