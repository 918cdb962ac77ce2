//! How soon, and in how many transactions, changes of the cluster are programmed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testbed::{Signal, wait_for};

use crate::drift::serving;
use crate::quarantine;
use crate::running::{LIMIT, Running, service, slice};
use crate::serve::{metric, started, table_owner, wait_for_metric};

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
        let start = Instant::now();
        let is_in = weir_testbed::eventually(LIMIT, || {
            (metric(&running, pending) == Some(0.0)).then_some(())
        });
        let (took, log) = (start.elapsed(), running.log());
        is_over.store(true, Ordering::Relaxed);
        assert!(is_in.is_some(), "{log}");
        // Repairs come 0, 1, 3 and 7 s after the first. Five seconds behind a repair there is time only
        // when the pauses are 8 s and more: 12 s after the first.
        assert!(log.contains("cause=\"repair\""), "nothing was repaired in the meantime:\n{log}");
        assert!(took < Duration::from_secs(9), "{took:?}: the change waited for repairs:\n{log}");
    });
    wait_for("the change", LIMIT, || running.ask().server() == Some("b2"));
}

/// A Service that takes several batches: 16,000 keys with this many endpoints each.
fn large() -> [Value; 2] {
    let external: Vec<_> = (1..=15).map(|last| format!("203.0.113.{last}")).collect();
    let ports = |target: bool| -> Vec<_> {
        let port = |port: u32| json!({"name": format!("p{port}"), "port": if target { 8080 } else { port }});
        (1..=1000).map(port).collect()
    };
    let endpoints: Vec<_> =
        (10..13).map(|last| json!({"addresses": [format!("10.244.0.{last}")]})).collect();
    [
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "large", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.66", "clusterIPs": ["10.96.0.66"],
                     "externalIPs": external, "ports": ports(false)},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "large-1", "namespace": "default",
                         "labels": {"kubernetes.io/service-name": "large"}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": ports(true),
        }),
    ]
}

/// The causes of the transactions so far.
fn causes(running: &Running, cause: &str) -> usize {
    let log = running.log();
    log.lines().filter(|line| line.contains(&format!("cause=\"{cause}\""))).count()
}

/// Of a change that takes several batches the last one begins the `minSyncPeriod`, not each.
#[test]
fn a_change_is_not_held_back_behind_each_batch_of_another() {
    let [of_service, of_slice] = large();
    let mut running = started(
        &[service(), slice(B1), of_service, of_slice],
        "nftables: {syncPeriod: 2h, minSyncPeriod: 1h}",
    );
    wait_for("the second batch", LIMIT, || causes(&running, "API server") >= 2);
    running.weir.as_mut().expect("it runs").signal(Signal::SIGSTOP);
    running.server.apply(slice(B2));
    running.weir.as_mut().expect("it runs").signal(Signal::SIGCONT);
    running.wait_for_answer_of("b2");
}

/// A Service that is tried again is compiled from the cluster as it is: what is held back is part of that.
#[test]
fn what_is_held_back_comes_with_a_service_that_is_tried_again() {
    let running = started(
        &[service(), slice(B1), quarantine::service(true), quarantine::slice(&[B1])],
        "nftables: {syncPeriod: 2h, minSyncPeriod: 1h}",
    );
    wait_for_metric(&running, "weir_set_aside_services", 1.0);
    running.wait_for_answer_of("b1");
    running.server.apply(slice(B2));
    running.wait_for_answer_of("b2");
}

/// A table with an owner is refused to everybody else, until the owner ends.
#[test]
fn a_first_batch_that_succeeds_ends_the_failure() {
    let [of_service, of_slice] = large();
    let mut running = crate::serve::prepared(&[service(), slice(B1), of_service, of_slice]);
    let (owner, commands) = table_owner(&running);
    running.write_config("mode: nftables");
    running.start_as_proxy();
    running.wait_until_logged("trying again");
    drop(commands);
    drop(owner);
    running.wait_for_answer_of("b1");
    let pending = "kubeproxy_sync_proxy_rules_endpoint_changes_pending";
    wait_for_metric(&running, pending, 0.0);
    let retries = causes(&running, "retry");
    assert!(retries <= 3, "each batch waits for a second:\n{}", running.log());
    running.wait_until_logged("takes the changes of the API server again");
}
