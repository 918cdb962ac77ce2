//! weir's own commits are never taken for foreign ones, on the real kernel and with all of its notifications.

use std::time::Instant;

use serde_json::{Value, json};

use crate::drift::serving;
use crate::running::Running;
use crate::serve::{metric, wait_for_metric};

/// So many endpoints at two destinations are more elements than the monitor listens to.
const MANY: usize = 520;

fn service(number: u8) -> Value {
    let address = format!("10.96.1.{number}");
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("large-{number}"), "namespace": "default"},
        "spec": {"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80}],
                 "externalIPs": [format!("198.51.100.{number}")]},
    })
}

fn slice(number: u8, endpoints: usize) -> Value {
    let endpoint = |index: usize| json!({"addresses": [format!("10.{number}.{}.{}", index / 250, index % 250)]});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("large-{number}-1"), "namespace": "default",
                     "labels": {"kubernetes.io/service-name": format!("large-{number}")}},
        "addressType": "IPv4",
        "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
    })
}

/// Repairs, commits of others, and readings of all tables.
fn counted(running: &Running) -> [Option<f64>; 3] {
    let reads = "weir_kernel_reads_total{what=\"all\"}";
    ["weir_repairs_total", "weir_foreign_commits_total", reads].map(|it| metric(running, it))
}

/// Each growth makes a chain first and then commits more than is listened to.
#[test]
fn services_that_grow_and_shrink_are_no_repair_and_a_table_that_goes_comes_back_at_once() {
    let running = serving("");
    let before = counted(&running);
    assert_eq!(before[..2], [Some(0.0), Some(0.0)]);
    (1..=2).for_each(|number| running.server.apply(service(number)));
    let programmed = "weir_programmed_endpoints{ip_family=\"IPv4\"}";
    // That of `web` is there already.
    let mut counts = [1, 0, 0];
    for (count, number) in (0..6).flat_map(|_| [(MANY, 1), (MANY, 2), (1, 1), (1, 2)]) {
        running.server.apply(slice(number, count));
        counts[usize::from(number)] = count;
        wait_for_metric(&running, programmed, counts.iter().sum::<usize>() as f64);
    }
    assert_eq!(counted(&running), before, "{}", running.log());
    assert!(!running.log().contains("changed weir's tables"), "{}", running.log());

    let start = Instant::now();
    running.bed.node().nft("delete table ip weir");
    running.wait_until_logged("nft (pid ");
    running.wait_for_answer_of("b1");
    println!("a table that was deleted is back after {:?}", start.elapsed());
    assert!(!running.log().contains("later"), "{}", running.log());
    assert_eq!(counted(&running)[..2], [Some(1.0), Some(1.0)], "{}", running.log());
}
